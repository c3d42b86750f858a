"""Thresholds for screening and confirming, chosen on the calibration split and never on the test split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.bundle.manifest import OperatingPoint
from pocketcxr.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SCREENING = "screening"
"""Name of the point that misses few: sensitivity at least as asked, then the highest specificity."""

CONFIRMING = "confirming"
"""Name of the point that alarms falsely on few: specificity at least as asked, then the highest sensitivity."""


def choose_operating_points(
    scores: ArrayLike,
    is_positive: ArrayLike,
    *,
    label: str,
    sensitivity: float,
    specificity: float,
    chosen_on: str,
) -> tuple[OperatingPoint, ...]:
    """Choose the screening and the confirming threshold; an image is called positive at ``score >= threshold``.

    A threshold lies halfway between two neighbouring scores, so that rounding in another runtime does not flip images.
    Equal scores are never separated. A point that could only be met by calling every image the same (screening
    specificity 0, confirming sensitivity 0) is left out: such a threshold separates nobody. How many images the
    choice rests on is written into `chosen_on`, because 95 % of 12 patients is a rough figure.

    Args:
        scores: probability [n] of `label`, after the temperature, on the calibration split.
        is_positive: bool [n], whether `label` is the truth.
        label: the class that the points speak of.
        sensitivity: least sensitivity of the screening point, in (0, 1].
        specificity: least specificity of the confirming point, in (0, 1].
        chosen_on: words for the set, such as ``"calibration split"``.

    Returns:
        At most two points, screening first; sensitivity and specificity as reached on these images.

    Raises:
        DataError: one class only, no images, lengths that differ, scores that are not finite, targets outside (0, 1].
    """
    values, truth = _checked(scores, is_positive, label)
    for name, target in (("sensitivity", sensitivity), ("specificity", specificity)):
        if not 0 < target <= 1:
            raise DataError(f"operating points: expected a {name} in (0, 1], found {target}")
    thresholds, hits, alarms = _steps(values, truth)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    reached_sensitivity = hits / positives
    reached_specificity = 1.0 - alarms / negatives
    where = f"{chosen_on} ({positives} positive, {negatives} negative images)"

    points: list[OperatingPoint] = []
    for name, met, best_of in (
        (SCREENING, reached_sensitivity >= sensitivity - 1e-12, reached_specificity),
        (CONFIRMING, reached_specificity >= specificity - 1e-12, reached_sensitivity),
    ):
        candidates = np.flatnonzero(met)
        if len(candidates) == 0 or best_of[candidates].max() <= 0:
            continue
        # Among equals (a stretch of positives for screening, of negatives for confirming) the other figure decides.
        other = reached_sensitivity if name == SCREENING else reached_specificity
        best = max(candidates, key=lambda i: (best_of[i], other[i]))
        points.append(
            OperatingPoint(
                name=name,
                label=label,
                threshold=float(thresholds[best]),
                sensitivity=float(reached_sensitivity[best]),
                specificity=float(reached_specificity[best]),
                chosen_on=where,
            )
        )
    return tuple(points)


def _steps(
    values: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Every threshold between two scores, from strict to lax, with true and false positives there."""
    order = np.argsort(-values, kind="stable")
    ranked, positive = values[order], truth[order]
    last = np.flatnonzero(ranked[1:] != ranked[:-1])  # of each group of equal scores, but the lowest
    lower = ranked[last + 1]
    middle = (ranked[last] + lower) / 2
    # Two neighbouring floating-point numbers have no number between them: then the score itself is the threshold.
    thresholds = np.where(middle > lower, middle, ranked[last])
    counts = positive.astype(np.int64)
    return thresholds, np.cumsum(counts)[last], np.cumsum(1 - counts)[last]


def _checked(scores: ArrayLike, is_positive: ArrayLike, label: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(is_positive).astype(bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise DataError(
            f"operating points: expected one score and one truth per image, found {values.shape} and {truth.shape}"
        )
    if not np.isfinite(values).all():
        raise DataError("operating points: expected finite scores, found NaN or infinity")
    positives = int(truth.sum())
    if positives == 0 or positives == len(truth):
        raise DataError(
            f"operating points: expected images with and without {label!r} in the calibration split, found {positives} "
            f"with and {len(truth) - positives} without; give the split more patients"
        )
    return values, truth


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float | None, float | None]:
    """Positive and negative predictive value at a prevalence, all in [0, 1]; None where nobody would be called so."""
    found, missed = sensitivity * prevalence, (1 - sensitivity) * prevalence
    alarms, spared = (1 - specificity) * (1 - prevalence), specificity * (1 - prevalence)
    positive = found / (found + alarms) if found + alarms > 0 else None
    negative = spared / (spared + missed) if spared + missed > 0 else None
    return positive, negative
