"""How much calibration on a few local images gives back: 50, 100 or 200 of one source, measured on the rest of it.

Each source of a table is a hospital in turn: so many images of it are drawn, patients whole, temperature, prediction
sets and operating points are fitted to them as `pocketcxr calibrate` does, and the other patients are measured with the
bundle's own calibration and with the new one. The sources must have taken no part in the bundle's training.

    python research/local_calibration.py student.onnx index.csv -o local_calibration.json

Expected: 30 ms per image, then seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.data.rows import is_frontal_xray, read_rows
from pocketcxr.data.splits.assign import label_rows
from pocketcxr.errors import DataError, PocketCxrError
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.intervals import clusters
from pocketcxr.evaluation.local_gain import applied_figures, apply_calibration, subset
from pocketcxr.evaluation.model_result import calibrate
from pocketcxr.files import write_json
from pocketcxr.inference.session import load_bundle
from pocketcxr.labels import load_task
from pocketcxr.pipeline.calibrate import bundle_calibrations
from pocketcxr.pipeline.local_images import bundle_task, score_local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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
        before: the bundle's own calibration.
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


def measure(bundle_path: Path, table: Path, *, task_name: str | None = None, progress: bool = True) -> dict[str, Any]:
    """Every source of the table that has both sides of the positive class, as `measure_source`.

    Raises:
        DataError: no source is large enough.
    """
    bundle = load_bundle(bundle_path)
    manifest, task = bundle.manifest, bundle_task(bundle.manifest)
    rows = read_rows(table)
    if not any(row.label for row in rows):
        rows = label_rows(rows, load_task(task_name or manifest.task))
    rows = [row for row in rows if row.label in manifest.labels and is_frontal_xray(row)]
    config = EvaluationConfig(coverage=manifest.conformal_coverage)
    sources: dict[str, Any] = {}
    for source in sorted({row.source for row in rows}):
        own = [row for row in rows if row.source == source]
        sides = [sum((row.label == manifest.positive) is side for row in own) for side in (True, False)]
        if len(own) < SIZES[0] + MIN_REST or min(sides) == 0:
            continue
        local = score_local(bundle, own, {}, progress=progress)
        found = measure_source(
            local.parts[0].predictions, clusters(local.rows), bundle_calibrations(manifest)[0], task=task, config=config
        )
        sources[source] = {"images": len(local.rows), "left_out": local.left_out, "calibrated_on": found}
    if not sources:
        raise DataError(
            f"{table}: no source has {SIZES[0] + MIN_REST} images with and without {manifest.positive}: add images"
        )
    return {"bundle_sha256": bundle.sha256, "coverage": config.coverage, "draws": DRAWS, "sources": sources}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and say coverage and calibration error per source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("table", type=Path, help="index with images of one or more sources")
    parser.add_argument("--task", help="maps findings to the bundle's classes (default: the bundle's)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        found = measure(options.bundle, options.table, task_name=options.task)
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
