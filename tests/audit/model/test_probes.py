"""Models that read one thing only are found out; figures that can be worked out by hand are right."""

import drawn_models
import numpy as np
import pytest

from pocketcxr.audit.describing import NotMeasurable
from pocketcxr.audit.model.audited_model import even_sample, make_audited_model
from pocketcxr.audit.model.config import AuditConfig
from pocketcxr.audit.model.linear_probe import guess_from_class, read_source
from pocketcxr.audit.model.lungs import Lungs
from pocketcxr.audit.model.pairwise_auroc import paired_auroc
from pocketcxr.audit.model.probes import (
    conformal,
    saliency,
    scorecard,
    selective_prediction,
    shortcuts,
    source_probe,
    unseen_sources,
)
from pocketcxr.audit.model.probes.calibration import at_prevalence
from pocketcxr.audit.model.probes.saliency import in_lungs, map_likeness
from pocketcxr.audit.model.probes.scorecard import age_group
from pocketcxr.audit.model.probes.selective_prediction import aurc, risk_coverage

CONFIG = AuditConfig(
    bootstrap=100, probe_images=200, robust_images=20, embedding_images=200, ood_images=20, strengths=1
)


def _model(drawn, *, cue, reads, **options):
    data = drawn_models.dataset(drawn, cue=cue, **options)
    return make_audited_model("model", drawn_models.reader(reads), data, config=CONFIG, seed=0)


def _shortcuts(model, lungs, places):
    return shortcuts.describe(shortcuts.measure(model, lungs, places))


def _saliency(*arguments):
    return saliency.describe(saliency.measure(*arguments))


def _values(section):
    return {one.key: one.value for one in section.measures}


def _probed(drawn, **options):
    model = _model(drawn, **options)
    places = np.arange(len(model.test.truth))
    masks = drawn.lungs[model.test.positions].copy()
    inner = drawn_models.EDGE + 3  # some drawn lungs reach the painted border
    masks[:, :inner] = masks[:, -inner:] = masks[:, :, :inner] = masks[:, :, -inner:] = False
    return _shortcuts(model, Lungs(masks, ("",) * len(masks)), places)


def test_a_model_that_reads_the_border_does_not_need_lungs(drawn):
    found = _values(_probed(drawn, cue="border", reads="border"))
    assert found["shortcuts.untouched_auroc"] > 0.95
    assert found["shortcuts.lungs_out_auroc"] > 0.95
    assert found["shortcuts.box_out_auroc"] > 0.95
    assert found["shortcuts.border_only_auroc"] > 0.95
    assert found["shortcuts.lungs_only_auroc"] < 0.65
    assert found["shortcuts.kept_without_lungs"] > 0.9
    assert found["shortcuts.kept_without_box"] > 0.9


def test_a_model_that_reads_the_lungs_is_blind_without_them(drawn):
    found = _values(_probed(drawn, cue="lungs", reads="lungs"))
    assert found["shortcuts.untouched_auroc"] > 0.95
    assert abs(found["shortcuts.lungs_out_auroc"] - 0.5) < 0.15
    assert found["shortcuts.box_out_auroc"] == 0.5  # nothing is left: every answer is the same
    assert found["shortcuts.border_only_auroc"] == 0.5
    assert found["shortcuts.lungs_only_auroc"] > 0.95
    assert abs(found["shortcuts.kept_without_lungs"]) < 0.3
    assert found["shortcuts.kept_without_box"] == 0


def test_a_model_without_skill_has_no_shortcut_to_measure(drawn):
    section = _probed(drawn, cue="none", reads="nothing")
    kept = next(one for one in section.measures if one.key == "shortcuts.kept_without_lungs")
    assert kept.value is None
    assert "no skill" in kept.why


