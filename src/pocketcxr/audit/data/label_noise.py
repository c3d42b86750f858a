"""Label noise: confident learning on out-of-fold predictions, and whether one source agrees less than the others.

An image is *suspect* where a classifier that never saw its patient gives another class at least the probability that
this class's own images have on average, and no such class a greater one (the confident joint of Northcutt, Jiang and
Chuang 2021, arXiv 1911.00068; a dozen lines here, since cleanlab would bring pandas). Difficult images are among them,
so sources are compared, and by AUROC, which uses all scores and not only those beyond a threshold.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from pocketcxr.audit.data.shortcut_features import OutOfFold, out_of_fold
from pocketcxr.audit.describing import measured, section
from pocketcxr.evaluation.intervals import Estimate, bootstrap, interval, not_measurable
from pocketcxr.evaluation.metrics import macro_auroc
from pocketcxr.report.formatting import with_interval
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.report.types import Section

    Weights = NDArray[np.float64]

LEAST_AUROC = 0.6
"""Mean AUROC of the classifier below which its disagreement says nothing of labels."""

_FEWEST = 20  # images of a source, and patients
_REGULARISATION = 0.003
_RESAMPLES = 1000
_LISTED = 50


@dataclass(frozen=True)
class LabelNoise:
    """Share of suspect labels, and `behind`: per source, the others' AUROC less its own.

    `listed`: position, other class and its score of the suspect images. `auroc` is the classifier's, mean of the
    classes; `why` is filled where nothing could be measured.
    """

    suspect: Estimate
    behind: Mapping[str, Estimate]
    listed: Sequence[tuple[int, str, float]]
    images: int
    auroc: float = 0.0
    why: str = ""


def measure(
    rows: Sequence[IndexRow],
    pixels: NDArray[np.uint8],
    groups: Sequence[int],
    *,
    embedding: NDArray[np.float32] | None = None,
    seed: int,
) -> LabelNoise:
    """Compare labels with out-of-fold predictions.

    Args:
        rows: the labelled ones.
        pixels: theirs, uint8 [n, 96, 96].
        groups: patient or group of copies of each.
        embedding: of a network, float [n, features]; the better features where there is one.
        seed: of folds and resampling.
    """
    features = np.concatenate([shape_features(pixels), texture_features(pixels)], axis=1)
    if embedding is not None:
        features = np.concatenate([features, embedding], axis=1).astype(np.float32)
    told = out_of_fold(features, [row.label for row in rows], groups, seed=seed, classifier=_classifier)
    if isinstance(told, str):
        return _missing(told)
    skill = float(np.mean(told.aurocs()))
    if skill < LEAST_AUROC:
        return _missing(
            f"a small classifier tells the classes apart with an AUROC of {skill:.2f}; below {LEAST_AUROC} its "
            "disagreement says nothing of labels. With a model, its embedding is used"
        )
    other = suspects(told.scores, told.truth)
    doubted = (other >= 0).astype(np.float64)
    patients = int(told.members.max()) + 1
    figures = {"": lambda weights: weights @ doubted / weights.sum(axis=1), **_behind(told, rows)}
    replicates = bootstrap(
        {name: lambda weights, f=f: {"": f(weights)} for name, f in figures.items()},
        told.members,
        count=_RESAMPLES,
        seed=seed,
    )
    ones = np.ones((1, len(doubted)))
    sources = max(1, len(figures) - 1)
    found = {
        name: interval(
            name, float(f(ones)[0]), replicates[name][""], patients=patients, together=sources if name else 1
        )
        for name, f in figures.items()
    }
    margin = told.scores[np.arange(len(other)), other] - told.scores[np.arange(len(other)), told.truth]
    worst = sorted(np.flatnonzero(other >= 0).tolist(), key=lambda i: -margin[i])
    listed = [(int(told.chosen[i]), told.names[other[i]], float(told.scores[i, other[i]])) for i in worst]
    share = found.pop("")
    return LabelNoise(share, found, listed, len(doubted), skill)


def suspects(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """The other class that each label should perhaps be [n], -1 where the label is not suspect.

    Args:
        scores: out-of-fold probabilities [n, classes].
        truth: labels [n].
    """
    classes = scores.shape[1]
    thresholds = np.array([scores[truth == c, c].mean() if (truth == c).any() else np.inf for c in range(classes)])
    confident = np.where(scores >= thresholds, scores, -1.0)
    best = confident.argmax(axis=1)
    return np.where((confident.max(axis=1) >= 0) & (best != truth), best, -1)


def shape_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Histograms of oriented gradients (Dalal and Triggs 2005) in 8 x 8 cells, [n, 512]: coarse shapes."""
    cells, bins = 8, 8
    side = pixels.shape[1] // cells * cells
    found = np.empty((len(pixels), cells, cells, bins), np.float32)
    for image, histogram in zip(pixels, found, strict=True):
        down, across = np.gradient(ndimage.gaussian_filter(image[:side, :side].astype(np.float32), 1))
        strength = np.hypot(down, across)
        direction = (np.arctan2(down, across) % np.pi / np.pi * bins).astype(int) % bins
        for number in range(bins):
            here = np.where(direction == number, strength, 0)
            histogram[:, :, number] = here.reshape(cells, side // cells, cells, side // cells).sum(axis=(1, 3))
    flat = found.reshape(len(pixels), -1)
    return np.asarray(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6), np.float32)


