"""The whole chain on drawings, index to report, killed and resumed; a k-fold protocol. Tiny networks, real files."""

import dataclasses
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pocketcxr.data.rows import read_rows, write_rows
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import ConfigError, LeakError
from pocketcxr.files import sha256_of_file
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle
from pocketcxr.models.checkpoints import load_network
from pocketcxr.pipeline.crossval import run_crossval
from pocketcxr.pipeline.distill import run_distill
from pocketcxr.pipeline.stages import run_cache_views, run_train_student, run_train_teacher
from pocketcxr.run_folder import checkpoint
from pocketcxr.training.config import load_experiment

TINY = (
    "data.image_size=32",
    'teacher.backbones=["mobilenetv2_035", "resnet10t"]',
    'teacher.weights=["scratch", "scratch"]',
    "teacher.embedding_features=32",
    "teacher.epochs=1",
    "teacher.fusion_epochs=1",
    "teacher.batch_size=16",
    "views.count=2",
    'student.backbone="mobilenetv2_035"',
    'student.weights="scratch"',
    "student.epochs=2",
    "student.batch_size=16",
    "student.checkpoint_every_steps=1",
    "evaluation.bootstrap=50",
)
RUN = """
import sys
from pathlib import Path
from pocketcxr.pipeline.distill import run_distill
from pocketcxr.training.config import load_experiment
run_distill(Path(sys.argv[1]), load_experiment(None, sys.argv[3:]), sources=[Path(sys.argv[2])], progress=False)
"""


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    draw_synthetic_xrays(folder / "films", patients=30, seed=3, size=96, progress=False)
    return folder / "films"


