"""The whole model audit: every documented key is there, figures repeat, faults that were planted are caught."""

from fnmatch import fnmatch

import drawn_models
import numpy as np
import pytest

from pocketcxr.audit.describing import TEXTS
from pocketcxr.audit.model.audited_model import from_probabilities
from pocketcxr.audit.model.model_audit import AuditConfig, audit_model, load_ood
from pocketcxr.errors import DataError

CONFIG = AuditConfig(bootstrap=50, probe_images=60, robust_images=20, embedding_images=100, ood_images=20, strengths=1)


@pytest.fixture(scope="module")
def audited(drawn):
    data = drawn_models.dataset(drawn, cue="border")
    ood = {"stripes": np.tile(np.linspace(0, 1, 96, dtype=np.float32), (20, 1, 96, 1))}
    return audit_model(
        drawn_models.reader("border"),
        data,
        rivals={"teacher": drawn_models.reader("lungs"), "baseline student": drawn_models.reader("border")},
        ood=ood,
        config=CONFIG,
        seed=3,
        without_source={"drawn-north": drawn_models.reader("lungs"), "drawn-river": drawn_models.reader("lungs")},
        randomised=lambda: [("all layers", drawn_models.reader("lungs"))],
    )


def test_every_key_with_a_text_is_there_once_and_no_other(audited):
    keys = [one.key for section in audited for one in section.measures]
    assert len(set(keys)) == len(keys)
    data = ("composition", "duplicates", "leaks", "persons", "splits", "confounding", "cues", "labels")
    groups = (*data, "gate")  # of the data, or of the predictor
    texts = {key for key in TEXTS if not key.startswith(groups)}
    assert {key for key in texts if "*" not in key} <= set(keys)
    assert len(texts) > 45
    patterns = [key for key in texts if "*" in key]
    assert all(key in texts or any(fnmatch(key, pattern) for pattern in patterns) for key in keys)


def test_every_measure_has_texts_and_a_value_or_a_reason(audited):
    for section in audited:
        assert section.summary
        for one in section.measures:
            assert one.title
            assert "{" not in one.title + one.meaning + one.advice
            assert one.value is not None or one.why, one.key
            assert one.value is None or np.isfinite(one.value), one.key
            if one.low is not None and one.high is not None:
                assert one.low <= one.high


def test_pictures_are_png_with_a_description_for_screen_readers(audited):
    pictures = [picture for section in audited for picture in section.pictures]
    assert len(pictures) > 8
    assert all(picture.data[:8] == b"\x89PNG\r\n\x1a\n" and picture.alt for picture in pictures)


def test_tables_are_rectangular(audited):
    for section in audited:
        for table in section.tables:
            assert all(len(row) == len(table.columns) for row in table.rows), table.title


def test_the_planted_border_shortcut_is_caught(audited):
    found = {one.key: one.value for section in audited for one in section.measures}
    assert found["shortcuts.border_only_auroc"] > 0.9
    assert found["saliency.focus"] < 0.8
    assert found["unseen.accuracy_drop"] > 0.2  # models that read lungs know nothing here
    assert found["robustness.inversion_drop"] > 0.9  # inverted, the border says the opposite


def test_the_same_seed_gives_the_same_sections(drawn):
    data = drawn_models.dataset(drawn, cue="lungs")
    config = AuditConfig(
        bootstrap=20, probe_images=40, robust_images=10, embedding_images=40, ood_images=10, strengths=1
    )
    options = {"rivals": {}, "ood": {}, "config": config, "seed": 1}
    one = audit_model(drawn_models.reader("lungs"), data, **options)
    other = audit_model(drawn_models.reader("lungs"), data, **options)
    assert [section.measures for section in one] == [section.measures for section in other]
    assert one[0].summary == other[0].summary


