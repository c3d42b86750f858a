"""Finds text burned into a picture, with the text detection of RapidOCR (Apache-2.0; its networks come with it)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from rapidocr import RapidOCR

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARKERS = frozenset({"R", "L", "RT", "LT", "PA", "AP", "LAT", "ERECT", "SUPINE", "SITTING", "PORTABLE", "MOBILE"})
"""Words that radiographers put beside a patient, which name nobody."""


def found_text(pixels: NDArray[np.floating]) -> list[str]:
    """Texts in a picture, without side markers; never to be logged, for they may be a name.

    Args:
        pixels: [H, W], 0 to 1.
    """
    grey = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    read = _reader()(np.repeat(grey[..., None], 3, axis=2), use_cls=False)
    return [text for text in read.txts or () if text.strip().upper() not in MARKERS]


@cache
def _reader() -> Any:
    one_thread = {f"EngineConfig.onnxruntime.{name}_op_num_threads": 1 for name in ("intra", "inter")}
    return RapidOCR(params={"Global.log_level": "error", **one_thread})
