"""Size, depth and end of a compressed picture inside DICOM, read before any decoder sees it.

The header of DICOM and that of the codestream may differ, and decoders follow the latter: a few bytes could ask for
gigabytes, or for samples wider than the buffer (GDCM then crashes the process). A codestream without its end mark was
cut off before it was wrapped, and decoders fill the rest in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_JPEG_START = b"\xff\xd8"
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # ITU-T T.81 table B.1; T.87 for 0xF7
_START_OF_SCAN = 0xDA
# tables, restart interval, JPEG-LS parameters, application data, comment
_HEADER_SEGMENTS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, 0xF8, 0xFE, *range(0xE0, 0xF0)})


@dataclass(frozen=True)
class Codestream:
    """Size, bits per sample and samples per pixel by the codestream's own header."""

    width: int
    height: int
    bits: int
    samples: int


def read_codestream(data: bytes) -> Codestream | None:
    """Read the header of a JPEG, JPEG-LS or JPEG 2000 codestream; None where it is none of them.

    JPEG 2000 is also found inside a JP2 container, which DICOM forbids and some archives write.
    """
    at = data.find(_JPEG_2000_START, 0, 4096)
    if at >= 0:
        return _jpeg_2000(data, at)
    return _jpeg(data) if data.startswith(_JPEG_START) else None


def _jpeg_2000(data: bytes, at: int) -> Codestream | None:
    if len(data) < at + 43:  # ITU-T T.800 A.5.1: markers, Lsiz, Rsiz, then
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)  # Xsiz, Ysiz, XOsiz, YOsiz
    samples, depth = struct.unpack_from(">HB", data, at + 40)  # Csiz, Ssiz: sign in the highest bit, bits less one
    return Codestream(right - left, bottom - top, (depth & 0x7F) + 1, samples)


def _jpeg(data: bytes) -> Codestream | None:
    """Follow the segments to the first scan; None where the chain breaks.

    GDCM aborts the process on anything odd before the scan (stray bytes, unknown markers, what `_odd` names).
    """
    position, found = 2, None
    while position + 10 <= len(data) and data[position] == 0xFF:  # noqa: PLR2004
        marker = data[position + 1]
        if marker == _START_OF_SCAN:
            return found
        if marker in _START_OF_FRAME:
            bits, height, width, samples = struct.unpack_from(">BHHB", data, position + 4)
            found = Codestream(width, height, bits, samples)
        elif marker not in _HEADER_SEGMENTS or _odd(data[position + 4 : position + 16]):
            return None
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _odd(content: bytes) -> bool:
    """A JFIF version other than 1, or an Adobe colour transform that one or three samples cannot have."""
    if content.startswith(b"JFIF\0"):
        return content[5:6] != b"\x01"
    return content.startswith(b"Adobe") and content[11:12] not in {b"\x00", b"\x01"}


def has_end(data: bytes) -> bool:
    """Whether the codestream closes with its end mark; some writers pad with FF instead of 00."""
    return data[-64:].rstrip(b"\x00\xff").endswith(_END)
