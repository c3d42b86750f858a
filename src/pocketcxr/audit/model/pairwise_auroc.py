"""AUROC by pairs of images: of one source, or of two; and the sources that each pair of classes shares."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.evaluation.metrics import ranking
from pocketcxr.evaluation.model_result import MIN_PER_CLASS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel


@dataclass(frozen=True)
class ClassPair:
    """Two classes: the sources they share, whether all sources hold enough of both, and AUROC by kind of pair."""

    first: str
    second: str
    shared: tuple[str, ...]
    all_shared: bool
    auroc: float
    same_source: float | None
    across_sources: float | None


def pair_counts(is_positive: NDArray[np.bool_], sources: NDArray[np.str_]) -> dict[str, float]:
    """Pairs of a positive and another image in each source that has enough of both."""
    counts = {}
    for source in np.unique(sources):
        inside = sources == source
        found, others = int((inside & is_positive).sum()), int((inside & ~is_positive).sum())
        if min(found, others) >= MIN_PER_CLASS:
            counts[str(source)] = float(found * others)
    return counts


def paired_auroc(
    scores: NDArray[np.floating],
    is_positive: NDArray[np.bool_],
    sources: NDArray[np.str_],
    weights: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROC over pairs of one source, and over pairs of two different sources, for weights [resamples, n].

    Both are shares of rightly ordered pairs, so that the usual AUROC is their mean weighted by pairs.
    """
    right, total = _pairs(scores, is_positive, weights)
    same_right, same_total = np.zeros_like(right), np.zeros_like(total)
    for source in np.unique(sources):
        inside = sources == source
        r, t = _pairs(scores[inside], is_positive[inside], weights[:, inside])
        same_right, same_total = same_right + r, same_total + t
    with np.errstate(divide="ignore", invalid="ignore"):
        same = np.where(same_total > 0, same_right / same_total, np.nan)
        rest = total - same_total
        across = np.where(rest > 0, (right - same_right) / rest, np.nan)
    return same, across


def _pairs(
    scores: NDArray[np.floating], is_positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    total = weights[:, is_positive].sum(axis=1) * weights[:, ~is_positive].sum(axis=1)
    if not is_positive.any() or is_positive.all():
        return np.zeros(len(weights)), np.zeros(len(weights))
    return np.nan_to_num(ranking(scores, is_positive, weights)[0]) * total, total


def class_pairs(model: AuditedModel) -> tuple[ClassPair, ...]:
    """Every pair of classes of the test split."""
    labels, truth, sources = model.task.labels, model.test.truth, model.sources
    found = []
    for one, other in combinations(np.unique(truth).tolist(), 2):
        keep = (truth == one) | (truth == other)
        scores = model.test.probabilities[keep, other] - model.test.probabilities[keep, one]
        is_other, single = truth[keep] == other, np.ones((1, int(keep.sum())))
        same, across = paired_auroc(scores, is_other, sources[keep], single)
        counts = pair_counts(is_other, sources[keep])
        found.append(
            ClassPair(
                labels[one],
                labels[other],
                tuple(sorted(set(sources[truth == one].tolist()) & set(sources[truth == other].tolist()))),
                len(counts) == len(set(sources[keep])),
                float(ranking(scores, is_other, single)[0][0]),
                float(same[0]) if counts else None,
                None if np.isnan(across[0]) else float(across[0]),
            )
        )
    return tuple(found)
