"""Paired tests of two models on the same images, each with what it assumes.

The bootstrap over patients is the one to trust: it keeps a patient's images together. McNemar (1947, exact) and DeLong
(1988, in the O(n log n) form of Sun and Xu 2014, IEEE Signal Processing Letters 21, section III) treat images as
independent, so that with several images per patient their p-values come out too small.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.evaluation.intervals import Estimate, interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Difference:
    """One figure of `first` minus the same of `second`, paired over resampled patients.

    `figure` holds the difference with its 95 % interval; `p` is the two-sided bootstrap p-value, None where there is no
    interval. `shown` is whether the interval excludes 0.
    """

    metric: str
    figure: Estimate
    p: float | None = None

    @property
    def shown(self) -> bool:
        """Whether the data show a difference: the 95 % interval leaves 0 out."""
        low, high = self.figure.low, self.figure.high
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test: images that only the first, only the second model gets right, and the two-sided p-value."""

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class DeLong:
    """DeLong test of two AUROCs on the same images; `p` two-sided, None (with `why`) where it is undefined."""

    difference: float | None
    standard_error: float | None
    p: float | None
    why: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images; differences are `first` minus `second`."""

    first: str
    second: str
    differences: tuple[Difference, ...]
    mcnemar: McNemar
    delong: DeLong

    def difference(self, metric: str) -> Difference:
        """Difference of one metric."""
        return next(found for found in self.differences if found.metric == metric)

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "differences": {
                found.metric: found.figure.as_json() | {"p": found.p, "shown": found.shown}
                for found in self.differences
            },
            "mcnemar": dataclasses.asdict(self.mcnemar),
            "delong": dataclasses.asdict(self.delong),
        }


def paired_difference(
    metric: str,
    values: tuple[Estimate, Estimate],
    replicates: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    patients: int,
) -> Difference:
    """Difference of one figure of two models with its interval and p-value.

    Args:
        metric: name of the figure.
        values: the figure of the first and of the second model.
        replicates: of the first and second, on the same resamples.
        patients: number of clusters resampled.
    """
    first, second = values
    if first.value is None or second.value is None:
        return Difference(metric, Estimate(None, why=first.why or second.why))
    draws = replicates[0] - replicates[1]
    # Calibration errors of both models are inflated alike, so the plain percentile interval serves their difference.
    figure = interval(f"difference of {metric}", first.value - second.value, draws, patients=patients)
    if figure.low is None:
        return Difference(metric, figure)
    exist = draws[np.isfinite(draws)]
    tail = min(int((exist <= 0).sum()), int((exist >= 0).sum()))
    return Difference(metric, figure, p=min(1.0, 2 * (tail + 1) / (len(exist) + 1)))


def mcnemar(first_right: ArrayLike, second_right: ArrayLike) -> McNemar:
    """Exact McNemar test on which images each model gets right; bool [n] each."""
    from scipy.stats import binomtest

    first, second = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    discordant = only_first + only_second
    p = float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)


def delong(first_scores: ArrayLike, second_scores: ArrayLike, is_positive: ArrayLike) -> DeLong:
    """DeLong test for the difference of two AUROCs on the same images.

    Args:
        first_scores: [n], larger means more likely positive.
        second_scores: [n] of the other model.
        is_positive: bool [n].

    Returns:
        Difference, its standard error and p-value. Undefined with fewer than two images of a class.
    """
    truth = np.asarray(is_positive, dtype=bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if min(positives, negatives) < 2:  # noqa: PLR2004
        return DeLong(None, None, None, why=f"needs two images of each class, found {positives} and {negatives}")
    areas, covariance = _areas_and_covariance([np.asarray(first_scores), np.asarray(second_scores)], truth)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = math.sqrt(max(0.0, variance))
    if error < 1e-12:  # noqa: PLR2004
        same = abs(difference) < 1e-12  # noqa: PLR2004
        return DeLong(difference, 0.0, 1.0 if same else None, why="" if same else "the estimated variance is 0")
    return DeLong(difference, error, math.erfc(abs(difference / error) / math.sqrt(2)))


def _areas_and_covariance(
    scores: Sequence[NDArray[np.floating]], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROC [models] and its covariance [models, models] from midranks (Sun and Xu 2014, equations 8 to 10)."""
    from scipy.stats import rankdata

    positives, negatives = int(truth.sum()), int((~truth).sum())
    by_positive, by_negative = [], []
    for values in scores:
        everyone = rankdata(values)  # equal scores share their mean rank
        by_positive.append((everyone[truth] - rankdata(values[truth])) / negatives)
        by_negative.append(1.0 - (everyone[~truth] - rankdata(values[~truth])) / positives)
    structure_positive, structure_negative = np.array(by_positive), np.array(by_negative)
    covariance = np.cov(structure_positive) / positives + np.cov(structure_negative) / negatives
    return structure_positive.mean(axis=1), np.atleast_2d(covariance)
