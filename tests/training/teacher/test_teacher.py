"""The teacher, in stages or at once: every stage leaves its record, the whole leaves one checkpoint."""

import dataclasses

import numpy as np
import pytest
import tiny_runs
import torch
from torch.nn import functional

from pocketcxr.errors import CheckpointError, ConfigError, DataError
from pocketcxr.models.checkpoints import load_network, read_record
from pocketcxr.models.networks import PooledClassifier, Teacher
from pocketcxr.models.predict import as_predict
from pocketcxr.training.augmentation import AugmentedViews
from pocketcxr.training.run.record import Table
from pocketcxr.training.sampling import training_positions


def test_the_stages_backbones_are_inside_the_fused_teacher(teacher):
    fused, _, record = load_network(teacher)
    assert isinstance(fused, Teacher)
    for number, name in enumerate(tiny_runs.TEACHER.backbones):
        stage, spec, _ = load_network(teacher.parent / f"backbone-{number + 1}-{name}" / "best.safetensors")
        assert isinstance(stage, PooledClassifier)
        assert spec.kind == "backbone"
        inside = fused.backbones[number].state_dict()
        assert all(torch.equal(inside[key], tensor) for key, tensor in stage.backbone.state_dict().items())
    assert [stage["weights"]["backbone"] for stage in record["stages"]] == list(tiny_runs.TEACHER.backbones)
    assert all(0 <= stage["calibration"]["auroc"] <= 1 for stage in record["stages"])
    assert not (teacher.parent / "pooled").exists()


def test_the_record_of_the_fusion_says_what_the_checkpoint_scores(dataset, teacher):
    network, _, record = load_network(teacher)
    positions = dataset.positions("calibration")
    outputs = as_predict(network)(dataset.images(positions))
    accuracy = (outputs.logits.argmax(axis=1) == dataset.labels[positions]).mean()
    assert record["calibration"]["accuracy"] == pytest.approx(accuracy)
    probabilities = outputs.probabilities[np.arange(len(positions)), dataset.labels[positions]]
    assert record["calibration"]["cross_entropy"] == pytest.approx(-np.log(probabilities).mean(), abs=1e-4)


def test_a_trained_teacher_is_returned_at_once(dataset, teacher):
    before = teacher.stat().st_mtime_ns
    assert tiny_runs.train_tiny_teacher(dataset, teacher.parent) == teacher
    assert teacher.stat().st_mtime_ns == before


def test_another_configuration_in_its_folder_is_refused(dataset, teacher):
    with pytest.raises(CheckpointError, match=r"configuration\.dropout was 0\.2, now 0\.3"):
        tiny_runs.train_tiny_teacher(dataset, teacher.parent, dataclasses.replace(tiny_runs.TEACHER, dropout=0.3))


def test_all_backbones_can_be_trained_at_once(dataset, tmp_path):
    config = dataclasses.replace(tiny_runs.TEACHER, staged=False, epochs=1)
    network, _, record = load_network(tiny_runs.train_tiny_teacher(dataset, tmp_path, config))
    assert isinstance(network, Teacher)
    assert (tmp_path / "joint" / "metrics.csv").exists()
    assert [weights["source"] for weights in record["weights"]] == ["scratch", "scratch"]


@pytest.mark.parametrize("folds", [0, 2])
def test_a_teacher_of_another_size_teaches_on_the_same_views(dataset, tmp_path, folds):
    config = dataclasses.replace(tiny_runs.FOLDED, folds=folds, image_size=48, finetune_backbones=True)
    if folds:
        teacher = tiny_runs.train_tiny_folds(dataset, tmp_path / "t", config)
        path, trained = teacher.mean, teacher.teachers[0]
    else:
        teacher = path = trained = tiny_runs.train_tiny_teacher(dataset, tmp_path / "t", config)
    network, spec, _ = load_network(path)
    assert (spec.image_size, spec.inner_size) == (tiny_runs.SIZE, 48)
    views = tiny_runs.cache_tiny_views(dataset, teacher, tmp_path / "v")
    image = training_positions(dataset)[:1]
    if folds:
        network = load_network(teacher.teachers[teacher.fold_of[image[0]]])[0]
    pixels = AugmentedViews(dataset, tiny_runs.VIEWS.augmentation, seed=tiny_runs.VIEWS.seed)(image, np.zeros(1, int))
    with torch.inference_mode():
        assert torch.allclose(views.lookup(image, np.zeros(1, int))[0], network(pixels).logits, atol=1e-4)
        plain = load_network(trained)[0]
        for backbone in plain.backbones:
            backbone.inner_size = 0
        assert not torch.allclose(plain(pixels).logits, load_network(trained)[0](pixels).logits, atol=1e-4)


def test_a_teachers_size_is_refused_where_it_cannot_be():
    with pytest.raises(ConfigError, match="image_size: expected 0, or at least 32, found 8"):
        dataclasses.replace(tiny_runs.TEACHER, image_size=8)
    with pytest.raises(ConfigError, match="image_size: expected 0 where checkpoint names a teacher"):
        dataclasses.replace(tiny_runs.TEACHER, image_size=64, checkpoint="x.safetensors")


