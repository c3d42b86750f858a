"""Picture sheets of an audit: small radiographs side by side, drawn with their captions in one PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

_TILE, _GAP, _LINE = 144, 6, 15
_PAPER, _INK, _SOFT = 24, 235, 160
_LETTERS = 23  # that fit over a tile


def pair_sheet(
    pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8], str, str, str]], *, columns: int = 3
) -> bytes:
    """PNG of pairs of pictures uint8 [n, n], each with a caption over the pair and one under each picture."""
    width = 2 * _TILE + _GAP
    height = _TILE + 3 * _LINE
    rows = -(-len(pairs) // columns)
    columns = min(columns, len(pairs))
    sheet = Image.new("L", (columns * (width + 3 * _GAP) + 3 * _GAP, rows * (height + 3 * _GAP) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, (first, second, title, below_first, below_second) in enumerate(pairs):
        x = 3 * _GAP + (place % columns) * (width + 3 * _GAP)
        y = _GAP + (place // columns) * (height + 3 * _GAP)
        _write(pen, (x, y), title, _INK, 2 * _LETTERS)
        for image, words, left in ((first, below_first, x), (second, below_second, x + _TILE + _GAP)):
            sheet.paste(Image.fromarray(image).resize((_TILE, _TILE), Image.Resampling.BICUBIC), (left, y + _LINE + 2))
            _write(pen, (left, y + _LINE + _TILE + 4), words, _SOFT, _LETTERS)
    return _png(sheet)


def grid_sheet(
    images: Sequence[Sequence[NDArray[np.uint8] | None]], *, rows: Sequence[str], columns: Sequence[str]
) -> bytes:
    """PNG of a grid of pictures uint8 [n, n] with names of rows and columns; None leaves a place empty."""
    left = 130
    sheet = Image.new("L", (left + len(columns) * (_TILE + _GAP), 2 * _LINE + len(rows) * (_TILE + _GAP)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for c, name in enumerate(columns):
        _write(pen, (left + c * (_TILE + _GAP), 6), name, _INK, _LETTERS)
    for r, name in enumerate(rows):
        y = 2 * _LINE + r * (_TILE + _GAP)
        _write(pen, (8, y + _TILE // 2), name, _INK, 20)
        for c, image in enumerate(images[r]):
            x = left + c * (_TILE + _GAP)
            if image is None:
                pen.text((x + 8, y + _TILE // 2), "fewer than 5 images", fill=_SOFT, font=_FONT)
            else:
                sheet.paste(Image.fromarray(image).resize((_TILE, _TILE), Image.Resampling.BICUBIC), (x, y))
    return _png(sheet)


def _write(pen: ImageDraw.ImageDraw, place: tuple[int, int], words: str, grey: int, letters: int) -> None:
    short = words if len(words) <= letters else words[: letters - 1] + "…"
    pen.text(place, short, fill=grey, font=_FONT)


def _png(sheet: Image.Image) -> bytes:
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


_FONT = ImageFont.load_default(size=11.5)
