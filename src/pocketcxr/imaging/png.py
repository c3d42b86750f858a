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


@dataclass(frozen=True)
class PngHeader:
    """What Pillow does not tell. `significant_bits` is sBIT of the first sample, 0 where there is none."""

    width: int
    height: int
    bits: int
    colour_type: int
    significant_bits: int


def check_png(data: bytes, name: str) -> PngHeader:
    """Walk all chunks and verify them.

    Raises:
        UnreadableImageError: truncated, a checksum that does not fit, or no header.
    """
    view = memoryview(data)
    position, header, significant_bits = _SIGNATURE_BYTES, b"", 0
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
        elif kind == b"IEND":
            break
        position = end
    if len(header) != 13:  # noqa: PLR2004  # section 11.2.1
        raise UnreadableImageError(f"{name}: the PNG has no header")
    width, height, bits, colour_type = struct.unpack_from(">IIBB", header)
    return PngHeader(width, height, bits, colour_type, significant_bits if 0 < significant_bits <= bits else 0)
