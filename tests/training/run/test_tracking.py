"""What trackers were sent, read back by their own readers, is what stands in the stage's tables."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tiny_runs

from pocketcxr.cli import main
from pocketcxr.errors import ConfigError
from pocketcxr.models.checkpoints import checkpoint_sha256
from pocketcxr.training.config import load_experiment
from pocketcxr.training.run import tracking
from pocketcxr.training.run.record import Table
from pocketcxr.training.run.tracking import Tracked, Tracking

TRACKED = dataclasses.replace(tiny_runs.BASELINE, track=("tensorboard",))
MLFLOW = dataclasses.replace(tiny_runs.BASELINE, track=("mlflow",))


def in_tables(out):
    """Column to its (step, value) pairs, of both tables of a stage."""
    found = {}
    for name in ("metrics.csv", "epochs.csv"):
        for row in Table(out / name, until=2**62, writes=False).rows:
            for column, text in row.items():
                if column not in ("step", "epoch") and text:
                    found.setdefault(column, []).append((int(row["step"]), float(text)))
    return found


def in_event_files(out):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def rounded(columns):
    return {name: [(step, float(np.float32(value))) for step, value in pairs] for name, pairs in columns.items()}


def stopped(dataset, out, config):
    """Train until the fifth row of the tables, and be stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Table, "append", tiny_runs.stop_after(5))
        try:
            tiny_runs.train_tiny_student(dataset, out, config)
        except KeyboardInterrupt:
            return
    raise AssertionError("nothing stopped it")


@pytest.fixture
def eager(monkeypatch):
    """Send after every step."""
    monkeypatch.setattr(tracking, "_PERIOD_S", 0.0)


@pytest.mark.usefixtures("eager")
def test_event_files_hold_the_tables_of_a_student_that_was_stopped_and_went_on(dataset, tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    out = tmp_path / "student"
    stopped(dataset, out, TRACKED)
    assert in_event_files(out)["loss"] == rounded(in_tables(out))["loss"]
    best = tiny_runs.train_tiny_student(dataset, out, TRACKED)
    tables = in_tables(out)
    assert {"loss", "learning_rate", "images_per_s", "auroc", "cross_entropy", "best"} <= set(tables)
    assert in_event_files(out) == rounded(tables)
    plain = tiny_runs.train_tiny_student(dataset, tmp_path / "plain")
    assert checkpoint_sha256(best) == checkpoint_sha256(plain)  # weights and record: tracking is in neither
    assert (out / "config.json").read_text() == (tmp_path / "plain" / "config.json").read_text()


def test_a_run_that_was_begun_without_a_tracker_is_sent_whole(dataset, tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    out = tmp_path / "student"
    stopped(dataset, out, tiny_runs.BASELINE)
    assert not list(out.glob("events.*"))
    tiny_runs.train_tiny_student(dataset, out, TRACKED)
    assert in_event_files(out) == rounded(in_tables(out))


class Unsteady:
    """A tracker that is away at its third and fourth calls, and keeps what it got, as a server does."""

    calls = 0
    rows: ClassVar[list[dict[str, str]]] = []
    statuses: ClassVar[list[str]] = []

    def __init__(self, _stage):
        steps = [int(row["step"]) for row in self.rows if "loss" in row]
        epochs = [int(row["step"]) for row in self.rows if "best" in row]
        self.sent = [max(steps, default=0), max(epochs, default=0)]

    def write(self, rows):
        type(self).calls += 1
        if self.calls in (3, 4):
            raise ConnectionError("no\nanswer")
        self.rows.extend(rows)

    def close(self, status):
        self.statuses.append(status)


@pytest.mark.usefixtures("eager")
def test_a_tracker_that_was_away_gets_everything_and_costs_one_line(dataset, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tracking, "_PAUSE_S", 0.0)
    monkeypatch.setitem(tracking._TRACKERS, "mlflow", Unsteady)
    out = tmp_path / "student"
    best = tiny_runs.train_tiny_student(dataset, out, MLFLOW)
    assert Unsteady.calls > 5
    assert [record.message for record in caplog.records if "mlflow" in record.message] == [
        f"mlflow does not get the figures of {out}: no answer"
    ]
    for name, mark in (("metrics.csv", "loss"), ("epochs.csv", "best")):
        wanted = Table(out / name, until=2**62, writes=False).rows
        assert [row for row in Unsteady.rows if mark in row] == wanted
    assert Unsteady.statuses == ["FINISHED"]
    assert checkpoint_sha256(best) == checkpoint_sha256(tiny_runs.train_tiny_student(dataset, tmp_path / "plain"))


def test_a_tracker_that_never_answers_costs_one_line(dataset, tmp_path, monkeypatch, caplog):
    def away(_stage):
        raise OSError

    monkeypatch.setitem(tracking._TRACKERS, "mlflow", away)
    tiny_runs.train_tiny_student(dataset, tmp_path / "student", MLFLOW)
    assert [record.message.rpartition(": ")[2] for record in caplog.records if "mlflow" in record.message] == [
        "OSError"
    ]


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError(), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_trackers_are_told_how_a_stage_ended(tmp_path, monkeypatch, error, status):
    told = []
    monkeypatch.setitem(
        tracking._TRACKERS,
        "mlflow",
        lambda _stage: type("Closed", (), {"sent": [], "close": lambda _, s: told.append(s)})(),
    )
    tracker = Tracking(["mlflow"], Tracked(tmp_path, {}), [])
    try:
        with tracker:
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert told == [status]


def test_the_option_sets_both_tables_and_names_are_checked(tmp_path, capsys):
    experiment = load_experiment(None, ["student.track=['tensorboard', 'mlflow']"])
    assert experiment.student.track == ("tensorboard", "mlflow")
    with pytest.raises(ConfigError, match=r"student\.track: expected some of .*tensorboard.*found \['wandb'\]"):
        load_experiment(None, ["student.track=['wandb']"])
    for command in ("distill", "train-teacher", "train-student", "leave-one-source-out", "crossval"):
        assert main([command, "-o", str(tmp_path / "run"), "--track", "tensorboard,wandb"]) == 2
        assert "teacher.track: expected some of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# With MLflow itself: too large for the test requirements (19 packages, 50 MB).

SLOW = pytest.mark.slow


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    found = pytest.importorskip("mlflow", reason="needs the extra mlflow: 50 MB that make test does not install")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'tracked.db'}")
    return found


def in_mlflow(client, run):
    names = client.get_run(run).data.metrics
    return {name: [(one.step, one.value) for one in client.get_metric_history(run, name)] for name in names}


def run_of(out):
    return json.loads((out / "mlflow.json").read_text())["run"]


@SLOW
@pytest.mark.usefixtures("eager")
@pytest.mark.filterwarnings("default")  # of MLflow and what it imports
def test_mlflow_holds_the_tables_of_a_student_that_was_stopped_and_went_on(mlflow, dataset, tmp_path, monkeypatch):
    out = tmp_path / "runs" / "student"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "chests")
    stopped(dataset, out, MLFLOW)
    client, first = mlflow.MlflowClient(), run_of(out)
    assert client.get_run(first).info.status == "KILLED"
    tiny_runs.train_tiny_student(dataset, out, MLFLOW)
    assert run_of(out) == first
    found = client.get_run(first)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "runs/student")
    assert client.get_experiment(found.info.experiment_id).name == "chests"
    assert found.data.params["configuration.epochs"] == "3"
    assert found.data.params["data"] == "tiny"
    assert set(found.data.tags) == {"mlflow.runName"}  # no name of a user or of a machine
    tables, sent = in_tables(out), in_mlflow(client, first)
    tables.pop("images_per_s"), sent.pop("images_per_s")  # of steps that were taken again
    assert sent == tables


