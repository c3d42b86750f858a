"""A table of a teacher's outputs teaches as the teacher itself does; one of other images or views is refused."""

import csv
import dataclasses

import numpy as np
import pytest
import tiny_runs
import torch

from pocketcxr.errors import CacheError, ConfigError, DataError
from pocketcxr.models.checkpoints import load_network
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.teacher.outputs_table import save_outputs, views_from_tables

LABELS = ("normal", "pneumonia", "covid19")


@pytest.fixture(scope="module")
def views(dataset, teacher, tmp_path_factory):
    return tiny_runs.cache_tiny_views(dataset, teacher, tmp_path_factory.mktemp("views"))


@pytest.fixture(scope="module")
def table(dataset, views, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "teacher.npz"
    save_outputs(views, dataset, path)
    return path


def read(dataset, path, out, config=tiny_runs.VIEWS):
    return views_from_tables(dataset, [path], config, out=out, progress=False)


def test_the_table_gives_the_very_logits_of_the_cache(dataset, views, table, tmp_path):
    taken = read(dataset, table, tmp_path)
    positions = training_positions(dataset, unlabelled=True)
    for view in range(tiny_runs.VIEWS.count):
        numbers = np.full(len(positions), view)
        assert torch.equal(taken.lookup(positions, numbers)[0], views.lookup(positions, numbers)[0])
    assert taken.embedding_features == 0
    assert taken.missing == 0


def test_it_goes_by_the_image_and_not_by_its_place(dataset, views, table, tmp_path):
    order = np.random.default_rng(0).permutation(len(dataset.rows))
    other = dataclasses.replace(
        dataset,
        rows=tuple(dataset.rows[i] for i in order),
        pixels=dataset.pixels[order],
        labels=dataset.labels[order],
        fingerprint="shuffled",
    )
    taken = read(other, table, tmp_path)
    place = int(np.flatnonzero(order == 5)[0])
    assert torch.equal(taken.lookup(np.array([place]), np.array([1]))[0], views.lookup(np.array([5]), np.array([1]))[0])


def test_several_tables_teach_by_the_mean_of_their_logits(dataset, views, table, tmp_path):
    generator = np.random.default_rng(2)
    logits = generator.normal(size=(len(dataset.rows), 3)).astype(np.float32)
    path = tmp_path / "other.csv"
    write_csv(dataset, path, "logit", logits)
    taken = views_from_tables(dataset, [table, path], tiny_runs.VIEWS, out=tmp_path, progress=False)
    positions = training_positions(dataset, unlabelled=True)
    numbers = np.ones(len(positions), np.int64)
    wanted = (views.lookup(positions, numbers)[0] + torch.from_numpy(logits[positions])) / 2
    assert torch.allclose(taken.lookup(positions, numbers)[0], wanted, atol=1e-5)
    assert taken.teacher_sha256 != read(dataset, table, tmp_path).teacher_sha256


@pytest.mark.parametrize("change", [{"seed": 9}, {"count": 1}, {"augmentation": tiny_runs.VIEWS.augmentation}])
def test_other_views_are_refused(dataset, table, tmp_path, change):
    if "augmentation" in change:
        change = {"augmentation": dataclasses.replace(change["augmentation"], erase=0.9)}
    with pytest.raises(CacheError, match=f"other views .*{next(iter(change))}"):
        read(dataset, table, tmp_path, dataclasses.replace(tiny_runs.VIEWS, **change))


def test_an_image_that_the_table_lacks_is_named(dataset, table, tmp_path):
    position = int(training_positions(dataset)[3])
    rows = list(dataset.rows)
    rows[position] = dataclasses.replace(rows[position], sha256="f" * 64, path="new/one.png")
    with pytest.raises(DataError, match=r"1 of \d+ training images are not in this table.*new/one.png"):
        read(dataclasses.replace(dataset, rows=tuple(rows)), table, tmp_path)


def test_other_classes_and_other_files_are_refused(dataset, table, tmp_path):
    task = dataclasses.replace(dataset.task, labels=tuple(reversed(dataset.task.labels)))
    with pytest.raises(DataError, match=r"expected outputs for covid19, pneumonia, normal .one class per image"):
        read(dataclasses.replace(dataset, task=task), table, tmp_path)
    broken = tmp_path / "broken.npz"
    broken.write_bytes(table.read_bytes()[:200])
    with pytest.raises(DataError, match="expected a table of a teacher's outputs"):
        read(dataset, broken, tmp_path)
    with pytest.raises(DataError, match="cannot read the table"):
        read(dataset, tmp_path / "none.npz", tmp_path)


def test_missing_views_are_not_saved(dataset, teacher, tmp_path):
    part = tiny_runs.cache_tiny_views(dataset, teacher, tmp_path / "views")
    part.store.done[0, 3:5] = 0
    with pytest.raises(CacheError, match="still missing"):
        save_outputs(part, dataset, tmp_path / "teacher.npz")
    assert not (tmp_path / "teacher.npz").exists()


def write_csv(dataset, path, kind, values, names=None):
    with path.open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["image", *(f"{kind}_{label}" for label in LABELS)])
        out.writerows(
            [name, *value] for name, value in zip(names or [r.path for r in dataset.rows], values, strict=True)
        )


