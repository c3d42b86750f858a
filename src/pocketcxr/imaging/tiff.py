"""Decides which TIFF files are read, before any decoder sees them: kind of samples, layout, compression, sizes.

TIFF has thousands of combinations, and Pillow reads some of them as another picture, in silence: planes one beside the
other, grey with alpha by planes, signed samples as unsigned ones. What is read is therefore listed here, and all else
is refused by its name. Strips and tiles must be in the file, be as many as the picture needs, and be no larger than it
could use: a tile of 45,000 x 45,000 pixels in a picture of 64 x 64 takes 2 GB in libtiff.
Source: TIFF 6.0 and its technical notes; BigTIFF.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from pocketcxr.errors import UnreadableImageError, UnusableImageError
from pocketcxr.imaging.jpeg import decode_jpeg
from pocketcxr.imaging.radiograph import check_pixel_count

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANES, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _EXTRA, _FORMAT, _JPEG_TABLES = 322, 323, 324, 325, 338, 339, 347

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_JPEG, _UNCOMPRESSED, _DEFLATED = 7, 1, frozenset({8, 32946})
_COMPRESSIONS = {_UNCOMPRESSED, 5, _JPEG, *_DEFLATED, 32773}  # 5 is LZW, 32773 PackBits
_COMPRESSION_NAMES = {
    **dict.fromkeys((2, 3, 4), " (CCITT fax)"),
    6: " (JPEG of TIFF 6.0)",
    34712: " (JPEG 2000)",
    34887: " (LERC)",
    34925: " (LZMA)",
    50000: " (Zstandard)",
    50001: " (WebP)",
    50002: " (JPEG XL)",
}
_GREY_BITS = {(bits,) for bits in (1, 2, 4, 8, 16)}
_EIGHTS, _SIXTEENS = (8, 8, 8), (16, 16, 16)
_JPEG_BITS = {(8,), _EIGHTS}
_READ = {
    _WHITE_IS_ZERO: _GREY_BITS,
    _BLACK_IS_ZERO: {*_GREY_BITS, (8, 8)},
    _RGB: {_EIGHTS, (*_EIGHTS, 8), _SIXTEENS, (*_SIXTEENS, 16)},
    _PALETTE: _GREY_BITS - {(16,)},
    _CMYK: {(*_EIGHTS, 8)},
    _YCBCR: {_EIGHTS},
}
"""Bits of each sample, the extra one of alpha included, by PhotometricInterpretation."""
_NAMES = {0: "white-is-zero grey", 1: "grey", 2: "RGB", 3: "palette colours", 5: "CMYK", 6: "YCbCr"}
_NO_SCALE = {2: "signed whole numbers", 3: "floating-point numbers"}
_DEEPEST_BITS = 16
_SMALL_TILE = 1 << 24
"""Pixels of the largest tile that a picture may be smaller than: 4096 x 4096."""
_TILE_SHARE = 4
"""A larger tile may have so many times the picture's pixels."""


@dataclass(frozen=True)
class TiffHeader:
    """Bits per sample, and whether 16-bit grey is stored inverted: Pillow turns the other depths itself."""

    bits: int
    inverted: bool


def check_tiff(data: bytes, name: str, *, max_pixels: int | None = None) -> TiffHeader:
    """Read the first directory, and refuse what is not read right.

    Raises:
        UnreadableImageError: damaged, cut short, too many pixels, strips or tiles that do not fit the picture.
        UnusableImageError: a variant that is not read, or samples without a defined full scale.
    """
    tags = _first_directory(data, name)
    width, height = _number(tags, _WIDTH, 0), _number(tags, _HEIGHT, 0)
    check_pixel_count(width, height, name, max_pixels=max_pixels)
    bits = _check_samples(tags, name)
    _check_layout(tags, bits, name)
    _check_parts(tags, data, (width, height), bits, name)
    return TiffHeader(bits[0], tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and bits == (_DEEPEST_BITS,))


