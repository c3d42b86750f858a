"""How unlike the training images an embedding is: a Gaussian with a low-rank part, two small matrix products.

The model is probabilistic principal components (Tipping and Bishop 1999): the training embeddings spread by a variance
of their own along a few directions and by one common variance along all others. The Mahalanobis distance under it
counts both an unusual mixture of known directions and a component outside them, often the stronger sign of a foreign
picture (Wang et al., ViM, 2022). The variances are shrunk (Ledoit and Wolf 2004), so that fewer images than
features are enough. Divided by a cut-off taken on the calibration split, 1.0 means: rarer than 99 of 100 such images.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CUT_OFF_PERCENTILE = 99.0
FILTERED_CUT_OFF_PERCENTILE = 99.8
"""With a learned input filter before it: each of the two may refuse its share of good images, together at most 1 %."""
MOST_DIRECTIONS = 128
EXPLAINED_VARIANCE = 0.95
_FEWEST_IMAGES = 3


@dataclass(frozen=True, eq=False)
class NoveltyReference:
    """The fitted model; float32, `directions` representable in half precision, so that storing it so changes nothing.

    `mean` [features]; `directions` [features, k], about orthonormal; `inverse_spread` [k], one over the standard
    deviation along each; `inverse_rest` one over the standard deviation along any other direction; `cut_off` the
    distance that becomes 1.0, at this `percentile` of the calibration images.
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    inverse_spread: NDArray[np.float32]
    inverse_rest: float
    cut_off: float
    percentile: float = CUT_OFF_PERCENTILE


def fit_novelty(
    train: NDArray[np.float32], calibration: NDArray[np.float32], *, percentile: float = CUT_OFF_PERCENTILE
) -> NoveltyReference:
    """Fit the reference to the train embeddings and take its cut-off on the calibration embeddings.

    Args:
        train: embeddings [n, features]; n may be below the number of features.
        calibration: embeddings [m, features] of images that took no part in training.
        percentile: of the calibration images, where the cut-off lies.

    Raises:
        DataError: fewer than three train images, no calibration image, or embeddings that are all alike or not finite.
    """
    if len(train) < _FEWEST_IMAGES or len(calibration) == 0:
        raise DataError(
            f"novelty reference: expected at least {_FEWEST_IMAGES} train images and 1 calibration image, "
            f"found {len(train)} and {len(calibration)}"
        )
    if not (np.isfinite(train).all() and np.isfinite(calibration).all()):
        raise DataError("novelty reference: the student gives embeddings that are not finite; train it again")
    mean, spread, directions = _principal_spread(train.astype(np.float64))
    kept = spread[: directions.shape[1]]
    rest = spread[directions.shape[1] :].mean() if len(spread) > len(kept) else kept[-1]
    reference = NoveltyReference(
        mean=mean.astype(np.float32),
        directions=directions.astype(np.float16).astype(np.float32),
        inverse_spread=(1 / np.sqrt(kept)).astype(np.float32),
        inverse_rest=float(1 / np.sqrt(rest)),
        cut_off=1.0,
        percentile=percentile,
    )
    return with_cut_off(reference, calibration)


def with_cut_off(reference: NoveltyReference, calibration: NDArray[np.float32]) -> NoveltyReference:
    """The same reference with its cut-off taken anew, at its percentile, on calibration embeddings [n, features]."""
    plain = dataclasses.replace(reference, cut_off=1.0)
    cut_off = float(np.percentile(novelty(calibration, plain), reference.percentile, method="higher"))
    return dataclasses.replace(reference, cut_off=max(cut_off, float(np.finfo(np.float32).tiny)))


def novelty(embeddings: NDArray[np.float32], reference: NoveltyReference) -> NDArray[np.float32]:
    """Distances [n] of embeddings [n, features], 1.0 at the cut-off: what the exported graph computes, in NumPy."""
    centred = embeddings - reference.mean
    along = centred @ reference.directions  # [n, k]
    outside = centred - along @ reference.directions.T  # [n, features]
    squared = np.square(along * reference.inverse_spread).sum(axis=1)
    squared += np.square(outside * np.float32(reference.inverse_rest)).sum(axis=1)
    return (np.sqrt(squared) / np.float32(reference.cut_off)).astype(np.float32)


def _principal_spread(
    train: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean, shrunk variances of all principal directions (falling), and the directions kept [features, k]."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    mean = train.mean(axis=0)
    centred = train - mean
    covariance = centred.T @ centred / len(train)
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    total = variances.sum()
    if total <= np.finfo(np.float32).tiny:
        raise DataError("novelty reference: the student gives the same embedding for every image; train it again")
    shrinkage = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    shrunk = (1 - shrinkage) * variances + shrinkage * total / len(variances)
    reaching = int(np.searchsorted(np.cumsum(variances) / total, EXPLAINED_VARIANCE)) + 1
    k = max(1, min(MOST_DIRECTIONS, reaching, len(train) - 1, len(variances) - 1))
    # variance floor: a feature space with fewer real dimensions than features must not divide by zero
    return mean, np.maximum(shrunk, total / len(variances) * 1e-6), directions[:, :k]
