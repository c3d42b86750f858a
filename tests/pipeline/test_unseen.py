"""Students without a source: they never see a picture of it, in training or calibration."""

import csv
import dataclasses

import numpy as np
import pytest

from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.errors import DataError
from pocketcxr.labels import TASKS
from pocketcxr.models.checkpoints import read_record
from pocketcxr.pipeline.run import Run
from pocketcxr.pipeline.unseen import leave_out, students_without, train_without_sources
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
                rows.append(IndexRow(f"{source}-{name}-{number}.png", source, name, split=split, label=name))
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


def test_a_class_that_no_other_source_has_is_said_and_the_source_skipped(tmp_path):
    dataset = make_dataset(only_in="a")
    run = Run(tmp_path, load_experiment(None, SETTINGS), progress=False)
    assert set(train_without_sources(run, dataset)) == {"b"}
    assert "covid19" in (tmp_path / "without" / "without.json").read_text()


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
    with (tmp_path / "without" / "a" / "metrics.csv").open() as stream:
        steps = len(list(csv.DictReader(stream)))
    assert steps == len(leave_out(dataset, "a").positions("train")) // 16