def test_what_a_model_without_maps_and_novelty_cannot_give_is_named(drawn):
    from dataclasses import replace

    read = drawn_models.reader("lungs")

    def bare(images, /):
        return replace(read(images), saliency=None, novelty=None)

    sections = audit_model(bare, drawn_models.dataset(drawn, cue="lungs"), rivals={}, ood={}, config=CONFIG)
    found = {one.key: one for section in sections for one in section.measures}
    assert found["saliency.focus"].value is None
    assert "no maps" in found["saliency.focus"].why
    assert "no novelty" in found["novelty.auroc"].why
    assert "no models trained without" in found["unseen.auroc"].why


def test_a_model_of_another_task_or_with_nan_is_refused(drawn):
    data = drawn_models.dataset(drawn, cue="lungs")
    read = drawn_models.reader("lungs")

    def broken(images, /):
        outputs = read(images)
        outputs.logits[0] = np.nan
        return outputs

    with pytest.raises(DataError, match="expected finite"):
        audit_model(broken, data, rivals={}, ood={}, config=CONFIG)


def test_no_test_images_are_refused(drawn):
    from dataclasses import replace

    data = drawn_models.dataset(drawn, cue="lungs")
    rows = tuple(replace(row, split="train") for row in data.rows)
    with pytest.raises(DataError, match="no labelled image"):
        audit_model(drawn_models.reader("lungs"), replace(data, rows=rows), rivals={}, ood={}, config=CONFIG)


def test_ood_images_come_from_folders_and_from_the_index(tmp_path):
    from PIL import Image

    from pocketcxr.data.rows import IndexRow

    rng = np.random.default_rng(0)
    for kind, count in (("knee", 12), ("photograph", 3)):
        (tmp_path / "foreign" / kind).mkdir(parents=True)
        for i in range(count):
            picture = Image.fromarray(rng.integers(0, 255, (50, 70), dtype=np.uint8))
            picture.save(tmp_path / "foreign" / kind / f"{i}.png")
    (tmp_path / "foreign" / "knee" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    lateral = tmp_path / "foreign" / "knee" / "0.png"
    rows = [
        IndexRow(str(lateral), "s", "", view="L"),
        IndexRow(str(lateral), "s", "", modality="CT", view="Axial"),
        IndexRow(str(lateral), "s", "", view="PA"),
    ]
    found = load_ood([tmp_path / "foreign"], rows, size=32, most=10)
    assert {kind: images.shape for kind, images in found.items()} == {
        "ct": (1, 1, 32, 32),
        "knee": (len(found["knee"]), 1, 32, 32),
        "lateral": (1, 1, 32, 32),
        "photograph": (3, 1, 32, 32),
    }
    assert 9 <= len(found["knee"]) <= 10  # the broken one, if drawn, is left out
    with pytest.raises(DataError, match="expected a folder"):
        load_ood([tmp_path / "nowhere"], size=32)


def test_a_plain_function_from_images_to_probabilities_is_audited(drawn):
    read = drawn_models.reader("lungs")
    data = drawn_models.dataset(drawn, cue="lungs")
    predict = from_probabilities(lambda images: read(images).probabilities, classes=2)
    sections = audit_model(predict, data, rivals={}, ood={}, config=CONFIG, calibrated=True)
    found = {one.key: one for section in sections for one in section.measures}
    ours = audit_model(read, data, rivals={}, ood={}, config=CONFIG, calibrated=True)
    same = {one.key: one for section in ours for one in section.measures}
    for key in ("scorecard.auroc", "shortcuts.lungs_out_auroc", "calibration.ece", "robustness.worst_drop"):
        assert found[key].value == same[key].value
    for key in ("sources.readable", "unseen.probe_accuracy_drop"):
        assert found[key].value is None
        assert found[key].why == "the model gives no embedding"
    assert found["saliency.focus"].why == "this model gives no maps"


@pytest.mark.parametrize(
    "function",
    [
        lambda images: np.full((len(images), 3), 1 / 3),
        lambda images: np.full((len(images), 2), 0.9),
        lambda images: np.full((len(images), 2), np.nan),
        lambda images: [0.5] * len(images),
    ],
)
def test_a_function_that_gives_no_probabilities_is_refused(function):
    with pytest.raises(DataError, match="expected probabilities"):
        from_probabilities(function, classes=2)(np.zeros((4, 1, 8, 8), np.float32))
