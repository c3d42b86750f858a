"""What a small classifier reads from parts of a picture that hold no lung, and from its file.

Features are few and coarse on purpose: what forests of small trees find in them, a network finds too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from pocketcxr.evaluation.intervals import Estimate, bootstrap, interval, not_measurable
from pocketcxr.evaluation.metrics import auroc, ranking

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.data.file_properties import FileProperties
    from pocketcxr.data.rows import IndexRow

FOLDS = 5
TREES = 60
MOST_IMAGES = 3000
RESAMPLES = 200
BORDER_SHARE, CORNER_SHARE = 1 / 16, 1 / 6
_FEWEST_GROUPS = 10
_FEWEST_IMAGES = 10
_MARK_HEIGHT, _BLACK, _WHITE = 0.25, 0.03, 0.95


@dataclass(frozen=True)
class Told:
    """How well a target is told from features: the one-against-rest AUROC of the class told best, and of all.

    `within` is the AUROC of that class counted only between images of one source, which no source's look can raise.
    """

    figure: Estimate
    best: str = ""
    each: tuple[tuple[str, float], ...] = ()
    within: float | None = None
    images: int = 0


@dataclass(frozen=True)
class OutOfFold:
    """Scores [m, targets] of m images by a classifier that saw none of their patients or copies.

    `chosen` [m]: their positions; `truth` [m]: position of the target in `names`; `members` [m]: patient, from 0.
    """

    chosen: NDArray[np.int64]
    names: tuple[str, ...]
    truth: NDArray[np.int64]
    scores: NDArray[np.float64]
    members: NDArray[np.int64]

    def aurocs(self) -> list[float]:
        """Of each target against the rest."""
        return [auroc(self.scores[:, c], self.truth == c) for c in range(len(self.names))]


def forest(seed: int) -> Any:
    """Extremely randomised trees: no scaling, no tuning."""
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(
        TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed, max_features="sqrt"
    )


def out_of_fold(
    features: NDArray[np.float32],
    target: Sequence[str],
    groups: Sequence[int],
    *,
    seed: int,
    classifier: Callable[[int], Any] = forest,
) -> OutOfFold | str:
    """Predict a target by cross-validation in which no patient or copy stands on both sides; or why not.

    Args:
        features: [n, features].
        target: class or source of each image; images with an empty one are left out.
        groups: patient or group of duplicates of each image.
        seed: of folds and classifier.
        classifier: makes scikit-learn's from a seed.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    chosen = _chosen(target, groups, seed)
    names = sorted({str(target[i]) for i in chosen})
    if len(names) < 2:  # noqa: PLR2004
        return f"at least two with {_FEWEST_GROUPS} patients each are needed; found {len(names)}"
    truth = np.array([names.index(str(target[i])) for i in chosen])
    held = np.array([groups[i] for i in chosen])
    scores = np.zeros((len(chosen), len(names)))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(features[chosen], truth, held):
        fitted = classifier(seed).fit(features[chosen][train], truth[train])
        scores[np.ix_(test, fitted.classes_)] = fitted.predict_proba(features[chosen][test])
    _, members = np.unique(held, return_inverse=True)
    return OutOfFold(chosen, tuple(names), truth, scores, members.astype(np.int64))


def tell(
    features: NDArray[np.float32],
    target: Sequence[str],
    groups: Sequence[int],
    *,
    sources: Sequence[str] = (),
    seed: int,
) -> Told:
    """Predict a target from features by cross-validation in which no patient or copy stands on both sides.

    Args:
        features: [n, features].
        target: class or source of each image.
        groups: patient or group of duplicates of each image.
        sources: of each image, for the AUROC within sources.
        seed: of folds, forest and resampling.
    """
    told = out_of_fold(features, target, groups, seed=seed)
    if isinstance(told, str):
        return Told(not_measurable(told))
    chosen, names, truth, scores, members = told.chosen, told.names, told.truth, told.scores, told.members
    each = told.aurocs()
    best = int(np.nanargmax(each))
    replicates = bootstrap(
        {"": lambda weights: {"auroc": ranking(scores[:, best], truth == best, weights)[0]}},
        members,
        count=RESAMPLES,
        seed=seed,
    )[""]["auroc"]
    figure = interval("auroc", each[best], replicates, patients=int(members.max()) + 1)
    within = _within([str(sources[i]) for i in chosen], scores[:, best], truth == best) if sources else None
    return Told(figure, names[best], tuple(zip(names, each, strict=True)), within, len(chosen))


def border_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Four strips along the edges, [n, features]."""
    size = pixels.shape[1]
    depth = max(2, round(size * BORDER_SHARE))
    images = _floats(pixels)
    strips = [images[:, :depth], images[:, size - depth :], images[:, :, :depth], images[:, :, size - depth :]]
    strips = [strips[0], strips[1], strips[2].transpose(0, 2, 1), strips[3].transpose(0, 2, 1)]
    layers = [_pooled_rows(strip, 2, 12) for strip in strips]
    return np.concatenate([*layers, *[_summary(strip.reshape(len(strip), -1)) for strip in strips]], axis=1)


def corner_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Four corner patches, [n, features]: coarse pixels, brightest and darkest, small bright marks."""
    size = pixels.shape[1]
    side = round(size * CORNER_SHARE)
    images = _floats(pixels)
    marks = bright_marks(pixels)
    parts = []
    for rows in (slice(0, side), slice(size - side, size)):
        for columns in (slice(0, side), slice(size - side, size)):
            patch, mark = images[:, rows, columns], marks[:, rows, columns]
            parts += [_pooled_rows(patch, 5, 5), _summary(patch.reshape(len(patch), -1))]
            flat = mark.reshape(len(mark), -1)
            parts.append(np.stack([flat.max(axis=1), (flat > _MARK_HEIGHT).mean(axis=1)], axis=1))
    return np.concatenate(parts, axis=1).astype(np.float32)


