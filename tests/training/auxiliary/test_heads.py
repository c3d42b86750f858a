"""Auxiliary heads: their losses by hand, trained beside teacher and student, never in a checkpoint."""

import dataclasses
import math

import numpy as np
import pytest
import tiny_runs
import torch
from safetensors.torch import load_file

from pocketcxr.errors import ConfigError
from pocketcxr.models.backbones import BackboneOutputs, build_backbone
from pocketcxr.models.checkpoints import load_network, read_record
from pocketcxr.models.networks import NetworkOutputs, NetworkSpec, build_network
from pocketcxr.training.augmentation import AugmentedViews
from pocketcxr.training.auxiliary.heads import WithHeads, auxiliary_losses, evidence_loss, with_heads, without_heads
from pocketcxr.training.auxiliary.targets import auxiliary_targets
from pocketcxr.training.loop import Batch
from pocketcxr.training.run.record import Table

ONE = dataclasses.replace(
    tiny_runs.TEACHER,
    backbones=(tiny_runs.BACKBONE,),
    weights=("scratch",),
    auxiliary=tiny_runs.AUXILIARY,
    batch_size=8,
)
STUDENT = dataclasses.replace(tiny_runs.BASELINE, auxiliary=tiny_runs.AUXILIARY, batch_size=8, unlabelled=False)
LABELLED, AUXILIARY = 48, 8


@pytest.fixture(scope="module")
def told(dataset):
    return tiny_runs.with_findings(dataset)


@pytest.fixture(scope="module")
def taught(told, tmp_path_factory):
    return tiny_runs.train_tiny_teacher(told, tmp_path_factory.mktemp("teacher"), ONE)


@pytest.fixture(scope="module")
def student(told, tmp_path_factory):
    return tiny_runs.train_tiny_student(told, tmp_path_factory.mktemp("student"), STUDENT)


def steps(checkpoint):
    return Table(checkpoint.parent / "metrics.csv", until=9999, writes=False)


