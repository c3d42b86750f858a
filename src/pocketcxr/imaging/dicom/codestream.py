"""What a compressed picture inside DICOM says of itself, read before any decoder sees it, and its plain form.

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
_SHORTEST_FRAME = 13  # bytes, with its marker and one component
_MARK, _FILL, _START_OF_SCAN, _START_OF_TILE_PART = b"\xff", 0xFF, 0xDA, b"\xff\x90"
_PROCESSES = {0xC3: "lossless", 0xF7: "jpeg-ls"}  # all other frames are those of the cosine transform
# Huffman and arithmetic tables, quantisation, restart interval, JPEG-LS parameters: what decoding a grey picture takes
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD, 0xF8})
_JFIF, _ADOBE = 0xE0, 0xEE
_ADOBE_LENGTH = 12  # of its content; libjpeg takes a shorter segment for another program's
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # stuffed byte, temporary, restart marks, start of image


@dataclass(frozen=True)
class Codestream:
    """Size, bits per sample and samples per pixel by the codestream's own header.

    `process` is ``dct``, ``lossless``, ``jpeg-ls`` or ``jpeg-2000``; `signed` is told by JPEG 2000 only. `plain` are
    the bytes for a decoder: without fill bytes, stray bytes and remarks, which GDCM aborts the process for, and without
    what follows the end mark. `ended`: whether there is such a mark.
    """

    width: int
    height: int
    bits: int
    samples: int
    process: str
    signed: bool
    plain: bytes
    ended: bool


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
    return Codestream(
        right - left,
        bottom - top,
        (depth & 0x7F) + 1,
        samples,
        process="jpeg-2000",
        signed=bool(depth & 0x80),
        plain=data,
        ended=_tiles_end(data, at),
    )


def _tiles_end(data: bytes, at: int) -> bool:
    """Whether the tile-parts reach to the end mark (T.800 A.4): each says how long it is."""
    end, position = data.rfind(_END), data.find(_START_OF_TILE_PART, at)
    while 0 <= position < end and data.startswith(_START_OF_TILE_PART, position):
        length = int.from_bytes(data[position + 6 : position + 10], "big")
        if not length:  # the last one, up to the end mark
            return True
        position += length
    return 0 <= position == end


def _jpeg(data: bytes) -> Codestream | None:
    """Follow the segments to the first scan; None where there is none, or no frame before it.

    Fill bytes (T.81 B.1.1.2) and stray ones are passed over, as libjpeg does.
    """
    segments: list[tuple[int, bytes]] = []
    position = data.find(_MARK, 2)
    while 0 <= position < len(data) - 3:
        marker = data[position + 1]
        if marker == _START_OF_SCAN:
            return _grey_or_coloured(segments, data, position)
        if marker == _FILL:
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position = data.find(_MARK, position + 2)
        else:
            end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
            segments.append((marker, data[position:end]))
            position = data.find(_MARK, end)
    return None


def _grey_or_coloured(segments: list[tuple[int, bytes]], data: bytes, scan: int) -> Codestream | None:
    frame = next(((marker, segment) for marker, segment in segments if marker in _START_OF_FRAME), (0, b""))
    if len(frame[1]) < _SHORTEST_FRAME:
        return None
    bits, height, width, samples = struct.unpack_from(">BHHB", frame[1], 4)
    kept = [
        segment
        for marker, segment in segments
        if marker in _START_OF_FRAME | _TABLES or (samples > 1 and _tells_colours(marker, segment[4:]))
    ]
    end = data.find(_END, scan)
    return Codestream(
        width,
        height,
        bits,
        samples,
        process=_PROCESSES.get(frame[0], "dct"),
        signed=False,
        plain=b"".join([_JPEG_START, *kept, data[scan:end], _END]) if end >= 0 else data,
        ended=end >= 0,
    )


def _tells_colours(marker: int, content: bytes) -> bool:
    if marker == _ADOBE:
        return content.startswith(b"Adobe") and len(content) >= _ADOBE_LENGTH
    return marker == _JFIF and content.startswith(b"JFIF\0")