@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_a_csv_of_another_program_holds_for_every_view(dataset, tmp_path, kind):
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(len(dataset.rows), 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    path = tmp_path / "answers.csv"
    write_csv(dataset, path, kind, logits if kind == "logit" else probabilities)
    taken = read(dataset, path, tmp_path)
    position = training_positions(dataset)[:4]
    for view in range(tiny_runs.VIEWS.count):
        found = taken.lookup(position, np.full(4, view))[0]
        assert torch.allclose(found.softmax(1), torch.from_numpy(probabilities[position]).float(), atol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda n: np.full((n, 3), 0.5), "sum to 1"),
        (lambda n: np.full((n, 3), np.nan), "sum to 1"),
        (lambda n: np.tile([1.5, -0.5, 0.0], (n, 1)), "sum to 1"),
        (lambda n: np.full((n, 3), "high"), "line 2: expected numbers"),
    ],
)
def test_a_csv_that_holds_no_probabilities_is_refused(dataset, tmp_path, values, message):
    path = tmp_path / "answers.csv"
    write_csv(dataset, path, "probability", values(len(dataset.rows)))
    with pytest.raises(DataError, match=message):
        read(dataset, path, tmp_path)


def test_a_csv_that_names_an_image_twice_is_refused(dataset, tmp_path):
    path = tmp_path / "answers.csv"
    names = [row.path for row in dataset.rows]
    write_csv(dataset, path, "logit", np.zeros((len(names), 3)), names=[names[1], *names[1:]])
    with pytest.raises(DataError, match=r"line 3: .* is in this table twice"):
        read(dataset, path, tmp_path)


def test_a_student_taught_by_the_table_is_the_one_taught_by_the_cache(dataset, views, table, tmp_path):
    config = dataclasses.replace(tiny_runs.BASELINE, losses={"ce": 0.5, "kd": 1.0}, unlabelled=True)
    taught = [
        tiny_runs.train_tiny_student(dataset, tmp_path / name, config, views=given)
        for name, given in (("cache", views), ("table", read(dataset, table, tmp_path)))
    ]
    one, other = (load_network(path)[0].state_dict() for path in taught)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_a_table_cannot_teach_is_refused(dataset, table, tmp_path):
    config = dataclasses.replace(tiny_runs.BASELINE, losses={"ce": 0.5, "embedding": 1.0})
    with pytest.raises(ConfigError, match=r"teacher\.outputs"):
        tiny_runs.train_tiny_student(dataset, tmp_path / "run", config, views=read(dataset, table, tmp_path))
