"""Linear probes on embeddings (Alain and Bengio 2016): what can be read from them with the simplest of readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.evaluation.metrics import confusion

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.linear_model import LogisticRegression

FEWEST = 20
"""Images of a source, in all or in a class, below which a probe is not asked about it."""


@dataclass(frozen=True)
class SourceRead:
    """Source read by one probe, over all images and `within` each class [n]; -1 where it was not asked."""

    everywhere: NDArray[np.int64]
    within: NDArray[np.int64]


def read_source(
    embedding: NDArray[np.floating],
    source: NDArray[np.int64],
    truth: NDArray[np.int64],
    members: NDArray[np.int64],
    *,
    width: int,
    folds: int,
    seed: int,
) -> SourceRead:
    """Read the source of n images from an embedding [n, features], over all images and within each class.

    Args:
        embedding: one row per image.
        source: number of the source [n].
        truth: class [n].
        members: patient [n]; a patient is never in the fitted and in the asked part.
        width: principal components kept at most.
        folds: number of folds.
        seed: of the folds' order.
    """
    everything, reduced = np.arange(len(source)), components(embedding, width)
    within = np.full(len(source), -1, dtype=np.int64)
    for label in np.unique(truth):
        inside = frequent(np.flatnonzero(truth == label), source)
        if len(np.unique(source[inside])) >= 2:  # noqa: PLR2004
            within[inside] = _probe(reduced, source, members, inside, folds=folds, seed=seed)
    return SourceRead(_probe(reduced, source, members, everything, folds=folds, seed=seed), within)


def _probe(
    embedding: NDArray[np.float64],
    source: NDArray[np.int64],
    members: NDArray[np.int64],
    places: NDArray[np.int64],
    *,
    folds: int,
    seed: int,
) -> NDArray[np.int64]:
    """Out-of-fold answers for `places`; -1 where a fold could not be fitted."""
    from sklearn.model_selection import StratifiedGroupKFold

    own, groups = source[places], members[places]
    count = min(folds, len(np.unique(groups)), int(np.bincount(own)[np.unique(own)].min()))
    found = np.full(len(places), -1, dtype=np.int64)
    if count < 2:  # noqa: PLR2004
        return found
    for fitted, asked in StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(own, own, groups):
        if len(np.unique(own[fitted])) > 1 and len(asked):
            found[asked] = linear_probe(embedding[places[fitted]], own[fitted], embedding[places[asked]])
    return found


def components(embedding: NDArray[np.floating], width: int) -> NDArray[np.float64]:
    """Principal components [n, at most width] of an embedding [n, features], each of unit variance.

    Fitted on all n images at once, those that a fold asks about too: no source and no class enters them.
    """
    from scipy.linalg import eigh

    table = embedding.astype(np.float64)
    spread = table.std(axis=0)
    table = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    kept = max(1, min(width, table.shape[1], len(table) - 1))
    last = len(table) - 1
    values, vectors = eigh(table @ table.T, subset_by_index=(last - kept + 1, last))
    real = values > 1e-9 * values[-1]
    return vectors[:, real][:, ::-1] * np.sqrt(len(table))


def linear_probe(
    fitted: NDArray[np.float64], target: NDArray[np.int64], asked: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Answers [m] of a logistic regression on `components`, classes weighted alike."""
    return np.asarray(_regression(fitted, target).predict(asked), dtype=np.int64)


def linear_probe_chances(
    fitted: NDArray[np.float64], target: NDArray[np.int64], asked: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The same, as probabilities [m, classes in `target` in rising order]."""
    return _regression(fitted, target).predict_proba(asked)


def _regression(fitted: NDArray[np.float64], target: NDArray[np.int64]) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.5, max_iter=2000, class_weight="balanced").fit(fitted, target)


def frequent(places: NDArray[np.int64], source: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those places whose source occurs at least `FEWEST` times among them."""
    if len(places) == 0:
        return places
    return places[np.bincount(source[places])[source[places]] >= FEWEST]


def guess_from_class(truth: NDArray[np.int64], source: NDArray[np.int64]) -> NDArray[np.int64]:
    """Best guess of the source [n] from the class alone: where that class is commonest, sources counting alike.

    Not cross-validated: it has a handful of numbers to learn, and out of fold it would do worse than a guess.
    """
    counts = np.zeros((int(truth.max()) + 1, int(source.max()) + 1))
    np.add.at(counts, (truth, source), 1)
    return (counts / counts.sum(axis=0)).argmax(axis=1)[truth].astype(np.int64)


def balanced_accuracy(
    found: NDArray[np.int64], truth: NDArray[np.int64], classes: int, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean over classes of the share found, for weights [resamples, n]; a class absent from a resample is left out."""
    asked = found >= 0
    matrix = confusion(truth[asked], found[asked], classes=classes, weights=weights[:, asked])
    total = matrix.sum(axis=2)
    recall = np.diagonal(matrix, axis1=1, axis2=2) / np.maximum(total, 1e-9)
    present = total > 0
    return (recall * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1)


def above_chance(
    found: NDArray[np.int64], source: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Balanced accuracy among the sources of one class, moved so that 0 is a guess and 1 perfect."""
    names, numbers = np.unique(source, return_inverse=True)
    answers = np.searchsorted(names, found).clip(0, len(names) - 1)
    reached = balanced_accuracy(answers, numbers, len(names), weights)
    return (reached - 1 / len(names)) / (1 - 1 / len(names))
