"""JPEG decoded by libjpeg-turbo with every warning of damage as an error.

Pillow, like most viewers, hides libjpeg's warnings, and libjpeg fills what is missing with grey: half a file that ends
with an end mark would be scored as a whole radiograph. Here the picture data must end where the picture does, in every
scan and restart interval, and the scans must give every coefficient. JPEG has no checksum: changed bytes that happen to
leave a stream of the right length cannot be told from a sound one, by this decoder or any other.

What is odd but no damage (fill and stray bytes between segments, bytes behind the end mark, no end mark though the
picture is there, padding behind a scan, an unknown version of JFIF) is taken out of the stream before it is decoded.
The web page does the same (``web/src/core/codecs/jpeg.ts``). Source: ITU-T T.81, annexes B and G.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.errors import UnreadableImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_START, _END = b"\xff\xd8", b"\xff\xd9"
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})  # stray bytes, and restart marks outside a scan
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})  # Huffman, arithmetic, quantisation, restart interval
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # table B.1
_PROGRESSIVE, _LOSSLESS = frozenset({0xC2, 0xC6, 0xCA, 0xCE}), frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_FIRST_NAMED = 0xC0  # marks below are reserved
_COEFFICIENTS = 64
_MOST_SCANS = 128  # encoders make 20 at most, and each costs a pass over the whole picture
_NEXT_MARK = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # FF 00 stands for a coded FF; restart marks belong to the scan
_SEARCHED_AT_ONCE = 1 << 17  # bytes: what is made of them stays in the processor's cache
_COLOURS = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_TRANSFORMS = {3: (0, 1), 4: (0, 2)}  # Adobe's colour transforms; libjpeg takes any other for the second


_Segment = tuple[bytes, bytes | memoryview]


class _DamagedError(Exception):
    """Why the stream cannot be followed or does not give the whole picture."""


@dataclass
class _Stream:
    """What decides about pixels, in order: `segments` are tables, frame and scan headers, each with the data behind it.

    `missing` gives for each component the lowest bit that was sent of each coefficient; 0 is complete.
    """

    width: int = 0
    height: int = 0
    frame: int = 0
    segments: list[_Segment] = field(default_factory=list[_Segment])
    missing: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    scans: int = 0


def decode_jpeg(data: bytes, name: str, *, factor: int = 1) -> NDArray[np.uint8]:
    """Decode a JPEG of 8 bits, at 1, 1/2, 1/4 or 1/8 of its size (rounded up).

    Args:
        data: begins with the start mark.
        name: for messages.
        factor: 1, 2, 4 or 8. The cosine transform then gives means of cells at hardly any cost.

    Returns:
        [H, W] grey, [H, W, 3] red, green, blue, or [H, W, 4] inks as they are stored.

    Raises:
        UnreadableImageError: damaged, cut off, or a kind that libjpeg-turbo does not read.
    """
    import simplejpeg  # pyright: ignore[reportMissingTypeStubs]

    try:
        stream = _follow(data)
        colours = _COLOURS.get(len(stream.missing))
        if colours is None:
            raise _DamagedError(f"{len(stream.missing)} components")
        height, width = (0, 0) if factor == 1 else (-(-stream.height // factor), -(-stream.width // factor))
        try:
            decoded = simplejpeg.decode_jpeg(_joined(stream.segments), colours, min_height=height, min_width=width)
        except ValueError as error:
            unpadded: list[_Segment] = [(segment, _unpadded(coded)) for segment, coded in stream.segments]
            if unpadded == stream.segments:
                raise _DamagedError(str(error)) from None
            decoded = simplejpeg.decode_jpeg(_joined(unpadded), colours, min_height=height, min_width=width)
    except (_DamagedError, ValueError) as error:
        raise UnreadableImageError(
            f"{name}: the JPEG is damaged or ends early ({error}); copy or export it again"
        ) from None
    return decoded[..., 0] if colours == "GRAY" else decoded


def _joined(segments: list[_Segment]) -> bytes:
    return b"".join([_START, *(part for segment in segments for part in segment), _END])


def _unpadded(coded: bytes | memoryview) -> bytes:
    """Leave out zeros behind the coded data of a scan, but not the one that makes a coded FF of its FF."""
    stripped = bytes(coded).rstrip(b"\0")
    return stripped + b"\0" if stripped.endswith(b"\xff") else stripped


def _follow(data: bytes) -> _Stream:
    """Follow the segments to the end mark, or to the end of what is there."""
    stream, position = _Stream(), len(_START)
    while (at := data.find(0xFF, position)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        position = at + 2
        if marker == 0xFF:  # noqa: PLR2004  # a fill byte
            position = at + 1
        elif marker == _END_OF_IMAGE or (marker == _START_OF_IMAGE and stream.scans):
            break
        elif marker not in _WITHOUT_LENGTH and marker != _START_OF_IMAGE:
            position = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if marker < _FIRST_NAMED or position > len(data) or position < at + 4:
                raise _DamagedError(f"byte {at} begins no segment")
            position = _take(stream, data, at, position)
    if any(map(any, stream.missing.values())) or not stream.scans:
        raise _DamagedError("scans are missing")
    components = len(stream.missing)
    stream.segments = [(_with_known_transform(segment, components), coded) for segment, coded in stream.segments]
    return stream


def _take(stream: _Stream, data: bytes, start: int, end: int) -> int:
    """Keep a segment that decides about pixels; return where the next one may begin."""
    marker, segment = data[start + 1], data[start:end]
    if marker in _FRAMES:
        _take_frame(stream, segment)
    elif marker == _START_OF_SCAN:
        following = _NEXT_MARK.search(data, _first_uncoded(data, end))
        stop = following.start() if following else len(data)
        coded = memoryview(data)[end:stop]  # not copied: nearly all of the file
        _take_scan(stream, segment, bytes(coded).rstrip(b"\xff") if data[stop - 1] == 0xFF else coded)  # noqa: PLR2004
        return stop
    elif marker in _TABLES:
        stream.segments.append((segment, b""))
    elif segment[4:9] == b"JFIF\0":
        stream.segments.append((segment[:9] + b"\1" + segment[10:], b""))  # its version, of which libjpeg knows one
    elif segment[4:9] == b"Adobe":
        stream.segments.append((segment, b""))
    return end


def _first_uncoded(data: bytes, start: int) -> int:
    """Where the first FF stands that no 00 follows, or the end: no mark is before it, and this is faster to find."""
    values = np.frombuffer(data, np.uint8)
    for begin in range(start, len(data) - 1, _SEARCHED_AT_ONCE):
        values_here = values[begin : begin + _SEARCHED_AT_ONCE + 1]  # one more, which may follow an FF at the end
        uncoded = (values_here[:-1] == 0xFF) & (values_here[1:] != 0)  # noqa: PLR2004
        at = int(uncoded.argmax())
        if uncoded[at]:
            return begin + at
    return len(data)


def _take_frame(stream: _Stream, segment: bytes) -> None:
    if stream.frame or len(segment) < 10:  # noqa: PLR2004
        raise _DamagedError("two pictures in one, or a frame without size")
    stream.frame = segment[1]
    stream.height, stream.width = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big")
    # a coefficient has 16 bits at most, so that none has been sent yet
    stream.missing = {component: [16] * _COEFFICIENTS for component in segment[10::3]}
    stream.segments.append((segment, b""))


def _with_known_transform(segment: bytes, components: int) -> bytes:
    known = _TRANSFORMS.get(components)
    if known is None or segment[4:9] != b"Adobe" or len(segment) < 16 or segment[15] in known:  # noqa: PLR2004
        return segment
    return segment[:15] + bytes([known[1]]) + segment[16:]


def _take_scan(stream: _Stream, segment: bytes, coded: bytes | memoryview) -> None:
    stream.scans += 1
    if stream.scans > _MOST_SCANS:
        raise _DamagedError(f"more than {_MOST_SCANS} scans")
    count = segment[4] if len(segment) > 4 else 0  # noqa: PLR2004
    components, progress = segment[5 : 5 + 2 * count : 2], segment[5 + 2 * count :]
    if not count or len(progress) < 3 or not set(components) <= set(stream.missing):  # noqa: PLR2004
        raise _DamagedError("a scan of no component")
    first, last, lowest = progress[0], progress[1], progress[2] & 15
    if stream.frame not in _PROGRESSIVE:
        first, last, lowest = 0, _COEFFICIENTS - 1, 0
        if stream.frame not in _LOSSLESS:  # what a sequential scan says of progression has no meaning
            segment = segment[: 5 + 2 * count] + bytes([first, last, lowest])
    elif not first <= last < _COEFFICIENTS:
        raise _DamagedError("a scan of no coefficient")
    for component in components:
        stream.missing[component][first : last + 1] = [lowest] * (last + 1 - first)
    stream.segments.append((segment, coded))
