"""What is known of an image beside its class, and that boxes move with the view of the image."""

import dataclasses

import numpy as np
import pytest
import tiny_runs
import torch

from pocketcxr.errors import ConfigError, DataError
from pocketcxr.training.augmentation import AugmentedViews
from pocketcxr.training.auxiliary.targets import auxiliary_targets, load_views, takes_part
from pocketcxr.training.config import AugmentationConfig, StudentConfig, TeacherConfig
from pocketcxr.training.sampling import epoch_plan, training_positions

GEOMETRY = AugmentationConfig(gamma=0, contrast=0, brightness=0, noise=0, erase=0)


@pytest.fixture(scope="module")
def told(dataset):
    return tiny_runs.with_findings(dataset)


@pytest.fixture(scope="module")
def targets(told):
    return auxiliary_targets(told, tiny_runs.AUXILIARY)


def test_targets_are_those_of_training_images_and_unknown_where_nobody_said(told, targets):
    assert targets.findings == ("atypical_appearance", "covid19", "indeterminate_appearance", "no_finding", "pneumonia")
    for i, row in enumerate(told.rows):
        if row.split != "train":
            assert (targets.finding_of[i], targets.opacity[i]) == (-1, -1)
            continue
        named = targets.findings[targets.finding_of[i]] if targets.finding_of[i] >= 0 else ""
        assert named == row.finding
        boxes = told.boxes.get(row.path)
        assert targets.opacity[i] == (-1 if boxes is None else int(len(boxes) > 0))
        assert (i in targets.boxes) == (targets.opacity[i] == 1)


def test_images_without_a_class_take_part_where_a_target_of_theirs_is_known(told, targets):
    # of rows 0 to 15: a finding in 0, 1, 3, 4, 6, 7 and boxes in 0, 4, 8, 12, see `with_findings`
    assert targets.positions.tolist() == [0, 1, 3, 4, 6, 7, 8, 12]
    assert auxiliary_targets(told, {"boxes": 1.0}).positions.tolist() == [0, 4, 8, 12]
    assert auxiliary_targets(told, {"findings": 1.0, "boxes": 0.0}).positions.tolist() == [0, 1, 3, 4, 6, 7]
    for parts in ({"boxes"}, {"findings"}, {"findings", "opacity"}):
        found = auxiliary_targets(told, dict.fromkeys(parts, 1.0)).positions.tolist()
        assert found == [i for i in range(16) if takes_part(told.rows[i], parts, told.boxes)]
    assert auxiliary_targets(told, {"evidence": 1.0}).positions.tolist() == []
    assert not takes_part(told.rows[0], {"evidence"}, told.boxes)
    assert auxiliary_targets(told, {}) is auxiliary_targets(told, {"boxes": 0.0}) is None


@pytest.mark.parametrize("sampling", ["uniform", "class", "class-source", "class-within-source"])
def test_auxiliary_images_are_shown_once_an_epoch_and_the_labelled_ones_as_often_as_without_them(
    told, targets, sampling
):
    config = StudentConfig(sampling=sampling)
    labelled = training_positions(told)
    shown = training_positions(told, also=targets.positions)
    assert len(shown) == len(labelled) + len(targets.positions)
    for epoch in (0, 3):
        order, views = epoch_plan(told, shown, config, epoch=epoch)
        auxiliary = np.isin(order, targets.positions)
        assert sorted(order[auxiliary]) == targets.positions.tolist()
        assert set(views[auxiliary]) == {epoch}
        alone, _ = epoch_plan(told, labelled, config, epoch=epoch)
        assert np.bincount(told.labels[order[~auxiliary]]).tolist() == np.bincount(told.labels[alone]).tolist()


