"""Look-up tables of the Modality and the VOI stage (PS3.3 C.11.1 and C.11.2), as writers make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.errors import UnusableImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_WORD = 1 << 16
_DESCRIPTOR_VALUES = 3


@dataclass(frozen=True)
class LookupTable:
    """`entries` from the input value `first` on, which fill `bits` bits; `stated_bits` by the descriptor.

    It stands at `position`, from 1 on, of `count` in its sequence.
    """

    entries: NDArray[np.uint16]
    first: int
    bits: int
    stated_bits: int
    position: int
    count: int

    def look_up(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values before the first entry take the first one, values after the last one the last."""
        index = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)].astype(np.float64)


def find_lookup_table(dataset: Dataset, keyword: str, name: str) -> tuple[int, int, Dataset] | None:
    """Position, count and the first item of a LUT sequence that holds anything.

    Writers that fill in every attribute leave items without content, which say no more than no item.

    Raises:
        UnusableImageError: no sequence at all.
    """
    sequence: Any = dataset.get(keyword)
    items = [] if sequence is None or isinstance(sequence, bytes | str) else list(sequence)
    if sequence and not items:
        raise UnusableImageError(f"{name}: {keyword} is no sequence; export it again")
    for position, item in enumerate(items):
        if any(_present(item, element) for element in ("LUTDescriptor", "LUTData")):
            return position + 1, len(items), item
    return None


def read_lookup_table(dataset: Dataset, keyword: str, name: str, *, values: NDArray[np.float64]) -> LookupTable | None:
    """The first LUT of a sequence that holds anything; None where there is none.

    Args:
        dataset: the header.
        keyword: of the sequence.
        name: stands in messages.
        values: every possible input value. They tell whether the first input value, of 16 bits, is a signed one:
            writers set the wrong value representation.

    Raises:
        UnusableImageError: a descriptor or entries that are missing or fit each other in no way.
    """
    found = find_lookup_table(dataset, keyword, name)
    if found is None:
        return None
    position, count, item = found
    little = dataset.original_encoding[1] is not False
    descriptor = _words(_value(item, "LUTDescriptor"), little=little)
    if descriptor is None or len(descriptor) != _DESCRIPTOR_VALUES:
        raise UnusableImageError(
            f"{name}: expected a LUTDescriptor of three numbers in {keyword}, found "
            f"{'none' if descriptor is None else len(descriptor)}; export it again"
        )
    size, first, stated = int(descriptor[0]) % _WORD or _WORD, int(descriptor[1]), int(descriptor[2])
    entries = _entries(_value(item, "LUTData"), size, little=little)
    if entries is None or len(entries) < size:
        raise UnusableImageError(
            f"{name}: expected a look-up table of {size} entries in {keyword}, found "
            f"{0 if entries is None else len(entries)}; export it again"
        )
    entries = entries[:size]
    return LookupTable(entries, _first(first, size, values), _bits(entries, stated), stated, position, count)


def _present(item: Dataset, keyword: str) -> bool:
    value = _value(item, keyword)
    return value is not None and np.size(value) > 0 and value != b""


def _value(item: Dataset, keyword: str) -> Any:
    try:
        return item.get(keyword)
    except Exception:  # noqa: BLE001  # a value of another length or form than its representation says
        return b"\0"  # something, and too short for anything


def _words(value: Any, *, little: bool) -> NDArray[np.int64] | None:
    if value is None or value == b"":
        return None
    if isinstance(value, bytes):
        return np.frombuffer(value[: len(value) // 2 * 2], dtype="<u2" if little else ">u2").astype(np.int64)
    try:
        return np.atleast_1d(np.asarray(value, dtype=np.int64))
    except (TypeError, ValueError):
        return None


def _entries(value: Any, size: int, *, little: bool) -> NDArray[np.uint16] | None:
    """Entries of 16 bits, or of 8 bits of which a word holds two, the first in its low byte (C.11.1.1.1)."""
    words = _words(value, little=little)
    if words is None:
        return None
    words = (words % _WORD).astype("<u2")
    packed = words.tobytes() + (value[-1:] if isinstance(value, bytes) and len(value) % 2 else b"")
    if len(words) >= size or len(packed) < size:
        return words.astype(np.uint16)
    return np.frombuffer(packed, dtype=np.uint8).astype(np.uint16)


def _first(stated: int, size: int, values: NDArray[np.float64]) -> int:
    """The first input value with that sign with which the table covers more of the values that there may be."""
    low, high = float(values.min()), float(values.max())

    def covered(first: int) -> float:
        return min(high, first + size - 1) - max(low, first)

    return max((stated, stated - _WORD, stated + _WORD), key=lambda first: (max(covered(first), -1), first == stated))


def _bits(entries: NDArray[np.uint16], stated: int) -> int:
    """Bits that the output fills.

    Viewers go by the largest entry, because Agfa's and other CR systems state 16 bits for tables of 12 (see
    `getVoiLUT` of Cornerstone). A largest entry of a power of two may be the end of the range that is stated.
    """
    largest = int(entries.max())
    if largest < 1:
        return 1  # all of it is black
    possible = (largest.bit_length(), (largest - 1).bit_length())
    return stated if stated in possible and stated > 0 else possible[0]
