"""Students without a source: they never see a picture of it, in training or calibration."""

import csv
import dataclasses
import json
import logging
from hashlib import sha256

import numpy as np
import pytest
import torch

from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow, write_rows
from pocketcxr.errors import ConfigError, DataError
from pocketcxr.evaluation.label_wise import fit_temperatures
from pocketcxr.labels import TASKS, load_task
from pocketcxr.models.checkpoints import load_network, read_record
from pocketcxr.pipeline.leave_one_source_out import leave_out, students_without, train_without_sources
from pocketcxr.pipeline.run import Run, open_run
from pocketcxr.training.config import load_experiment

SETTINGS = (
    'student.backbone="mobilenetv2_035"',
    'student.weights="scratch"',
    "student.epochs=1",
    "student.batch_size=16",
    "views.count=1",
)
SIZE = 32


def make_dataset(sources=("a", "b"), *, only_in=""):
    """Forty images a source and class; `only_in` names the one source that has class covid19."""
    generator = np.random.default_rng(0)
    task, rows, labels = TASKS["covid-3class"], [], []
    for source in sources:
        for label, name in enumerate(task.labels):
            if name == "covid19" and only_in and source != only_in:
                continue
            for number in range(40):
                split = "test" if number < 10 else "calibration" if number < 15 else "train"
                place = f"{source}-{name}-{number}.png"
                rows.append(
                    IndexRow(place, source, name, sha256=sha256(place.encode()).hexdigest(), split=split, label=name)
                )
                labels.append(label)
    pixels = generator.integers(0, 255, (len(rows), SIZE, SIZE), dtype=np.uint8)
    return Dataset(task, tuple(rows), pixels, np.array(labels), "tiny")


def test_a_source_that_is_left_out_stands_in_no_split_and_the_rest_stays():
    whole = make_dataset()
    rest = leave_out(whole, "a")
    for split in ("train", "calibration", "test"):
        assert {whole.rows[i].source for i in rest.positions(split)} == {"b"}
        assert len(rest.positions(split)) * 2 == len(whole.positions(split))
    assert rest.fingerprint != whole.fingerprint


def test_one_student_per_source_answers_with_a_temperature_of_its_own(tmp_path):
    dataset = make_dataset()
    run = Run(tmp_path, load_experiment(None, SETTINGS), progress=False)
    found = train_without_sources(run, dataset)
    assert set(found) == {"a", "b"}
    records = {source: read_record(path) for source, path in found.items()}
    assert records["a"]["data"] == "tiny without a"
    before = {source: path.stat().st_mtime_ns for source, path in found.items()}
    assert {s: p.stat().st_mtime_ns for s, p in train_without_sources(run, dataset).items()} == before

    predicts = students_without(run, dataset)
    outputs = {source: predict(dataset.images(np.arange(3))) for source, predict in predicts.items()}
    assert set(outputs) == {"a", "b"}
    assert not np.allclose(outputs["a"].logits, outputs["b"].logits)


def test_an_auxiliary_output_that_only_the_left_out_source_has_is_left_out_too(tmp_path, caplog):
    dataset = make_dataset()
    train = [row.path for row in dataset.rows if row.split == "train" and row.source == "a"]
    boxes = {path: np.array([[0.1, 0.1, 0.3, 0.3]] * (number % 2)).reshape(-1, 4) for number, path in enumerate(train)}
    dataset = dataclasses.replace(dataset, boxes=boxes)
    run = Run(tmp_path, load_experiment(None, [*SETTINGS, "student.auxiliary={boxes=1.0}"]), progress=False)
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        found = train_without_sources(run, dataset)
    assert set(found) == {"a", "b"}
    assert "auxiliary" not in read_record(found["a"])
    assert "auxiliary" in read_record(found["b"])
    assert caplog.text.count("trained without this auxiliary output: auxiliary.boxes") == 1


def test_a_class_that_no_other_source_has_is_said_and_the_source_skipped(tmp_path):
    dataset = make_dataset(only_in="a")
    run = Run(tmp_path, load_experiment(None, SETTINGS), progress=False)
    assert set(train_without_sources(run, dataset)) == {"b"}
    assert "covid19" in (tmp_path / "leave-one-source-out" / "students.json").read_text()


def test_a_single_source_is_refused(tmp_path):
    run = Run(tmp_path, load_experiment(None, SETTINGS), progress=False)
    with pytest.raises(DataError, match="no source can be left out"):
        train_without_sources(run, make_dataset(("a",)))


def test_no_run_of_it_gives_no_students(tmp_path):
    run = Run(tmp_path, load_experiment(None, SETTINGS), progress=False)
    assert students_without(run, make_dataset()) == {}


def test_images_of_the_source_are_not_counted_in_an_epoch(tmp_path):
    dataset = make_dataset()
    run = Run(tmp_path, dataclasses.replace(load_experiment(None, SETTINGS)), progress=False)
    train_without_sources(run, dataset)
    with (tmp_path / "leave-one-source-out" / "a" / "metrics.csv").open() as stream:
        steps = len(list(csv.DictReader(stream)))
    assert steps == len(leave_out(dataset, "a").positions("train")) // 16


