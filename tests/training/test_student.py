"""The student learns from cached or present teachers alike, and refuses what cannot teach it."""

import dataclasses
import logging

import numpy as np
import pytest
import tiny_runs
import torch

from pocketcxr.errors import CacheError, ConfigError, DataError
from pocketcxr.labels import TASKS
from pocketcxr.models.checkpoints import checkpoint_sha256, load_network, read_record
from pocketcxr.models.networks import Student
from pocketcxr.training.loop import run_identity
from pocketcxr.training.run.record import Table


@pytest.fixture(scope="module")
def views(dataset, teacher, tmp_path_factory):
    return tiny_runs.cache_tiny_views(dataset, teacher, tmp_path_factory.mktemp("views"))


@pytest.fixture(scope="module")
def distilled(dataset, views, tmp_path_factory):
    return tiny_runs.train_tiny_student(dataset, tmp_path_factory.mktemp("distilled"), tiny_runs.STUDENT, views=views)


def metrics(checkpoint):
    return Table(checkpoint.parent / "metrics.csv", until=99, writes=False)


def test_a_distilled_student_is_a_student_with_the_record_of_its_making(dataset, teacher, distilled):
    network, spec, record = load_network(distilled)
    assert isinstance(network, Student)
    assert spec.labels == dataset.task.labels
    assert record["teacher"] == {"sha256": checkpoint_sha256(teacher), "answers": "cached"}
    assert record["data"] == "tiny"
    assert record["weights"]["source"] == "scratch"
    assert not [name for name in network.state_dict() if "projection" in name]
    assert {"loss_ce", "loss_kd", "loss_embedding"} <= metrics(distilled).rows[0].keys()


def test_cached_and_present_teacher_give_the_same_losses_on_the_same_pixels(dataset, teacher, distilled, tmp_path):
    config = dataclasses.replace(tiny_runs.STUDENT, epochs=1)
    online = metrics(tiny_runs.train_tiny_student(dataset, tmp_path / "online", config, teacher=teacher))
    cached = metrics(distilled)
    for name in ("loss_ce", "loss_kd", "loss_embedding"):
        assert online.column(name)[0] == pytest.approx(cached.column(name)[0], abs=1e-3), name
    assert online.column("loss_kd")[0] > 0.01


