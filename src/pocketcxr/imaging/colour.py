"""Makes one grey channel of several, and says whether there was colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable

Samples = NDArray[np.uint8] | NDArray[np.uint16]

_COLOUR_STEP = 16 / 255
"""Difference between channels that JPEG does not make of a grey picture."""
_COLOUR_FRACTION = 0.01
"""Part of the picture that may be coloured, such as an arrow or a marker, before the whole counts as coloured."""

_DOUBTFUL_STEP = 4 / 255
"""The same in a reduced picture, where a thin coloured line is mixed with the grey beside it."""
_CLEARLY_GREY, _CLEARLY_COLOURED = 0.002, 0.05
"""Parts of a reduced picture below and above which the whole one cannot be on the other side of the fraction."""

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, which JPEG and Pillow use
_ROWS_AT_ONCE = 64  # a strip stays in the processor's cache, and needs no second picture's memory


@dataclass(frozen=True, eq=False)
class GreyOfColour:
    """Luminance float32 [H, W] in [0, 1], and the parts of it that are clearly `coloured`, and a little `tinted`."""

    pixels: NDArray[np.float32]
    coloured: float
    tinted: float

    @property
    def is_coloured(self) -> bool:
        """Whether the picture is really coloured: more than 1 % of its pixels are."""
        return self.coloured > _COLOUR_FRACTION

    @property
    def in_doubt(self) -> bool:
        """Whether a reduced picture leaves open if the whole one is coloured: then that must be read."""
        return self.tinted > _CLEARLY_GREY and self.coloured < _CLEARLY_COLOURED


def to_grey(samples: Samples, *, largest: int) -> GreyOfColour:
    """Luminance of red, green and blue.

    Args:
        samples: [H, W, 3] unsigned integers, red, green, blue.
        largest: the value that stands for full intensity.
    """
    strips = (samples[top : top + _ROWS_AT_ONCE] for top in range(0, len(samples), _ROWS_AT_ONCE))
    return grey_of_strips(strips, shape=(samples.shape[0], samples.shape[1]), largest=largest)


def grey_of_strips(strips: Iterable[Samples], *, shape: tuple[int, int], largest: int) -> GreyOfColour:
    """Do what `to_grey` does, from strips of rows [h, W, 3] that together are `shape` = [H, W]."""
    pixels = np.empty(shape, dtype=np.float32)
    top, coloured, tinted = 0, 0, 0
    for strip in strips:
        red, green, blue = np.ascontiguousarray(np.moveaxis(strip, -1, 0))
        grey = pixels[top : top + len(strip)]
        top += len(strip)
        if np.array_equal(red, green) and np.array_equal(green, blue):
            np.divide(red, np.float32(largest), out=grey)
            continue
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        coloured += int(np.count_nonzero(spread > _COLOUR_STEP * largest))
        tinted += int(np.count_nonzero(spread > _DOUBTFUL_STEP * largest))
        np.multiply(red, np.float32(_LUMINANCE[0] / largest), out=grey)
        grey += green * np.float32(_LUMINANCE[1] / largest)
        grey += blue * np.float32(_LUMINANCE[2] / largest)
    return GreyOfColour(np.clip(pixels, 0, 1, out=pixels), coloured / pixels.size, tinted / pixels.size)
