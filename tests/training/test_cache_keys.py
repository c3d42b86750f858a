"""What is kept is found again for the same inputs only: each field changed alone gives another key."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import numpy as np
import pytest
import tiny_runs

from pocketcxr.errors import CacheError, CheckpointError
from pocketcxr.models.networks import NetworkSpec
from pocketcxr.training import augmentation as augmentation_module
from pocketcxr.training import loop, student
from pocketcxr.training.config import AugmentationConfig, StudentConfig, TeacherConfig, ViewsConfig
from pocketcxr.training.loop import run_identity
from pocketcxr.training.run import record
from pocketcxr.training.run.identity import fingerprint
from pocketcxr.training.teacher import fusion, outputs_table, task, views
from pocketcxr.training.teacher.crossfit import CrossFitted
from pocketcxr.training.teacher.view_store import open_store
from pocketcxr.training.teacher.views import check_views, views_key

DATA = tiny_runs.make_dataset()
DATA = dataclasses.replace(DATA, lungs=np.full((len(DATA.rows), 4), 0.5, np.float32))
STYLED = AugmentationConfig(style=0.25, style_strength=0.5, lungs=0.25)


def other_value(value: Any) -> Any:
    """Another value of the same type, near the old one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.125
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return (*value, value[-1] if value else "x")
    return {**value, "x": 1.0}


def changed(config: Any, name: str) -> Any:
    """The same settings but for one field, which the checks of settings taken together may not like."""
    other = dataclasses.replace(config)
    object.__setattr__(other, name, other_value(getattr(config, name)))
    return other


def names(config: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(config)]


def resized(dataset, side):
    return dataclasses.replace(dataset, pixels=np.zeros((len(dataset.pixels), side, side), np.uint8))


def other_sources(dataset):
    return dataclasses.replace(
        dataset, rows=tuple(dataclasses.replace(row, source="c" + row.source) for row in DATA.rows)
    )


# --- the teacher's views -----------------------------------------------------------------------------------------

VIEWS = ViewsConfig(augmentation=STYLED)


def key(*, teacher="0" * 64, data=DATA, config=VIEWS, precision="fp32"):
    return views_key(teacher, data, config, precision=precision)


@pytest.mark.parametrize("name", names(STYLED))
def test_each_setting_of_the_augmentation_is_in_the_key_of_views(name):
    assert key(config=dataclasses.replace(VIEWS, augmentation=changed(STYLED, name))) != key()


@pytest.mark.parametrize(
    "other",
    [
        {"teacher": "0" * 63 + "1"},
        {"data": dataclasses.replace(DATA, fingerprint="other")},
        {"data": resized(DATA, 2 * DATA.pixels.shape[1])},
        {"data": other_sources(DATA)},  # style draws its images by source
        {"data": dataclasses.replace(DATA, lungs=DATA.lungs / 2)},
        {"config": changed(VIEWS, "seed")},
        {"config": changed(VIEWS, "count")},
        {"precision": "bf16"},
    ],
    ids=["teacher", "data", "size", "sources", "lungs", "seed", "count", "precision"],
)
def test_each_other_input_is_in_the_key_of_views(other):
    assert key(**other) != key()


def test_the_version_of_the_augmentation_is_in_the_key_of_views(monkeypatch):
    before = key()
    monkeypatch.setattr(views, "AUGMENTATION_VERSION", augmentation_module.AUGMENTATION_VERSION + 1)
    assert key() != before


def test_what_has_no_influence_on_views_is_not_in_their_key():
    assert key(config=changed(VIEWS, "batch_size")) == key()
    plain = dataclasses.replace(VIEWS, augmentation=AugmentationConfig())
    assert key(config=plain, data=other_sources(DATA)) == key(config=plain)
    assert key(config=plain, data=dataclasses.replace(DATA, lungs=None)) == key(config=plain)


def held(config=VIEWS, data="tiny"):
    store = types.SimpleNamespace(folder="cache", done=np.ones((1, 1), bool), missing=0)
    return types.SimpleNamespace(store=store, config=config, dataset_fingerprint=data, missing=0)


