"""Altered images for the probes: lungs masked, surroundings masked, patches shuffled, markers and appearance changed.

Every function takes float32 [n, 1, s, s] in [0, 1] and gives the same shape, type and range, in new memory. Masked
regions become black, as in Maguolo and Nanni (2021), who found that networks kept recognising COVID-19 without any
lung. A masked outline still shows the lungs' shape; the masked bounding box does not, hence both.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Images = NDArray[np.float32]
    Masks = NDArray[np.bool_]

BORDER = 0.1
"""Share of the side that `border_only` keeps on each side."""

_MARGIN = 0.02  # of the side, around a lung mask: its outline is not known to the pixel
_QUANTILES = np.linspace(0, 1, 256)
CORNERS = {
    "top left": (0.04, 0.04, "la"),
    "top right": (0.96, 0.04, "ra"),
    "bottom left": (0.04, 0.96, "ld"),
    "bottom right": (0.96, 0.96, "rd"),
}
"""Where `with_marker` writes, as shares of width and height, and which corner of the letters stands there."""


def lungs_out(images: Images, masks: Masks) -> Images:
    """Black out the lungs (masks bool [n, s, s]), a margin around them included."""
    return np.where(widened(masks)[:, None], np.float32(0), images)


def box_out(images: Images, masks: Masks) -> Images:
    """Black out the smallest upright box that holds both lungs: heart, spine and the lungs' outline go too."""
    return np.where(_boxes(masks)[:, None], np.float32(0), images)


def lungs_only(images: Images, masks: Masks) -> Images:
    """Black out everything but the lungs and a margin around them."""
    return np.where(widened(masks)[:, None], images, np.float32(0))


def border_only(images: Images) -> Images:
    """Keep the outer `BORDER` of each side, where collimators, markers and tags are; black out the rest."""
    side = images.shape[2]
    edge = max(1, round(BORDER * side))
    kept = images.copy()
    kept[:, :, edge : side - edge, edge : side - edge] = 0
    return kept


def shuffled(images: Images, *, patches: int, seed: int) -> Images:
    """Shuffle patches x patches pieces of each image, in an order of its own.

    Texture and grey values remain, no anatomy.
    """
    n, _, side, _ = images.shape
    cell = side // patches
    whole = images[:, 0, : cell * patches, : cell * patches]
    pieces = whole.reshape(n, patches, cell, patches, cell).transpose(0, 1, 3, 2, 4).reshape(n, -1, cell, cell)
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random((n, patches * patches)), axis=1)
    pieces = np.take_along_axis(pieces, order[:, :, None, None], axis=1).reshape(n, patches, patches, cell, cell)
    result = images.copy()
    result[:, 0, : cell * patches, : cell * patches] = pieces.transpose(0, 1, 3, 2, 4).reshape(whole.shape)
    return result


def with_marker(images: Images, *, letters: str, corner: str) -> Images:
    """Burn letters into a corner, as a technician's lead marker does; `corner` is a key of `CORNERS`."""
    side = images.shape[2]
    stamp = Image.new("L", (side, side))
    font = ImageFont.load_default(size=max(6.0, side * 0.09))
    x, y, anchor = CORNERS[corner]
    ImageDraw.Draw(stamp).text((x * side, y * side), letters, fill=255, font=font, anchor=anchor)
    ink = np.asarray(stamp, dtype=np.float32) / np.float32(255)
    return np.maximum(images, ink * np.float32(0.95))


def appearance_of(images: Images) -> NDArray[np.float32]:
    """Mean grey-level quantiles [256] of images: their contrast, without what is on them."""
    return np.mean([np.quantile(image, _QUANTILES) for image in images], axis=0).astype(np.float32)


def with_appearance(images: Images, appearance: NDArray[np.float32], *, quality: int | None) -> Images:
    """Match the histogram of images to an appearance, then add the losses of JPEG at a quality, if any."""
    result = np.empty_like(images)
    for place, image in enumerate(images):
        levels = np.quantile(image, _QUANTILES)
        # equal neighbours (a black border) would make the map many-valued: any rising trifle decides
        matched = np.interp(image, levels + np.arange(256) * 1e-7, appearance).astype(np.float32)
        result[place] = matched if quality is None else jpeg(matched[0], quality)[None]
    return np.clip(result, 0, 1)


def jpeg(pixels: NDArray[np.float32], quality: int) -> NDArray[np.float32]:
    """One image [rows, columns] after JPEG at a quality (1 to 95)."""
    stream = io.BytesIO()
    Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), dtype=np.float32) / np.float32(255)


def quality_like(bytes_per_pixel: float, images: Images, *, tried: Sequence[int] = (10, 20, 35, 50, 70, 85, 95)) -> int:
    """JPEG quality at which images of this size take about as many bytes per pixel as those of a source do."""

    def cost(quality: int) -> float:
        sizes = []
        for image in images:
            stream = io.BytesIO()
            Image.fromarray(np.round(image[0] * 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
            sizes.append(stream.tell() / image[0].size)
        return float(np.median(sizes))

    return min(tried, key=lambda quality: abs(np.log(cost(quality) / bytes_per_pixel)))


def widened(masks: Masks) -> Masks:
    """Masks [n, s, s] with the margin that probes take around them."""
    from scipy import ndimage

    steps = max(1, round(_MARGIN * masks.shape[1]))
    grown = [np.asarray(ndimage.binary_dilation(mask, iterations=steps), dtype=bool) for mask in masks]
    return np.stack(grown) if grown else masks.copy()


def _boxes(masks: Masks) -> Masks:
    boxes = np.zeros_like(masks)
    for box, mask in zip(boxes, widened(masks), strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return boxes