def test_without_a_teacher_unlabelled_images_are_left_out(dataset, distilled, tmp_path):
    baseline = metrics(
        tiny_runs.train_tiny_student(dataset, tmp_path / "a", dataclasses.replace(tiny_runs.BASELINE, epochs=1))
    )
    labelled = 48
    assert labelled == sum(
        row.split == "train" and label >= 0 for row, label in zip(dataset.rows, dataset.labels, strict=True)
    )
    assert len(metrics(distilled).rows) == 3 * ((labelled + 16) // 16)
    assert len(baseline.rows) == (labelled + 16) // 16, "as many steps as the distilled student"
    without = dataclasses.replace(tiny_runs.BASELINE, epochs=1, unlabelled=False)
    assert len(metrics(tiny_runs.train_tiny_student(dataset, tmp_path / "b", without)).rows) == labelled // 16


def test_unlabelled_images_can_be_left_out_of_distillation(dataset, views, tmp_path):
    config = dataclasses.replace(tiny_runs.STUDENT, epochs=1, unlabelled=False)
    assert len(metrics(tiny_runs.train_tiny_student(dataset, tmp_path, config, views=views)).rows) == 3


def test_another_seed_is_another_student(dataset, tmp_path):
    config = dataclasses.replace(tiny_runs.BASELINE, epochs=1)
    one, other = (
        load_network(
            tiny_runs.train_tiny_student(dataset, tmp_path / str(seed), dataclasses.replace(config, seed=seed))
        )[0]
        for seed in (0, 1)
    )
    assert not torch.equal(one.classifier.weight, other.classifier.weight)


@pytest.mark.parametrize("both", [True, False])
def test_a_teacher_is_needed_exactly_once(dataset, teacher, views, tmp_path, both):
    options = {"views": views, "teacher": teacher} if both else {}
    with pytest.raises(ConfigError, match="need a teacher: give either"):
        tiny_runs.train_tiny_student(dataset, tmp_path, tiny_runs.STUDENT, **options)
    assert list(tmp_path.iterdir()) == []


def test_losses_that_make_no_sense_are_refused_before_any_work(dataset, views, tmp_path):
    config = dataclasses.replace(tiny_runs.STUDENT, losses={"embedding": 1.0})
    with pytest.raises(ConfigError, match="leaves the classifier untrained"):
        tiny_runs.train_tiny_student(dataset, tmp_path, config, views=views)
    assert list(tmp_path.iterdir()) == []


def test_outputs_for_other_data_are_refused(views, tmp_path):
    other = tiny_runs.make_dataset(fingerprint="other")
    with pytest.raises(CacheError, match="other data"):
        tiny_runs.train_tiny_student(other, tmp_path, tiny_runs.STUDENT, views=views)


def test_a_network_of_other_classes_cannot_teach(dataset, distilled, tmp_path):
    binary = dataclasses.replace(dataset, task=TASKS["covid-binary"], labels=np.minimum(dataset.labels, 1))
    with pytest.raises(ConfigError, match="expected a teacher"):
        tiny_runs.train_tiny_student(binary, tmp_path, tiny_runs.STUDENT, teacher=distilled)


def test_one_class_only_is_refused(dataset, tmp_path):
    one = dataclasses.replace(dataset, labels=np.where(dataset.labels > 0, -1, dataset.labels), fingerprint="one")
    with pytest.raises(DataError, match=r"split 'train' has \d+ images of \['normal'\]"):
        tiny_runs.train_tiny_student(one, tmp_path)


def test_a_run_that_has_no_pretrained_weights_says_so_and_goes_on(dataset, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("POCKETCXR_WEIGHTS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    config = dataclasses.replace(tiny_runs.BASELINE, weights="pretrained", epochs=1)
    with caplog.at_level(logging.WARNING, logger="pocketcxr"):
        best = tiny_runs.train_tiny_student(dataset, tmp_path, config)
    said = [entry.getMessage() for entry in caplog.records if "no pretrained weights for" in entry.getMessage()]
    assert len(said) == 1
    assert said[0].endswith("training from scratch")
    record = read_record(best)["weights"]
    assert (record["asked"], record["source"]) == ("pretrained", "scratch")
    assert "cannot be reached" in record["detail"]


@pytest.fixture
def frozen(dataset, tmp_path):
    """Configuration of a student whose stem and first two stages stay as a file has them, and that file's network."""
    start = tiny_runs.train_tiny_student(dataset, tmp_path / "start", dataclasses.replace(tiny_runs.BASELINE, epochs=1))
    config = dataclasses.replace(tiny_runs.BASELINE, weights=str(start), frozen_blocks=2, epochs=2)
    return config, load_network(start)[0].backbone.state_dict()


def test_frozen_blocks_stay_as_they_were_and_a_resumed_run_ends_with_the_same_weights(dataset, frozen, tmp_path):
    config, start = frozen
    whole = tiny_runs.train_tiny_student(dataset, tmp_path / "whole", config)
    network, _, record = load_network(whole)
    assert record["weights"]["frozen_blocks"] == record["configuration"]["frozen_blocks"] == 2
    ends = network.backbone.state_dict()
    changed = {key.split(".")[1] for key in start if not torch.equal(ends[key], start[key])}
    assert changed == {"layer3", "layer4"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pocketcxr.training.loop.record.Table.append", tiny_runs.stop_after(4))
        with pytest.raises(KeyboardInterrupt):
            tiny_runs.train_tiny_student(dataset, tmp_path / "stopped", config)
    resumed, _, _ = load_network(tiny_runs.train_tiny_student(dataset, tmp_path / "stopped", config))
    assert all(torch.equal(resumed.state_dict()[key], value) for key, value in network.state_dict().items())


def test_a_student_from_scratch_is_trained_whole_and_says_so(dataset, tmp_path, caplog):
    config = dataclasses.replace(tiny_runs.BASELINE, frozen_blocks=2, epochs=1)
    with caplog.at_level(logging.WARNING, logger="pocketcxr"):
        path = tiny_runs.train_tiny_student(dataset, tmp_path, config)
    assert "starts from scratch: no block of it is frozen" in caplog.text
    assert "frozen_blocks" not in read_record(path)["weights"]


def test_more_frozen_blocks_than_there_are_are_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match="frozen_blocks: expected at most 4"):
        tiny_runs.train_tiny_student(dataset, tmp_path, dataclasses.replace(tiny_runs.BASELINE, frozen_blocks=5))
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_later_fields_keeps_the_identity_of_earlier_versions():
    assert "frozen_blocks" not in run_identity("student", tiny_runs.BASELINE, {})["configuration"]
    used = dataclasses.replace(tiny_runs.BASELINE, frozen_blocks=1)
    assert run_identity("student", used, {})["configuration"]["frozen_blocks"] == 1
