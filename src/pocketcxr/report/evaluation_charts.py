"""Which charts a report shows: overview with intervals, ROC, precision-recall, reliability."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pocketcxr.evaluation.calibration import reliability_bins
from pocketcxr.report.conclusions import headline_metric, metric_name
from pocketcxr.report.formatting import number, percent
from pocketcxr.report.plots import Axis, Series, interval_chart, line_chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.evaluation.model_result import ModelResult
    from pocketcxr.labels import Task

    Points = list[tuple[float, float]]

_RELIABILITY_BINS = 8
_ALARMS, _FOUND = Axis("1 − specificity (false alarms)", 0, 1), Axis("sensitivity", 0, 1)


class Chart(NamedTuple):
    """A chart with its title and what it means, as SVG text."""

    title: str
    meaning: str
    svg: str


def overview(models: Sequence[ModelResult], task: Task) -> str:
    """The figure that models are compared by, with intervals, as SVG; empty where no model has it."""
    metric = headline_metric(task)
    rows = [
        (one.name, figure.value, figure.low, figure.high)
        for one in models
        if (figure := one.figures[metric]).value is not None
    ]
    name = metric_name(metric, task)
    return interval_chart(rows, title=f"{name}, with 95 % intervals", axis=name) if rows else ""


def curves_of_models(models: Sequence[ModelResult], task: Task) -> list[Chart]:
    """ROC, precision-recall and reliability of the positive class for all models; nothing where a class is absent."""
    truth = models[0].predictions.labels == task.positive_index
    if truth.all() or not truth.any():
        return []
    scores = {one.name: one.probabilities[:, task.positive_index] for one in models}
    said = {
        metric: ", ".join(f"{one.name} {number(one.figures[metric].value)}" for one in models)
        for metric in ("auroc", "average_precision", "ece_positive")
    }
    lines = list(enumerate(scores.items()))
    roc = line_chart(
        [Series(name, _roc(truth, values), place) for place, (name, values) in lines],
        _ALARMS,
        _FOUND,
        title=f"ROC curve for {task.positive}",
        description=f"AUROC: {said['auroc']}",
        diagonal=True,
    )
    precision = line_chart(
        [Series(name, _precision(truth, values), place) for place, (name, values) in lines],
        Axis("recall (sensitivity)", 0, 1),
        Axis("precision", 0, 1),
        title=f"Precision-recall curve for {task.positive}",
        description=f"Average precision: {said['average_precision']}",
    )
    reliability = line_chart(
        [Series(name, _reliability(truth, values), place, markers=True) for place, (name, values) in lines],
        Axis("predicted probability", 0, 1),
        Axis(f"share with {task.positive}", 0, 1),
        title=f"Reliability diagram for {task.positive}",
        description=f"Calibration error of this class: {said['ece_positive']}",
        diagonal=True,
    )
    share = percent(float(truth.mean()))
    return [
        Chart(
            "ROC curve",
            f"How many images with “{task.positive}” are found, against how many others raise a false alarm. "
            "The grey diagonal is chance.",
            roc,
        ),
        Chart(
            "Precision and recall",
            f"Of the images called “{task.positive}”, how many are, as more of them are found. "
            f"Depends on their share, here {share}.",
            precision,
        ),
        Chart(
            "Reliability",
            f"Among images given a probability of p for “{task.positive}”, a share p should have it: on the diagonal a "
            "model means what it says. Each mark stands for the same number of images.",
            reliability,
        ),
    ]


def curves_of_classes(shown: ModelResult, task: Task) -> list[Chart]:
    """ROC of one model for every class against the rest; with two classes the other chart says it all."""
    if len(task.labels) == 2:  # noqa: PLR2004
        return []
    series = []
    for place, label in enumerate(task.labels):
        truth = shown.predictions.labels == place
        points = [] if truth.all() or not truth.any() else _roc(truth, shown.probabilities[:, place])
        series.append(Series(label, points, place))
    said = ", ".join(f"{label} {number(shown.figures[f'auroc/{label}'].value)}" for label in task.labels)
    title = f"ROC curves of the {shown.name} by class"
    svg = line_chart(series, _ALARMS, _FOUND, title=title, description=f"AUROC: {said}", diagonal=True)
    return [Chart("ROC curve by class", f"Each class against all others, {shown.name}.", svg)]


def _roc(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Points:
    """False alarms and sensitivity at every threshold, from calling nothing to calling everything."""
    hits, alarms = _called(truth, scores)
    return [(0.0, 0.0), *zip((alarms / alarms[-1]).tolist(), (hits / hits[-1]).tolist(), strict=True)]


def _precision(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Points:
    """Recall and precision at every threshold that calls somebody; no made-up point at recall 0."""
    hits, alarms = _called(truth, scores)
    return list(zip((hits / hits[-1]).tolist(), (hits / (hits + alarms)).tolist(), strict=True))


def _called(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True and false alarms at each different score as threshold, from the highest."""
    order = np.argsort(-scores, kind="stable")
    ranked, positive = scores[order], truth[order].astype(np.int64)
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # last of each group of equal scores
    return np.cumsum(positive)[last], np.cumsum(1 - positive)[last]


def _reliability(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Points:
    bins = reliability_bins(scores, truth, bins=_RELIABILITY_BINS, binning="equal-mass")
    return list(zip(bins.confidence.tolist(), bins.frequency.tolist(), strict=True))