def test_losses_by_hand(told):
    targets = auxiliary_targets(told, {"findings": 0.5, "opacity": 2.0, "boxes": 1.0})
    backbone = build_backbone(tiny_runs.BACKBONE, image_size=32)
    network = with_heads(torch.nn.Identity(), [backbone, backbone], targets, seed=0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.heads[1].opacity.bias.fill_(1.0)
        network.heads[1].boxes.bias.fill_(1.0)
    seen = BackboneOutputs(torch.zeros(3, backbone.features), torch.zeros(3, backbone.features, 2, 2))
    masks = torch.zeros(3, 1, 4, 4)
    masks[1, :, :2, :2] = 1.0  # all of one cell in four
    masks[2] = 1.0  # not known: counts in no part
    batch = Batch(torch.zeros(3, 1), torch.zeros(3), torch.zeros(3), findings=torch.tensor([-1, 2, 0]),
                  opacity=torch.tensor([0, 1, -1]), box_masks=masks)  # fmt: skip
    outputs = NetworkOutputs(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3, 2), (seen, seen))
    parts = {name: part.item() for name, part in auxiliary_losses(network, outputs, batch, targets).items()}
    yes, no = math.log1p(math.exp(-1)), math.log1p(math.exp(1))  # of logit 1 where 1 is right, where 0 is
    assert parts["findings"] == pytest.approx(0.5 * math.log(5))
    assert parts["opacity"] == pytest.approx(2.0 * (math.log(2) + (no + yes) / 2) / 2)
    assert parts["boxes"] == pytest.approx((math.log(2) + (7 * no + yes) / 8) / 2)
    unknown = dataclasses.replace(batch, findings=torch.full((3,), -1), opacity=torch.full((3,), -1))
    none = auxiliary_losses(network, outputs, unknown, targets)
    assert [part.item() for part in none.values()] == [0, 0, 0]
    sum(none.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert auxiliary_losses(network, outputs, batch, None) == {}


def test_loss_of_the_evidence_by_hand():
    maps = torch.zeros(5, 3, 2, 2)
    maps[0, 1] = torch.tensor([[4.0, -9.0], [2.0, 0.0]])  # of class 1 against the others: [[3, -9], [1, -1]]
    maps[0, 0] = torch.tensor([[2.0, 0.0], [2.0, 2.0]])
    maps[2, 1] = -1.0  # no evidence for the class: all of it lies outside, none to move
    masks = torch.zeros(5, 1, 4, 4)
    masks[:, :, :2, :2] = 1.0  # the first cell
    labels, opacity = torch.tensor([1, 1, 1, -1, 0]), torch.tensor([1, -1, 0, 1, 1])
    batch = Batch(torch.zeros(5, 1), labels, torch.zeros(5), opacity=opacity, box_masks=masks)
    maps[4, 0] = torch.tensor([[0.0, 0.0], [0.0, 5.0]])
    assert evidence_loss(maps, batch).item() == pytest.approx((1 / 4 + 1) / 2)  # images 0 and 4 have class and boxes
    maps.requires_grad_()
    evidence_loss(maps, batch).backward()
    assert maps.grad[0, 1, 0, 0] < 0 < maps.grad[0, 1, 1, 0]
    assert not maps.grad[1:4].any()
    unknown = dataclasses.replace(batch, opacity=torch.full((5,), -1))
    assert evidence_loss(maps, unknown).item() == 0


def test_a_students_evidence_moves_into_the_boxes(told, tmp_path):
    large = dataclasses.replace(told, pixels=told.pixels.repeat(4, axis=1).repeat(4, axis=2))  # maps of 4 x 4 cells

    def outside(name, weight):
        config = dataclasses.replace(STUDENT, epochs=6, learning_rate=3e-3, auxiliary={"evidence": weight})
        found = steps(tiny_runs.train_tiny_student(large, tmp_path / name, config)).column("loss_evidence")
        assert len(found) == 6 * LABELLED // 8  # images without a class have no evidence to move
        return np.mean(found[-6:]) / weight

    assert outside("heavy", 3.0) < outside("light", 1e-6) - 0.1


def test_vggs_box_map_is_the_map_before_its_last_pool_and_others_their_last():
    backbone = build_backbone("vgg19", image_size=192).eval()
    images = torch.rand(1, 1, 192, 192)
    with torch.no_grad():
        found = backbone.outputs(images)
        last = backbone.feature_map(images)
    assert (found.places.shape, last.shape) == ((1, 512, 12, 12), (1, 512, 6, 6))
    assert torch.equal(found.pooled, last.mean(dim=(2, 3)))
    assert torch.equal(torch.nn.functional.max_pool2d(found.places, 2), last)
    other = build_backbone(tiny_runs.BACKBONE, image_size=64).eval()
    with torch.no_grad():
        found = other.outputs(images)
    assert found.places.shape[-1] == 6
    assert torch.equal(found.places.mean(dim=(2, 3)), found.pooled)


def test_a_backbone_without_a_map_has_no_box_map(told):
    backbone = build_backbone("test_vit.r160_in1k", image_size=160)
    with pytest.raises(ConfigError, match=r"auxiliary\.boxes: backbone 'test_vit.r160_in1k' ends in no feature map"):
        with_heads(torch.nn.Identity(), [backbone], auxiliary_targets(told, {"boxes": 1.0}), seed=0)
    findings = with_heads(torch.nn.Identity(), [backbone], auxiliary_targets(told, {"findings": 1.0}), seed=0)
    assert isinstance(findings, WithHeads)


def test_without_auxiliary_outputs_the_network_stays_what_it_was():
    network = build_network(NetworkSpec("backbone", (tiny_runs.BACKBONE,), ("a", "b"), 32))
    assert with_heads(network, [network.backbone], None, seed=0) is network is without_heads(network)


def test_a_teachers_checkpoints_hold_no_head_and_its_fusion_no_auxiliary_loss(told, taught):
    stage = taught.parent / f"backbone-1-{tiny_runs.BACKBONE}" / "best.safetensors"
    for path in (taught, stage):
        network, _, record = load_network(path)
        assert load_file(path).keys() == network.state_dict().keys()
        assert not [name for name in network.state_dict() if "heads" in name]
        assert record["auxiliary"]["findings"] == list(auxiliary_targets(told, tiny_runs.AUXILIARY).findings)
        assert record["configuration"]["auxiliary"] == tiny_runs.AUXILIARY
    of_backbone, of_fusion = steps(stage), Table(taught.parent / "fusion" / "metrics.csv", until=99, writes=False)
    assert {"loss_ce", "loss_findings", "loss_opacity", "loss_boxes"} <= of_backbone.rows[0].keys()
    assert len(of_backbone.rows) == 2 * ((LABELLED + AUXILIARY) // 8)
    assert [name for name in of_fusion.rows[0] if name.startswith("loss_")] == ["loss_ce"]
    assert len(of_fusion.rows) == 3 * (LABELLED // 8)


def test_the_cache_of_an_auxiliary_teacher_holds_what_any_other_does(told, taught, tmp_path):
    views = tiny_runs.cache_tiny_views(told, taught, tmp_path)
    assert views.store.arrays.keys() == {"logits", "embedding"}
    network, image = load_network(taught)[0], np.array([0])
    pixels = AugmentedViews(told, tiny_runs.VIEWS.augmentation, seed=tiny_runs.VIEWS.seed)(image, np.zeros(1, int))
    with torch.inference_mode():
        assert torch.allclose(views.lookup(image, np.zeros(1, int))[0], network(pixels).logits, atol=1e-4)


@pytest.mark.parametrize("stage", ["joint", "finetune"])
def test_a_teacher_trained_as_a_whole_has_heads_on_every_backbone(told, tmp_path, stage):
    config = dataclasses.replace(tiny_runs.TEACHER, auxiliary=tiny_runs.AUXILIARY, epochs=1, fusion_epochs=1,
                                 staged=stage == "finetune", finetune_backbones=stage == "finetune")  # fmt: skip
    path = tiny_runs.train_tiny_teacher(told, tmp_path, config)
    assert not [name for name in load_network(path)[0].state_dict() if "heads" in name]
    assert min(Table(tmp_path / stage / "metrics.csv", until=99, writes=False).column("loss_boxes")) > 0


def test_the_auxiliary_losses_change_the_network_and_fall(told, tmp_path):
    config = dataclasses.replace(STUDENT, epochs=16, learning_rate=3e-3)
    path = tiny_runs.train_tiny_student(told, tmp_path / "a", config)
    for name in ("findings", "opacity", "boxes"):
        values = steps(path).column(f"loss_{name}")
        assert np.mean(values[-6:]) < 0.8 * np.mean(values[:3]), name
    plain = tiny_runs.train_tiny_student(told, tmp_path / "b", dataclasses.replace(STUDENT, auxiliary={}, epochs=1))
    assert "auxiliary" not in read_record(plain)["configuration"]
    assert len(steps(plain).rows) == LABELLED // 8


def test_a_student_is_saved_without_its_heads(told, student):
    network, spec, record = load_network(student)
    assert spec.kind == "student"
    assert load_file(student).keys() == network.state_dict().keys()
    assert not [name for name in network.state_dict() if "heads" in name or "projection" in name]
    assert record["auxiliary"] == auxiliary_targets(told, tiny_runs.AUXILIARY).identity
    assert len(steps(student).rows) == 3 * ((LABELLED + AUXILIARY) // 8)


@pytest.mark.parametrize("who", ["teacher", "student"])
def test_a_stopped_run_goes_on_with_its_heads_and_ends_with_the_same_weights(told, taught, student, tmp_path, who):
    def train():
        if who == "teacher":
            return tiny_runs.train_tiny_teacher(told, tmp_path, ONE)
        return tiny_runs.train_tiny_student(told, tmp_path, STUDENT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pocketcxr.training.loop.record.Table.append", tiny_runs.stop_after(4))
        with pytest.raises(KeyboardInterrupt):
            train()
    state = next(tmp_path.rglob("last.pt"))
    saved = torch.load(state, weights_only=True)
    assert saved["progress"]["step"] > 0
    assert any(name.startswith("heads.0.boxes") for name in saved["network"])
    ours, theirs = (load_network(path)[0].state_dict() for path in (train(), taught if who == "teacher" else student))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_a_distilled_student_learns_the_teachers_answers_on_auxiliary_images_too(told, taught, tmp_path):
    views = tiny_runs.cache_tiny_views(told, taught, tmp_path / "v")
    config = dataclasses.replace(STUDENT, losses={"ce": 0.5, "kd": 1.0}, unlabelled=False, epochs=1)
    path = tiny_runs.train_tiny_student(told, tmp_path / "s", config, views=views)
    assert len(steps(path).rows) == (LABELLED + AUXILIARY) // 8
    assert {"loss_kd", "loss_boxes"} <= steps(path).rows[0].keys()