def as_black_is_zero(data: bytes) -> bytes:
    """Return the file with its first PhotometricInterpretation set to black-is-zero.

    Of white-is-zero at 16 bits Pillow reads one byte order only; the caller inverts.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]  # noqa: PLR2004  # BigTIFF
    start = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)[0]
    count, size = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, start)[0], 20 if big else 12
    for entry in range(start + (8 if big else 2), start + (8 if big else 2) + count * size, size):
        if struct.unpack_from(f"{order}H", data, entry)[0] == _PHOTOMETRIC:
            value = entry + (12 if big else 8)
            return data[:value] + struct.pack(f"{order}H", _BLACK_IS_ZERO) + data[value + 2 :]
    return data


def _first_directory(data: bytes, name: str) -> dict[int, Any]:
    if data[:4] == b"MM\x00+":
        raise _not_read(name, "BigTIFF in big-endian order")
    from PIL.TiffImagePlugin import ImageFileDirectory_v2  # 10 ms that files of other formats need not wait for

    stream = BytesIO(data)
    directory = ImageFileDirectory_v2(data[: 16 if data[2] == 43 else 8])  # noqa: PLR2004  # BigTIFF
    try:
        stream.seek(int(directory.next or 0))
        directory.load(stream)
        return {int(tag): directory[tag] for tag in _USED if tag in directory}
    except Exception as error:  # noqa: BLE001  # whatever a damaged directory makes Pillow raise
        raise UnreadableImageError(
            f"{name}: the TIFF is damaged or ends early ({type(error).__name__} in its directory); copy it again"
        ) from None


_USED = (
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP),
    *(_STRIP_BYTES, _PLANES, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _EXTRA, _FORMAT),
    _JPEG_TABLES,
)


def _check_samples(tags: dict[int, Any], name: str) -> tuple[int, ...]:
    """Refuse samples other than those of `_READ`; return the bits of each."""
    photometric, samples = _number(tags, _PHOTOMETRIC, -1), _number(tags, _SAMPLES, 1)
    bits: tuple[int, ...] = _numbers(tags, _BITS) or (1,)
    bits = bits * samples if len(bits) == 1 and 1 < samples <= 4 else bits  # noqa: PLR2004  # as some writers shorten
    formats = set(_numbers(tags, _FORMAT)) - {1}
    for sample_format in formats:
        words = _NO_SCALE.get(sample_format, "samples of an unknown kind")
        raise UnusableImageError(
            f"{name}: {words} have no defined black and white; export as 8- or 16-bit grey without alpha"
        )
    if max(bits) > _DEEPEST_BITS:
        raise UnusableImageError(
            f"{name}: {max(bits)}-bit whole numbers have no defined black and white; export as 8- or 16-bit grey"
        )
    kind = _NAMES.get(photometric, f"PhotometricInterpretation {tags.get(_PHOTOMETRIC)}")
    extra = _numbers(tags, _EXTRA)
    if len(bits) != samples or bits not in _READ.get(photometric, set()):
        behind = " and alpha" if extra else ""
        raise _not_read(name, f"{kind}{behind} of {' + '.join(str(depth) for depth in bits)} bits")
    if photometric == _YCBCR and _number(tags, _COMPRESSION, 1) != _JPEG:
        raise _not_read(name, "YCbCr without JPEG")
    colours = 3 if photometric in {_RGB, _YCBCR} else 4 if photometric == _CMYK else 1
    if samples > colours and (len(extra) != samples - colours or not set(extra) <= {0, 1, 2}):
        raise _not_read(name, f"{kind} and {samples - colours} samples of unknown meaning")
    return bits


def _check_layout(tags: dict[int, Any], bits: tuple[int, ...], name: str) -> None:
    compression = _number(tags, _COMPRESSION, _UNCOMPRESSED)
    if compression not in _COMPRESSIONS:
        raise _not_read(name, f"compression {compression}{_COMPRESSION_NAMES.get(compression, '')}")
    if _number(tags, _FILL_ORDER, 1) != 1:
        raise _not_read(name, "bits in reversed order (FillOrder)")
    predictor = _number(tags, _PREDICTOR, 1)
    if predictor not in {1, 2} or (predictor != 1 and bits[0] < 8):  # noqa: PLR2004
        raise _not_read(name, f"predictor {predictor} of {bits[0]} bits")
    if len(bits) > 1 and _number(tags, _PLANES, 1) != 1 and (bits != _EIGHTS or compression == _JPEG):
        raise _not_read(name, f"{len(bits)} samples of {bits[0]} bits in planes of their own (PlanarConfiguration)")
    if compression == _JPEG and bits not in _JPEG_BITS:
        raise _not_read(name, f"JPEG of {' + '.join(str(depth) for depth in bits)} bits")


def _check_parts(tags: dict[int, Any], data: bytes, size: tuple[int, int], bits: tuple[int, ...], name: str) -> None:
    """Strips or tiles: as many as the picture needs, no larger than it could use, all in the file, none damaged."""
    width, height = size
    if _TILE_WIDTH in tags or _TILE_OFFSETS in tags:
        across, down = _number(tags, _TILE_WIDTH, 0), _number(tags, _TILE_HEIGHT, 0)
        if across * down > max(_TILE_SHARE * width * height, _SMALL_TILE):
            raise UnreadableImageError(
                f"{name}: tiles of {across} x {down} pixels in a picture of {width} x {height}; export it without them",
                "too-many-pixels",
            )
        most_rows = down
        offsets, lengths = _numbers(tags, _TILE_OFFSETS), _numbers(tags, _TILE_BYTES)
    else:
        rows = _number(tags, _ROWS_PER_STRIP, height) or height
        across, down = width, min(rows, height)
        most_rows = min(rows, 2 * height)  # some writers fill up the last strip
        offsets, lengths = _numbers(tags, _STRIP_OFFSETS), _numbers(tags, _STRIP_BYTES)
    planes = _number(tags, _SAMPLES, 1) if _number(tags, _PLANES, 1) != 1 else 1
    needed = -(-width // across) * -(-height // down) * planes if across > 0 and down > 0 else 0
    if not needed or len(offsets) != needed or len(lengths) not in {0, needed}:
        raise UnreadableImageError(
            f"{name}: the TIFF is damaged: expected {needed} strips or tiles, found {len(offsets)}; copy it again"
        )
    lengths = lengths or (0,) * needed
    if any(offset < 1 or offset + length > len(data) for offset, length in zip(offsets, lengths, strict=True)):
        raise UnreadableImageError(f"{name}: the TIFF ends early: a strip or tile is not in the file; copy it again")
    row_bytes = -(-across * sum(bits[:1] if planes > 1 else bits) // 8)
    for offset, length in zip(offsets, lengths, strict=True):
        _check_damage(tags, data[offset : offset + length], row_bytes * most_rows, name)


def _check_damage(tags: dict[int, Any], part: bytes, part_bytes: int, name: str) -> None:
    """Decode a strip or tile that has end marks or a checksum: libtiff hides the damage that they show."""
    compression = _number(tags, _COMPRESSION, _UNCOMPRESSED)
    if compression == _JPEG:
        tables = bytes(tags.get(_JPEG_TABLES, b""))[:-2]  # without their end mark
        decode_jpeg(tables + part[2:] if tables else part, name)
    elif compression in _DEFLATED and part:
        try:
            is_too_long = len(zlib.decompressobj().decompress(part, part_bytes + 1)) > part_bytes
        except zlib.error:
            is_too_long = True
        if is_too_long:
            raise UnreadableImageError(
                f"{name}: the TIFF is damaged (a deflated strip or tile and its checksum or size differ); copy it again"
            )


def _not_read(name: str, variant: str) -> UnusableImageError:
    return UnusableImageError(
        f"{name}: TIFF with {variant} is not read; export it as 8- or 16-bit grey", "unsupported-header"
    )


def _number(tags: dict[int, Any], tag: int, default: int) -> int:
    found = _numbers(tags, tag)
    return found[0] if found else default


def _numbers(tags: dict[int, Any], tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return tuple(int(part) for part in np.atleast_1d(value))
