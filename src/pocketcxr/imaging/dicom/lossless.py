"""Tells whether the coded data of a lossless JPEG are all there: GDCM fills in what is missing, in silence.

How many bits each sample takes follows from the decoded samples, the predictor and the Huffman table. Samples that were
filled in take more than there are. Source: ITU-T T.81, annexes F.1.2 and H.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_TABLES, _SCAN, _INTERVAL = 0xC4, 0xDA, 0xDD
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_CATEGORIES = 17  # of differences: by their number of bits, 0 to 16
_NO_CODE = 1 << 20  # a difference that the table has no code for cannot have been in the file
_ROWS_AT_ONCE = 64


def is_whole(plain: bytes, samples: NDArray[Any], bits: int) -> bool:
    """Whether the coded data are as long as the decoded samples ask for.

    Args:
        plain: the codestream as `codestream.Codestream.plain`, of one component.
        samples: [H, W] as decoded from it.
        bits: precision of the samples.
    """
    tables: dict[int, NDArray[np.int64]] = {}
    interval, position = 0, 2
    while position + 4 <= len(plain) and plain[position + 1] != _SCAN:
        end = position + 2 + int.from_bytes(plain[position + 2 : position + 4], "big")
        segment = plain[position + 4 : end]
        if plain[position + 1] == _TABLES:
            tables |= _costs(segment)
        elif plain[position + 1] == _INTERVAL:
            interval = int.from_bytes(segment[:2], "big")
        position = end
    scan = plain[position + 4 : position + 10]  # one component: its number, its table, predictor, and transform
    costs = tables.get(scan[2] >> 4) if len(scan) == 6 else None  # noqa: PLR2004
    height, width = samples.shape
    if costs is None or interval % width:  # H.1.1: an interval is so many whole rows
        return False
    coded = plain[position + 2 + int.from_bytes(plain[position + 2 : position + 4], "big") : -2]
    rows = interval // width or height
    if len(_RESTART.findall(coded)) != -(-height // rows) - 1:
        return False
    needed = sum(
        -(-_bits_of(samples[top : top + rows], bits, scan[3], scan[5] & 15, costs) // 8)
        for top in range(0, height, rows)
    )
    return needed <= len(_RESTART.sub(b"", coded).replace(b"\xff\x00", b"\xff"))


def _costs(segment: bytes) -> dict[int, NDArray[np.int64]]:
    """Bits that a difference of each category takes, its code included, by number of the Huffman table."""
    found: dict[int, NDArray[np.int64]] = {}
    position = 0
    while position + 17 <= len(segment):
        counts = segment[position + 1 : position + 17]
        categories = segment[position + 17 : position + 17 + sum(counts)]
        costs = np.full(_CATEGORIES, _NO_CODE, np.int64)
        lengths = [length for length, count in enumerate(counts, start=1) for _ in range(count)]
        for length, category in zip(lengths, categories, strict=False):
            if category < _CATEGORIES:
                costs[category] = length + category % (_CATEGORIES - 1)  # the largest has no bits behind its code
        found[segment[position] & 15] = costs
        position += 17 + sum(counts)
    return found


def _bits_of(samples: NDArray[Any], bits: int, predictor: int, transform: int, costs: NDArray[np.int64]) -> int:
    total = 0
    for differences in _differences(samples, bits, predictor, transform):
        wrapped = differences & 0xFFFF  # H.1.2.1: modulo 2^16
        magnitudes = np.where(wrapped > 1 << 15, (1 << 16) - wrapped, wrapped)
        categories = np.frexp(magnitudes.astype(np.float32))[1]  # the number of bits
        total += int(np.bincount(categories.ravel(), minlength=_CATEGORIES) @ costs)
    return total


def _differences(samples: NDArray[Any], bits: int, predictor: int, transform: int) -> Iterator[NDArray[np.int32]]:
    """Differences from the predictions of one restart interval, table H.1, some rows at a time."""
    for top in range(0, len(samples), _ROWS_AT_ONCE):
        first = max(top - 1, 0)
        values = (samples[first : top + _ROWS_AT_ONCE].astype(np.int32) & ((1 << bits) - 1)) >> transform
        if not top:
            yield np.diff(values[0], prepend=1 << (bits - transform - 1))
        left, above, corner = values[1:, :-1], values[:-1, 1:], values[:-1, :-1]
        predicted = {
            1: lambda left=left: left,
            2: lambda above=above: above,
            3: lambda corner=corner: corner,
            4: lambda left=left, above=above, corner=corner: left + above - corner,
            5: lambda left=left, above=above, corner=corner: left + ((above - corner) >> 1),
            6: lambda left=left, above=above, corner=corner: above + ((left - corner) >> 1),
            7: lambda left=left, above=above: (left + above) >> 1,
        }.get(predictor, lambda left=left: left)()
        yield values[1:, 0] - values[:-1, 0]
        yield values[1:, 1:] - predicted
