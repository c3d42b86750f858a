"""Every figure of a model as a function of image weights, so that one piece of code serves the value and its bootstrap.

A weight says how often an image counts: all ones give the figure itself, the counts of a resample give one bootstrap
replicate. All functions take weights [resamples, n] and return [resamples]; NaN means that the figure does not exist
there (a class is absent, nothing was called positive). scikit-learn is the reference in the tests; it is not used here
because 1000 resamples of four models take minutes with it and a second or two this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.evaluation.calibration import ECE_BINS, squared_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Weights = NDArray[np.float64]


def auroc(scores: ArrayLike, is_positive: ArrayLike) -> float:
    """Area under the ROC curve (ties count half); NaN where one class is absent."""
    return float(ranking(np.asarray(scores), np.asarray(is_positive, dtype=bool))[0][0])


def macro_auroc(
    probabilities: NDArray[np.floating],
    truth: NDArray[np.int64],
    weights: Weights | None = None,
    *,
    skip_absent: bool = False,
) -> NDArray[np.float64]:
    """Mean over the classes of the one-against-rest AUROC, for every resample.

    Args:
        probabilities: [n, classes].
        truth: int [n].
        weights: [resamples, n]; None means one row of ones.
        skip_absent: average over the classes that occur, instead of NaN where one is absent.
    """
    rows = np.ones((1, len(truth))) if weights is None else weights
    classes = range(probabilities.shape[1])
    kept = [i for i in classes if not skip_absent or 0 < (truth == i).sum() < len(truth)]
    if not kept:
        return np.full(len(rows), np.nan)
    return np.mean([ranking(probabilities[:, i], truth == i, rows)[0] for i in kept], axis=0)


def label_wise_auroc(scores: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Mean AUROC of labels that stand by themselves, each over the images of which it is known.

    Args:
        scores: [n, labels].
        truth: int [n, labels], 1 present, 0 absent, below 0 not known.

    Returns:
        NaN where no label is known as present and as absent.
    """
    areas = [auroc(scores[known, i], truth[known, i] == 1) for i, known in enumerate((truth >= 0).T)]
    found = [area for area in areas if not np.isnan(area)]
    return float(np.mean(found)) if found else float("nan")


def average_precision(scores: ArrayLike, is_positive: ArrayLike) -> float:
    """Average precision as scikit-learn has it (no interpolation); NaN without positives."""
    return float(ranking(np.asarray(scores), np.asarray(is_positive, dtype=bool))[1][0])


