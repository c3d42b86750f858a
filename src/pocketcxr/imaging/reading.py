"""Reads any file to one grey-scale image, or refuses it with a message and a code.

The format is recognised by the file's first bytes, never by its suffix: many public sets hold PNG files named ``.jpg``.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

from pocketcxr.errors import PocketCxrError, UnreadableImageError
from pocketcxr.imaging.decoder_warnings import decoder_warnings_ignored
from pocketcxr.imaging.file_type import foreign_format, looks_like_dicom, raster_format
from pocketcxr.imaging.radiograph import MAX_FILE_BYTES, ImageMetadata, Radiograph
from pocketcxr.imaging.scaled_decoding import InDoubtError

__all__ = ["ImageMetadata", "Radiograph", "read_image", "read_image_bytes", "read_reduced"]


def read_image(path: str | os.PathLike[str]) -> Radiograph:
    """Read a DICOM, PNG, JPEG, BMP, TIFF or WebP file.

    Returns:
        float32 [H, W] in [0, 1], MONOCHROME2, with what the file says of it.

    Raises:
        UnreadableImageError: missing, no permission, a folder, empty, too large, truncated, damaged or no picture.
        UnusableImageError: it decodes, but a grey scale could only be guessed (several frames, contradictory header).
    """
    if not isinstance(path, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UnreadableImageError(f"expected the path of an image, found {type(path).__name__}")
    return read_image_bytes(_file_bytes(Path(path)), str(path))


def read_reduced(path: Path, *, side: int) -> Radiograph:
    """Read as `read_image`, but only as many pixels as a network needs: several times faster for large pictures.

    Decoders reduce, or cells are averaged before anything else is done (see `scaled_decoding`). Where that could change
    what the input checks find, and where a grey scale is not straight enough to be averaged before it is applied, all
    pixels are read. Messages, metadata and refusals are those of `read_image`.

    Args:
        path: as for `read_image`.
        side: pixels that are kept on each axis at least; see `scaled_decoding.side_for`.

    Raises:
        UnreadableImageError: as `read_image`.
        UnusableImageError: as `read_image`.
    """
    return read_image_bytes(_file_bytes(path), str(path), side=side)


def read_image_bytes(data: bytes, name: str, *, side: int | None = None, max_pixels: int | None = None) -> Radiograph:
    """Read a picture from memory; `name` stands in messages. As `read_image`, or `read_reduced` where `side` is given.

    `max_pixels` refuses pictures that have more; None leaves it at `pocketcxr.imaging.radiograph.MAX_PIXELS`.

    Raises:
        UnreadableImageError: as `read_image`.
        UnusableImageError: as `read_image`.
    """
    if not data:
        raise UnreadableImageError(f"{name}: the file is empty; copy it again from its source", "empty-file")
    _check_size(len(data), name)
    with decoder_warnings_ignored():
        try:
            return (
                _decode(data, name, None, max_pixels) if side is None else _decode_reduced(data, name, side, max_pixels)
            )
        except PocketCxrError:
            raise
        except MemoryError:
            raise UnreadableImageError(
                f"{name}: the picture takes more memory than it may; export it smaller, or in a plainer format"
            ) from None
        # The decoders raise nearly every exception there is on damaged bytes. Only its class is told, for pydicom
        # quotes header values, a patient's name among them, in its messages; hence no cause either.
        except Exception as error:  # noqa: BLE001
            raise UnreadableImageError(
                f"{name}: the picture is damaged ({type(error).__name__} while decoding); export it again"
            ) from None


def _decode_reduced(data: bytes, name: str, side: int, max_pixels: int | None) -> Radiograph:
    from pocketcxr.imaging.input_checks import contrast_in_doubt, contrast_of

    try:
        radiograph = _decode(data, name, side, max_pixels)
    except InDoubtError:
        return _decode(data, name, None, max_pixels)
    if radiograph.region is None:
        return radiograph
    radiograph = replace(radiograph, contrast=contrast_of(radiograph))
    return _decode(data, name, None, max_pixels) if contrast_in_doubt(radiograph) else radiograph


def _decode(data: bytes, name: str, side: int | None, max_pixels: int | None) -> Radiograph:
    raster = raster_format(data)
    if raster:
        from pocketcxr.imaging.raster import read_raster

        return read_raster(data, raster, name, side=side, max_pixels=max_pixels)
    if looks_like_dicom(data):
        from pocketcxr.imaging.dicom.decoding import read_dicom  # pydicom takes longer to import than a prediction

        return read_dicom(data, name, side=side, max_pixels=max_pixels)
    raise UnreadableImageError(
        f"{name}: expected DICOM, PNG, JPEG, BMP, TIFF or WebP, found {foreign_format(data)}; export one of those",
        "unknown-format",
    )


def _check_size(size: int, name: str) -> None:
    if size > MAX_FILE_BYTES:
        raise UnreadableImageError(
            f"{name}: {size:,} bytes are more than the {MAX_FILE_BYTES:,} that are read", "too-many-bytes"
        )


def _file_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableImageError(f"{path}: expected a file, found a folder", "no-regular-file")
        if not stat.S_ISREG(status.st_mode):  # a pipe or device would block or never end
            raise UnreadableImageError(f"{path}: expected a regular file", "no-regular-file")
        _check_size(status.st_size, str(path))
        with path.open("rb") as stream:
            return stream.read(status.st_size + 1)  # a limit, should it grow meanwhile
    except FileNotFoundError:
        raise UnreadableImageError(f"{path}: there is no such file", "no-such-file") from None
    except PermissionError:
        raise UnreadableImageError(
            f"{path}: no permission to read it; ask its owner or copy it", "no-permission"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise UnreadableImageError(f"{path}: cannot be read ({error})", "no-access") from error
