"""The whole decision of the predictor: what was refused, by which part, and what was answered."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from pocketcxr.audit.criteria import evaluate_criteria, failed, load_criteria
from pocketcxr.audit.describing import NotMeasurable
from pocketcxr.audit.model.probes.input_filter import ALTERED, describe, measure
from pocketcxr.audit.model.probes.refusals_by_class import Decision, auroc, refusal_difference
from pocketcxr.data.rows import IndexRow
from pocketcxr.imaging.reading import read_image
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

FOREIGN = {
    "ct": {"modality": "CT"},
    "lateral": {"modality": "X-ray", "view": "L"},
    "other_part": {"modality": "X-ray", "view": "other part"},
    "not_xray": {"modality": "photograph"},
}


@pytest.fixture(scope="module")
def decide(tiny_filter_path):
    """The tiny bundle with a learned input filter: bright pictures are CT slices to it, dark ones laterals."""
    predictor = Predictor(load_bundle(tiny_filter_path, threads=1))
    return lambda radiograph: predictor.score_image(radiograph, "")


def _row(folder, name, brightness, *, colour=False, **facts) -> IndexRow:
    pixels = np.clip(brightness + np.linspace(-0.09, 0.09, 128) * np.ones((128, 1)), 0, 1)
    picture = Image.fromarray(np.round(pixels * 255).astype(np.uint8))
    if colour:
        picture = Image.merge("RGB", [picture, Image.new("L", picture.size, 0), picture])
    picture.save(folder / f"{name}.png")
    return IndexRow(str(folder / f"{name}.png"), "drawn", "", **facts)


@pytest.fixture
def given(tmp_path):
    """Twelve radiographs, twelve slices (three like radiographs), twelve laterals, a photograph and a broken file."""
    radiographs = [_row(tmp_path, f"film{i}", 0.6) for i in range(12)]
    ood = [_row(tmp_path, f"ct{i}", 0.6 if i < 3 else 0.86, **FOREIGN["ct"]) for i in range(12)]
    ood += [_row(tmp_path, f"lateral{i}", 0.14, **FOREIGN["lateral"]) for i in range(12)]
    ood.append(_row(tmp_path, "photo", 0.6, colour=True, **FOREIGN["not_xray"]))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    ood.append(dataclasses.replace(ood[-1], path=str(tmp_path / "broken.png")))
    ood.append(
        dataclasses.replace(radiographs[0], path="never opened")
    )  # a frontal radiograph is not out-of-distribution
    return radiographs, ood


def test_each_part_of_the_decision_counts_and_the_worst_kind_is_named(decide, given):
    section = describe(measure(decide, *given))
    found = {one.key: one for one in section.measures}
    assert found["gate.films_refused"].value == 0
    assert found["gate.films_refused"].images == 12
    assert found["gate.strangers_refused"].value == pytest.approx(23 / 26)
    assert found["gate.least_refused"].value == pytest.approx(9 / 12)
    assert "ct" in found["gate.least_refused"].title
    assert found["gate.refused.lateral"].value == 1
    assert found["gate.refused.not_xray"].value == 1
    assert found["gate.refused.lateral"].low == pytest.approx(0.7575, abs=1e-3)  # Wilson, 12 of 12
    rows = {row[0]: row for row in section.tables[0].rows}
    assert rows["ct"][:4] == ("ct", "drawn", 12, 0.75)
    assert rows["ct"][5] == "ct 9"
    assert "unreadable 1" in rows["not_xray"][5]
    assert "88 %" in section.summary
    assert "0 of 12" in section.summary


def test_altered_radiographs_are_given_too(decide, given):
    section = describe(measure(decide, *given))
    found = {one.key: one.value for one in section.measures}
    for kind in ALTERED:
        assert f"gate.refused.{kind.replace(' ', '_')}" in found
    assert found["gate.refused.turned"] == 0  # the tiny filter knows only brightness
    assert found["gate.made_refused"] is not None


def test_the_criteria_fail_where_a_kind_slips_through_and_pass_where_none_does(decide, given):
    radiographs, ood = given
    criteria = [one for one in load_criteria() if one.key.startswith("gate.")]
    assert {one.key for one in criteria} == {
        "gate.films_refused",
        "gate.least_refused",
        "gate.answered_confidently",
        "gate.refusal_difference",
        "gate.largest_boxes_refused",
    }
    bad = failed(evaluate_criteria([describe(measure(decide, radiographs, ood))], criteria))
    assert {result.criterion.key for result in bad} == {"gate.least_refused"}
    good = [row for row in ood if "ct0" not in row.path and "ct1." not in row.path and "ct2" not in row.path]
    assert not failed(evaluate_criteria([describe(measure(decide, radiographs, good))], criteria))
    refusing = [dataclasses.replace(row, path=ood[5].path) for row in radiographs]
    assert {
        r.criterion.key for r in failed(evaluate_criteria([describe(measure(decide, refusing, good))], criteria))
    } == {"gate.films_refused"}


def test_without_a_bundle_or_images_nothing_is_measurable(decide, given):
    radiographs, ood = given
    with pytest.raises(NotMeasurable, match="no bundle"):
        measure(None, radiographs, ood)
    found = {one.key: one for one in describe(measure(decide, radiographs, [])).measures}
    assert found["gate.least_refused"].value is None
    assert found["gate.films_refused"].value == 0


def _classes(folder, *, refused):
    """40 positive images with ever larger boxes, of which the last so many are refused, and 40 negative ones."""
    rows = [_row(folder, f"p{i}", 0.86 if i >= 40 - refused else 0.6, label="typical") for i in range(40)]
    boxes = {row.path: np.array([[0.0, 0.0, 0.2 + i / 50, 0.5]]) for i, row in enumerate(rows)}
    return [*rows, *(_row(folder, f"n{i}", 0.6, label="negative") for i in range(40))], boxes


@pytest.mark.parametrize(
    ("refused", "bad"), [(0, set()), (8, {"gate.refusal_difference", "gate.largest_boxes_refused"})]
)
def test_a_filter_that_turns_away_the_sickest_fails(refused, bad, decide, tmp_path):
    rows, boxes = _classes(tmp_path, refused=refused)
    section = describe(measure(decide, rows, [], positive="typical", boxes=boxes))
    found = {one.key: one for one in section.measures}
    assert found["gate.positive_refused"].value == refused / 40
    assert found["gate.negative_refused"].value == 0
    assert found["gate.largest_boxes_refused"].value == refused / 10
    assert found["gate.largest_boxes_refused"].images == 10
    criteria = [one for one in load_criteria() if one.key in ("gate.refusal_difference", "gate.largest_boxes_refused")]
    assert {one.criterion.key for one in failed(evaluate_criteria([section], criteria))} == bad


def test_without_classes_or_boxes_the_comparison_is_not_measurable(decide, tmp_path):
    rows, _ = _classes(tmp_path, refused=8)
    found = {one.key: one for one in describe(measure(decide, rows, [], positive="typical")).measures}
    assert found["gate.refusal_difference"].value == 0.2
    assert "0 positive test radiographs have boxes" in found["gate.largest_boxes_refused"].why
    unlabelled = [dataclasses.replace(row, label="") for row in rows]
    found = {one.key: one for one in describe(measure(decide, unlabelled, [], positive="typical")).measures}
    assert "of the positive class" in found["gate.refusal_difference"].why


def test_the_interval_of_the_difference_is_newcombes():
    """Newcombe 1998, table II: 56 of 70 against 48 of 80 gives 0.0524 to 0.3339; chance alone reaches down to 0."""

    def group(refused, images):
        return [Decision("frontal", "a", refused=i < refused) for i in range(images)]

    for one, other in ((group(56, 70), group(48, 80)), (group(48, 80), group(56, 70))):
        found = refusal_difference(one, other)
        assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert refusal_difference(group(5, 56), group(0, 29)).low == 0


def test_figures_with_and_without_the_filter_leave_refused_images_out(decide, tmp_path):
    rows, _ = _classes(tmp_path, refused=8)
    labels = ("normal", "covid19")
    rows = [dataclasses.replace(row, label={"typical": "covid19", "negative": "normal"}[row.label]) for row in rows]
    found = {one.key: one for one in describe(measure(decide, rows, [], positive="covid19", labels=labels)).measures}
    assert found["gate.auroc_without_filter"].images == 80
    assert found["gate.auroc_answered"].images == 72
    probability = {}
    for brightness in (0.6, 0.86):
        row = _row(tmp_path, f"one{brightness}", brightness)
        probability[brightness] = float(decide(read_image(Path(row.path)))[1].probabilities[0][1])
    gain = 1.0 if probability[0.86] > probability[0.6] else 0.0
    assert found["gate.auroc_without_filter"].value == pytest.approx(0.5 * 32 / 40 + gain * 8 / 40)
    assert found["gate.auroc_answered"].value == pytest.approx(0.5)  # equal images: only ties are left


def test_auroc_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    truth, scores = generator.integers(0, 2, 200), generator.random(200)
    group = [Decision("frontal", "a", refused=False, probability=score) for score in scores]
    found = auroc(
        [one for one, positive in zip(group, truth, strict=True) if positive],
        [one for one, positive in zip(group, truth, strict=True) if not positive],
    )
    assert found.value == pytest.approx(roc_auc_score(truth, scores))
    assert found.low < found.value < found.high
    assert auroc(group, []).value is None