def test_first_epochs_are_trained_at_smaller_sizes_and_evaluated_at_the_last(dataset, tmp_path, monkeypatch):
    seen = []
    interpolate = functional.interpolate

    def noting(images, *, size, **options):
        seen.append((len(images) == tiny_runs.TEACHER.batch_size and torch.is_grad_enabled(), size[0]))
        return interpolate(images, size=size, **options)

    config = dataclasses.replace(
        tiny_runs.TEACHER, staged=False, epochs=5, image_size=56, progressive_sizes=(40, 48), patience=0,
        backbones=(tiny_runs.BACKBONE,), weights=("scratch",),
    )  # fmt: skip
    monkeypatch.setattr(functional, "interpolate", noting)
    path = tiny_runs.train_tiny_teacher(dataset, tmp_path / "t", config)
    trained = [size for training, size in seen if training]
    assert sorted(set(trained)) == [40, 48, 56]
    assert trained == sorted(trained)
    per_epoch = len(trained) // 5
    assert [trained.count(size) // per_epoch for size in (40, 48, 56)] == [2, 2, 1]
    assert {size for training, size in seen if not training} == {56}
    assert load_network(path)[1].inner_size == 56


def test_a_kill_between_sizes_changes_nothing(dataset, tmp_path, monkeypatch):
    config = dataclasses.replace(
        tiny_runs.TEACHER, staged=False, epochs=2, image_size=56, progressive_sizes=(40,),
        backbones=(tiny_runs.BACKBONE,), weights=("scratch",),
    )  # fmt: skip
    whole = tiny_runs.train_tiny_teacher(dataset, tmp_path / "whole", config)
    steps = len((tmp_path / "whole" / "joint" / "metrics.csv").read_text().splitlines()) - 1
    with monkeypatch.context() as patched:
        patched.setattr(Table, "append", tiny_runs.stop_after(steps - 1))
        with pytest.raises(KeyboardInterrupt):
            tiny_runs.train_tiny_teacher(dataset, tmp_path / "cut", config)
    assert tiny_runs.train_tiny_teacher(dataset, tmp_path / "cut", config).read_bytes() == whole.read_bytes()


def test_progressive_sizes_are_refused_where_they_cannot_be():
    for sizes in ((16,), (64, 48), (96,)):
        with pytest.raises(
            ConfigError, match="progressive_sizes: expected rising sides of at least 32, below image_size"
        ):
            dataclasses.replace(tiny_runs.TEACHER, image_size=96, progressive_sizes=sizes)
    with pytest.raises(ConfigError, match="progressive_sizes: expected fewer than the 2 epochs"):
        dataclasses.replace(tiny_runs.TEACHER, image_size=96, progressive_sizes=(40, 48))
    with pytest.raises(ConfigError, match="progressive_sizes: expected none where backbones are not trained"):
        dataclasses.replace(tiny_runs.TEACHER, progressive_sizes=(40,), outputs=("table.npz",))


def test_a_fused_teacher_can_be_finetuned_as_a_whole(dataset, tmp_path):
    config = dataclasses.replace(
        tiny_runs.TEACHER, backbones=(tiny_runs.BACKBONE,), weights=("scratch",), epochs=1, fusion_epochs=1,
        finetune_backbones=True,
    )  # fmt: skip
    final, _, _ = load_network(tiny_runs.train_tiny_teacher(dataset, tmp_path, config))
    fused, _, _ = load_network(tmp_path / "fusion" / "best.safetensors")
    key = "backbones.0.trunk.layer1.0.conv1.weight"
    assert not torch.equal(final.state_dict()[key], fused.state_dict()[key])
    assert torch.allclose(final.state_dict()[key], fused.state_dict()[key], atol=0.05)


def test_backbones_that_learnt_elsewhere_are_fused_as_they_are(dataset, tmp_path):
    students = [
        tiny_runs.train_tiny_student(
            dataset, tmp_path / name, dataclasses.replace(tiny_runs.BASELINE, backbone=name, epochs=1)
        )
        for name in tiny_runs.TEACHER.backbones
    ]
    config = dataclasses.replace(tiny_runs.TEACHER, weights=tuple(map(str, students)), frozen_backbones=True)
    whole, _, _ = load_network(tiny_runs.train_tiny_teacher(dataset, tmp_path / "teacher", config))
    for number, path in enumerate(students):
        trained = load_network(path)[0].backbone.state_dict()
        fused = whole.backbones[number].state_dict()
        assert all(torch.equal(fused[key], tensor) for key, tensor in trained.items())


def test_frozen_blocks_stay_as_they_were_in_every_stage(dataset, teacher, tmp_path):
    file = teacher.parent / f"backbone-1-{tiny_runs.BACKBONE}" / "best.safetensors"
    config = dataclasses.replace(
        tiny_runs.TEACHER, weights=(str(file), "scratch"), epochs=1, fusion_epochs=1, finetune_backbones=True,
        frozen_blocks=3,
    )  # fmt: skip
    whole, _, _ = load_network(tiny_runs.train_tiny_teacher(dataset, tmp_path, config))
    start = load_network(file)[0].backbone.state_dict()
    ends = whole.backbones[0].state_dict()
    changed = {key.split(".")[1] for key in start if not torch.equal(start[key], ends[key])}
    assert changed == {"layer4"}
    fused = read_record(tmp_path / "fusion" / "best.safetensors")
    assert [stage["weights"].get("frozen_blocks") for stage in fused["stages"]] == [3, None]
    with pytest.raises(ConfigError, match="expected at most 4, the blocks of test_resnet"):
        tiny_runs.train_tiny_teacher(dataset, tmp_path / "x", dataclasses.replace(config, frozen_blocks=5))
    assert not (tmp_path / "x").exists()


def test_frozen_backbones_need_trained_weights():
    with pytest.raises(ConfigError, match=r"frozen_backbones: expected a file of trained weights.*'scratch'"):
        dataclasses.replace(tiny_runs.TEACHER, frozen_backbones=True)


def test_one_class_only_is_refused(dataset, tmp_path):
    one = dataclasses.replace(dataset, labels=np.where(dataset.labels > 0, -1, dataset.labels))
    with pytest.raises(DataError, match=r"\['normal'\]; expected at least two"):
        tiny_runs.train_tiny_teacher(one, tmp_path)
    assert list(tmp_path.iterdir()) == []
