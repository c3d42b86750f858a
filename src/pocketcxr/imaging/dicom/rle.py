"""Decodes RLE Lossless (PS3.5 annex G) to as many bytes as the picture has, whatever the data would unpack to."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER_BYTES = 64
_NOTHING, _LITERAL = 128, 128  # a control byte that does nothing; those below it announce bytes as they are


def decode_rle(frame: bytes, *, pixels: int, samples: int, bytes_per_sample: int) -> NDArray[np.uint8]:
    """Return uint8 [samples, pixels, bytes_per_sample], the lowest byte first.

    Raises:
        ValueError: segments that do not fit the header, or that end before the picture does.
    """
    if len(frame) < _HEADER_BYTES:
        raise ValueError
    count, *starts = struct.unpack_from("<16L", frame)
    if count != samples * bytes_per_sample:
        raise ValueError
    ends = [*starts[1:count], len(frame)]
    planes = [_unpack(frame[start:end], pixels) for start, end in zip(starts[:count], ends, strict=True)]
    # the segments of a sample go from its highest byte to its lowest
    stacked = np.stack(planes).reshape(samples, bytes_per_sample, pixels)[:, ::-1]
    return np.ascontiguousarray(stacked.transpose(0, 2, 1))


def _unpack(segment: bytes, size: int) -> NDArray[np.uint8]:
    """PackBits; what a segment holds beyond `size` is padding."""
    unpacked, position = bytearray(), 0
    while len(unpacked) < size:
        if position >= len(segment):
            raise ValueError
        control = segment[position]
        if control < _LITERAL:
            unpacked += segment[position + 1 : position + 2 + control]
            position += 2 + control
        else:
            if control > _NOTHING:
                unpacked += segment[position + 1 : position + 2] * (257 - control)
            position += 2 if control > _NOTHING else 1
    return np.frombuffer(unpacked, dtype=np.uint8, count=size)
