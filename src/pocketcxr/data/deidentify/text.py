"""Finds text burned into a picture, with the text detection of RapidOCR (Apache-2.0; its networks come with it)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from rapidocr import RapidOCR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MARKERS = frozenset({"RT", "LT", "PA", "AP", "LAT", "ERECT", "SUPINE", "SITTING", "PORTABLE", "MOBILE"})
"""Words that radiographers put beside a patient, which name nobody; neither does a single character such as R or L."""
_LONGEST, _TILE, _OVERLAP = 3072, 1024, 192
"""Pixels. RapidOCR shrinks what is larger than its networks like, and small letters with it; a tile stays as it is."""
_LEAST_SCORE = 0.3
_FLAT = 20
"""Grey values of 255 from darkest to brightest, below which a tile holds nothing that anybody could read."""


def found_text(pixels: NDArray[np.floating]) -> list[str]:
    """Texts in a picture, without side markers; never to be logged, for they may be a name.

    Args:
        pixels: [H, W], 0 to 1; a longer side than 3,072 pixels is reduced to that.
    """
    picture = Image.fromarray(np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8))
    picture.thumbnail((_LONGEST, _LONGEST))
    found: list[str] = []
    for tile in _tiles(np.asarray(picture)):
        read = _reader()(np.repeat(tile[..., None], 3, axis=2), use_cls=False)
        found += getattr(read, "txts", None) or ()  # another kind of answer where nothing is read
    return [text for text in found if len(text.strip()) > 1 and text.strip().upper() not in MARKERS]


def _tiles(grey: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    height, width = grey.shape
    for top in range(0, max(1, height - _OVERLAP), _TILE - _OVERLAP):
        for left in range(0, max(1, width - _OVERLAP), _TILE - _OVERLAP):
            tile = grey[top : top + _TILE, left : left + _TILE]
            if int(tile.max()) - int(tile.min()) >= _FLAT:
                yield tile


@cache
def _reader() -> Any:
    one_thread = {f"EngineConfig.onnxruntime.{name}_op_num_threads": 1 for name in ("intra", "inter")}
    return RapidOCR(params={"Global.log_level": "error", "Global.text_score": _LEAST_SCORE, **one_thread})
