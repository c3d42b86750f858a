"""Size and end of a compressed picture inside DICOM, read before any decoder sees it.

DICOM's Rows and Columns and the codestream's own size may differ; decoders follow the codestream, so a few bytes could
ask for gigabytes. A codestream without its end mark was cut off before it was wrapped, and decoders fill the rest in.
"""

from __future__ import annotations

import struct

_JPEG_START = b"\xff\xd8"
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # ITU-T T.81 table B.1; T.87 for 0xF7
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a JPEG, JPEG-LS or JPEG 2000 codestream, or None where it is none of them.

    JPEG 2000 is also found inside a JP2 container, which DICOM forbids and some archives write.
    """
    at = data.find(_JPEG_2000_START, 0, 4096)
    if at >= 0:  # ITU-T T.800 A.5.1: marker, Lsiz, Rsiz, Xsiz, Ysiz, XOsiz, YOsiz
        right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
        return right - left, bottom - top
    return _jpeg_size(data) if data.startswith(_JPEG_START) else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:  # noqa: PLR2004
        marker = data[position + 1]
        if marker == 0xFF:  # noqa: PLR2004  # fill byte
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        elif marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def has_end(data: bytes) -> bool:
    """Whether the codestream closes with its end mark; some writers pad with FF instead of 00."""
    return data[-64:].rstrip(b"\x00\xff").endswith(_END)