def ranking(
    scores: NDArray[np.floating], is_positive: NDArray[np.bool_], weights: Weights | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROC and average precision of every resample, from one sort.

    Args:
        scores: [n], larger means more likely positive.
        is_positive: bool [n].
        weights: [resamples, n], not negative; None means one row of ones.

    Returns:
        Two arrays [resamples]. AUROC needs both classes, average precision a positive; NaN elsewhere.
    """
    rows = np.ones((1, len(scores))) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))  # first of each group of equal scores
    sorted_rows = rows[:, order]
    positive = sorted_rows * is_positive[order]
    everything = sorted_rows
    if len(starts) < len(ranked):
        positive = np.add.reduceat(positive, starts, axis=1)
        everything = np.add.reduceat(everything, starts, axis=1)
    hits = np.cumsum(positive, axis=1)
    called = np.cumsum(everything, axis=1)
    total = hits[:, -1]
    negatives = called[:, -1] - total
    with np.errstate(divide="ignore", invalid="ignore"):
        # Negatives ranked above a positive (those tied with it: half) are the pairs that the ranking gets wrong.
        alarms = called - hits
        wrong = (positive * (alarms - (everything - positive) / 2)).sum(axis=1)
        area = 1.0 - wrong / (total * negatives)
        precision = np.where(called > 0, hits / called, 0.0)
        average = (positive * precision).sum(axis=1) / total
    return np.where((total > 0) & (negatives > 0), area, np.nan), np.where(total > 0, average, np.nan)


def confusion(truth: NDArray[np.int64], predicted: NDArray[np.int64], *, classes: int, weights: Weights) -> Weights:
    """Confusion matrices [resamples, classes, classes], truth in rows, prediction in columns."""
    cells = np.eye(classes * classes)[truth * classes + predicted]
    return (weights @ cells).reshape(-1, classes, classes)


def figures(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.int64],
    *,
    labels: Sequence[str],
    positive: str,
    thresholds: Mapping[str, float],
    weights: Weights,
) -> dict[str, NDArray[np.float64]]:
    """All figures of one model for every resample.

    Names: ``accuracy``, ``balanced_accuracy``, ``auroc`` and ``average_precision`` (of the positive class), the same
    with ``_macro`` (mean over classes, one against the rest) and with ``/LABEL`` per class, ``recall/LABEL``,
    ``brier``, ``log_loss``, ``ece`` (top label), ``ece_positive``, and per operating point ``sensitivity@NAME``,
    ``specificity@NAME``, ``ppv@NAME``, ``npv@NAME``. Predictive values hold for the share of positives in these
    images only.

    Args:
        probabilities: [n, classes], after the temperature.
        truth: int [n], positions in `labels`.
        labels: class names in order.
        positive: the class that sensitivity and specificity speak of.
        thresholds: name of the operating point to threshold; positive is called at ``probability >= threshold``.
        weights: [resamples, n].

    Returns:
        Name to values [resamples]; NaN where a figure does not exist.
    """
    predicted = probabilities.argmax(axis=1)
    matrix = confusion(truth, predicted, classes=len(labels), weights=weights)
    total = matrix.sum(axis=(1, 2))
    correct = np.diagonal(matrix, axis1=1, axis2=2)
    recall = _ratio(correct, matrix.sum(axis=2))
    chosen = labels.index(positive)
    is_positive = truth == chosen

    found = {
        "accuracy": _ratio(correct.sum(axis=1), total),
        # Mean recall over all classes of the task: where one is absent the figure does not exist.
        "balanced_accuracy": recall.mean(axis=1),
        "brier": _ratio(weights @ squared_errors(probabilities, truth), total),
        "log_loss": _ratio(weights @ _surprise(probabilities, truth), total),
        "ece": _calibration_error(probabilities.max(axis=1), predicted == truth, weights),
        "ece_positive": _calibration_error(probabilities[:, chosen], is_positive, weights),
    }
    per_class = [ranking(probabilities[:, i], truth == i, weights) for i in range(len(labels))]
    for place, name in enumerate(("auroc", "average_precision")):
        values = np.stack([pair[place] for pair in per_class])
        found[name] = values[chosen]
        found[f"{name}_macro"] = values.mean(axis=0)
        found |= {f"{name}/{label}": values[i] for i, label in enumerate(labels)}
    found |= {f"recall/{label}": recall[:, i] for i, label in enumerate(labels)}
    for point, threshold in thresholds.items():
        found |= _at_threshold(probabilities[:, chosen] >= threshold, is_positive, weights, point)
    return found


def _at_threshold(
    called: NDArray[np.bool_], is_positive: NDArray[np.bool_], weights: Weights, point: str
) -> dict[str, NDArray[np.float64]]:
    matrix = confusion(is_positive.astype(np.int64), called.astype(np.int64), classes=2, weights=weights)
    return {
        f"sensitivity@{point}": _ratio(matrix[:, 1, 1], matrix[:, 1].sum(axis=1)),
        f"specificity@{point}": _ratio(matrix[:, 0, 0], matrix[:, 0].sum(axis=1)),
        f"ppv@{point}": _ratio(matrix[:, 1, 1], matrix[:, :, 1].sum(axis=1)),
        f"npv@{point}": _ratio(matrix[:, 0, 0], matrix[:, :, 0].sum(axis=1)),
    }


def _surprise(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Negative log probability of the truth [n]; a float32 zero counts as the smallest positive number it may hide."""
    likely = probabilities[np.arange(len(truth)), truth]
    return -np.log(np.maximum(likely, np.finfo(np.float32).tiny))


def _calibration_error(
    confidence: NDArray[np.float64], happened: NDArray[np.bool_], weights: Weights
) -> NDArray[np.float64]:
    """Expected calibration error over equal-width bins, equal to that of `calibration.reliability_bins` at weight 1."""
    edges = np.linspace(0, 1, ECE_BINS + 1)[1:-1]
    member = np.eye(ECE_BINS)[np.searchsorted(edges, confidence, side="left")]
    # Weighted by the bin's images, a bin contributes |sum of (confidence - truth)| / all images.
    gaps = np.abs(weights @ (member * (confidence - happened)[:, None]))
    return _ratio(gaps.sum(axis=1), weights.sum(axis=1))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)
