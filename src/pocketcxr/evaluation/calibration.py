"""Temperature scaling, conformal prediction sets and calibration errors.

Temperature (Guo et al. 2017, arXiv 1706.04599), split conformal sets (Sadinle, Lei and Wasserman 2019, "LAC"), expected
calibration error and Brier score. Everything is fitted on the calibration split and only measured on the test split.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pocketcxr.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

TEMPERATURE_BOUNDS = (0.05, 20.0)
"""Smallest and largest temperature that `fit_temperature` returns."""

ECE_BINS = 15
"""Number of bins of every calibration error (Guo et al. 2017)."""

_ROUNDING = 1e-6  # probabilities of two runtimes agree to about this


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities [n, classes] of logits [n, classes] divided by a temperature, in double precision."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def two_columns(logits: ArrayLike) -> NDArray[np.float64]:
    """Logits [n, 2] of absent and present from those of one finding by itself [n]: the same probabilities."""
    present = np.asarray(logits, dtype=np.float64)
    return np.stack([np.zeros_like(present), present], axis=1)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Find the temperature whose division makes the logits most likely on a calibration split.

    Minimises the negative log-likelihood over log temperature, inside `TEMPERATURE_BOUNDS`. The truth counts as
    ``(n + 1) / (n + classes)`` and not as 1 (Laplace's rule of succession, as in Platt 1999, section 2.2): without it a
    split that the network gets entirely right would ask for a temperature of zero and promise certainty from n images.
    The order of classes never changes, so accuracy and AUROC stay as they are.

    Args:
        logits: [n, classes], before any temperature.
        labels: int [n], 0 to classes - 1.

    Returns:
        Temperature, above 1 for an over-confident network.

    Raises:
        DataError: no images, shapes or labels that do not fit, logits that are not finite.
    """
    from scipy.optimize import minimize_scalar

    scores, truth = _checked(logits, labels, "logits")
    n, classes = scores.shape
    rest = 1.0 / (n + classes)
    targets = np.full((n, classes), rest)
    targets[np.arange(n), truth] = 1.0 - (classes - 1) * rest
    scores = scores - scores.max(axis=1, keepdims=True)

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = scores * math.exp(-log_temperature)
        log_sum = np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        return float(-(targets * (scaled - log_sum)).sum() / n)

    # Convex in 1/temperature, hence one minimum in log temperature: a bounded search cannot miss it.
    low, high = (math.log(bound) for bound in TEMPERATURE_BOUNDS)
    found = minimize_scalar(negative_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))


def conformal_quantile(probabilities: ArrayLike, labels: ArrayLike, *, coverage: float) -> float:
    """Find q such that the classes with probability at least ``1 - q`` include the truth with probability `coverage`.

    Split conformal prediction with the score ``1 - p(truth)`` (LAC) and the finite-sample correction: the
    ``ceil((n + 1) * coverage)``-th smallest score. With too few images for the coverage asked, q is 1 and every set
    holds all classes, the only set that keeps the promise. It holds for images exchangeable with the calibration
    split, averaged over them: not per class, not per hospital. Raised by 1e-6, so that another runtime's last digits
    never cost coverage.

    Args:
        probabilities: [n, classes] of the calibration split, after the temperature.
        labels: int [n].
        coverage: between 0 and 1, such as 0.9.

    Returns:
        q in [0, 1].

    Raises:
        DataError: no images, shapes or labels that do not fit, a coverage outside (0, 1).
    """
    if not 0 < coverage < 1:
        raise DataError(f"conformal coverage: expected a number between 0 and 1, found {coverage}")
    table, truth = _checked(probabilities, labels, "probabilities")
    n = len(truth)
    rank = math.ceil((n + 1) * coverage - 1e-9)  # 1e-9: 10 * 0.7 must be rank 7, whatever binary fractions say
    if rank > n:
        return 1.0
    scores = np.sort(1.0 - table[np.arange(n), truth])
    return min(1.0, float(scores[rank - 1]) + _ROUNDING)


def conformal_sets(probabilities: ArrayLike, quantile: float) -> NDArray[np.bool_]:
    """Membership [n, classes] of the conformal sets: the classes with probability at least ``1 - quantile``."""
    return np.asarray(probabilities, dtype=np.float64) >= 1.0 - quantile


