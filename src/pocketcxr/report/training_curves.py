"""Training curves from the ``metrics.csv`` and ``epochs.csv`` of run folders, whatever columns a run wrote."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pocketcxr.report.plots import Axis, Series, line_chart

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_POINTS = 80  # a loss of every step is averaged into this many points

_FILES = ("metrics.csv", "epochs.csv")


class Curve(NamedTuple):
    """One column of a run: points (x, value); `axis` says what x counts, ``epoch`` or ``step``."""

    axis: str
    points: list[tuple[float, float]]


def read_curves(folder: Path) -> dict[str, Curve]:
    """Read the numeric columns of a run folder's tables, by name.

    Epochs are the horizontal axis where a file has more than one (steps of runs with other batch sizes cannot be
    compared), else steps. Rows of one epoch are averaged. Empty and non-numeric cells are left out; a file that is
    missing or cannot be read gives no curves, because a report without them is better than none.
    """
    found: dict[str, Curve] = {}
    for name in _FILES:
        try:
            with (folder / name).open(newline="", encoding="utf-8") as stream:
                records = list(csv.DictReader(stream))
        except (OSError, UnicodeDecodeError, csv.Error):
            continue
        for column, curve in _columns(records).items():
            found.setdefault(column, curve)
    return found


def _columns(records: list[dict[str, str]]) -> dict[str, Curve]:
    epochs = {value for record in records if (value := _number(record.get("epoch"))) is not None}
    axis = "epoch" if len(epochs) > 1 else "step"
    gathered: dict[str, dict[float, list[float]]] = {}
    for place, record in enumerate(records):
        x = _number(record.get(axis))
        for name, text in record.items():
            value = _number(text)
            if name and name not in ("step", "epoch") and value is not None:
                gathered.setdefault(name, {}).setdefault(float(place) if x is None else x, []).append(value)
    return {
        name: Curve(axis, [(x, sum(values) / len(values)) for x, values in sorted(points.items())])
        for name, points in gathered.items()
    }


def training_charts(runs: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Draw what runs have in common: the loss, and what was watched to choose the weights.

    Args:
        runs: model name to run folder.

    Returns:
        Pairs of caption and SVG; empty where no run left metrics.
    """
    read = {name: read_curves(folder) for name, folder in runs.items()}
    charts = []
    for words, wanted in (
        ("Training loss", ("train_loss", "loss/total", "loss")),
        ("Watched on the calibration split", ("auroc", "balanced_accuracy", "accuracy")),
    ):
        series: list[Series] = []
        upward: dict[str, None] = {}
        across: dict[str, None] = {}
        for place, (name, columns) in enumerate(read.items()):
            column = _choose(columns, wanted)
            if column is not None:
                points = _averaged(columns[column].points)
                series.append(Series(name, points, place, markers=len(points) <= _POINTS // 2))
                upward.setdefault(column.replace("_", " "))
                across.setdefault(columns[column].axis)
        if series:
            last = "; ".join(f"{one.name} ends at {one.points[-1][1]:.3f}" for one in series)
            x, y = Axis(" or ".join(across)), Axis(", ".join(upward))
            charts.append((words, line_chart(series, x, y, title=words, description=f"{last}.")))
    return charts


def _choose(columns: Mapping[str, Curve], wanted: tuple[str, ...]) -> str | None:
    """First wanted column: by its whole name, else by a part of it."""
    for name in wanted:
        exact = [column for column in columns if column == name]
        part = [column for column in columns if name in column.lower()]
        if exact or part:
            return (exact or part)[0]
    return None


def _averaged(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= _POINTS:
        return points
    parts = np.array_split(np.array(points), _POINTS)
    return [(float(part[-1, 0]), float(part[:, 1].mean())) for part in parts]


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except (ValueError, TypeError):
        return None
    return value if math.isfinite(value) else None