def test_sources_can_be_left_out_one_process_each_and_the_record_holds_those_that_are_done(tmp_path):
    dataset = make_dataset()
    run = Run(tmp_path, load_experiment(None, SETTINGS), progress=False)
    assert set(train_without_sources(run, dataset, only=["b"])) == {"b"}
    assert set(students_without(run, dataset)) == {"b"}
    assert set(train_without_sources(run, dataset, only=["a"])) == {"a", "b"}
    record = json.loads((tmp_path / "leave-one-source-out" / "students.json").read_text())
    assert set(record["students"]) == {"a", "b"}
    assert record["student"]["backbone"] == "mobilenetv2_035"
    with pytest.raises(ConfigError, match="--source c: expected some of a, b"):
        train_without_sources(run, dataset, only=["c"])


def test_first_weights_that_may_have_seen_the_sources_are_said(tmp_path, caplog):
    dataset = make_dataset()
    run = Run(tmp_path / "first", load_experiment(None, SETTINGS), progress=False)
    with caplog.at_level(logging.WARNING):
        first = train_without_sources(run, dataset, only=["a"])["a"]
        assert "flatters" not in caplog.text
        later = load_experiment(None, (*SETTINGS, f'student.weights="{first}"'))
        train_without_sources(Run(tmp_path / "later", later, progress=False), dataset, only=["a"])
    assert "which may have seen the sources left out here: that flatters" in caplog.text


def test_settings_of_the_students_without_a_source_leave_the_record_of_the_run_alone(tmp_path):
    open_run(tmp_path, load_experiment(None, SETTINGS))
    before = (tmp_path / "experiment.json").read_bytes()
    other = load_experiment(None, (*SETTINGS, "student.epochs=3"))
    assert open_run(tmp_path, other, record=False).experiment.student.epochs == 3
    assert (tmp_path / "experiment.json").read_bytes() == before


def test_a_second_stage_starts_from_the_student_that_never_saw_the_same_source(tmp_path, caplog):
    dataset = make_dataset()
    first = Run(tmp_path / "first", load_experiment(None, SETTINGS), progress=False)
    train_without_sources(first, dataset)
    write_rows(dataset.rows, first.splits)
    second = Run(tmp_path / "second", load_experiment(None, (*SETTINGS, "student.learning_rate=1e-9")), progress=False)
    with caplog.at_level(logging.WARNING):
        found = train_without_sources(second, dataset, start_from=first.folder)
    assert "flatters" not in caplog.text
    for source, path in found.items():
        before, after = (
            load_network(one)[0].state_dict() for one in (first.left_out_record.with_name(source) / path.name, path)
        )
        assert all(torch.allclose(before[key], value, atol=1e-6) for key, value in after.items() if "conv" in key)
    record = json.loads((second.folder / "leave-one-source-out" / "students.json").read_text())
    assert record["start_from"]["run"] == str(first.folder)
    assert record["start_from"]["student"]["weights"] == "scratch"


def test_a_second_stage_refuses_a_first_one_that_saw_its_test_images_or_has_no_student(tmp_path):
    dataset = make_dataset()
    first = Run(tmp_path / "first", load_experiment(None, SETTINGS), progress=False)
    second = Run(tmp_path / "second", load_experiment(None, SETTINGS), progress=False)
    with pytest.raises(ConfigError, match="expected students without a source"):
        train_without_sources(second, dataset, start_from=first.folder)
    train_without_sources(first, dataset, only=["a"])
    with pytest.raises(ConfigError, match="has no student without b"):
        train_without_sources(second, dataset, start_from=first.folder)
    others = [dataclasses.replace(row, split="train" if row.split == "test" else row.split) for row in dataset.rows]
    write_rows(others, first.splits)
    with pytest.raises(ConfigError, match="other splits"):
        train_without_sources(second, dataset, only=["a"], start_from=first.folder)


def test_findings_have_a_temperature_each_and_a_source_that_alone_calls_one_absent_stays(tmp_path):
    task = load_task("edema+fracture")
    whole = make_dataset(("a", "b", "c"))
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 2, (len(whole.rows), 2))
    sources = np.array([row.source for row in whole.rows])
    labels[sources != "c", 1] = np.where(labels[sources != "c", 1] == 0, -1, 1)
    dataset = dataclasses.replace(whole, task=task, labels=labels)
    experiment = load_experiment(None, [*SETTINGS, 'data.task="edema+fracture"'])
    run = open_run(tmp_path / "run", experiment, progress=False)
    found = train_without_sources(run, dataset)
    assert set(found) == {"a", "b"}
    record = json.loads(run.left_out_record.read_text())
    assert record["left_out"] == {"c": "no other source has training images of no fracture"}
    for source, predict in students_without(run, dataset).items():
        positions = leave_out(dataset, source).positions("calibration")
        outputs = predict(dataset.images(positions))
        expected = fit_temperatures(outputs.logits, labels[positions])
        np.testing.assert_allclose(outputs.probabilities, 1 / (1 + np.exp(-outputs.logits / expected)), atol=1e-5)