@dataclass(frozen=True)
class ReliabilityBins:
    """Bins of a reliability diagram that hold at least one image.

    `confidence` and `frequency` [bins] in [0, 1]: mean predicted probability and observed fraction; `count` [bins].
    """

    confidence: NDArray[np.float64]
    frequency: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance between the two, weighted by images, in [0, 1]."""
        return float(np.average(np.abs(self.confidence - self.frequency), weights=self.count))


Binning = Literal["equal-width", "equal-mass"]


def reliability_bins(
    predicted: ArrayLike, happened: ArrayLike, *, bins: int = ECE_BINS, binning: Binning = "equal-width"
) -> ReliabilityBins:
    """Group predictions by confidence and compare them with what happened.

    Args:
        predicted: probabilities [n] in [0, 1].
        happened: bool [n].
        bins: number of bins; empty ones are left out of the result.
        binning: ``equal-width`` cuts [0, 1] into equal parts; ``equal-mass`` gives each bin the same number of images
            (equal probabilities stay together), which is steadier where most probabilities are near 0 or 1.

    Raises:
        DataError: no images, or lengths that differ.
    """
    confidence = np.asarray(predicted, dtype=np.float64)
    truth = np.asarray(happened, dtype=np.float64)
    if confidence.ndim != 1 or confidence.shape != truth.shape or len(confidence) == 0:
        raise DataError(
            f"calibration error: expected two lists of equal length, found {confidence.shape} and {truth.shape}"
        )
    if binning == "equal-width":
        edges = np.linspace(0, 1, bins + 1)[1:-1]
    else:
        edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins, method="higher"))
    member = np.searchsorted(edges, confidence, side="left")  # a bin holds its upper edge
    count = np.bincount(member, minlength=len(edges) + 1)
    filled = count > 0
    return ReliabilityBins(
        confidence=np.bincount(member, confidence, minlength=len(count))[filled] / count[filled],
        frequency=np.bincount(member, truth, minlength=len(count))[filled] / count[filled],
        count=count[filled].astype(np.int64),
    )


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = ECE_BINS, binning: Binning = "equal-width"
) -> float:
    """Mean gap between the probability of the predicted class and how often it is right (top-label), in [0, 1].

    Args:
        probabilities: [n, classes].
        labels: int [n].
        bins: number of bins.
        binning: see `reliability_bins`.

    Raises:
        DataError: no images, shapes or labels that do not fit.
    """
    table, truth = _checked(probabilities, labels, "probabilities")
    predicted = table.argmax(axis=1)
    return reliability_bins(table.max(axis=1), predicted == truth, bins=bins, binning=binning).error


def positive_calibration_error(
    scores: ArrayLike, is_positive: ArrayLike, *, bins: int = ECE_BINS, binning: Binning = "equal-width"
) -> float:
    """Mean gap between the probability of one class and how often that class is true, in [0, 1].

    The figure to look at when a person reads one class's probability; the top-label error can hide it.
    """
    return reliability_bins(scores, is_positive, bins=bins, binning=binning).error


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared distance between probabilities and truth; 0 is best.

    As scikit-learn has it: summed over classes (0 to 2, Brier 1950), halved for two classes (0 to 1).
    """
    table, truth = _checked(probabilities, labels, "probabilities")
    return float(squared_errors(table, truth).mean())


def squared_errors(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Brier score of each image [n]; see `brier_score`."""
    classes = probabilities.shape[1]
    distance = probabilities - np.eye(classes)[labels]
    scale = 0.5 if classes == 2 else 1.0  # noqa: PLR2004
    return scale * (distance**2).sum(axis=1)


def _checked(table: ArrayLike, labels: ArrayLike, what: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values = np.asarray(table, dtype=np.float64)
    truth = np.asarray(labels)
    if values.ndim != 2 or values.shape[1] < 2 or truth.shape != values.shape[:1]:  # noqa: PLR2004
        raise DataError(
            f"{what}: expected [images, classes] and one label per image, found {values.shape} and {truth.shape}"
        )
    if len(truth) == 0:
        raise DataError(f"{what}: expected at least one labelled image, found none; is the calibration split empty?")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(axis=1).sum())
        raise DataError(f"{what}: expected finite numbers, found NaN or infinity for {bad} of {len(truth)} images")
    if truth.min() < 0 or truth.max() >= values.shape[1]:
        raise DataError(
            f"labels: expected 0 to {values.shape[1] - 1}, found {truth.min()} to {truth.max()}; "
            "leave unlabelled images out"
        )
    return values, truth.astype(np.int64)
