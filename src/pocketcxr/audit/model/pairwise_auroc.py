"""AUROC counted by pairs: two images of one source, or of two; and which classes share a source at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.evaluation.metrics import ranking
from pocketcxr.evaluation.model_result import MIN_PER_CLASS
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel


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


def class_pairs(subject: AuditedModel) -> Table:
    """Every pair of classes: how well told apart, and whether their sources are the same."""
    task, truth, sources = subject.task, subject.test.truth, subject.sources
    rows = []
    for one in range(len(task.labels)):
        for other in range(one + 1, len(task.labels)):
            keep = (truth == one) | (truth == other)
            if not ((truth == one).any() and (truth == other).any()):
                continue
            scores = subject.test.probabilities[keep, other] - subject.test.probabilities[keep, one]
            is_other, single = truth[keep] == other, np.ones((1, int(keep.sum())))
            same, across = paired_auroc(scores, is_other, sources[keep], single)
            whole = ranking(scores, is_other, single)[0]
            shared = set(sources[truth == one]) & set(sources[truth == other])
            pairs = pair_counts(is_other, sources[keep])
            mark = (
                "SOURCES DIFFER" if not shared else "some shared" if len(pairs) < len(set(sources[keep])) else "shared"
            )
            rows.append(
                (
                    f"{task.labels[one]} / {task.labels[other]}",
                    mark,
                    float(whole[0]),
                    float(same[0]) if pairs else None,
                    None if np.isnan(across[0]) else float(across[0]),
                    ", ".join(sorted(shared)) or "none",
                )
            )
    return Table(
        "Pairs of classes",
        ("classes", "sources", "AUROC", "same source", "different sources", "sources with both"),
        tuple(rows),
        note="Where the sources of two classes differ, the AUROC may come from the source alone. The "
        "score of a pair is "
        "the difference of the two probabilities.",
    )
