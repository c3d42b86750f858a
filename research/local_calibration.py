"""How much calibration on a few local images gives back: 50, 100 or 200 of one source, measured on the rest of it.

Each source that a run's students were trained without (`pocketcxr leave-one-source-out`) is a hospital in turn. So many
images of it are drawn, patients whole; temperature, prediction sets and operating points are fitted to them as
`pocketcxr calibrate` does; the other patients are measured with the calibration from the sources of training and with
the new one.

    python research/local_calibration.py runs/mine -o docs/results/local_calibration.json

Expected: 30 ms per image, then seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.errors import DataError, PocketCxrError
from pocketcxr.evaluation.intervals import clusters
from pocketcxr.evaluation.local_gain import applied_figures, apply_calibration, subset
from pocketcxr.evaluation.model_result import calibrate
from pocketcxr.evaluation.scoring import score
from pocketcxr.files import write_json
from pocketcxr.pipeline.leave_one_source_out import leave_out, students_without
from pocketcxr.pipeline.prepare import prepare
from pocketcxr.pipeline.run import reopen_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.evaluation.model_result import Calibration
    from pocketcxr.evaluation.scoring import Predictions
    from pocketcxr.labels import Task

SIZES = (50, 100, 200)
DRAWS = 20
MIN_REST = 50
"""Images that must be left to measure on."""


def draw(members: NDArray[np.int64], size: int, *, seed: int) -> NDArray[np.bool_]:
    """Mask [n] of whole patients in random order, until they have `size` images or a few more."""
    patients, counts = np.unique(members, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(patients))
    taken = int(np.searchsorted(np.cumsum(counts[order]), size)) + 1
    return np.isin(members, patients[order[:taken]])


def measure_source(
    predictions: Predictions, members: NDArray[np.int64], before: Calibration, *, task: Task, config: EvaluationConfig
) -> dict[str, Any]:
    """Figures on the rest of a source, by number of images: mean, least and most over the draws, before and after.

    Args:
        predictions: of all images of the source.
        members: patient number [n].
        before: the calibration of the sources of training.
        task: the classes.
        config: coverage and operating points asked for.

    Returns:
        Size to figure to ``before`` and ``after``, each with ``mean``, ``least``, ``most``; sizes that leave fewer than
        `MIN_REST` images are left out.
    """
    found: dict[str, Any] = {}
    for size in (one for one in SIZES if one + MIN_REST <= len(members)):
        values: dict[str, dict[str, list[float]]] = {}
        for seed in range(DRAWS):
            local = draw(members, size, seed=seed)
            rest = subset(predictions, np.flatnonzero(~local))
            fitted = calibrate(subset(predictions, np.flatnonzero(local)), task, config, brings_temperature=False)
            ones = np.ones((1, len(rest.labels)))
            for side, calibration in (("before", before), ("after", fitted)):
                figures = applied_figures(apply_calibration(calibration, rest, task), rest.labels, ones, task)
                for name, value in figures.items():
                    values.setdefault(name, {}).setdefault(side, []).append(float(value[0]))
        found[str(size)] = {
            name: {side: _spread(draws) for side, draws in sides.items()} for name, sides in values.items()
        }
    return found


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    exist = [value for value in values if np.isfinite(value)]
    if not exist:
        return {"mean": None, "least": None, "most": None}
    return {"mean": float(np.mean(exist)), "least": min(exist), "most": max(exist)}


def measure(folder: Path, *, progress: bool = True) -> dict[str, Any]:
    """Every source with both sides of the positive class that a student of the run never saw, as `measure_source`.

    Raises:
        ConfigError: no run.
        DataError: the run has no student without a source, or none of these sources is large enough.
    """
    run = reopen_run(folder, progress=progress)
    dataset = prepare(run)
    task, config = dataset.task, dataclasses.replace(run.experiment.evaluation, calibration_source="")
    sources: dict[str, Any] = {}
    for source, predict in students_without(run, dataset).items():
        labelled = [i for i in np.flatnonzero(dataset.labels >= 0) if dataset.rows[i].split]
        own = np.array([i for i in labelled if dataset.rows[i].source == source], dtype=np.int64)
        positive = int((dataset.labels[own] == task.positive_index).sum())
        if len(own) < SIZES[0] + MIN_REST or positive in {0, len(own)}:
            continue
        rest = leave_out(dataset, source).positions("calibration")
        before, local = (score(f"without {source}", predict, dataset, positions) for positions in (rest, own))
        fitted = calibrate(before, task, config, brings_temperature=False)
        members = clusters([dataset.rows[i] for i in own])
        found = measure_source(local, members, fitted, task=task, config=config)
        sources[source] = {"images": len(own), "calibrated_on": found}
    if not sources:
        raise DataError(
            f"{folder}: expected students without a source that has {SIZES[0] + MIN_REST} images, with and without "
            f"{task.positive}, found none: run pocketcxr leave-one-source-out first"
        )
    return {"coverage": config.coverage, "draws": DRAWS, "sources": sources}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and say coverage and calibration error per source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run with students without a source")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        found = measure(options.run)
    except PocketCxrError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    write_json(options.output, found, allow_nan=False)
    for source, record in found["sources"].items():
        for size, figures in record["calibrated_on"].items():
            shown = [
                f"{name} {figures[name]['before']['mean']:.3f} -> {figures[name]['after']['mean']:.3f}"
                for name in ("coverage", "ece", "sensitivity@screening")
                if None not in (figures[name]["before"]["mean"], figures[name]["after"]["mean"])
            ]
            sys.stdout.write(f"{source}, {size} images: {', '.join(shown)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