def texture_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Energy of three bands of spatial frequency in 8 x 8 cells, as logarithms, [n, 192]: how dense an area is."""
    cells = 8
    side = pixels.shape[1] // cells * cells
    found = np.empty((len(pixels), 3, cells, cells), np.float32)
    for image, energies in zip(pixels, found, strict=True):
        tones = image[:side, :side].astype(np.float32)
        tones = (tones - tones.mean()) / (tones.std() + 1e-6)
        smooth = [ndimage.gaussian_filter(tones, width) for width in (1, 2, 4, 8)]
        for energy, fine, coarse in zip(energies, smooth, smooth[1:], strict=False):
            band = (fine - coarse) ** 2
            energy[:] = np.log(1e-4 + band.reshape(cells, side // cells, cells, side // cells).mean(axis=(1, 3)))
    return found.reshape(len(pixels), -1)


def describe(found: LabelNoise, rows: Sequence[IndexRow]) -> Section:
    """Shares by source, and the images whose labels are most suspect."""
    worst = max(found.behind, key=lambda name: found.behind[name].low or -1, default="")
    why = found.why or f"fewer than two sources with {_FEWEST} patients and two classes"
    own = (
        measured("labels.suspect", found.suspect, images=found.images or None),
        measured("labels.worst_source", found.behind.get(worst, not_measurable(why)), source=worst),
    )
    if found.why:
        return section("labels", f"Not measurable: {found.why}.", own)
    summary = (
        f"Suspect labels: {with_interval(found.suspect, unit='share')} of {found.images:,} images; mean AUROC of the "
        f"classifier {found.auroc:.2f}."
    )
    by_source = Table(
        "AUROC of the classes within the other sources less that within this one",
        ("source", "difference", "95 % interval from", "to"),
        tuple((name, one.value, one.low, one.high) for name, one in sorted(found.behind.items())),
        "The intervals hold together for all sources (Bonferroni).",
    )
    listed = Table(
        "Images whose label is most suspect",
        ("file", "source", "label", "rather", "score"),
        tuple(
            (Path(rows[i].path).name, rows[i].source, rows[i].label, other, round(score, 2))
            for i, other, score in found.listed[:_LISTED]
        ),
        "The surest first. A classifier's opinion: have them read, do not relabel by it.",
    )
    return section("labels", summary, own, [table for table in (by_source, listed) if table.rows])


def _behind(told: OutOfFold, rows: Sequence[IndexRow]) -> dict[str, Callable[[Weights], Weights]]:
    """Per source, a function from weights [m, n] to the AUROC within the others, weighted by images, less its own."""
    sources = np.array([rows[i].source for i in told.chosen], dtype=object).astype(str)
    masks = {name: sources == name for name in np.unique(sources).tolist()}
    counted = {
        name: mine
        for name, mine in masks.items()
        if len(np.unique(told.members[mine])) >= _FEWEST and len(np.unique(told.truth[mine])) > 1
    }
    if len(counted) < 2:  # noqa: PLR2004
        return {}

    def within(name: str, weights: Weights) -> Weights:
        mine = counted[name]
        return macro_auroc(told.scores[mine], told.truth[mine], weights[:, mine], skip_absent=True)

    def of(name: str, weights: Weights) -> Weights:
        others = [other for other in counted if other != name]
        images = [int(counted[other].sum()) for other in others]
        return np.average([within(other, weights) for other in others], axis=0, weights=images) - within(name, weights)

    return {name: functools.partial(of, name) for name in counted}


def _classifier(seed: int) -> Any:
    """Logistic regression: where features are many and labels wrong, better than a forest, and faster."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = LogisticRegression(C=_REGULARISATION, class_weight="balanced", max_iter=300, random_state=seed)
    return make_pipeline(StandardScaler(), linear)


def _missing(why: str) -> LabelNoise:
    return LabelNoise(not_measurable(why), {}, (), 0, why=why)