def test_masks_that_cannot_be_trusted_are_left_out_and_counted(drawn):
    model = _model(drawn, cue="lungs", reads="lungs")
    places = np.arange(len(model.test.truth))
    reasons = tuple("area implausible" if i % 4 == 0 else "" for i in places)
    section = _shortcuts(model, Lungs(drawn.lungs[model.test.positions], reasons), places)
    trusted = sum(not reason for reason in reasons)
    assert _values(section)["lungs.trusted"] == pytest.approx(trusted / len(places))
    assert section.measures[1].images == trusted
    none = _shortcuts(model, Lungs(drawn.lungs[model.test.positions], ("unsure",) * len(places)), places)
    assert all(one.value is None for one in none.measures[1:-1])
    assert none.measures[-1].key == "shortcuts.source_share"  # needs no mask
    assert {one.key for one in none.measures} == {one.key for one in section.measures}


def test_a_corner_reader_is_moved_by_markers(drawn):
    from pocketcxr.bundle.contract import ModelOutputs

    def corner_reader(images, /):
        score = (40 * (images[:, 0, :14, -14:].mean(axis=(1, 2)) - 0.22)).astype(np.float32)
        logits = np.stack([-score, score], axis=1)
        chances = 1 / (1 + np.exp(-2 * score))
        return ModelOutputs(np.stack([1 - chances, chances], axis=1), logits, logits)

    data = drawn_models.dataset(drawn, cue="none")
    data.pixels[:, :14, -14:] = 51  # no marker there
    model = make_audited_model("model", corner_reader, data, config=CONFIG, seed=0)
    places = np.arange(len(model.test.truth))
    masks = drawn.lungs[model.test.positions]
    moved = _values(_shortcuts(model, Lungs(masks, ("",) * len(masks)), places))["shortcuts.marker_changed"]
    still = _values(_probed(drawn, cue="lungs", reads="lungs"))["shortcuts.marker_changed"]
    assert moved > 0.3
    assert still == 0


def test_a_model_that_reads_contrast_follows_the_appearance_of_a_source(drawn):
    """The source is named after the class, one class is darker, and the model reads the mean grey."""
    data = drawn_models.dataset(drawn, cue="none", source_of_class=True)
    data.pixels[data.labels == 1] //= 2

    def mean_reader(images, /):
        from pocketcxr.bundle.contract import ModelOutputs
        from pocketcxr.evaluation.calibration import softmax

        score = (20 * (0.4 - images.mean(axis=(1, 2, 3)))).astype(np.float32)
        logits = np.stack([-score, score], axis=1)
        return ModelOutputs(softmax(logits).astype(np.float32), logits, logits)

    model = make_audited_model("model", mean_reader, data, config=CONFIG, seed=0)
    places = np.arange(len(model.test.truth))
    masks = drawn.lungs[model.test.positions]
    found = _values(_shortcuts(model, Lungs(masks, ("",) * len(masks)), places))
    assert found["shortcuts.look_changed"] > 0.9
    assert found["shortcuts.look_followed"] > 0.5


def test_the_same_source_headline_sees_through_a_source_that_is_the_class(drawn):
    data = drawn_models.dataset(drawn, cue="border", source_of_class=True)
    model = make_audited_model("model", drawn_models.reader("border"), data, config=CONFIG, seed=0)
    section = scorecard.describe(scorecard.measure(model))
    found = {one.key: one for one in section.measures}
    assert found["scorecard.auroc"].value > 0.95
    assert found["scorecard.auroc_same_source"].value is None
    assert "no source holds" in found["scorecard.auroc_same_source"].why
    assert section.tables[0].rows[0][1] == "SOURCES DIFFER"


def test_pairs_within_and_across_sources_by_hand():
    scores = np.array([0.9, 0.8, 0.4, 0.7, 0.6, 0.1])
    positive = np.array([True, False, True, True, False, False])
    sources = np.array(["a", "a", "a", "b", "b", "b"])
    same, across = paired_auroc(scores, positive, sources, np.ones((1, 6)))
    # within a: 0.9>0.8 right, 0.4<0.8 wrong; within b: 0.7>0.6, 0.7>0.1 right: 3 of 4
    assert same[0] == pytest.approx(3 / 4)
    # across: 0.9>0.6, 0.9>0.1, 0.4<0.6, 0.4>0.1, 0.7<0.8: 3 of 5
    assert across[0] == pytest.approx(3 / 5)