def test_a_cache_is_taken_for_the_same_data_and_views_only():
    check_views(held(), DATA, VIEWS)
    check_views(held(changed(VIEWS, "batch_size")), DATA, VIEWS)
    with pytest.raises(CacheError, match="other data"):
        check_views(held(data="other"), DATA, VIEWS)
    for name in ("count", "seed"):
        with pytest.raises(CacheError, match="other views"):
            check_views(held(changed(VIEWS, name)), DATA, VIEWS)
    for name in names(STYLED):
        with pytest.raises(CacheError, match="other views"):
            check_views(held(dataclasses.replace(VIEWS, augmentation=changed(STYLED, name))), DATA, VIEWS)


# --- stores ------------------------------------------------------------------------------------------------------

STORE = {
    "key": "k",
    "positions": np.arange(5),
    "views": 2,
    "shapes": {"logits": (np.float32, (3,)), "embedding": (np.float16, (4,))},
}


@pytest.mark.parametrize(
    "other",
    [
        {"positions": np.array([0, 1, 2, 3, 5])},
        {"positions": np.arange(4)},
        {"views": 3},
        {"shapes": {"logits": (np.float32, (3,))}},
        {"shapes": {**STORE["shapes"], "logits": (np.float64, (3,))}},
        {"shapes": {**STORE["shapes"], "logits": (np.float32, (2,))}},
    ],
    ids=["positions", "images", "views", "arrays", "type", "shape"],
)
def test_a_store_with_another_description_is_made_anew(tmp_path, caplog, other):
    first = open_store(tmp_path, **STORE)
    first.arrays["logits"][:] = 7
    first.done[:] = True
    assert (open_store(tmp_path, **STORE).arrays["logits"] == 7).all()
    assert not caplog.records
    again = open_store(tmp_path, **{**STORE, **other})
    assert not again.done.any()
    assert "computing it again" in caplog.text


# --- identities of stages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [StudentConfig(), TeacherConfig()], ids=["student", "teacher"])
def test_each_setting_of_a_stage_is_in_its_identity_but_how_often_its_state_is_saved_and_who_is_told(config):
    before = run_identity("stage", config, {"data": "d"})
    for name in names(config):
        same = run_identity("stage", changed(config, name), {"data": "d"}) == before
        assert same is (name in ("checkpoint_every_steps", "track")), name
    assert run_identity("other", config, {"data": "d"}) != before
    assert run_identity("stage", config, {"data": "e"}) != before


def test_the_version_of_the_code_is_in_the_identity_of_a_stage(monkeypatch):
    before = run_identity("stage", StudentConfig(), {})
    monkeypatch.setattr(loop, "_CODE_VERSION", loop._CODE_VERSION + 1)
    assert run_identity("stage", StudentConfig(), {}) != before


def test_a_folder_is_opened_again_for_the_same_identity_only(tmp_path):
    identity = run_identity("stage", StudentConfig(), {"data": "d", "network": {"size": 32, "labels": ["a", "b"]}})
    record.open_run(tmp_path / "run", identity)
    record.open_run(tmp_path / "run", identity)
    for other in (
        {**identity, "data": "e"},
        {**identity, "stage": "other"},
        {**identity, "more": 1},
        {name: value for name, value in identity.items() if name != "data"},
        {**identity, "network": {"size": 33, "labels": ["a", "b"]}},
        {**identity, "network": {"size": 32, "labels": ["b", "a"]}},
    ):
        with pytest.raises(CheckpointError, match="another configuration"):
            record.open_run(tmp_path / "run", other)


SPEC = NetworkSpec("teacher", ("test_resnet.r160_in1k",), DATA.task.labels, 32)


def teacher_task(*, data=DATA, augmentation=STYLED, spec=SPEC, precision="fp32", config=None, out=None):
    engine: Any = types.SimpleNamespace(precision=precision, device="cpu", rank=0, processes=1, wait=lambda: None)
    return task.TeacherTask(data, config or TeacherConfig(), augmentation, spec, engine, out, progress=False)


