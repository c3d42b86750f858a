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
within 1e-5. This is what Pillow's BILINEAR does to a picture of mode "F"; `resize_matrices` does it four times faster.

Of a picture that was reduced while it was decoded (see `reduction`), the `region` is resized: ``scale`` is then the
region's extent over ``m``, ``centre`` moves by its left or top edge, and a pixel that lies in the region in part counts
by that part, at the middle of it; ``reach`` is ``sqrt(max(scale ** 2 - 0.4, 1))``, for averaging has blurred already.

``squash`` takes both axes to ``size``, whatever the picture's shape (most public sets arrive squashed already). ``pad``
keeps the shape: the longer side becomes ``size``, the shorter ``max(1, floor(shorter * size / longer + 0.5))``, and the
picture stands at offset ``floor((size - side) / 2)`` on black.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.errors import ConfigError
from pocketcxr.imaging.resize_matrices import resize_region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.imaging.radiograph import Region, Samples

ASPECTS = ("squash", "pad")
"""What may become of a picture that is no square."""


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
