"""Results of a model: calibrated on the calibration split, measured on the test split, overall and per source."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.errors import DataError
from pocketcxr.evaluation.calibration import conformal_quantile, conformal_sets, fit_temperature
from pocketcxr.evaluation.intervals import Estimate, Replicates, bootstrap, interval, not_measurable
from pocketcxr.evaluation.metrics import confusion, figures
from pocketcxr.evaluation.operating_points import choose_operating_points

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import OperatingPoint
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.evaluation.scoring import Predictions
    from pocketcxr.labels import Task

MIN_IMAGES = 10
"""A source with fewer images has no figures of its own."""

MIN_PER_CLASS = 5
"""Figures of a source that concern a class need this many of its images."""


@dataclass(frozen=True)
class Calibration:
    """What was fitted on the calibration split, and on how many images; `notes` say what could not be fitted and why.

    `temperature` is None where the model brings its own; `conformal_quantile` is None without calibration images.
    """

    temperature: float | None
    conformal_quantile: float | None
    operating_points: tuple[OperatingPoint, ...]
    images: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelResult:
    """One model with all its figures; `probabilities` [n, classes] are calibrated, `confusion` counts truth by row."""

    predictions: Predictions
    probabilities: NDArray[np.float64]
    calibration: Calibration
    figures: dict[str, Estimate]
    per_source: dict[str, dict[str, Estimate]]
    confusion: NDArray[np.int64]

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.predictions.name

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Class with the largest probability [n]."""
        return self.probabilities.argmax(axis=1)


def calibrate(
    predictions: Predictions | None, task: Task, config: EvaluationConfig, *, brings_temperature: bool
) -> Calibration:
    """Fit temperature, conformal quantile and operating points to predictions on the calibration split.

    Nothing is guessed: without images, or with one class only, what cannot be fitted stays out and `notes` say so.
    """
    if predictions is None or len(predictions.labels) == 0:
        note = "no calibration images: no temperature, conformal sets or operating points were fitted"
        return Calibration(None if brings_temperature else 1.0, None, (), 0, (note,))
    notes: list[str] = []
    absent = [label for i, label in enumerate(task.labels) if not (predictions.labels == i).any()]
    temperature: float | None = None
    if not brings_temperature:
        one_class = len(absent) >= len(task.labels) - 1
        temperature = 1.0 if one_class else fit_temperature(predictions.logits, predictions.labels)
        if one_class:
            notes.append(f"temperature left at 1: no calibration image of {', '.join(absent)}")
    probabilities = predictions.calibrated(temperature)
    quantile = conformal_quantile(probabilities, predictions.labels, coverage=config.coverage)
    points: tuple[OperatingPoint, ...] = ()
    try:
        points = choose_operating_points(
            probabilities[:, task.positive_index],
            predictions.labels == task.positive_index,
            label=task.positive,
            sensitivity=config.screening_sensitivity,
            specificity=config.confirming_specificity,
            chosen_on=" of ".join(filter(None, ("calibration split", config.calibration_source))),
        )
    except DataError as error:
        notes.append(str(error))
    return Calibration(temperature, quantile, points, len(predictions.labels), tuple(notes))


def model_results(
    predictions: Sequence[Predictions],
    calibrations: Mapping[str, Calibration],
    *,
    task: Task,
    config: EvaluationConfig,
    members: NDArray[np.int64],
    sources: NDArray[np.str_],
) -> tuple[list[ModelResult], dict[str, Replicates]]:
    """Measure several models on the same test images.

    Args:
        predictions: of each model on them, images in the same order.
        calibrations: by model name.
        task: classes and the positive one.
        config: resamples and seed.
        members: patient number [n].
        sources: name of the source of each image [n].

    Returns:
        The result of each model, and the bootstrap replicates of all figures by model, for paired comparisons.
    """
    truth = predictions[0].labels
    measures = {one.name: _Measure(one, calibrations[one.name], task) for one in predictions}
    everything = np.ones(len(truth), dtype=bool)
    overall, replicates = _measured(measures, everything, members, config, task=task, least=1)
    by_source = {}
    for source in np.unique(sources):
        by_source[str(source)], _ = _measured(
            measures, sources == source, members, config, task=task, least=MIN_PER_CLASS, least_images=MIN_IMAGES
        )
    results = []
    for one in predictions:
        probabilities = measures[one.name].probabilities
        counts = confusion(
            truth, probabilities.argmax(axis=1), classes=len(task.labels), weights=np.ones((1, len(truth)))
        )
        results.append(
            ModelResult(
                predictions=one,
                probabilities=probabilities,
                calibration=calibrations[one.name],
                figures=overall[one.name],
                per_source={source: table[one.name] for source, table in by_source.items()},
                confusion=counts[0].astype(np.int64),
            )
        )
    return results, replicates


