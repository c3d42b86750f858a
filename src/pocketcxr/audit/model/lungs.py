"""Where the lungs are: a small segmenter of our own, a classical rival, and a check that says when not to believe them.

The network (123,000 weights, ``weights/lungs.onnx``, made by ``research/lungs.py``) looks at 128 x 128 pixels. It
learned from the lung masks of covid-chestxray-dataset and from drawings; how good it is on patients that it never saw
stands in ``docs/results/lungs.json``. Probes need to know roughly where the lungs are, not their outline to the pixel,
and an image whose mask is implausible is left out and counted rather than probed with nonsense.
"""
# ONNX Runtime and scikit-learn ship no types:
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.packaged_network import load_packaged_network
from pocketcxr.errors import InputError
from pocketcxr.imaging.resize import resize

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Segment = Callable[[NDArray[np.float32]], NDArray[np.float32]]

SIZE = 128
"""Side of the pictures that both segmenters look at."""

WEIGHTS = Path(__file__).parent / "weights" / "lungs.onnx"

LEAST_LUNG, LEAST_AREA, GREATEST_AREA = 0.03, 0.10, 0.62
"""Shares of the picture: a lung is at least the first; both together lie between the other two."""

LEAST_BALANCE = 0.25
"""The smaller lung's area over the larger one's; a lung that is white from top to bottom is found smaller."""

LEAST_CONFIDENCE = 0.80
"""Mean probability that the network gives the pixels it calls lung."""

_BATCH = 32
_REASONS = ("one lung or none found", "area implausible", "the two lungs differ too much", "not side by side", "unsure")


@dataclass(frozen=True)
class Lungs:
    """Masks of n images: `masks` bool [n, size, size], and for each a reason not to trust it, empty where it may be."""

    masks: NDArray[np.bool_]
    reasons: tuple[str, ...]

    @property
    def trusted(self) -> NDArray[np.bool_]:
        """Which masks passed the plausibility check, bool [n]."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


def find_lungs(images: NDArray[np.float32], segment: Segment | None = None) -> Lungs:
    """Find the lungs of frontal chest X-rays.

    Args:
        images: float32 [n, 1, s, s] in [0, 1], MONOCHROME2.
        segment: gives lung probabilities [n, 128, 128] of images [n, 1, 128, 128]; None takes the package's network.

    Raises:
        InputError: images of another shape.
        BundleError: the network's file is missing or damaged.
    """
    if images.ndim != 4 or images.shape[1] != 1 or images.shape[2] != images.shape[3]:  # noqa: PLR2004
        raise InputError(f"lungs: expected images [n, 1, size, size], found {list(images.shape)}")
    segment = load_segmenter() if segment is None else segment
    side = images.shape[2]
    masks, reasons = np.zeros((len(images), side, side), dtype=bool), list[str]()
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        small = np.stack([resize(image[0], size=SIZE)[None] for image in batch])
        for place, chances in enumerate(segment(small), start=start):
            mask, reason = clean(chances)
            reasons.append(reason)
            # enlarged as numbers and cut at one half, so that the outline does not become a staircase
            masks[place] = resize(mask.astype(np.float32), size=side) >= 0.5  # noqa: PLR2004
    return Lungs(masks, tuple(reasons))


def load_segmenter(path: Path = WEIGHTS) -> Segment:
    """Load the network: images [n, 1, 128, 128] to lung probabilities [n, 128, 128], in one thread.

    Raises:
        BundleError: the file is missing or no such network.
    """
    run = load_packaged_network(path, what="lung segmenter", output="lungs", size=SIZE)
    return lambda images: run(images)[:, 0]


def clean(chances: NDArray[np.float32]) -> tuple[NDArray[np.bool_], str]:
    """Keep the two largest pieces of a map of lung probabilities, holes filled, and say what is wrong with them.

    Args:
        chances: [rows, columns] in [0, 1].

    Returns:
        The mask, and an empty string or the reason why it cannot be trusted.
    """
    from scipy import ndimage

    called = chances >= 0.5  # noqa: PLR2004
    pieces, count = _pieces(np.asarray(ndimage.binary_opening(called, iterations=1), dtype=bool))
    if count == 0:
        return called & False, _REASONS[0]
    areas = np.bincount(pieces.ravel())[1:] / pieces.size
    largest = np.argsort(-areas)[:2]
    mask = np.isin(pieces, largest + 1)
    mask = np.asarray(ndimage.binary_fill_holes(mask))
    return mask, _fault(pieces, areas, largest, float(chances[mask].mean()))


def _fault(pieces: NDArray[np.int32], areas: NDArray[np.float64], largest: NDArray[np.int64], confidence: float) -> str:
    """What is implausible about two pieces, or an empty string."""
    from scipy import ndimage

    if len(largest) < 2 or areas[largest[1]] < LEAST_LUNG:  # noqa: PLR2004
        return _REASONS[0]
    total = float(areas[largest].sum())
    if not LEAST_AREA <= total <= GREATEST_AREA:
        return _REASONS[1]
    if areas[largest[1]] / areas[largest[0]] < LEAST_BALANCE:
        return _REASONS[2]
    (y0, x0), (y1, x1) = ndimage.center_of_mass(pieces > 0, pieces, largest + 1)
    if abs(x1 - x0) < 0.2 * pieces.shape[1] or abs(y1 - y0) > 0.25 * pieces.shape[0]:
        return _REASONS[3]
    return "" if confidence >= LEAST_CONFIDENCE else _REASONS[4]


def classical_segment(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Threshold and morphology, the rival without weights: what is darker than its surroundings, one piece a side.

    Darker than a wide blur of the picture (Bradley and Roth 2007), away from the border, opened, the largest piece left
    and right of the middle, closed and filled.

    Args:
        images: float32 [n, 1, 128, 128] in [0, 1].

    Returns:
        0 or 1, float32 [n, 128, 128].
    """
    return np.stack([_classical(image[0]) for image in images]).astype(np.float32)


def _classical(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    from scipy import ndimage

    smooth = np.asarray(ndimage.gaussian_filter(image, SIZE / 64), dtype=np.float32)
    dark = smooth < np.asarray(ndimage.gaussian_filter(smooth, SIZE / 5, mode="nearest"))
    edge = SIZE // 16
    away = np.zeros(dark.shape, dtype=bool)
    away[edge:-edge, edge:-edge] = True
    opened = np.asarray(ndimage.binary_opening(dark & away, iterations=3), dtype=bool)
    kept = np.zeros(dark.shape, dtype=bool)
    for half in (np.s_[:, : SIZE // 2], np.s_[:, SIZE // 2 :]):
        pieces, count = _pieces(opened[half])
        if count:
            kept[half] = pieces == int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    closed = ndimage.binary_closing(kept, iterations=4)
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=bool)


def _pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Connected pieces of a mask, numbered from 1, and how many."""
    from scipy import ndimage

    pieces = np.zeros(mask.shape, dtype=np.int32)
    ndimage.label(mask, output=pieces)
    return pieces, int(pieces.max())


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Dice coefficient of n masks [n, rows, columns]: twice the overlap over the sum of areas; 1 if both are empty."""
    overlap = (found & truth).sum(axis=(1, 2))
    total = found.sum(axis=(1, 2)) + truth.sum(axis=(1, 2))
    return np.where(total > 0, 2 * overlap / np.maximum(total, 1), 1.0)


def iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union (Jaccard) of n masks."""
    score = dice(found, truth)
    return score / (2 - score)
