"""Maps that point into the boxes are told from maps that point at the border; figures by hand are right."""

import dataclasses

import drawn_models
import numpy as np
import pytest

from pocketcxr.audit.criteria import evaluate_criteria, failed, load_criteria
from pocketcxr.audit.describing import NotMeasurable
from pocketcxr.audit.model.audited_model import make_audited_model
from pocketcxr.audit.model.config import AuditConfig
from pocketcxr.audit.model.probes.boxed_saliency import describe, in_boxes, measure

CONFIG = AuditConfig(
    bootstrap=100, probe_images=200, robust_images=20, embedding_images=200, ood_images=20, strengths=1
)
PATCHES = np.array([[0.2, 0.35, 0.4, 0.6], [0.6, 0.35, 0.8, 0.6]])
"""Around the two patches that the model ``lungs`` reads."""


def _model(drawn, reads):
    data = drawn_models.dataset(drawn, cue="lungs")
    return make_audited_model("model", READERS[reads], data, config=CONFIG, seed=0)


def _at_border(images, /):
    """The model ``lungs`` with maps that say nothing but the border."""
    maps = np.zeros((len(images), 2, 8, 8), np.float32)
    maps[:, 1, 0, 0] = 1
    return dataclasses.replace(drawn_models.reader("lungs")(images), saliency=maps)


READERS = {"lungs": drawn_models.reader("lungs"), "border": _at_border}


def _boxes(model):
    return {row.path: PATCHES for row in model.dataset.rows}


def _audited(drawn, reads, control, rivals=None):
    model = _model(drawn, reads)
    versions = [("classifier", READERS[reads]), ("all layers", READERS[control])]
    section = describe(measure(model, _boxes(model), rivals or {}, lambda: versions))
    criteria = [one for one in load_criteria() if one.key.startswith("boxes.")]
    bad = {one.criterion.key for one in failed(evaluate_criteria([section], criteria))}
    return section, {one.key: one for one in section.measures}, bad


def test_maps_that_point_into_the_boxes_pass(drawn):
    section, found, bad = _audited(drawn, "lungs", "border", {"teacher": _at_border})
    assert found["boxes.pointing"].value > 0.8
    assert found["boxes.centre"].value == found["boxes.random"].value == 0
    assert found["boxes.beyond_centre"].value == found["boxes.beyond_random"].value == found["boxes.pointing"].value
    assert found["boxes.ratio"].value > 3
    assert not bad
    rows = {row[0]: row for row in section.tables[0].rows}
    assert rows["teacher"][2].startswith("0.00")
    assert rows["best fixed point"][2] == "1.00"


def test_maps_that_point_at_the_border_or_where_random_weights_do_fail(drawn):
    _, found, bad = _audited(drawn, "border", "lungs")
    assert found["boxes.pointing"].value == found["boxes.inside"].value == 0
    assert bad == {"boxes.beyond_centre", "boxes.beyond_random"}
    _, found, bad = _audited(drawn, "lungs", "lungs")
    assert found["boxes.beyond_random"].value == 0
    assert bad == {"boxes.beyond_random"}


def test_the_interval_is_by_patient(drawn):
    model = _model(drawn, "lungs")
    known = {row.path: row.patient_id for row in model.rows}
    people = sorted({known[row.path] for row, yes in zip(model.rows, model.is_positive, strict=True) if yes})
    corner = np.array([[0.9, 0.9, 1.0, 1.0]])
    boxes = {path: PATCHES if known.get(path) in people[::2] else corner for path in _boxes(model)}
    half = measure(model, boxes, {}).estimates["model pointing"]
    alone = model.test.truth[model.is_positive]
    assert 0.2 < half.low < half.value < half.high < 0.95
    by_image = 2 * 1.96 * np.sqrt(half.value * (1 - half.value) / len(alone))
    assert half.high - half.low > 1.1 * by_image  # several images of one patient stand or fall together


def test_shares_by_hand():
    maps = np.zeros((3, 2, 4, 4), np.float32)
    maps[0, 1, 0, 0], maps[0, 1, 3, 3] = 3, 1
    maps[1, 0] = 1  # nothing speaks for the positive class, and no point more than another
    maps[2, 1, 3, 3], maps[2, 0, 0, 0] = 2, 5
    masks = np.zeros((3, 4, 4), dtype=bool)
    masks[:, :2, :2] = True
    pointed, inside = in_boxes(maps, masks, positive=1)
    assert pointed.tolist() == [1, 0.25, 0]
    assert inside[[0, 2]].tolist() == pytest.approx([0.75, 0])
    assert np.isnan(inside[1])


def test_negative_images_do_not_count_and_too_few_boxes_are_no_measurement(drawn):
    model = _model(drawn, "lungs")
    found = measure(model, _boxes(model), {})
    assert found.images == model.is_positive.sum()
    assert "beyond_random" not in found.estimates
    measures = {one.key: one for one in describe(found).measures}
    assert "random weights: no maps" in measures["boxes.beyond_random"].why
    empty = {path: np.zeros((0, 4)) for path in _boxes(model)}
    for boxes in ({}, empty):
        with pytest.raises(NotMeasurable, match="0 positive test images have boxes"):
            measure(model, boxes, {})


def test_models_without_maps_are_named(drawn):
    model = _model(drawn, "lungs")

    def bare(images, /):
        return dataclasses.replace(drawn_models.reader("lungs")(images), saliency=None)

    assert measure(model, _boxes(model), {"teacher": bare}).without_maps == ("teacher",)
    outputs = dataclasses.replace(model.test.outputs, saliency=None)
    blind = dataclasses.replace(model, test=dataclasses.replace(model.test, outputs=outputs))
    with pytest.raises(NotMeasurable, match="no maps"):
        measure(blind, _boxes(model), {})