@pytest.mark.parametrize("name", names(STYLED))
def test_each_setting_of_the_augmentation_is_in_a_teachers_identity(name):
    assert teacher_task(augmentation=changed(STYLED, name)).identity != teacher_task().identity


@pytest.mark.parametrize("name", [name for name in names(SPEC) if name != "members"])
def test_each_part_of_the_network_is_in_a_teachers_identity(name):
    assert teacher_task(spec=changed(SPEC, name)).identity != teacher_task().identity


def test_data_seed_precision_and_version_are_in_a_teachers_identity(monkeypatch):
    before = teacher_task().identity
    assert teacher_task(data=dataclasses.replace(DATA, fingerprint="other")).identity != before
    assert teacher_task(data=other_sources(DATA)).identity != before
    assert teacher_task(precision="bf16").identity != before
    assert teacher_task(config=TeacherConfig(seed=1)).identity != before
    monkeypatch.setattr(task, "AUGMENTATION_VERSION", -1)
    assert teacher_task().identity != before


@pytest.mark.parametrize("sampling", ["class-source", "class-source-sqrt", "class-within-source", "class", "uniform"])
def test_sources_are_in_an_identity_where_the_sampling_reads_them(sampling, tmp_path):
    config = TeacherConfig(sampling=sampling)
    one, other = (
        teacher_task(data=data, config=config, augmentation=AugmentationConfig()).identity
        for data in (DATA, other_sources(DATA))
    )
    assert (one == other) is (sampling in {"class", "uniform"})
    record.open_run(tmp_path / "run", one)
    if one != other:
        with pytest.raises(CheckpointError, match="sampled_sources"):
            record.open_run(tmp_path / "run", other)
        record.open_run(tmp_path / "before", {name: one[name] for name in one if name != "sampled_sources"})
        record.open_run(tmp_path / "before", other)  # a run of an earlier version does not say


class Asked(Exception):
    """Carries what a stage was asked for, in place of training it."""


def student_identity(monkeypatch, tmp_path, *, data=DATA, config=tiny_runs.BASELINE, views_config=VIEWS, **options):
    def fit(stage, *_, **__):
        raise Asked(stage.identity)

    monkeypatch.setattr(student, "fit", fit)
    with pytest.raises(Asked) as caught:
        student.train_student(data, config, out=tmp_path, views_config=views_config, progress=False, **options)
    return caught.value.args[0]


def test_all_that_a_students_weights_depend_on_is_in_its_identity(monkeypatch, tmp_path):
    def identity(**options):
        return student_identity(monkeypatch, tmp_path, **options)

    before = identity()
    assert identity() == before
    assert identity(data=dataclasses.replace(DATA, fingerprint="other")) != before
    assert identity(data=other_sources(DATA)) != before
    assert identity(config=dataclasses.replace(tiny_runs.BASELINE, dropout=0.3)) != before
    assert identity(config=dataclasses.replace(tiny_runs.BASELINE, backbone="mobilenetv2_035")) != before
    assert identity(config=dataclasses.replace(tiny_runs.BASELINE, precision="bf16")) != before
    assert identity(views_config=changed(VIEWS, "count")) != before
    assert identity(views_config=changed(VIEWS, "seed")) != before
    for name in names(STYLED):
        assert identity(views_config=dataclasses.replace(VIEWS, augmentation=changed(STYLED, name))) != before, name
    monkeypatch.setattr(student, "AUGMENTATION_VERSION", -1)
    assert identity() != before


def test_the_teacher_is_in_a_students_identity(monkeypatch, tmp_path):
    def identity(digest):
        shown = types.SimpleNamespace(network=None, identity={"sha256": digest}, embedding_features=8)
        monkeypatch.setattr(student, "_teacher_outputs", lambda *_, **__: shown)
        return student_identity(monkeypatch, tmp_path, config=tiny_runs.STUDENT, views=held())

    assert identity("a") == identity("a")
    assert identity("a") != identity("b")


