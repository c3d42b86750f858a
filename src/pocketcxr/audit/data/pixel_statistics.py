"""What images of full size show of their making: grey levels used, sharpness, frequencies.

The other probes look at 96 x 96 pixels, in which a blur of two pixels of 2,000 is gone. So that a large set costs
minutes and not hours, at most `MOST_IMAGES` are decoded once more, evenly over sources and classes.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.parallel import ordered_map
from pocketcxr.errors import InputError
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow

MOST_IMAGES = 1500
"""Images that are decoded in full size."""

BANDS = 20
"""Rings of spatial frequency, evenly from 0 to 0.5 cycles per pixel."""

LOWEST_BAND = 6
"""The first ring that counts, from 0.15 cycles per pixel: opacities and anatomy lie below, grain and edges above."""

_WINDOW = 384
"""Side of the middle square whose spectrum is taken, in pixels of the file; smaller images are taken whole."""

SMALLER = 192
"""Side of the pictures that are kept for the search for lines, in pixels."""

_GREYS = 65536


@dataclass(frozen=True)
class PixelStatistics:
    """Of n images; NaN where an image was not among those decoded.

    `levels` [n]: different grey levels that occur, as the file stores them. `spectrum` [n, features]: log power of each
    ring from `LOWEST_BAND` on, less their mean, and how far the ring's strongest frequency stands out. `sharpness` [n]:
    decades by which the power of the upper rings exceeds that of the middle ones. `smaller`: position to the picture,
    [`SMALLER`, `SMALLER`] in [0, 1].
    """

    levels: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    spectrum: NDArray[np.float32]
    smaller: Mapping[int, NDArray[np.float16]]


def read_pixel_statistics(rows: Sequence[IndexRow], *, seed: int, progress: bool = False) -> PixelStatistics:
    """Decode images and measure them; a file that cannot be read any more stays NaN, the pixel store names it."""
    count = len(rows)
    levels, sharpness = np.full(count, np.nan), np.full(count, np.nan)
    spectrum = np.full((count, 2 * (BANDS - LOWEST_BAND)), np.nan, np.float32)
    smaller: dict[int, NDArray[np.float16]] = {}
    chosen = _evenly(rows, seed)
    reading = ordered_map(lambda i: _measure(Path(rows[i].path)), chosen)
    for i, one in zip(chosen, Bar(reading, "full size", len(chosen), disable=not progress, unit="image"), strict=True):
        if one is not None:
            levels[i], sharpness[i], spectrum[i], smaller[i] = one
    return PixelStatistics(levels, sharpness, spectrum, smaller)


def radial_spectrum(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log10 of the mean power, and of the greatest over the median, in each ring of frequency [BANDS].

    Args:
        pixels: [rows, columns] in [0, 1]; the middle square counts, under a Hann window (Harris 1978).
    """
    side = min(*pixels.shape, _WINDOW)
    top, left = ((extent - side) // 2 for extent in pixels.shape)
    square = pixels[top : top + side, left : left + side]
    window = np.hanning(side).astype(np.float32)
    power = np.abs(np.fft.rfft2((square - square.mean()) * window[:, None] * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    order = np.argsort(radius, axis=None)
    edges = np.searchsorted(radius.ravel()[order], np.linspace(0, 0.5, BANDS + 1), side="right")
    ranked = power.ravel()[order]
    rings = [ranked[a:b] for a, b in itertools.pairwise(edges)]
    tiny = 1e-9
    mean = np.array([np.log10(ring.mean() + tiny) if len(ring) else np.log10(tiny) for ring in rings])
    peak = np.array([np.log10((ring.max() + tiny) / (np.median(ring) + tiny)) if len(ring) else 0.0 for ring in rings])
    return mean, peak


def _measure(path: Path) -> tuple[int, float, NDArray[np.float64], NDArray[np.float16]] | None:
    """Grey levels, sharpness, features of the spectrum, and the smaller picture."""
    try:
        pixels = read_image(path).pixels
    except (OSError, InputError):
        return None
    levels = np.count_nonzero(np.bincount(np.round(pixels.ravel() * (_GREYS - 1)).astype(np.int64), minlength=_GREYS))
    mean, peak = radial_spectrum(pixels)
    middle = (BANDS + LOWEST_BAND) // 2
    sharpness = float(mean[middle:].mean() - mean[LOWEST_BAND:middle].mean())
    upper = mean[LOWEST_BAND:]
    features = np.concatenate([upper - upper.mean(), peak[LOWEST_BAND:]])
    return int(levels), sharpness, features, resize(pixels, size=SMALLER).astype(np.float16)


def _evenly(rows: Sequence[IndexRow], seed: int) -> list[int]:
    """At most `MOST_IMAGES` positions, as many of every source and class as there are, the rarest first."""
    if len(rows) <= MOST_IMAGES:
        return list(range(len(rows)))
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i in np.random.default_rng(seed).permutation(len(rows)).tolist():
        cells[rows[i].source, rows[i].label].append(i)
    chosen: list[int] = []
    for left, cell in zip(range(len(cells), 0, -1), sorted(cells.values(), key=len), strict=True):
        chosen += cell[: (MOST_IMAGES - len(chosen)) // left]
    return sorted(chosen)
