"""Images as Python holds them: a path, bytes, a binary file, a NumPy array or a pydicom data set."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from pocketcxr.errors import InputError, UnreadableImageError, UnusableImageError
from pocketcxr.files import named_path
from pocketcxr.imaging.radiograph import ImageMetadata, Radiograph, check_pixel_count
from pocketcxr.imaging.reading import read_image, read_image_bytes, read_reduced
from pocketcxr.plain_text import path_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | NDArray[Any] | Dataset | Radiograph"

_ARRAY = "a 2-D array of uint8 (0 to 255), uint16 (0 to 65535) or float in [0, 1], where bright is dense (MONOCHROME2)"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Source:
    """An image to be scored: its name in results, and how it is read (`side`: pixels to keep, None for all)."""

    name: str
    read: Callable[[int | None], Radiograph]


def source_of(image: ImageInput) -> Source:
    """Recognise an image by its type; a file is not read yet.

    Raises:
        ConfigError: an empty path.
        InputError: an object of another type, or a file that was opened as text.
        UnreadableImageError: a data set that cannot be written as DICOM.
        UnusableImageError: an array of another shape, type or range.
    """
    if isinstance(image, Radiograph):
        return _held(image, "radiograph")
    if isinstance(image, (str, os.PathLike)):
        path = named_path(os.fsdecode(image))
        return Source(path_text(path), lambda side: read_path(path, side))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _bytes(bytes(image), "bytes")
    if isinstance(image, np.ndarray):
        return _held(_array(image), "array")
    pydicom = sys.modules.get("pydicom.dataset")
    if pydicom is not None and isinstance(image, pydicom.Dataset):
        return _bytes(_dicom_bytes(cast("Dataset", image)), "DICOM data set")
    if callable(getattr(image, "read", None)):
        return _file(image)
    raise InputError(
        "expected a path, bytes, a binary file, a NumPy array [rows, columns] or a pydicom data set, "
        f"found {type(image).__name__}"
    )


def read_path(path: Path, side: int | None) -> Radiograph:
    """Read a file, reduced to `side` pixels where it is given."""
    return read_image(path) if side is None else read_reduced(path, side=side)


def _held(radiograph: Radiograph, name: str) -> Source:
    return Source(name, lambda _: radiograph)


def _bytes(data: bytes, name: str) -> Source:
    return Source(name, lambda side: read_image_bytes(data, name, side=side))


def _file(stream: Any) -> Source:
    name = getattr(stream, "name", None)
    name = name if isinstance(name, str) else "file"
    try:
        data = stream.read()
    except (OSError, ValueError) as error:  # ValueError: the file is closed, or text that is no UTF-8
        raise UnreadableImageError(f"{name}: cannot be read ({type(error).__name__})") from error
    if not isinstance(data, bytes):
        raise InputError(f"{name}: expected a file that was opened in binary mode, found {type(data).__name__}")
    return _bytes(data, name)


def _array(array: NDArray[Any]) -> Radiograph:
    found = f"{array.dtype} {list(array.shape)}"
    if array.ndim != 2:  # noqa: PLR2004
        hint = "; average or choose the colour channels first" if array.ndim == 3 else ""  # noqa: PLR2004
        raise UnusableImageError(f"array: expected {_ARRAY}, found {found}{hint}")
    height, width = array.shape
    check_pixel_count(width, height, "array")
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "u" and size == 1:
        samples = np.array(array, dtype=np.uint8, order="C")
    elif kind == "u" and size == 2:  # noqa: PLR2004
        samples = array.astype(np.float32) / np.float32(np.iinfo(np.uint16).max)
    elif kind == "f":
        lowest, highest = float(array.min()), float(array.max())
        if not (lowest >= 0 and highest <= 1):  # also refuses NaN
            raise UnusableImageError(f"array: expected {_ARRAY}, found values from {lowest:g} to {highest:g}")
        samples = array.astype(np.float32)
    else:
        raise UnusableImageError(f"array: expected {_ARRAY}, found {found}")
    return Radiograph(samples, ImageMetadata(format="array", width=width, height=height, bits=8 * size))


def _dicom_bytes(dataset: Dataset) -> bytes:
    """Write a data set as a file in memory, so that it takes the one way of reading; the data set stays as it is."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.filewriter import dcmwrite  # pyright: ignore[reportUnknownVariableType]
    from pydicom.uid import UID

    stream, meta = BytesIO(), FileMetaDataset()
    try:
        given = getattr(dataset, "file_meta", FileMetaDataset())
        meta.TransferSyntaxUID = UID(str(given.get("TransferSyntaxUID") or _syntax(dataset)))
        meta.MediaStorageSOPClassUID = UID(str(dataset.get("SOPClassUID") or _SECONDARY_CAPTURE))
        meta.MediaStorageSOPInstanceUID = UID("2.25.1")  # a file needs one, nobody reads it
        dcmwrite(stream, FileDataset("", dataset, file_meta=meta), enforce_file_format=True)
    # pydicom raises nearly any exception on values that are invalid, with patients' names in its messages
    except Exception as error:  # noqa: BLE001
        raise UnreadableImageError(
            f"DICOM data set: cannot be written as a file ({type(error).__name__}); pass the path of its file"
        ) from None
    return stream.getvalue()


def _syntax(dataset: Dataset) -> str:
    """Uncompressed transfer syntax of a data set that does not state one, from how it was read."""
    implicit, little = dataset.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.2" if little is False else "1.2.840.10008.1.2.1"
