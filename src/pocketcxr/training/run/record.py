"""The folder a run leaves: configuration, environment, metrics per step and per epoch, curves, and its end."""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import CheckpointError, TrainingError
from pocketcxr.files import write_csv, write_json
from pocketcxr.former_names import with_current_names
from pocketcxr.training.environment import environment_record
from pocketcxr.training.run.identity import SAMPLED_SOURCES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG, ENVIRONMENT, STEPS, EPOCHS, CURVES, FINISHED = (
    "config.json", "environment.json", "metrics.csv", "epochs.csv", "curves.png", "finished.json"
)  # fmt: skip


def open_run(out: Path, identity: Mapping[str, Any]) -> None:
    """Make a stage's folder, or make sure that the one found is of the same configuration and data.

    Args:
        out: the folder.
        identity: all that the final weights depend on; plain JSON values.

    Raises:
        CheckpointError: the folder belongs to another configuration; the first field that differs is named.
        TrainingError: the folder cannot be written.
    """
    wanted = json.loads(json.dumps(identity, default=str))
    path = out / CONFIG
    if path.exists():
        try:
            found = with_current_names(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot read {path} ({error}): delete the folder {out} to start again") from error
        if SAMPLED_SOURCES not in found:  # runs of earlier versions do not say
            wanted.pop(SAMPLED_SOURCES, None)
        difference = _difference(found, wanted, "")
        if difference:
            raise CheckpointError(
                f"{out} holds a run of another configuration: {difference}; set it back, or choose another folder"
            )
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / ENVIRONMENT, environment_record())
        write_json(path, wanted)
    except OSError as error:
        raise TrainingError(f"cannot write {out}: {error.strerror or error}") from error


def finished(out: Path) -> dict[str, Any] | None:
    """What a finished stage ended with, or None while it has not."""
    try:
        return json.loads((out / FINISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class Table:
    """A CSV file that grows row by row and can be cut back to where a resumed run goes on."""

    def __init__(self, path: Path, *, until: int, writes: bool = True) -> None:
        """Open `path`, keeping rows whose ``step`` is at most `until`; one process of several `writes`."""
        self.path = path
        self.writes = writes
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                read = map(with_current_names, csv.DictReader(stream))
                whole = (row for row in read if None not in row.values())
                self.rows = [row for row in whole if row["step"].isdigit() and int(row["step"]) <= until]
            self._rewrite()

    def append(self, row: Mapping[str, float]) -> None:
        """Add one row; new columns are put behind the old ones."""
        texts = {name: f"{value:.7g}" if isinstance(value, float) else str(value) for name, value in row.items()}
        fits = bool(self.rows) and texts.keys() <= self.rows[0].keys()
        self.rows.append(texts)
        if not fits:
            self._rewrite()
        elif self.writes:
            self._add(texts)

    def _add(self, texts: Mapping[str, str]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, list(self.rows[0])).writerow(texts)

    def column(self, name: str) -> list[float]:
        """All values of a column, NaN where a row has none."""
        return [float(row.get(name) or math.nan) for row in self.rows]

    def _rewrite(self) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        self.rows = [{name: row.get(name, "") for name in names} for row in self.rows]
        if self.writes:
            write_csv(self.path, names, (row.values() for row in self.rows))


def draw_curves(out: Path) -> None:
    """Draw ``curves.png`` from the metrics in a run's folder: loss parts by step, calibration figures by epoch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps, epochs = (Table(out / name, until=2**62, writes=False) for name in (STEPS, EPOCHS))
    if not steps.rows:
        return
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    x = steps.column("step")
    for name in steps.rows[0]:
        if name == "loss" or name.startswith("loss_"):
            left.plot(x, _smooth(steps.column(name)), label=name.removeprefix("loss_"), linewidth=1.2)
    left.set(xlabel="step", ylabel="loss (running mean)", title="training")
    left.legend(frameon=False)
    for name in ("auroc", "cross_entropy", "accuracy"):
        if epochs.rows and name in epochs.rows[0]:
            right.plot(
                epochs.column("epoch"), epochs.column(name), marker="o", markersize=3, label=name.replace("_", " ")
            )
    right.set(xlabel="epoch", title="calibration split, averaged weights")
    if right.lines:
        right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out / CURVES, dpi=110)


def _smooth(values: list[float], decay: float = 0.9) -> list[float]:
    mean, weight, smooth = 0.0, 0.0, []
    for value in values:
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        smooth.append(mean / weight)
    return smooth


def _difference(found: Any, wanted: Any, where: str) -> str | None:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in sorted({*found, *wanted}):
            place = f"{where}.{name}" if where else name
            inner = _difference(found.get(name), wanted.get(name), place)
            if inner:
                return inner
        return None
    return None if found == wanted else f"{where} was {found!r}, now {wanted!r}"
