"""Figures by another route than the package's: definitions written out in loops over scores and truth.

Nothing here calls the package, so a fault there cannot hide itself in what a test expects.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax


def probabilities(logits, temperature):
    """Softmax of logits over a temperature, as SciPy has it."""
    return np.exp(log_softmax(np.asarray(logits, float) / temperature, axis=1))


def temperature(logits, labels):
    """Temperature of the least cross-entropy, each truth counted as (n + 1) / (n + classes): Laplace's rule."""
    logits, labels = np.asarray(logits, float), list(labels)
    n, classes = logits.shape
    wrong = 1 / (n + classes)
    right = (n + 1) / (n + classes)
    goal = np.array([[right if i == label else wrong for i in range(classes)] for label in labels])

    def cross_entropy(inverse):
        return -(goal * log_softmax(logits * inverse[0], axis=1)).sum()

    found = minimize(cross_entropy, [1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    return 1 / float(found.x[0])


def quantile(table, labels, coverage):
    """Least q such that at least coverage * (n + 1) images have 1 - p(truth) <= q; 1 where there are too few."""
    scores = sorted(1 - row[label] for row, label in zip(np.asarray(table).tolist(), labels, strict=True))
    for rank, score in enumerate(scores, 1):
        if Fraction(rank) >= Fraction(str(coverage)) * (len(scores) + 1):
            return score
    return 1.0


def rates(scores, positive, threshold):
    """Sensitivity and specificity of calling positive at `threshold` and above, by counting."""
    hits = misses = alarms = spared = 0
    for score, truth in zip(scores, positive, strict=True):
        called = score >= threshold
        hits += truth and called
        misses += truth and not called
        alarms += not truth and called
        spared += not truth and not called
    return hits / (hits + misses), spared / (spared + alarms)


def points(scores, positive, *, sensitivity, specificity):
    """Screening and confirming point, each as (threshold, sensitivity, specificity), by trying every cut.

    A cut lies halfway between two neighbouring scores. Screening: the highest specificity of all cuts that reach the
    sensitivity; confirming the other way round; among equals the one with more of the other.
    """
    scores = [float(score) for score in scores]
    steps = sorted(set(scores))
    cuts = [(low + high) / 2 for low, high in pairwise(steps)]
    reached = [(cut, *rates(scores, positive, cut)) for cut in cuts]
    screening = max((one for one in reached if one[1] >= sensitivity), key=lambda one: (one[2], one[1]))
    confirming = max((one for one in reached if one[2] >= specificity), key=lambda one: (one[1], one[2]))
    return screening, confirming


def calibration_error(confidence, happened, bins=15):
    """Expected calibration error over equal-width bins; a bin holds its upper edge."""
    held = {}
    for chance, truth in zip(confidence, happened, strict=True):
        held.setdefault(max(1, math.ceil(chance * bins)), []).append((chance, truth))
    gaps = [abs(sum(chance for chance, _ in one) - sum(truth for _, truth in one)) for one in held.values()]
    return sum(gaps) / len(confidence)


def percentile_above(values, percent):
    """Least of the values that at least so many per cent of the way through the sorted list come up to."""
    ordered = sorted(float(value) for value in values)
    return ordered[math.ceil((len(ordered) - 1) * percent / 100)]


def weighted_limit(accepted, groups, share):
    """Largest value such that groups below it hold at most `share` of all groups' votes, a vote split over images."""
    size = {group: list(groups).count(group) for group in groups}
    best = None
    for limit in sorted(float(value) for value in accepted):
        below = sum(
            (Fraction(1, size[group]) for value, group in zip(accepted, groups, strict=True) if float(value) < limit),
            Fraction(0),
        )
        if below / len(size) <= Fraction(str(share)):
            best = limit
    return best
