"""The one specification of resizing, for Python, the browser and every other client.

Each axis is resized on its own, in floating point, with an antialiased triangle filter. For an axis
of ``n`` input and ``m`` output pixels::

    scale  = n / m
    reach  = max(scale, 1)                          # half width of the triangle, in input pixels
    centre = (i + 0.5) * scale                      # of output pixel i = 0 .. m - 1
    first  = max(0, floor(centre - reach + 0.5))
    last   = min(n, floor(centre + reach + 0.5))    # exclusive
    w[j]   = max(0, 1 - |j + 0.5 - centre| / reach) # for j = first .. last - 1
    out[i] = sum(w[j] * in[j]) / sum(w[j])

and the result is clipped to [0, 1]. Weights are double precision, sums single; another client in single precision stays
within 1e-5. This is what Pillow's BILINEAR does to an image of mode "F", to within 4e-7 (tested); here each axis is a
matrix of few weights per row, cut into blocks of eight rows, and NumPy's matrix product is four times faster.

Of an image that was reduced while it was decoded (`scaled_decoding`), the `region` is resized: ``scale`` is then the
region's extent over ``m``, ``centre`` moves by its left or top edge, and a pixel that lies in the region in part counts
by that part, at the middle of it; ``reach`` is ``sqrt(max(scale ** 2 - 0.4, 1))``, for averaging has blurred already.

``squash`` takes both axes to ``size``, whatever the picture's shape (most public sets arrive squashed already). ``pad``
keeps the shape: the longer side becomes ``size``, the shorter ``max(1, floor(shorter * size / longer + 0.5))``, and the
picture stands at offset ``floor((size - side) / 2)`` on black.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.imaging.radiograph import Region, Samples

ASPECTS = ("squash", "pad")
"""Ways to make a square of an image."""

_OUTPUTS_PER_BLOCK = 8  # 4 to 8 are fastest; 16 take twice as long, for most weights in a block are zero then
_ALREADY_BLURRED = 0.4
"""What averaging f x f pixels adds to the square of the triangle's reach, in reduced pixels: a mean over f has the
variance of a triangle whose squared reach is (1 - 1 / f²) / 2, 0.375 for f = 2 and 0.5 at most. Without it a reduced
picture is softer, by 1.5 % of the finest detail, which moved a probability by 0.008."""

_REMEMBERED = 32  # axes: a folder's pictures are of few sizes


def resize(pixels: Samples, *, size: int, aspect: str = "squash", region: Region | None = None) -> NDArray[np.float32]:
    """Resize to a square by the formula above.

    Args:
        pixels: [H, W], float32 in [0, 1] or uint8; see `radiograph.Samples`.
        size: side of the result in pixels.
        aspect: ``squash`` or ``pad``.
        region: what of `pixels` to resize; None takes all.

    Returns:
        float32 [size, size] in [0, 1], a new contiguous array.

    Raises:
        ConfigError: a size below 1 or an unknown aspect.
    """
    if size < 1:
        raise ConfigError(f"size: expected at least 1 pixel, found {size}")
    if aspect not in ASPECTS:
        raise ConfigError(f"aspect: expected one of {list(ASPECTS)}, found {aspect!r}")
    if aspect == "squash":
        return resize_region(pixels, height=size, width=size, region=region)
    left, top, right, bottom = region or (0, 0, pixels.shape[1], pixels.shape[0])
    height, width = bottom - top, right - left
    longest = max(height, width)
    inner_height, inner_width = (max(1, math.floor(side * size / longest + 0.5)) for side in (height, width))
    top, left = (size - inner_height) // 2, (size - inner_width) // 2
    canvas = np.zeros((size, size), dtype=np.float32)
    inner = resize_region(pixels, height=inner_height, width=inner_width, region=region)
    canvas[top : top + inner_height, left : left + inner_width] = inner
    return canvas


@dataclass(frozen=True, eq=False)
class _Block:
    """Some `outputs` are ``weights @ axis[inputs]``; weights float32 [outputs, inputs]."""

    outputs: slice
    inputs: slice
    weights: NDArray[np.float32]


def resize_region(pixels: Samples, *, height: int, width: int, region: Region | None) -> NDArray[np.float32]:
    """Resize what stands in `region` to `height` x `width`, by the formula above.

    Args:
        pixels: [H, W], float32 in [0, 1] or uint8; see `radiograph.Samples`.
        height: rows of the result.
        width: columns of the result.
        region: left, top, right, bottom edge in pixels of a picture that was reduced; None for all of one that was not.

    Returns:
        float32 [height, width] in [0, 1], a new contiguous array.
    """
    left, top, right, bottom = region or (0, 0, pixels.shape[1], pixels.shape[0])
    blurred = _ALREADY_BLURRED if region else 0.0
    rows = np.empty((height, pixels.shape[1]), dtype=np.float32)
    for block in _axis(pixels.shape[0], height, top, bottom, blurred):
        np.matmul(block.weights, pixels[block.inputs].astype(np.float32, copy=False), out=rows[block.outputs])
    resized = np.empty((height, width), dtype=np.float32)
    for block in _axis(pixels.shape[1], width, left, right, blurred):
        np.matmul(rows[:, block.inputs], block.weights.T, out=resized[:, block.outputs])
    if pixels.dtype == np.uint8:
        resized *= np.float32(1 / 255)
    return np.clip(resized, 0, 1, out=resized)


@lru_cache(maxsize=_REMEMBERED)
def _axis(length: int, outputs: int, start: float, stop: float, blurred: float) -> tuple[_Block, ...]:
    """Weights of one axis of `length` pixels, of which those from `start` to `stop` become `outputs`."""
    scale = (stop - start) / outputs
    reach = math.sqrt(max(scale**2 - blurred, 1.0))
    centre = start + (np.arange(outputs) + 0.5) * scale
    first = np.maximum(math.floor(start), np.floor(centre - reach + 0.5)).astype(np.int64)
    last = np.minimum(min(length, math.ceil(stop)), np.floor(centre + reach + 0.5)).astype(np.int64)
    pixel = first[:, None] + np.arange(int((last - first).max()))  # [outputs, most weights of one]
    left, right = np.maximum(pixel, start), np.minimum(pixel + 1, stop)  # what of a pixel lies in the region
    weights = np.maximum(0, 1 - np.abs((left + right) / 2 - centre[:, None]) / reach) * np.maximum(0, right - left)
    weights[pixel >= last[:, None]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return tuple(
        _block(place, pixel[place : place + _OUTPUTS_PER_BLOCK], weights[place : place + _OUTPUTS_PER_BLOCK], last)
        for place in range(0, outputs, _OUTPUTS_PER_BLOCK)
    )


def _block(place: int, pixel: NDArray[np.int64], weights: NDArray[np.float64], last: NDArray[np.int64]) -> _Block:
    start, stop = int(pixel[0, 0]), int(last[place : place + len(pixel)].max())
    block = np.zeros((len(pixel), stop - start + pixel.shape[1]), dtype=np.float32)  # room for weights of 0 at the end
    np.put_along_axis(block, pixel - start, weights.astype(np.float32), axis=1)
    weights_used = np.ascontiguousarray(block[:, : stop - start])
    return _Block(slice(place, place + len(block)), slice(start, stop), weights_used)
