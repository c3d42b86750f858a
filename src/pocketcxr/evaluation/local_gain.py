"""What calibration on local images gains, estimated by cross-validation on those images.

Each image is measured with what was fitted on the patients of the other folds, and with what the bundle brought; the
difference is paired over resampled patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.evaluation.calibration import conformal_sets
from pocketcxr.evaluation.intervals import Estimate, Replicates, bootstrap, interval, not_measurable
from pocketcxr.evaluation.metrics import figures
from pocketcxr.evaluation.model_result import calibrate
from pocketcxr.evaluation.operating_points import CONFIRMING, SCREENING
from pocketcxr.evaluation.scoring import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.evaluation.model_result import Calibration
    from pocketcxr.labels import Task

FOLDS = 5


@dataclass(frozen=True)
class Gain:
    """One figure before and after, and `gain`: by how much it came nearer to `target`, with its 95 % interval.

    `target` is None where a figure has none; `gain` is then not measurable.
    """

    name: str
    target: float | None
    before: Estimate
    after: Estimate
    gain: Estimate

    @property
    def gained(self) -> bool:
        """Whether the whole interval of the gain lies above 0."""
        return self.gain.low is not None and self.gain.low > 0

    @property
    def lost(self) -> bool:
        """Whether the whole interval of the gain lies below 0."""
        return self.gain.high is not None and self.gain.high < 0

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        estimates = {name: getattr(self, name).as_json() for name in ("before", "after", "gain")}
        return {"target": self.target, **estimates, "gained": self.gained, "lost": self.lost}


@dataclass(frozen=True)
class Applied:
    """What a calibration says of n images.

    `probabilities` float64 [n, classes]; `sets` bool [n, classes]; `called` maps an operating point to float [n]: 1 at
    or above its threshold, 0 below, NaN where there is no such point.
    """

    probabilities: NDArray[np.float64]
    sets: NDArray[np.bool_]
    called: dict[str, NDArray[np.float64]]


def subset(predictions: Predictions, positions: NDArray[np.int64]) -> Predictions:
    """The predictions for some of the images, by their place."""
    return Predictions(
        predictions.name,
        predictions.positions[positions],
        predictions.labels[positions],
        predictions.probabilities[positions],
        predictions.logits[positions],
    )


def patient_folds(labels: NDArray[np.int64], members: NDArray[np.int64], *, folds: int, seed: int) -> NDArray[np.int64]:
    """Fold [n] of each image: patients stay whole, and every fold gets its share of the patients of each class.

    Args:
        labels: int [n]; a patient counts for the class of the first image.
        members: patient number [n], from `intervals.clusters`.
        folds: their number.
        seed: other seeds assign the patients otherwise.
    """
    patients, first = np.unique(members, return_index=True)
    order = np.random.default_rng(seed).permutation(len(patients))
    order = order[np.argsort(labels[first][order], kind="stable")]
    fold = np.empty(len(patients), dtype=np.int64)
    fold[order] = np.arange(len(patients)) % folds
    return fold[np.searchsorted(patients, members)]


def cross_validated_gain(
    predictions: Predictions,
    members: NDArray[np.int64],
    before: Calibration,
    *,
    task: Task,
    config: EvaluationConfig,
    folds: int = FOLDS,
) -> tuple[Gain, ...]:
    """Figures on local images with the calibration that a bundle brought, and with one fitted on other local patients.

    Args:
        predictions: of the local images.
        members: patient number [n] of the images.
        before: what the bundle brought.
        task: the classes.
        config: coverage and operating points asked for; resamples and seed.
        folds: of the cross-validation.
    """
    fold = patient_folds(predictions.labels, members, folds=folds, seed=config.seed)
    parts: list[Applied] = []
    for number in range(folds):
        others = subset(predictions, np.flatnonzero(fold != number))
        fitted = calibrate(others, task, config, brings_temperature=False)
        parts.append(apply_calibration(fitted, subset(predictions, np.flatnonzero(fold == number)), task))
    applied = {"before": apply_calibration(before, predictions, task), "after": _joined(parts, fold)}
    return compared(applied["before"], applied["after"], predictions.labels, members, task=task, config=config)


def compared(
    before: Applied,
    after: Applied,
    labels: NDArray[np.int64],
    members: NDArray[np.int64],
    *,
    task: Task,
    config: EvaluationConfig,
) -> tuple[Gain, ...]:
    """Every figure of two calibrations of the same images, and the gain where the figure has a target."""
    targets = {
        "ece": 0.0,
        "ece_positive": 0.0,
        "coverage": config.coverage,
        f"sensitivity@{SCREENING}": config.screening_sensitivity,
        f"specificity@{CONFIRMING}": config.confirming_specificity,
    }
    patients = int(members.max()) + 1
    measures = {
        name: lambda weights, one=one: applied_figures(one, labels, weights, task)
        for name, one in (("before", before), ("after", after))
    }
    whole = {name: measure(np.ones((1, len(labels)))) for name, measure in measures.items()}
    drawn = bootstrap(measures, members, count=config.bootstrap, seed=config.seed)
    gains: list[Gain] = []
    for name in whole["before"]:
        value = {side: float(whole[side][name][0]) for side in measures}
        estimates = {side: interval(name, value[side], drawn[side][name], patients=patients) for side in measures}
        target = targets.get(name)
        gain = not_measurable("no target")
        if target is not None:
            miss = {side: np.abs(drawn[side][name] - target) for side in measures}
            nearer = abs(value["before"] - target) - abs(value["after"] - target)
            gain = interval("gain", nearer, miss["before"] - miss["after"], patients=patients)
        gains.append(Gain(name, target, estimates["before"], estimates["after"], gain))
    return tuple(gains)


def apply_calibration(calibration: Calibration, predictions: Predictions, task: Task) -> Applied:
    """What a calibration says of images; their labels are not looked at."""
    probabilities = predictions.calibrated(calibration.temperature)
    assert calibration.conformal_quantile is not None  # None only without images
    positive = probabilities[:, task.positive_index]
    called = {name: np.full(len(positive), np.nan) for name in (SCREENING, CONFIRMING)}
    for point in calibration.operating_points:
        called[point.name] = (positive >= point.threshold).astype(np.float64)
    return Applied(probabilities, conformal_sets(probabilities, calibration.conformal_quantile), called)


def _joined(parts: list[Applied], fold: NDArray[np.int64]) -> Applied:
    """Parts of the folds in the order of the images."""
    order = np.argsort(np.argsort(fold, kind="stable"))

    def join(arrays: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(arrays)[order]

    called = {name: join([part.called[name] for part in parts]) for name in (SCREENING, CONFIRMING)}
    return Applied(join([part.probabilities for part in parts]), join([part.sets for part in parts]), called)


def applied_figures(
    applied: Applied, labels: NDArray[np.int64], weights: NDArray[np.float64], task: Task
) -> Replicates:
    """Calibration errors, coverage and size of sets, and what the operating points reach: name to values [resamples].

    Args:
        applied: what a calibration says of n images.
        labels: int [n], the truth.
        weights: [resamples, n], how often an image counts.
        task: the classes.
    """
    found = figures(
        applied.probabilities, labels, labels=task.labels, positive=task.positive, thresholds={}, weights=weights
    )
    found = {name: found[name] for name in ("ece", "ece_positive")}
    rows = np.arange(len(labels))
    found["coverage"] = _mean(applied.sets[rows, labels].astype(np.float64), weights)
    found["set_size"] = _mean(applied.sets.sum(axis=1).astype(np.float64), weights)
    is_positive = labels == task.positive_index
    for name, called in applied.called.items():
        found[f"sensitivity@{name}"] = _mean(np.where(is_positive, called, np.nan), weights)
        found[f"specificity@{name}"] = _mean(np.where(is_positive, np.nan, 1 - called), weights)
    return found


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean [resamples] of the values [n] that are there; NaN where none is."""
    there = np.isfinite(values)
    above, below = weights[:, there] @ values[there], weights[:, there].sum(axis=1)
    return np.divide(above, below, out=np.full(len(weights), np.nan), where=below > 0)