# --- keys of what teachers leave ---------------------------------------------------------------------------------


def test_pooled_features_are_kept_by_backbones_identity_and_number_of_views(monkeypatch, tmp_path):
    def asked(starts=("a", "b"), **options):
        def store(_, key, **__):
            raise Asked(key)

        monkeypatch.setattr(fusion, "open_store", store)
        teacher = types.SimpleNamespace(head=types.SimpleNamespace(fuse=types.SimpleNamespace(in_features=4)))
        with pytest.raises(Asked) as caught:
            fusion._pooled_features(teacher_task(out=tmp_path, **options), teacher, list(starts))
        return caught.value.args[0]

    keys = [
        asked(),
        asked(("a", "c")),
        asked(("b", "a")),
        asked(config=TeacherConfig(fusion_views=3)),
        asked(config=TeacherConfig(seed=1)),
        asked(augmentation=AugmentationConfig()),
        asked(data=dataclasses.replace(DATA, fingerprint="other")),
        asked(precision="bf16"),
    ]
    assert len(set(keys)) == len(keys)
    assert asked() == keys[0]


def test_a_cross_fitted_teacher_is_known_by_its_networks_their_order_and_the_folds(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)

    def digest(files="ab", folds=(0, 1, -1)):
        return CrossFitted(tuple(tmp_path / name for name in files), np.array(folds), tmp_path / "mean").sha256

    others = [digest("ac"), digest("ba"), digest("abc"), digest(folds=(1, 0, -1)), digest(folds=(0, 1, 1))]
    assert len({digest(), *others}) == 6
    (tmp_path / "c").write_text("a")
    assert digest("cb") == digest()  # by content, not by name


def test_outputs_from_tables_are_kept_by_content_order_data_and_views(monkeypatch, tmp_path):
    header = "path," + ",".join(f"logit_{label}" for label in DATA.task.labels) + "\n"

    def write(name, first):
        lines = [f"{row.path},{first if i == 0 else 0.5},1,2\n" for i, row in enumerate(DATA.rows)]
        (tmp_path / name).write_text(header + "".join(lines))
        return tmp_path / name

    one, other = write("one.csv", 1), write("other.csv", 2)

    def asked(paths=(one,), data=DATA, config=VIEWS):
        def store(_, key, **__):
            raise Asked(key)

        monkeypatch.setattr(outputs_table, "open_store", store)
        with pytest.raises(Asked) as caught:
            outputs_table.views_from_tables(data, paths, config, out=tmp_path, progress=False)
        return caught.value.args[0]

    keys = [
        asked(),
        asked((other,)),
        asked((one, other)),
        asked((other, one)),
        asked(data=dataclasses.replace(DATA, fingerprint="other")),
        asked(data=other_sources(DATA)),
        asked(config=changed(VIEWS, "count")),
        asked(config=changed(VIEWS, "seed")),
        *(asked(config=dataclasses.replace(VIEWS, augmentation=changed(STYLED, name))) for name in names(STYLED)),
    ]
    assert len(set(keys)) == len(keys)
    assert asked() == keys[0]
    assert asked((write("renamed.csv", 1),)) == keys[0]
    monkeypatch.setattr(outputs_table, "AUGMENTATION_VERSION", -1)
    assert asked() not in keys


def test_a_fingerprint_depends_on_every_part_and_on_their_order():
    parts = ("a", 1, [2, 3], {"b": 4.5}, AugmentationConfig())
    before = fingerprint(*parts)
    assert fingerprint(*parts) == before
    for other in (
        ("b", *parts[1:]),
        ("a", 2, *parts[2:]),
        ("a", 1, [3, 2], *parts[3:]),
        ("a", 1, [2, 3], {"b": 4.75}, parts[4]),
        ("a", 1, [2, 3], {"c": 4.5}, parts[4]),
        (*parts[:4], AugmentationConfig(flip=0.25)),
        (1, "a", *parts[2:]),
        parts[:4],
        (*parts, None),
    ):
        assert fingerprint(*other) != before
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
