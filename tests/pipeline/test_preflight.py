"""What would fail in the middle of a training is refused before it, and leaves nothing behind."""

import json
import logging
import re
import shutil

import pytest
import torch
from safetensors.torch import save_file

from pocketcxr import api
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import CheckpointError, ConfigError, DataError, PocketCxrError
from pocketcxr.pipeline import preflight
from pocketcxr.pipeline.crossval import run_crossval
from pocketcxr.pipeline.distill import run_distill
from pocketcxr.pipeline.preflight import check_experiment, duration
from pocketcxr.pipeline.stages import run_cache_views, run_leave_one_source_out, run_train_student, run_train_teacher
from pocketcxr.training.config import load_experiment

TINY = (
    "data.image_size=32",
    'teacher.backbones=["mobilenetv2_035"]',
    'teacher.weights=["scratch"]',
    "teacher.embedding_features=32",
    "teacher.epochs=1",
    "teacher.fusion_epochs=1",
    "teacher.batch_size=16",
    "views.count=2",
    'student.backbone="mobilenetv2_035"',
    'student.weights="scratch"',
    "student.epochs=1",
    "student.batch_size=16",
)
WRONG = [
    ('data.task="covid-4class"', "unknown task 'covid-4class'"),
    ('student.backbone="mobilenetv2_53"', "backbone 'mobilenetv2_53' is unknown to timm"),
    ('student.weights="no/such.safetensors"', "weights of mobilenetv2_035: expected"),
    ("student.frozen_blocks=99", "frozen_blocks: expected at most 7"),
    ("student.losses={ce=1.0, kdd=1.0}", "losses: unknown part 'kdd'"),
    ('teacher.backbones=["vgg91"]', "backbone 'vgg91' is unknown to timm"),
    ('teacher.weights=["no/such.pth"]', "weights of mobilenetv2_035: expected"),
    ("teacher.frozen_blocks=99", "frozen_blocks: expected at most 7"),
    ('teacher.outputs=["no/such.npz"]', "embedding"),
    ('teacher.checkpoint="no/such.safetensors"', "no checkpoint at no/such.safetensors"),
    ('input_filter.ood=["no/such/folder"]', "found no folder no/such/folder"),
]


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings") / "images"
    draw_synthetic_xrays(folder, patients=24, seed=4, size=96, progress=False)
    return folder


@pytest.mark.parametrize(("setting", "message"), WRONG)
def test_what_would_fail_later_is_refused_at_once_and_leaves_nothing(setting, message, drawings, tmp_path):
    experiment = load_experiment(None, (*TINY, setting))
    with pytest.raises(PocketCxrError, match=message):
        run_distill(tmp_path / "run", experiment, sources=[drawings], progress=False)
    assert not (tmp_path / "run").exists()


def test_every_command_that_trains_checks_first(drawings, tmp_path):
    wrong = load_experiment(None, (*TINY, 'student.backbone="mobilenetv2_53"'))
    for call in (
        lambda folder: run_train_teacher(folder, wrong, splits=drawings, progress=False),
        lambda folder: run_train_student(folder, wrong, splits=drawings, teacher=False, progress=False),
        lambda folder: run_leave_one_source_out(folder, wrong, splits=drawings, progress=False),
        lambda folder: run_crossval(folder, wrong, sources=[drawings], folds=2, progress=False),
    ):
        with pytest.raises(ConfigError, match="mobilenetv2_53"):
            call(tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_weight_file_of_another_network_is_refused(tmp_path):
    save_file({"conv_stem.weight": torch.zeros(3, 1, 3, 3)}, tmp_path / "other.safetensors")
    experiment = load_experiment(None, (*TINY, f'student.weights="{tmp_path / "other.safetensors"}"'))
    with pytest.raises(CheckpointError, match=r"conv_stem\.weight has shape"):
        check_experiment(experiment)


def test_a_table_and_online_are_refused_together():
    losses = "student.losses={ce=0.5, kd=1.0}"
    with pytest.raises(ConfigError, match=r"teacher\.outputs: a table teaches"):
        check_experiment(load_experiment(None, (*TINY, losses, 'teacher.outputs=["a.npz"]')), online=True)


def test_without_a_teacher_its_settings_are_not_looked_at():
    experiment = load_experiment(None, (*TINY, 'teacher.backbones=["vgg91"]'))
    check_experiment(experiment, teacher=False)
    labels_only = load_experiment(None, (*TINY, 'teacher.backbones=["vgg91"]', "student.losses={ce=1.0}"))
    check_experiment(labels_only)


def test_settings_of_a_command_that_failed_do_not_stick(drawings, tmp_path):
    settings = {"data.image_size": 48}
    with pytest.raises(DataError):
        api.distill(tmp_path / "run", data=tmp_path / "nothing", settings=settings, progress=False)
    assert api.read_settings(tmp_path / "run").data.image_size == 224


def test_the_plan_names_every_stage_with_its_images_and_a_time(drawings, tmp_path, caplog):
    experiment = load_experiment(None, TINY)
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        run_train_teacher(tmp_path / "run", experiment, splits=_split(drawings, tmp_path), progress=False)
    said = "\n".join(caplog.messages)
    for words in (
        r"training images: \d+ \(\d+ normal, \d+ pneumonia, \d+ covid19\); calibration: \d+",
        r"teacher mobilenetv2_035, 1 epochs: about \d+ s",
        r"teacher's outputs for \d+ views: about \d+ s",
        r"distilled student mobilenetv2_035, 1 epochs: about \d+ s",
        r"in all about \d+ s",
    ):
        assert re.search(words, said), words


def test_the_plan_times_the_answers_of_a_given_teacher_and_names_tables(drawings, tmp_path, caplog):
    (tmp_path / "splits").mkdir()
    splits = _split(drawings, tmp_path / "splits")
    teacher = run_train_teacher(tmp_path / "run", load_experiment(None, TINY), splits=splits, progress=False)
    losses = "student.losses={ce=0.5, kd=1.0}"
    given = load_experiment(None, (*TINY, losses, f"teacher.checkpoint={json.dumps(str(teacher))}"))
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        run_train_student(tmp_path / "given", given, splits=splits, progress=False)
    assert re.search(r"teacher's outputs for \d+ views: about \d+ s", caplog.text)
    assert "teacher mobilenetv2_035, 1 epochs" not in caplog.text.partition("training images")[2]
    caplog.clear()
    table = run_cache_views(tmp_path / "run", given, save=tmp_path / "teacher.npz", progress=False)
    from_table = load_experiment(None, (*TINY, losses, f"teacher.outputs=[{json.dumps(str(table))}]"))
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        run_train_student(tmp_path / "table", from_table, splits=splits, progress=False)
    assert re.search(r"teacher's outputs for \d+ views from 1 tables: about 1 s", caplog.text)


def test_too_little_disk_space_is_said_before_the_first_step(drawings, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage._replace(free=10_000_000))
    with pytest.raises(ConfigError, match=r"expected 0\.\d GB of free disk space .* found 0\.0 GB"):
        run_train_teacher(
            tmp_path / "run", load_experiment(None, TINY), splits=_split(drawings, tmp_path), progress=False
        )
    assert not (tmp_path / "run" / "teacher").exists()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def _split(drawings, folder):
    from pocketcxr.labels import load_task
    from pocketcxr.pipeline.prepare import index_sources, split_index

    index_sources([drawings], folder / "index.csv", progress=False)
    split_index(folder / "index.csv", load_task("covid-3class"), folder / "splits.csv")
    return folder / "splits.csv"