def histogram_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How often each of 32 greys occurs, and nine quantiles, [n, 41]: no place, no shape."""
    counts = np.stack([np.bincount(image.ravel() >> 3, minlength=32) for image in pixels])
    quantiles = np.quantile(pixels.reshape(len(pixels), -1), np.linspace(0.05, 0.95, 9), axis=1).T
    return np.concatenate([counts / pixels[0].size, quantiles / 255], axis=1).astype(np.float32)


def look_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The whole picture in small, its greys and its sharpness, [n, features]: what sources differ in."""
    images = _floats(pixels)
    sharp = np.abs(
        images[:, 1:-1, 1:-1] * 4
        - images[:, :-2, 1:-1]
        - images[:, 2:, 1:-1]
        - images[:, 1:-1, :-2]
        - images[:, 1:-1, 2:]
    )
    grain = np.stack([sharp.mean(axis=(1, 2)), np.median(sharp, axis=(1, 2))], axis=1)
    return np.concatenate([_pooled_rows(images, 12, 12), histogram_features(pixels), grain], axis=1).astype(np.float32)


def less_source(features: NDArray[np.float32], sources: Sequence[str]) -> NDArray[np.float32]:
    """Features less their median at the image's source, so that what differs between sources tells nothing."""
    named = np.asarray(sources, dtype=object).astype(str)
    level = np.zeros_like(features)
    for name in np.unique(named):
        mine = named == name
        measured = np.isfinite(features[mine]).all(axis=1)
        if measured.any():
            level[mine] = np.median(features[mine][measured], axis=0)
    return features - level


def file_features(rows: Sequence[IndexRow], facts: Sequence[FileProperties]) -> NDArray[np.float32]:
    """Header only, [n, features]. Bytes are left out: a whiter lung compresses differently."""
    formats = sorted({fact.format for fact in facts})
    return np.array(
        [
            (
                row.width,
                row.height,
                row.width / max(row.height, 1),
                f.bits,
                f.quality,
                f.colour,
                formats.index(f.format),
            )
            for row, f in zip(rows, facts, strict=True)
        ],
        dtype=np.float32,
    )


def bright_marks(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Small things brighter than what surrounds them (white top-hat), float32 [n, size, size] in [0, 1]."""
    reach = max(5, round(pixels.shape[1] / 10) | 1)
    marks = np.empty(pixels.shape, np.float32)
    for image, mark in zip(pixels, marks, strict=True):
        mark[:] = ndimage.white_tophat(image, size=(reach, reach))
    return marks / np.float32(255)


def _chosen(target: Sequence[str], groups: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Images of targets with enough patients; where there are too many, a share drawn per target."""
    named = np.asarray(target, dtype=object).astype(str)
    held = np.asarray(groups)
    keep = np.zeros(len(named), dtype=bool)
    for name in np.unique(named[named != ""]):
        mine = named == name
        keep |= mine & (len(np.unique(held[mine])) >= _FEWEST_GROUPS)
    chosen = np.flatnonzero(keep)
    if len(chosen) <= MOST_IMAGES:
        return chosen
    rng = np.random.default_rng(seed)
    share = MOST_IMAGES / len(chosen)
    parts = []
    for name in np.unique(named[chosen]):
        mine = chosen[named[chosen] == name]
        wanted = min(len(mine), max(round(share * len(mine)), 200))
        parts.append(rng.choice(mine, wanted, replace=False))
    return np.sort(np.concatenate(parts))


def _within(sources: Sequence[str], scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Mean AUROC over the sources that hold both, weighted by their rarer side; None where no source does."""
    named = np.asarray(sources, dtype=object).astype(str)
    found, weights = [], []
    for name in np.unique(named):
        mine = named == name
        rarer = min(int(positive[mine].sum()), int((~positive[mine]).sum()))
        if rarer >= _FEWEST_IMAGES:
            found.append(auroc(scores[mine], positive[mine]))
            weights.append(rarer)
    return float(np.average(found, weights=weights)) if found else None


def _pooled_rows(images: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Means over a grid, [n, rows * columns]; edges of the cells as even as whole pixels allow."""
    down = np.linspace(0, images.shape[1], rows + 1).round().astype(int)[:-1]
    across = np.linspace(0, images.shape[2], columns + 1).round().astype(int)[:-1]
    sums: NDArray[np.float32] = np.add.reduceat(np.add.reduceat(images, down, axis=1), across, axis=2)
    ones = np.ones(images.shape[1:], np.float32)
    areas = np.add.reduceat(np.add.reduceat(ones, down, axis=0), across, axis=1)
    return np.asarray(sums / areas, np.float32).reshape(len(images), -1)


def _summary(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean, spread, least, most, shares of black and white of each row."""
    numbers = [
        flat.mean(1),
        flat.std(1),
        flat.min(1),
        flat.max(1),
        (flat < _BLACK).mean(1),
        (flat > _WHITE).mean(1),
    ]
    return np.stack(numbers, axis=1).astype(np.float32)


def _floats(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(255)