def test_ages_fall_into_groups():
    assert [age_group(age) for age in ("0", "17.9", "18", "60", "90", "", "old")] == [
        "0 to 17",
        "0 to 17",
        "18 to 39",
        "60 to 74",
        "75 and older",
        "",
        "",
    ]


def test_a_source_in_the_embedding_is_read_and_one_that_is_not_there_is_not():
    rng = np.random.default_rng(0)
    source, truth, members = np.arange(240) % 3, (np.arange(240) // 3) % 2, np.arange(240) // 2
    noise = rng.normal(size=(240, 40))
    holds = noise.copy()
    holds[:, :8] += 3 * (source == 1)[:, None]
    holds[:, 8:16] += 3 * (source == 2)[:, None]
    options = {"width": 20, "folds": 4, "seed": 0}
    assert (read_source(holds, source, truth, members, **options).everywhere == source).mean() > 0.9
    assert (read_source(holds, source, truth, members, **options).within == source).mean() > 0.85
    assert (read_source(noise, source, truth, members, **options).everywhere == source).mean() < 0.45


def test_what_the_class_reveals_of_the_source_by_hand():
    # class 0: sources 0, 0, 1; class 1: source 1 three times: guess 0, then 1
    found = guess_from_class(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1]))
    assert found.tolist() == [0, 0, 0, 1, 1, 1]


def test_mass_in_the_lungs_by_hand():
    masks = np.zeros((2, 40, 40), dtype=bool)
    masks[:, :, :20] = True  # the left half is lung
    evidence = np.zeros((2, 4, 4), np.float32)
    evidence[0, :, 0] = 1  # all in the left quarter
    evidence[1] = 1  # everywhere
    inside, area, pointed, _ = in_lungs(evidence, masks)
    assert inside[0] == pytest.approx(1, abs=0.05)
    assert inside[1] == pytest.approx(0.5, abs=0.01)
    assert area.tolist() == [0.5, 0.5]
    assert pointed[0]


def test_maps_that_fall_in_the_lungs_are_told_from_maps_at_the_border(drawn):
    focus = {}
    for what in ("lungs", "border"):
        model = _model(drawn, cue=what, reads=what)
        masks = drawn.lungs[model.test.positions]
        section = _saliency(model, Lungs(masks, ("",) * len(masks)), np.arange(len(masks)))
        focus[what] = _values(section)["saliency.focus"]
    assert focus["lungs"] > 1.7
    assert focus["border"] < 0.7


def test_likeness_of_maps():
    rng = np.random.default_rng(0)
    one = rng.random((7, 7)).astype(np.float32)
    assert map_likeness(one, one) == pytest.approx((1.0, 1.0))
    assert map_likeness(one, 3 * one + 1) == pytest.approx((1.0, 1.0), abs=1e-5)
    assert map_likeness(one, -one)[0] == pytest.approx(-1.0)
    assert abs(map_likeness(one, rng.random((7, 7)).astype(np.float32))[0]) < 0.4
    assert map_likeness(one, np.zeros((7, 7), np.float32)) == (0.0, 0.0)


def test_randomised_models_whose_maps_stay_fail_the_sanity_check(drawn):
    model = _model(drawn, cue="lungs", reads="lungs")
    masks = drawn.lungs[model.test.positions]
    lungs, places = Lungs(masks, ("",) * len(masks)), np.arange(len(masks))
    same = _saliency(model, lungs, places, lambda: [("all layers", drawn_models.reader("lungs"))])
    other = _saliency(model, lungs, places, lambda: [("all layers", drawn_models.reader("border"))])
    assert _values(same)["saliency.randomised_similarity"] > 0.95
    assert _values(other)["saliency.randomised_similarity"] < 0.6
    assert _values(_saliency(model, lungs, places))["saliency.randomised_similarity"] is None


def test_risk_and_coverage_by_hand():
    confidence, wrong = np.array([0.9, 0.6, 0.8, 0.7]), np.array([False, True, False, True])
    coverage, risk = risk_coverage(confidence, wrong)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert aurc(confidence, wrong) == pytest.approx((1 / 3 + 1 / 2) / 4)


