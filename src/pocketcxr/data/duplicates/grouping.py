"""Groups rows that show one image, re-encoded, cropped, mirrored, turned or inverted, so that no split separates them.

Re-encoded copies are proposed by the perceptual hash, cropped, mirrored, turned and inverted ones by
`pocketcxr.data.duplicates.search`; the correlation of the fine structure confirms either.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.duplicates.hashing import (
    HASH_BITS,
    MIN_CORRELATION,
    THUMBNAIL_SIZE,
    close_pairs,
    connected,
    thumbnail,
)
from pocketcxr.data.parallel import ordered_map
from pocketcxr.errors import DataError, InputError, require_extra
from pocketcxr.imaging.reading import read_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow

_BLOCK = 256


def duplicate_groups(rows: Sequence[IndexRow], *, progress: bool = False) -> list[str]:
    """Name the group of copies of every row; images that have none are a group of their own.

    Every image is opened once more, for a thumbnail of 9 kB. Files with equal bytes are one group without a comparison.

    Returns:
        One name per row, in order: the first digits of the smallest sha256 in the group, so that it depends neither on
        the order of the rows nor on their folders.

    Raises:
        DataError: a row was never hashed, or its file has gone.
        MissingExtraError: SciPy is not installed.
    """
    require_extra("evaluate", "scipy")
    from pocketcxr.data.duplicates.alignment import details
    from pocketcxr.data.duplicates.search import find_pairs

    for row in rows:
        if len(row.perceptual_hash) != HASH_BITS // 4 or not row.sha256:
            raise DataError(f"{row.path}: the index holds no hash of this image; run  pocketcxr index  again")
    thumbnails = np.zeros((len(rows), THUMBNAIL_SIZE, THUMBNAIL_SIZE), np.uint8)
    candidates = close_pairs([row.perceptual_hash for row in rows])
    close = set(candidates.ravel().tolist())
    fine: dict[int, NDArray[np.float32]] = {}
    for i, small in enumerate(ordered_map(_thumbnail_of, rows)):
        thumbnails[i] = np.round(small * 255)
        if i in close:
            fine[i] = details(small[None])[0]
    changed = find_pairs(thumbnails, sha256=[row.sha256 for row in rows], progress=progress)
    pairs = [*_confirmed(rows, candidates, fine), *((pair.first, pair.second) for pair in changed)]
    roots = connected(len(rows), pairs)
    smallest: dict[int, str] = {}
    for root, row in zip(roots, rows, strict=True):
        smallest[root] = min(smallest.get(root, row.sha256), row.sha256)
    return [smallest[root][:16] for root in roots]


def with_duplicate_groups(rows: Sequence[IndexRow], *, progress: bool = False) -> list[IndexRow]:
    """Fill `duplicate_group` where a table has none yet; rows that were never hashed stay without."""
    if all(row.duplicate_group or not row.perceptual_hash for row in rows):
        return list(rows)
    hashed = [i for i, row in enumerate(rows) if row.perceptual_hash]
    groups = dict(zip(hashed, duplicate_groups([rows[i] for i in hashed], progress=progress), strict=True))
    return [dataclasses.replace(row, duplicate_group=groups.get(i, "")) for i, row in enumerate(rows)]


def _confirmed(
    rows: Sequence[IndexRow], candidates: NDArray[np.int64], fine: Mapping[int, NDArray[np.float32]]
) -> list[tuple[int, int]]:
    """Those pairs of positions that show one image; files with equal bytes do."""
    from pocketcxr.data.duplicates.alignment import aligned

    pairs: list[tuple[int, int]] = [(a, b) for a, b in candidates.tolist()]
    found = [(a, b) for a, b in pairs if rows[a].sha256 == rows[b].sha256]
    others = [(a, b) for a, b in pairs if rows[a].sha256 != rows[b].sha256]

    def correlations(block: list[tuple[int, int]]) -> NDArray[np.float32]:
        return aligned(*(np.stack([fine[i] for i in side]) for side in zip(*block, strict=True)))

    blocks = [others[start : start + _BLOCK] for start in range(0, len(others), _BLOCK)]
    for block, scores in zip(blocks, ordered_map(correlations, blocks), strict=True):
        found += [pair for pair, score in zip(block, scores, strict=True) if score >= MIN_CORRELATION]
    return found


def _thumbnail_of(row: IndexRow) -> NDArray[np.float32]:
    try:
        return thumbnail(read_image(Path(row.path)).pixels)
    except InputError as error:
        raise DataError(f"{error}; it was readable when indexed: run  pocketcxr index  again") from error