_STUDENT = """
import sys
import tiny_runs
from pathlib import Path
import dataclasses
from pocketcxr.training.run import tracking
tracking._PERIOD_S = 0.0
tiny_runs.train_tiny_student(
    tiny_runs.make_dataset(), Path(sys.argv[1]), dataclasses.replace(tiny_runs.BASELINE, track=("mlflow",))
)
"""


def student_process(out, **environment):
    here = str(Path(tiny_runs.__file__).parent)
    paths = os.pathsep.join([here, *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", _STUDENT, str(out)],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@SLOW
@pytest.mark.filterwarnings("default")
def test_a_killed_student_goes_on_in_its_run_of_mlflow(mlflow, tmp_path):
    out = tmp_path / "runs" / "student"
    process = student_process(out)
    table = out / "metrics.csv"
    while process.poll() is None and (not table.exists() or table.read_text().count("\n") < 5):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    again = student_process(out)
    assert again.communicate()[1].strip() == ""
    tables, sent = in_tables(out), in_mlflow(mlflow.MlflowClient(), run_of(out))
    tables.pop("images_per_s"), sent.pop("images_per_s")
    assert sent == tables


@SLOW
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("mlflow")
@pytest.mark.parametrize("answers", [False, True], ids=["no server", "a server that says nothing"])
def test_a_lost_server_costs_one_line_and_no_step(dataset, tmp_path, answers):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not answers:
            server.close()
        process = student_process(tmp_path / "student", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
        told = process.communicate()[1].splitlines()
    assert process.returncode == 0, told
    assert len([line for line in told if line.startswith("mlflow does not get the figures of")]) == 1, told
    plain = tiny_runs.train_tiny_student(dataset, tmp_path / "plain")
    assert checkpoint_sha256(tmp_path / "student" / "best.safetensors") == checkpoint_sha256(plain)