def test_bayes_moves_probabilities_to_another_prevalence():
    moved = at_prevalence(np.array([[0.5, 0.5], [0.2, 0.8]]), 1, here=0.5, there=0.1)
    assert moved[0].tolist() == pytest.approx([0.9, 0.1])
    assert moved[1, 1] == pytest.approx(0.8 * 0.1 / (0.8 * 0.1 + 0.2 * 0.9))
    kept = at_prevalence(np.array([[0.3, 0.3, 0.4]]), 2, here=0.3, there=0.3)
    assert kept[0].tolist() == pytest.approx([0.3, 0.3, 0.4])


def test_prediction_sets_keep_their_coverage_for_a_calibrated_model_and_lose_it_elsewhere():
    """500 images each of two sources; the model is calibrated on one, and upside down for a third of the other."""
    from pocketcxr.bundle.contract import ModelOutputs
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import TASKS

    rng = np.random.default_rng(0)
    n = 2000
    chance = rng.random(n)
    labels = (rng.random(n) < chance).astype(np.int64)
    foreign = np.arange(n) % 2 == 1
    told = np.where(foreign & (rng.random(n) < 0.3), 1 - chance, chance)
    pixels = np.zeros((n, 2, 2), np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = np.arange(n) // 256, np.arange(n) % 256
    rows = tuple(
        IndexRow(
            path=str(i), source="far" if foreign[i] else "near", finding="", split=("calibration", "test")[i // 2 % 2]
        )
        for i in range(n)
    )

    def predict(images, /):
        corner = np.round(images[:, 0, 0] * 255).astype(int)
        p = told[corner[:, 0] * 256 + corner[:, 1]]
        chances = np.stack([1 - p, p], axis=1)
        return ModelOutputs(chances.astype(np.float32), np.log(chances * 3 + 1e-9).astype(np.float32) * 2, chances)

    data = Dataset(TASKS["siim-appearance"], rows, pixels, labels, "made")
    model = make_audited_model("model", predict, data, config=CONFIG, seed=0)
    assert model.fitted.temperature is None  # it brings its own
    section = conformal.describe(conformal.measure(model))
    found = _values(section)
    assert found["conformal.coverage"] == pytest.approx(0.9, abs=0.03)
    assert found["conformal.other_source_coverage"] < 0.82
    assert [row[0] for row in section.tables[0].rows] == ["far", "near"]


def test_samples_are_even_over_cells():
    cells = ["common"] * 90 + ["rare"] * 5 + ["less"] * 20
    chosen = even_sample(cells, 30, seed=0)
    counts = {name: sum(cells[i] == name for i in chosen) for name in set(cells)}
    assert counts["rare"] == 5
    assert counts["common"] + counts["less"] == 25
    assert abs(counts["common"] - counts["less"]) <= 1
    assert len(set(chosen.tolist())) == 30


def test_probes_give_numbers_without_sentences(drawn):
    model = _model(drawn, cue="lungs", reads="lungs")
    card = scorecard.measure(model)
    assert card.estimates["all auroc"].value > 0.95
    assert card.groups["sex"]["F"].images + card.groups["sex"]["M"].images == card.images
    risk = selective_prediction.measure(model)
    assert risk.estimates["gain_at_80"].value == pytest.approx(risk.risk.value - risk.estimates["risk_at_80"].value)
    assert risk.best <= risk.estimates["aurc"].value
    left_out = unseen_sources.measure(model, {"drawn-north": drawn_models.reader("border")}).trained
    assert left_out.estimates["accuracy_drop"].value > 0.2
    assert left_out.images["drawn-north"] == (model.sources == "drawn-north").sum()


def test_a_probe_of_the_embedding_is_not_measurable_without_one(drawn):
    from dataclasses import replace

    model = _model(drawn, cue="lungs", reads="lungs")
    outputs = replace(model.test.outputs, embedding=np.zeros((len(model.test.truth), 0), np.float32))
    bare = replace(model, test=replace(model.test, outputs=outputs))
    assert unseen_sources.measure(bare).stand_in.why == "the model gives no embedding"
    with pytest.raises(NotMeasurable, match="no embedding"):
        source_probe.measure(bare)
