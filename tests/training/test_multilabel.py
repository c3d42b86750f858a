"""A teacher and its student learn several findings per image, from the labels that are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tiny_runs import BACKBONE, SIZE, STUDENT, TEACHER, VIEWS, cache_tiny_views, train_tiny_student, train_tiny_teacher

from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.errors import ConfigError, DataError
from pocketcxr.evaluation.metrics import label_wise_auroc
from pocketcxr.labels import load_task
from pocketcxr.models.checkpoints import load_network
from pocketcxr.models.predict import as_predict
from pocketcxr.training.sampling import epoch_plan, training_positions
from pocketcxr.training.teacher.crossfit import training_folds
from pocketcxr.training.teacher.outputs_table import save_outputs, views_from_tables
from pocketcxr.training.teacher.views import check_fits

TASK = load_task("edema+fracture")


@pytest.fixture(scope="module")
def dataset():
    """Noise with a bright stripe for each finding; a third of the labels is uncertain or not known."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (120, 2))
    pixels = generator.integers(0, 120, (120, SIZE, SIZE))
    for i, present in enumerate(labels.T):
        pixels[present == 1, 6 + 12 * i : 14 + 12 * i] += 110
    labels[generator.random(labels.shape) < 0.2] = -2
    labels[generator.random(labels.shape) < 0.1] = -1
    rows = tuple(
        IndexRow(f"{i}.png", "ab"[i % 2], sha256=f"{i + 1:064x}", split=("train", "train", "calibration")[i % 3])
        for i in range(120)
    )
    return Dataset(TASK, rows, pixels.astype(np.uint8), labels, "stripes")


def test_a_student_learns_findings_by_themselves_from_a_teacher_of_the_same_kind(dataset, tmp_path):
    config = dataclasses.replace(TEACHER, backbones=(BACKBONE,), weights=("scratch",), epochs=8, fusion_epochs=2)
    teacher = train_tiny_teacher(dataset, tmp_path / "teacher", config)
    views = cache_tiny_views(dataset, teacher, tmp_path / "views")
    student = dataclasses.replace(STUDENT, epochs=8)
    network, spec, _ = load_network(train_tiny_student(dataset, tmp_path / "student", student, views=views))
    assert (spec.labels, spec.multilabel) == (("edema", "fracture"), True)
    positions = dataset.positions("calibration")
    found = as_predict(network, multilabel=True)(dataset.images(positions))
    np.testing.assert_allclose(found.probabilities, 1 / (1 + np.exp(-found.logits)), atol=1e-6)
    assert label_wise_auroc(found.probabilities, dataset.labels[positions]) > 0.8
    with pytest.raises(ConfigError, match="several findings per image, but the task has one class"):
        check_fits(teacher, load_network(teacher)[1], labels=TASK.labels, image_size=SIZE)


def test_an_epoch_shows_every_image_once_whatever_it_has(dataset):
    positions = training_positions(dataset)
    assert set(positions) == {
        i for i, row in enumerate(dataset.rows) if row.split == "train" and (dataset.labels[i] >= 0).any()
    }
    order, _ = epoch_plan(dataset, positions, STUDENT, epoch=0)
    assert sorted(order) == sorted(positions)
    with pytest.raises(ConfigError, match="sampling class-source is defined for one class per image"):
        epoch_plan(dataset, positions, dataclasses.replace(STUDENT, sampling="class-source"), epoch=0)


def test_a_finding_that_is_never_absent_stops_before_training(dataset, tmp_path):
    labels = np.where(dataset.labels == 0, -1, dataset.labels)
    with pytest.raises(DataError, match=r"edema is present in .* and absent in 0, expected both"):
        train_tiny_student(
            dataclasses.replace(dataset, labels=labels), tmp_path, dataclasses.replace(STUDENT, losses={"ce": 1.0})
        )


def test_teachers_of_folds_never_saw_a_patient_and_each_fold_has_every_finding(dataset, tmp_path):
    patients = dataclasses.replace(
        dataset, rows=tuple(dataclasses.replace(row, patient_id=f"p{i // 2}") for i, row in enumerate(dataset.rows))
    )
    config = dataclasses.replace(TEACHER, folds=3)
    folds = training_folds(patients, config)
    trained = training_positions(patients)
    assert set(folds[trained]) == {0, 1, 2}
    for fold in range(3):
        targets = patients.targets[folds == fold]
        assert all({0, 1} <= set(column) for column in targets.T.tolist())
        inside, outside = (
            {patients.rows[i].patient_id for i in trained if (folds[i] == fold) is side} for side in (True, False)
        )
        assert not inside & outside


def test_a_table_gives_each_finding_a_probability_of_its_own(dataset, tmp_path):
    given = np.random.default_rng(1).uniform(0.05, 0.95, (len(dataset.rows), 2))
    lines = [f"{row.path},{edema},{fracture}" for row, (edema, fracture) in zip(dataset.rows, given, strict=True)]
    path = tmp_path / "teacher.csv"
    path.write_text("\n".join(["image,probability_edema,probability_fracture", *lines]))
    taken = views_from_tables(dataset, [path], VIEWS, out=tmp_path, progress=False)
    positions = training_positions(dataset)
    found = taken.lookup(positions, np.zeros(len(positions), np.int64))[0].sigmoid().numpy()
    np.testing.assert_allclose(found, given[positions], atol=1e-5)
    save_outputs(taken, dataset, tmp_path / "teacher.npz")
    again = views_from_tables(dataset, [tmp_path / "teacher.npz"], VIEWS, out=tmp_path, progress=False)
    np.testing.assert_array_equal(again.store.arrays["logits"], taken.store.arrays["logits"])
    single = dataclasses.replace(
        dataset, task=load_task("edema,fracture"), labels=(dataset.labels[:, 0] == 1).astype(int)
    )
    with pytest.raises(DataError, match=r"one class per image\), found edema, fracture \(any number per image\)"):
        views_from_tables(single, [tmp_path / "teacher.npz"], VIEWS, out=tmp_path, progress=False)
    path.write_text(path.read_text().replace(lines[0], f"{dataset.rows[0].path},1.5,0.5"))
    with pytest.raises(DataError, match="expected probabilities from 0 to 1 in probability_edema"):
        views_from_tables(dataset, [path], VIEWS, out=tmp_path, progress=False)
