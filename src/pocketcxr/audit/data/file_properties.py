"""What a picture's file says before anybody looks at the picture: format, bits, strength of compression.

Nothing of a lung stands there, so whatever these facts tell of the class they tell of the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pocketcxr.data.parallel import ordered_map
from pocketcxr.imaging.folders import is_dicom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.data.rows import IndexRow

_IJG_LUMINANCE_SUM = 3688
"""Sum of the luminance table of ITU T.81, K.1, which libjpeg scales by its quality."""

_BITS_OF_MODE = {"1": 1, "I;16": 16, "I;16B": 16, "I": 32, "F": 32}


@dataclass(frozen=True)
class FileProperties:
    """What a header says; all empty where the file has gone.

    `format` with DICOM's transfer syntax; `quality` on libjpeg's scale, 0 where there is no JPEG table; `colour`:
    stored with several channels.
    """

    format: str = ""
    bits: int = 0
    quality: int = 0
    colour: bool = False


def read_file_facts(rows: Sequence[IndexRow]) -> list[FileProperties]:
    """Read the headers of all files, in order; no pixel is decoded."""
    return list(ordered_map(lambda row: _facts(Path(row.path)), rows))


def jpeg_quality(tables: dict[int, Sequence[int]]) -> int:
    """Quality from 1 to 100 of which libjpeg would have made this quantisation; 0 without tables.

    Other encoders' tables get the number whose sum is nearest: enough to tell encoders apart.
    """
    if not tables:
        return 0
    percent = 100 * sum(tables[min(tables)]) / _IJG_LUMINANCE_SUM
    quality = 5000 / percent if percent > 100 else (200 - percent) / 2  # noqa: PLR2004  # libjpeg, jpeg_quality_scaling
    return int(np.clip(round(quality), 1, 100))


def _facts(path: Path) -> FileProperties:
    try:
        return _dicom(path) if is_dicom(path) else _raster(path)
    except (OSError, ValueError, SyntaxError):  # gone, or changed since it was indexed: the pixel store will say so
        return FileProperties()


def _raster(path: Path) -> FileProperties:
    with Image.open(path) as image:
        tables = getattr(image, "quantization", None) or {}
        bits = _BITS_OF_MODE.get(image.mode, 8)
        colour = len(image.getbands()) > 1 or image.mode == "P"
        return FileProperties(str(image.format), bits, jpeg_quality(tables), colour)


def _dicom(path: Path) -> FileProperties:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["BitsStored", "SamplesPerPixel"], force=True)
    except (InvalidDicomError, AttributeError, NotImplementedError) as error:
        raise ValueError(str(error)) from error
    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    name = syntax.name if syntax is not None else "without transfer syntax"
    return FileProperties(
        f"DICOM, {name}", int(header.get("BitsStored", 0)), 0, int(header.get("SamplesPerPixel", 1)) > 1
    )
