"""Makes one grey channel of several, and says whether there was colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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


def to_grey(samples: Samples, *, largest: int) -> tuple[NDArray[np.float32], bool]:
    """Luminance of red, green and blue, and whether the picture is really coloured.

    Args:
        samples: [H, W, 3] unsigned integers, red, green, blue.
        largest: the value that stands for full intensity.

    Returns:
        float32 [H, W] in [0, 1]; and True where more than 1 % of the pixels are clearly coloured.
    """
    red, green, blue = samples[..., 0], samples[..., 1], samples[..., 2]
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return red.astype(np.float32) / np.float32(largest), False
    high = np.maximum(np.maximum(red, green), blue)
    low = np.minimum(np.minimum(red, green), blue)
    coloured = float(np.mean(high - low > _COLOUR_STEP * largest))
    grey = red.astype(np.float32) * np.float32(_LUMINANCE[0] / largest)
    grey += green.astype(np.float32) * np.float32(_LUMINANCE[1] / largest)
    grey += blue.astype(np.float32) * np.float32(_LUMINANCE[2] / largest)
    return np.clip(grey, 0, 1, out=grey), coloured > _COLOUR_FRACTION


def colour_in_doubt(samples: Samples, *, largest: int) -> bool:
    """Whether a reduced picture leaves open what `to_grey` would say of the whole one: then that must be read.

    Args:
        samples: [H, W, 3] cell means of the whole picture.
        largest: the value that stands for full intensity.
    """
    red, green, blue = samples[..., 0], samples[..., 1], samples[..., 2]
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return False
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return (
        float(np.mean(spread > _DOUBTFUL_STEP * largest)) > _CLEARLY_GREY
        and float(np.mean(spread > _COLOUR_STEP * largest)) < _CLEARLY_COLOURED
    )
