"""TensorBoard and MLflow beside a stage's tables: what is in the tables is sent on, and a lost server stops nothing."""

# MLflow is an extra that the checks do without.
# pyright: reportMissingImports=false

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from pocketcxr.files import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pocketcxr.training.run.record import Table

    Row = Mapping[str, str]

MLFLOW_RUN = "mlflow.json"
_PERIOD_S, _PAUSE_S = 20.0, 300.0
"""Least time between two sendings, and after one that failed."""

_QUICK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""MLflow's own patience is minutes, during which no step is taken; what was not sent is sent later here."""

_MOST_METRICS, _MOST_PARAMETERS, _LONGEST = 1000, 100, 500
"""Limits of one request to an MLflow server, and of a parameter's text."""

_COLUMNS = ("loss", "best")
"""A column that every row of the table of steps has, and one of the table of epochs."""

_LOGGER = logging.getLogger("pocketcxr")


@dataclass(frozen=True)
class Tracked:
    """The stage whose tables are sent: its folder, and all that its weights depend on."""

    out: Path
    identity: Mapping[str, Any]


class Tracker(Protocol):
    """What gets the rows of a stage's tables; `sent` is the last step that it has of each."""

    sent: list[int]

    def write(self, rows: Sequence[Row]) -> None:
        """Take rows in."""

    def close(self, status: str) -> None:
        """The stage has ended: ``FINISHED``, ``FAILED`` or ``KILLED``."""


class Tracking:
    """Sends the rows of a stage's tables, of steps and of epochs, to trackers: every some seconds, and all at the end.

    A tracker that cannot be reached costs one line. What it missed is sent when it can be reached again, while the
    stage trains or when it is resumed; the files have everything.
    """

    def __init__(self, names: Sequence[str], stage: Tracked, tables: Sequence[Table]) -> None:
        """Send `tables` to the trackers of these `names`."""
        self._stage, self._tables = stage, tables
        self._due = dict.fromkeys(names, 0.0)
        self._open: dict[str, Tracker] = {}
        self._warned: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        finished = kind is None
        status = "FINISHED" if finished else "FAILED" if issubclass(kind, Exception) else "KILLED"
        for name in self._due:
            if finished or name not in self._warned:
                self._try(name, lambda tracker: (self._send(tracker), tracker.close(status)))

    def send(self) -> None:
        """Send what is new to each tracker whose turn it is."""
        now = time.monotonic()
        for name, due in self._due.items():
            if now >= due:
                self._due[name] = now + _PERIOD_S
                self._try(name, self._send)

    def _send(self, tracker: Tracker) -> None:
        new = [_after(table, step) for table, step in zip(self._tables, tracker.sent, strict=True)]
        if any(new):
            tracker.write([row for rows in new for row in rows])
            tracker.sent = [_last(rows, step) for rows, step in zip(new, tracker.sent, strict=True)]

    def _try(self, name: str, action: Callable[[Tracker], object]) -> None:
        try:
            if name not in self._open:
                self._open[name] = _TRACKERS[name](self._stage)
            action(self._open[name])
        except Exception as error:  # noqa: BLE001  # whatever a server or its client does, the training goes on
            self._due[name] = time.monotonic() + _PAUSE_S
            self._open.pop(name, None)  # opened anew, it says what it has
            if name not in self._warned:
                self._warned.add(name)
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                _LOGGER.warning("%s does not get the figures of %s: %s", name, self._stage.out, reason)


class _TensorBoard:
    """An event file in the stage's folder."""

    def __init__(self, stage: Tracked) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.sent = [0, 0]
        # A reader drops what stood there before: all rows are written again.
        self._writer = SummaryWriter(str(stage.out), purge_step=0)
        self._writer.add_text("configuration", f"```json\n{json.dumps(stage.identity, indent=2, default=str)}\n```", 0)

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for name, value in _figures(row):
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()

    def close(self, status: str) -> None:  # noqa: ARG002  # event files have none
        self._writer.close()


class _MLflow:
    """A run of MLflow, where its environment variables say, or in ``mlflow.db`` of the working directory."""

    def __init__(self, stage: Tracked) -> None:
        for name, value in _QUICK.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client = MlflowClient()
        self._run = self._former(stage) or self._new(stage)
        histories = [self._client.get_metric_history(self._run, column) for column in _COLUMNS]
        self.sent = [max((metric.step for metric in history), default=0) for history in histories]

    def write(self, rows: Sequence[Row]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, int(row["step"])) for row in rows for name, value in _figures(row)]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._run, metrics=metrics[start : start + _MOST_METRICS])

    def close(self, status: str) -> None:
        self._client.set_terminated(self._run, status)

    def _former(self, stage: Tracked) -> str | None:
        """The run of a stage that was stopped, running again; None where MLflow has none."""
        from mlflow.exceptions import MlflowException

        if not (stage.out / MLFLOW_RUN).is_file():
            return None
        run = json.loads((stage.out / MLFLOW_RUN).read_text(encoding="utf-8"))["run"]
        try:
            self._client.update_run(run, status="RUNNING")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run

    def _new(self, stage: Tracked) -> str:
        from mlflow.entities import Param

        number, name = (os.environ.get(f"MLFLOW_EXPERIMENT_{word}") for word in ("ID", "NAME"))
        if not number:
            found = self._client.get_experiment_by_name(name or "pocketcxr")
            number = found.experiment_id if found else self._client.create_experiment(name or "pocketcxr")
        run = self._client.create_run(number, run_name=f"{stage.out.parent.name}/{stage.out.name}").info.run_id
        parameters = [Param(name, str(value)[:_LONGEST]) for name, value in _flat(stage.identity)]
        for start in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(run, params=parameters[start : start + _MOST_PARAMETERS])
        write_json(stage.out / MLFLOW_RUN, {"run": run})
        return run


_TRACKERS: dict[str, Callable[[Tracked], Tracker]] = {"tensorboard": _TensorBoard, "mlflow": _MLflow}
"""Name of an extra and of the value in `track` to what it opens."""


def _figures(row: Row) -> Iterator[tuple[str, float]]:
    """Columns of a row that are finite numbers; its step and epoch say when."""
    for name, text in row.items():
        if name not in ("step", "epoch") and text and math.isfinite(value := float(text)):
            yield name, value


def _after(table: Table, step: int) -> Sequence[Row]:
    new = itertools.takewhile(lambda row: int(row["step"]) > step, reversed(table.rows))
    return list(new)[::-1]


def _last(rows: Sequence[Row], step: int) -> int:
    return int(rows[-1]["step"]) if rows else step


def _flat(table: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{place}{name}.")
        else:
            yield f"{place}{name}", value