@pytest.fixture(scope="module")
def finished(drawings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, run_distill(folder, load_experiment(None, TINY), sources=[drawings], progress=False)


def test_a_run_leaves_report_tables_bundle_and_its_configuration(finished):
    folder, result = finished
    assert result.report.read_text(encoding="utf-8").count("<table") >= 3
    table = json.loads((folder / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    assert {"teacher", "baseline student", "distilled student", "exported file"} <= set(json.dumps(table).split('"'))
    assert json.loads((folder / "experiment.json").read_text())["data"]["image_size"] == 32
    assert (folder / "index.rejected.csv").is_file()
    assert result.bundle.is_file()
    assert json.loads((folder / "teacher-check.json").read_text())["teacher_beats_student"] in (True, False)


def test_every_look_at_the_test_split_has_a_line_in_the_runs_log(finished):
    folder, result = finished
    log = folder / "test_split_opened.log"
    first, second = log.read_text(encoding="utf-8").splitlines()[:2]
    digest = sha256_of_file(checkpoint(folder / "student-distilled"))
    assert first.endswith(f"test split opened for export of the student {digest[:12]}")
    assert second.endswith(
        "test split opened for evaluation of teacher, baseline student, distilled student, exported file"
    )
    assert "was opened, this one included: 2 (test_split_opened.log)" in result.report.read_text(encoding="utf-8")
    assert dt.datetime.fromisoformat(first.split()[0]) <= dt.datetime.fromisoformat(second.split()[0])


def test_the_bundle_answers_as_the_student_does_on_every_kind_of_film(finished):
    folder, result = finished
    bundle = load_bundle(result.bundle)
    predictor = Predictor(bundle)
    rows = read_rows(folder / "splits.csv")
    suffixes = {row.path.rpartition(".")[2]: row.path for row in rows if row.split == "test"}
    assert {"png", "jpg", "dcm"} <= set(suffixes)
    for path in suffixes.values():
        answer = predictor.predict_file(Path(path))
        assert answer.decision in {*bundle.manifest.labels, "uncertain", "refused"}
    assert bundle.manifest.metrics["overall"]["auroc_macro"]["value"] is not None


def test_no_patient_stands_in_two_splits(finished):
    folder, _ = finished
    sides: dict[str, set[str]] = {}
    for row in read_rows(folder / "splits.csv"):
        if row.patient_id and row.split:
            sides.setdefault(row.patient_id, set()).add(row.split)
    assert sides
    assert all(len(splits) == 1 for splits in sides.values())


def test_calling_a_finished_run_again_trains_nothing(finished, drawings):
    folder, _ = finished
    kept = {name: checkpoint(folder / name) for name in ("teacher", "student-baseline", "student-distilled")}
    before = {name: path.stat().st_mtime_ns for name, path in kept.items()}
    run_distill(folder, load_experiment(folder / "experiment.json"), progress=False)
    assert {name: path.stat().st_mtime_ns for name, path in kept.items()} == before


def test_other_data_settings_or_sources_in_the_same_folder_are_refused(finished, tmp_path):
    folder, _ = finished
    with pytest.raises(ConfigError, match=r"data\.seed"):
        run_distill(folder, load_experiment(None, [*TINY, "data.seed=9"]), progress=False)
    with pytest.raises(ConfigError, match="other X-rays"):
        run_distill(folder, load_experiment(None, TINY), sources=[tmp_path], progress=False)


def test_stages_by_hand_give_the_same_student_as_the_whole_run(finished, tmp_path):
    folder, _ = finished
    experiment = load_experiment(None, TINY)
    run_train_teacher(tmp_path / "run", experiment, splits=folder / "splits.csv", progress=False)
    run_cache_views(tmp_path / "run", experiment, progress=False)
    run_train_student(tmp_path / "run", experiment, progress=False)
    mine, theirs = (load_network(checkpoint(run / "student-distilled"))[0] for run in (tmp_path / "run", folder))
    for name, tensor in theirs.state_dict().items():
        assert np.array_equal(tensor.numpy(), mine.state_dict()[name].numpy()), name


def test_a_split_table_that_leaks_stops_with_the_rows_named(finished, tmp_path):
    folder, _ = finished
    rows = read_rows(folder / "splits.csv")
    patient = next(row.patient_id for row in rows if row.patient_id and row.split == "train" and row.label)
    other = next(i for i, row in enumerate(rows) if row.split == "test" and row.label)
    rows[other] = dataclasses.replace(rows[other], patient_id=patient)
    write_rows(rows, tmp_path / "leaky.csv")
    with pytest.raises(LeakError) as caught:
        run_distill(tmp_path / "run", load_experiment(None, TINY), splits=tmp_path / "leaky.csv", progress=False)
    assert rows[other].path in str(caught.value)
    assert patient not in str(caught.value)


FOLDED = (*TINY, "teacher.folds=2", 'teacher.backbones=["mobilenetv2_035"]', 'teacher.weights=["scratch"]')


def test_a_cross_fitted_run_is_killed_and_goes_on_to_its_report(drawings, tmp_path):
    options = (*FOLDED, "student.losses={ce=0.5, kd=1.0}", "student.epochs=1")
    command = [sys.executable, "-c", RUN, str(tmp_path / "run"), str(drawings), *options]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    second = tmp_path / "run" / "teacher" / "fold-2"
    deadline = time.monotonic() + 120
    while process.poll() is None and not second.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    result = run_distill(tmp_path / "run", load_experiment(None, options), progress=False)
    assert {"teacher", "distilled student"} <= set(
        json.loads((tmp_path / "run" / "evaluation" / "evaluation.json").read_text())["models"]
    )
    assert load_network(tmp_path / "run" / "teacher" / "teacher.safetensors")[1].members == 2
    assert result.bundle.is_file()


def test_a_cross_fitted_run_refuses_embeddings_and_online_before_any_work(drawings, tmp_path):
    with pytest.raises(ConfigError, match=r"'embedding' cannot be used with teacher\.folds"):
        run_distill(tmp_path / "run", load_experiment(None, FOLDED), sources=[drawings], progress=False)
    experiment = load_experiment(None, [*FOLDED, "student.losses={ce=0.5, kd=1.0}"])
    with pytest.raises(ConfigError, match=r"teacher\.folds: --online would show"):
        run_distill(tmp_path / "run", experiment, sources=[drawings], online=True, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_table_saved_from_one_run_teaches_in_another(finished, tmp_path):
    folder, _ = finished
    table = tmp_path / "teacher.npz"
    assert run_cache_views(folder, load_experiment(None, TINY), save=table, progress=False) == table
    options = (*TINY, f'teacher.outputs=["{table}"]', "student.epochs=1")
    with pytest.raises(ConfigError, match=r"'embedding' cannot be used with teacher\.folds or teacher\.outputs"):
        run_distill(tmp_path / "no", load_experiment(None, options), splits=folder / "splits.csv", progress=False)
    experiment = load_experiment(None, (*options, "student.losses={ce=0.5, kd=1.0}"))
    run_distill(tmp_path / "run", experiment, splits=folder / "splits.csv", progress=False)
    with pytest.raises(ConfigError, match="there is no teacher to train"):
        run_train_teacher(tmp_path / "run", experiment, progress=False)
    found = json.loads((tmp_path / "run" / "evaluation" / "evaluation.json").read_text())["models"]
    assert {"baseline student", "distilled student"} <= set(found)
    assert "teacher" not in found
    assert not (tmp_path / "run" / "teacher").exists()


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_same_students(finished, drawings, tmp_path):
    folder, _ = finished
    command = [sys.executable, "-c", RUN, str(tmp_path / "run"), str(drawings), *TINY]
    kills = 0
    for wait_s in (4, 7, 9, 11, 12, 13, 14, 600):
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + wait_s
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        if process.wait() == 0:
            break
    assert kills > 0
    for name in ("teacher", "student-baseline", "student-distilled"):
        mine, theirs = (load_network(checkpoint(run / name))[0] for run in (tmp_path / "run", folder))
        for key, tensor in theirs.state_dict().items():
            assert np.array_equal(tensor.numpy(), mine.state_dict()[key].numpy()), f"{name} {key}"


def test_cross_validation_tests_every_image_once_and_states_its_level(drawings, tmp_path):
    experiment = load_experiment(None, [*TINY, "student.epochs=1"])
    result = run_crossval(
        tmp_path / "folds", experiment, sources=[drawings], folds=2, level="patient", models=["student"], progress=False
    )
    table = json.loads((tmp_path / "folds" / "evaluation" / "crossval.json").read_text())
    assert table["level"] == "patient"
    labelled = [row for row in read_rows(tmp_path / "folds" / "folds.csv") if row.label and row.fold]
    (predictions,) = (tmp_path / "folds" / "evaluation" / "predictions").glob("*.csv")
    assert len(predictions.read_text().splitlines()) - 1 == len(labelled)
    assert "by patient" in result.summary


def test_cross_validation_by_image_says_that_it_flatters(drawings, tmp_path):
    experiment = load_experiment(None, [*TINY, "student.epochs=1"])
    result = run_crossval(
        tmp_path / "folds", experiment, sources=[drawings], folds=2, level="image", models=["student"], progress=False
    )
    assert "flatters" in result.report.read_text(encoding="utf-8")
