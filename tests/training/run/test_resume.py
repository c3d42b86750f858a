"""Killed at any step and started again, a run ends with the very weights of a run that never was."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import signal

import pytest
import tiny_runs
import torch

from pocketcxr.errors import CheckpointError
from pocketcxr.models.checkpoints import load_network, read_record
from pocketcxr.training.run.record import Table


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory):
    return tiny_runs.train_tiny_student(dataset, tmp_path_factory.mktemp("uninterrupted"))


def rows_in(path):
    try:
        return path.read_bytes().count(b"\n") - 1
    except FileNotFoundError:
        return 0


def start_and_kill(context, target, arguments, *, table, rows, number=signal.SIGKILL):
    """Run a child until its table has so many rows, then send the signal; return its exit code."""
    return tiny_runs.start_and_kill(context, target, arguments, reached=lambda: rows_in(table) >= rows, number=number)


def assert_same_weights(one, other):
    ours, theirs = (load_network(path)[0].state_dict() for path in (one, other))
    different = [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])]
    assert different == []


def test_a_student_killed_at_random_steps_ends_with_the_same_weights(processes, dataset, uninterrupted, tmp_path):
    out = tmp_path / "killed"
    kills = sorted(random.SystemRandom().sample(range(1, 8), 2))
    for rows in kills:
        code = start_and_kill(processes, tiny_runs.run_student, (str(out),), table=out / "metrics.csv", rows=rows)
        assert code == -signal.SIGKILL, f"the child ended by itself before row {rows}"
    best = tiny_runs.train_tiny_student(dataset, out)
    assert_same_weights(best, uninterrupted)
    assert read_record(best)["epoch"] == read_record(uninterrupted)["epoch"], kills
    killed, whole = (Table(path.parent / "metrics.csv", until=99, writes=False) for path in (best, uninterrupted))
    assert killed.column("step") == [float(step) for step in range(1, len(whole.rows) + 1)], kills
    assert killed.column("loss") == whole.column("loss"), kills
    assert (out / "epochs.csv").read_text() == (uninterrupted.parent / "epochs.csv").read_text()


def test_a_staged_teacher_killed_in_each_stage_ends_with_the_same_weights(processes, dataset, teacher, tmp_path):
    out = tmp_path / "killed"
    for folder, rows in (("backbone-1-" + tiny_runs.BACKBONE, 3), ("backbone-2-mobilenetv2_035", 5), ("fusion", 4)):
        code = start_and_kill(
            processes, tiny_runs.run_teacher, (str(out),), table=out / folder / "metrics.csv", rows=rows
        )
        assert code == -signal.SIGKILL, f"the child ended by itself before {folder}"
    assert_same_weights(tiny_runs.train_tiny_teacher(dataset, out), teacher)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_a_stop_signal_saves_the_step_it_comes_in(processes, dataset, uninterrupted, tmp_path, number, status):
    out = tmp_path / "stopped"
    code = start_and_kill(
        processes, tiny_runs.run_student, (str(out),), table=out / "metrics.csv", rows=3, number=number
    )
    assert code == status  # multiprocessing turns KeyboardInterrupt into 1; the command line into 130
    state = torch.load(out / "last.pt", weights_only=True)
    assert state["progress"]["step"] == rows_in(out / "metrics.csv")
    assert_same_weights(tiny_runs.train_tiny_student(dataset, out), uninterrupted)


def test_a_finished_run_returns_at_once(dataset, uninterrupted):
    before = {path.name: path.stat().st_mtime_ns for path in uninterrupted.parent.iterdir()}
    assert tiny_runs.train_tiny_student(dataset, uninterrupted.parent) == uninterrupted
    assert {path.name: path.stat().st_mtime_ns for path in uninterrupted.parent.iterdir()} == before
    assert "last.pt" not in before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 4}, "configuration.epochs was 3, now 4"),
        ({"learning_rate": 0.5}, "configuration.learning_rate was 0.001, now 0.5"),
        ({"losses": {"ce": 2.0}}, "configuration.losses.ce was 1.0, now 2.0"),
        ({"backbone": "mobilenetv2_035"}, "configuration.backbone was"),
    ],
)
def test_another_configuration_in_the_same_folder_is_refused(dataset, uninterrupted, change, message):
    config = dataclasses.replace(tiny_runs.BASELINE, **change)
    with pytest.raises(CheckpointError) as caught:
        tiny_runs.train_tiny_student(dataset, uninterrupted.parent, config)
    assert message in str(caught.value)


def test_other_data_in_the_same_folder_are_refused(uninterrupted):
    with pytest.raises(CheckpointError, match="data was 'tiny', now 'other'"):
        tiny_runs.train_tiny_student(tiny_runs.make_dataset(fingerprint="other"), uninterrupted.parent)


def test_how_often_a_state_is_saved_is_no_matter(dataset, uninterrupted):
    config = dataclasses.replace(tiny_runs.BASELINE, checkpoint_every_steps=50)
    assert tiny_runs.train_tiny_student(dataset, uninterrupted.parent, config) == uninterrupted


def test_a_damaged_state_is_one_clear_line(processes, dataset, tmp_path):
    out = tmp_path / "damaged"
    start_and_kill(processes, tiny_runs.run_student, (str(out),), table=out / "metrics.csv", rows=4)
    state = out / "last.pt"
    state.write_bytes(state.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged .* delete it") as caught:
        tiny_runs.train_tiny_student(dataset, out)
    assert "\n" not in str(caught.value)
    state.unlink()
    assert tiny_runs.train_tiny_student(dataset, out).exists()


def test_a_damaged_configuration_file_is_one_clear_line(dataset, tmp_path):
    (tmp_path / "config.json").write_text('{"stage": ')
    with pytest.raises(CheckpointError, match=r"cannot read .*config\.json"):
        tiny_runs.train_tiny_student(dataset, tmp_path)


def test_a_run_leaves_its_whole_record(uninterrupted):
    folder = uninterrupted.parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors",
        "config.json",
        "curves.png",
        "environment.json",
        "epochs.csv",
        "finished.json",
        "metrics.csv",
    ]
    config = json.loads((folder / "config.json").read_text())
    assert config["configuration"]["learning_rate"] == 0.001
    assert config["data"] == "tiny"
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0] or environment["packages"]["torch"]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def former(folder):
    """Give a run's folder the names that earlier versions wrote."""
    for name, pairs in {
        "config.json": (('"ce":', '"hard":'), ('"kd":', '"soft":')),
        "metrics.csv": (("loss_ce", "loss_hard"), ("loss_kd", "loss_soft")),
    }.items():
        text = (folder / name).read_text()
        assert any(present in text for present, _ in pairs)
        for present, before in pairs:
            text = text.replace(present, before)
        (folder / name).write_text(text)


def test_a_finished_run_of_an_earlier_version_returns_at_once(dataset, uninterrupted, tmp_path):
    folder = tmp_path / "earlier"
    shutil.copytree(uninterrupted.parent, folder)
    former(folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert tiny_runs.train_tiny_student(dataset, folder) == folder / "best.safetensors"
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_stopped_run_of_an_earlier_version_goes_on_to_the_same_weights(processes, dataset, uninterrupted, tmp_path):
    out = tmp_path / "earlier"
    start_and_kill(processes, tiny_runs.run_student, (str(out),), table=out / "metrics.csv", rows=4)
    assert not (out / "finished.json").exists()
    former(out)
    assert_same_weights(tiny_runs.train_tiny_student(dataset, out), uninterrupted)
    table = Table(out / "metrics.csv", until=10**9, writes=False)
    assert "loss_hard" not in table.rows[0]
    assert all(row["loss_ce"] for row in table.rows)
