"""Checks a PNG's container, which Pillow does not: every checksum, its end, its significant bits.

Pillow skips the checksum of the picture data, so that a damaged file would be scored as if it were sound.
Source: PNG specification, third edition, sections 5.3 (chunk layout) and 11.3.2.7 (sBIT).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from pocketcxr.errors import UnreadableImageError

_SIGNATURE_BYTES = 8
_OVERHEAD_BYTES = 12  # length, type and checksum of a chunk
_INFLATED_AT_ONCE = 1 << 20
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type, table 8
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, column step, row step of each pass, section 8.1."""


@dataclass(frozen=True)
class PngHeader:
    """What Pillow does not tell.

    `significant_bits` is sBIT of the first sample, 0 where there is none; `picture_data` where the IDAT chunks'
    contents begin and end.
    """

    width: int
    height: int
    bits: int
    colour_type: int
    interlaced: bool
    significant_bits: int
    picture_data: tuple[tuple[int, int], ...]


def check_png(data: bytes, name: str) -> PngHeader:
    """Walk all chunks and verify them.

    Raises:
        UnreadableImageError: truncated, a checksum that does not fit, or no header.
    """
    view = memoryview(data)
    position, header, significant_bits = _SIGNATURE_BYTES, b"", 0
    picture_data: list[tuple[int, int]] = []
    while True:
        if position + _OVERHEAD_BYTES > len(data):
            raise UnreadableImageError(f"{name}: the PNG ends early, at byte {len(data)}; copy it again")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + _OVERHEAD_BYTES + length
        if end > len(data):
            raise UnreadableImageError(f"{name}: the PNG ends early, {end - len(data)} bytes short; copy it again")
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise UnreadableImageError(f"{name}: the PNG is damaged (checksum of a chunk does not fit); copy it again")
        if kind == b"IHDR":
            header = data[position + 8 : end - 4]
        elif kind == b"sBIT" and length:
            significant_bits = data[position + 8]
        elif kind == b"IDAT":
            picture_data.append((position + 8, end - 4))
        elif kind == b"IEND":
            break
        position = end
    if len(header) != 13:  # noqa: PLR2004  # section 11.2.1
        raise UnreadableImageError(f"{name}: the PNG has no header")
    width, height, bits, colour_type, _, _, interlace = struct.unpack(">IIBBBBB", header)
    significant_bits = significant_bits if 0 < significant_bits <= bits else 0
    return PngHeader(width, height, bits, colour_type, interlace != 0, significant_bits, tuple(picture_data))


def check_png_rows(data: bytes, header: PngHeader, name: str) -> None:
    """Inflate the picture data and compare its length with the header's; Pillow leaves missing rows black, silently.

    Raises:
        UnreadableImageError: rows are missing.
    """
    expected, found = _filtered_bytes(header), 0
    inflater = zlib.decompressobj()
    for start, end in header.picture_data:
        pending = data[start:end]
        while pending and not inflater.eof and found < expected:
            found += len(inflater.decompress(pending, _INFLATED_AT_ONCE))
            pending = inflater.unconsumed_tail
    if found < expected:
        raise UnreadableImageError(f"{name}: the PNG's picture data ends early, after {found} of {expected} bytes")


def _filtered_bytes(header: PngHeader) -> int:
    """Length of the inflated picture data: each row of each pass has one more byte for its filter (section 7)."""
    bits = header.bits * _SAMPLES[header.colour_type]
    passes = _ADAM7 if header.interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        width, height = -((left - header.width) // across), -((top - header.height) // down)
        if width > 0 and height > 0:
            total += height * (1 + (width * bits + 7) // 8)
    return total