class _Measure:
    """All figures of one model as a function of weights over a subset of the test images."""

    def __init__(self, predictions: Predictions, calibration: Calibration, task: Task) -> None:
        quantile = calibration.conformal_quantile
        self.probabilities = predictions.calibrated(calibration.temperature)
        self.truth = predictions.labels
        self.task = task
        self.thresholds = {point.name: point.threshold for point in calibration.operating_points}
        self.sets = None if quantile is None else conformal_sets(self.probabilities, quantile)

    def __call__(self, weights: NDArray[np.float64], keep: NDArray[np.bool_]) -> Replicates:
        """Figures [resamples] of the images kept, for weights [resamples, images kept]."""
        truth = self.truth[keep]
        found = figures(
            self.probabilities[keep],
            truth,
            labels=self.task.labels,
            positive=self.task.positive,
            thresholds=self.thresholds,
            weights=weights,
        )
        if self.sets is not None:
            sets, total = self.sets[keep], weights.sum(axis=1)
            found["conformal_coverage"] = weights @ sets[np.arange(len(truth)), truth] / total
            found["conformal_single"] = weights @ (sets.sum(axis=1) == 1) / total
        return found


def _measured(
    measures: Mapping[str, _Measure],
    keep: NDArray[np.bool_],
    members: NDArray[np.int64],
    config: EvaluationConfig,
    *,
    task: Task,
    least: int,
    least_images: int = 1,
) -> tuple[dict[str, dict[str, Estimate]], dict[str, Replicates]]:
    images = int(keep.sum())
    single = np.ones((1, images))
    values = {name: measure(single, keep) for name, measure in measures.items()}
    if images < least_images:
        why = not_measurable(f"only {images} images, fewer than {least_images}")
        return {name: dict.fromkeys(table, why) for name, table in values.items()}, {}
    own = np.unique(members[keep], return_inverse=True)[1]
    functions = {name: (lambda weights, m=measure: m(weights, keep)) for name, measure in measures.items()}
    replicates = bootstrap(functions, own, count=config.bootstrap, seed=config.seed)
    truth = next(iter(measures.values())).truth[keep]
    patients = int(own.max()) + 1
    table: dict[str, dict[str, Estimate]] = {}
    for name, found in values.items():
        table[name] = {}
        for metric, value in found.items():
            why = _missing(metric, truth, task, least)
            figure = interval(metric, float(value[0]), replicates[name][metric], patients=patients)
            if why:
                figure = not_measurable(why)
            elif figure.value is None:
                figure = replace(figure, why=_why_undefined(metric))
            table[name][metric] = figure
    return table, replicates


def _missing(metric: str, truth: NDArray[np.int64], task: Task, least: int) -> str:
    """Reason why these images cannot carry a figure, or an empty string."""
    kind, _, named = metric.replace("@", "/").partition("/")
    counts = {label: int((truth == i).sum()) for i, label in enumerate(task.labels)}
    label = named if named in counts else task.positive  # after "@" stands an operating point
    of_class = {f"class {label}": counts[label]}
    of_others = {f"a class other than {label}": len(truth) - counts[label]}
    needs: dict[str, int] = {}
    if kind in ("balanced_accuracy", "auroc_macro", "average_precision_macro"):
        needs = {f"class {name}": count for name, count in counts.items()}
    elif kind in ("auroc", "average_precision", "ppv", "npv", "ece_positive"):
        needs = of_class | of_others
    elif kind in ("recall", "sensitivity"):
        needs = of_class
    elif kind == "specificity":
        needs = of_others
    lacking = [f"{count or 'no'} image{'s' * (count != 1)} of {what}" for what, count in needs.items() if count < least]
    return " and ".join(lacking)


def _why_undefined(metric: str) -> str:
    if metric.startswith("ppv"):
        return "no image was called positive"
    if metric.startswith("npv"):
        return "no image was called negative"
    return "not defined on these images"


def calibration_json(calibration: Calibration) -> dict[str, Any]:
    """Plain values for JSON."""
    return {
        "temperature": calibration.temperature,
        "temperature_from": "the model itself" if calibration.temperature is None else "calibration split",
        "conformal_quantile": calibration.conformal_quantile,
        "images": calibration.images,
        "operating_points": [dataclasses.asdict(point) for point in calibration.operating_points],
        "notes": list(calibration.notes),
    }