def test_a_mask_of_boxes_moves_with_its_image(told):
    generator = np.random.default_rng(3)
    boxes, pixels = {}, np.zeros((12, 32, 32), np.uint8)
    for i in range(10):  # the last two have no box
        x0, y0 = generator.integers(0, 20, 2)
        x1, y1 = x0 + generator.integers(1, 12), y0 + generator.integers(1, 12)
        pixels[i, y0:y1, x0:x1] = 255
        boxes[i] = np.array([[x0, y0, x1, y1]]) / 32
    drawn = dataclasses.replace(told, pixels=pixels, rows=told.rows[:12], labels=told.labels[:12])
    views = AugmentedViews(drawn, GEOMETRY, seed=1)
    positions, numbers = np.arange(12), np.arange(12)
    pictures, masks = views.with_boxes(positions, numbers, boxes)
    assert torch.equal(pictures, views(positions, numbers))
    assert torch.equal(pictures, masks)
    assert masks[:10].amax() == 1
    assert not torch.equal(masks[0], torch.from_numpy(pixels[:1] / 255).float())
    alone = views.with_boxes(positions[4:5], numbers[4:5], boxes)[1]
    assert torch.equal(alone, masks[4:5])
    still = AugmentedViews(drawn, dataclasses.replace(GEOMETRY, flip=0, rotation_degrees=0, crop=1, shift=0, stretch=0),
                           seed=1)  # fmt: skip
    assert torch.equal(still.with_boxes(positions, numbers, boxes)[1][:, 0], torch.from_numpy(pixels / 255).float())


def test_a_batch_holds_the_targets_that_are_asked_for_and_the_same_views(told, targets):
    views = AugmentedViews(told, tiny_runs.VIEWS.augmentation, seed=2)
    positions, numbers = np.array([0, 2, 20]), np.array([0, 1, 2])
    images, known = load_views(views, positions, numbers, targets)
    assert torch.equal(images, views(positions, numbers))
    assert known.keys() == {"findings", "opacity", "box_masks"}
    assert known["findings"].tolist() == targets.finding_of[positions].tolist()
    assert known["opacity"].tolist() == targets.opacity[positions].tolist()
    assert load_views(views, positions, numbers, None)[1] == {}
    part = auxiliary_targets(told, {"opacity": 1.0})
    assert load_views(views, positions, numbers, part)[1].keys() == {"opacity"}


def test_other_targets_are_another_identity(told, targets):
    train = {row.path for row in told.rows if row.split == "train"}
    path = next(path for path, own in told.boxes.items() if len(own) and path in train)
    moved = auxiliary_targets(
        dataclasses.replace(told, boxes={**told.boxes, path: told.boxes[path] / 2}), tiny_runs.AUXILIARY
    )
    assert moved.identity != targets.identity
    assert auxiliary_targets(told, tiny_runs.AUXILIARY).identity == targets.identity


def test_what_cannot_be_learnt_is_refused(dataset, told):
    with pytest.raises(DataError, match=r"auxiliary\.findings: expected training images of two findings or more"):
        auxiliary_targets(dataset, {"findings": 1.0})
    with pytest.raises(DataError, match=r"auxiliary\.opacity: expected .* with and without boxes, found 0 with and 0"):
        auxiliary_targets(dataset, {"opacity": 1.0})
    only = {path: own for path, own in told.boxes.items() if len(own)}
    with pytest.raises(DataError, match=r"auxiliary\.boxes: .* found \d+ with and 0 without.* data\.boxes"):
        auxiliary_targets(dataclasses.replace(told, boxes=only), {"boxes": 1.0})
    several = dataclasses.replace(told, task=dataclasses.replace(told.task, positive="", multilabel=True))
    with pytest.raises(ConfigError, match=r"auxiliary\.evidence: expected classes that exclude each other"):
        auxiliary_targets(several, {"evidence": 1.0})
    with pytest.raises(ConfigError, match=r"auxiliary: expected no evidence, which is of a student"):
        TeacherConfig(auxiliary={"evidence": 1.0})


@pytest.mark.parametrize("weights", [{"box": 1.0}, {"boxes": -1.0}, {"boxes": float("nan")}])
def test_unknown_parts_and_impossible_weights_are_refused(weights):
    with pytest.raises(ConfigError, match="auxiliary: expected weights of at least 0 for some of"):
        StudentConfig(auxiliary=weights)


@pytest.mark.parametrize(
    "change", [{"checkpoint": "x"}, {"outputs": ("x",)}, {"frozen_backbones": True, "weights": ("a", "b")}]
)
def test_auxiliary_outputs_of_backbones_that_are_not_trained_are_refused(change):
    with pytest.raises(ConfigError, match="auxiliary: expected none where backbones are not trained"):
        TeacherConfig(auxiliary={"boxes": 1.0}, **change)
