"""Leakage: patients, files and copies of images in more than one split."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.audit.data.duplicates import SHOWN, Copies, pair_pictures
from pocketcxr.audit.describing import measured, section
from pocketcxr.data.duplicates.search import SURE
from pocketcxr.data.rows import SPLITS
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.report.formatting import count
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pocketcxr.data.duplicates.search import Pair
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.report.types import Section

__all__ = ["Copies", "Leaks", "describe", "leak_section", "measure"]

_LISTED = 200


@dataclass(frozen=True)
class Leaks:
    """Positions of images that share a patient, file or sure copy (`shared` by kind) or a likely copy with a split.

    `sides` [n] names the split or fold of each image, `names` those that occur; fewer than two: nothing can leak.
    `pairs` of copies on two sides, the surest first.
    """

    sides: Sequence[str]
    names: Sequence[str]
    shared: Mapping[str, set[int]]
    likely: set[int]
    unnamed: int
    pairs: Sequence[Pair]


def measure(rows: Sequence[IndexRow], copies: Copies) -> Leaks:
    """Find what is in two splits."""
    sides = [_side(row) for row in rows]
    names = [name for name in (*SPLITS, *sorted({side for side in sides if side.startswith("fold")})) if name in sides]
    shared = {
        "patients": _shared(sides, [row.patient_id or (row.study_id and f"study {row.study_id}") for row in rows]),
        "same_file": _shared(sides, [row.sha256 for row in rows]),
        "near_duplicates": _shared(sides, [str(group) for group in copies.sure_groups]),
    }
    likely = _shared(sides, [str(group) for group in copies.groups]) - shared["near_duplicates"]
    unnamed = sum(not row.patient_id and not row.study_id for row in rows)
    pairs = [
        pair
        for pair in copies.pairs
        if sides[pair.first] and sides[pair.second] and sides[pair.first] != sides[pair.second]
    ]
    return Leaks(sides, names, shared, likely, unnamed, pairs if len(names) > 1 else [])


def describe(found: Leaks, rows: Sequence[IndexRow], pixels: NDArray[np.uint8], copies: Copies) -> Section:
    """Images in two splits, in which direction, and the pairs by name."""
    images, sides = len(rows), found.sides
    why = "" if len(found.names) > 1 else "the table has no splits yet; run  pocketcxr split  first"
    anonymous = "" if why or found.unnamed < images else "the table names no patient and no study"
    own = [
        measured(
            f"leaks.{kind}",
            not_measurable(reason) if (reason := why or (anonymous if kind == "patients" else "")) else len(positions),
            images=images,
        )
        for kind, positions in (*found.shared.items(), ("likely_duplicates", found.likely))
    ]
    own.append(measured("leaks.patients_unknown", found.unnamed / max(images, 1), images=images))
    leaking = len({i for positions in found.shared.values() for i in positions})
    summary = (
        f"Not measurable: {why}."
        if why
        else f"{count(leaking, 'image')} of {images:,} share a patient or an image with another split "
        f"({', '.join(found.names)})."
    )
    tables = [
        _direction_table(title, sides, found.names, keys)
        for title, keys in (
            ("By patient or study", [row.patient_id or row.study_id for row in rows]),
            ("By picture (same file or sure copy)", [str(group) for group in copies.sure_groups]),
        )
        if not why
    ]
    if found.pairs:
        tables.append(_pair_table(rows, sides, found.pairs[:_LISTED]))
    note = f"The surest first; below an agreement of {SURE} it may be two images of one person or two people."
    what = "one in each of two splits, that are or may be one exposure"
    pictures = pair_pictures("Images in two splits", rows, pixels, found.pairs[:SHOWN], what, note)
    return section("leaks", summary, own, tables, pictures)


def leak_section(rows: Sequence[IndexRow], pixels: NDArray[np.uint8], copies: Copies) -> Section:
    """Measure and describe."""
    return describe(measure(rows, copies), rows, pixels, copies)


def _shared(sides: Sequence[str], keys: Sequence[str]) -> set[int]:
    """Positions of images whose key is on another side too."""
    seen: dict[str, set[str]] = defaultdict(set)
    for side, key in zip(sides, keys, strict=True):
        if side and key:
            seen[key].add(side)
    return {i for i, (side, key) in enumerate(zip(sides, keys, strict=True)) if side and key and len(seen[key]) > 1}


def _direction_table(title: str, sides: Sequence[str], names: Sequence[str], keys: Sequence[str]) -> Table:
    """Images of one side whose key is also on another."""
    held: dict[str, set[str]] = {
        name: {k for s, k in zip(sides, keys, strict=True) if s == name and k} for name in names
    }
    counts: Callable[[str, str], int] = lambda a, b: sum(  # noqa: E731
        s == a and bool(k) and k in held[b] for s, k in zip(sides, keys, strict=True)
    )
    body = tuple((a, *(None if a == b else counts(a, b) for b in names)) for a in names)
    return Table(
        f"{title}: images of a row's split that are also in a column's",
        ("images of", *(f"also in {b}" for b in names)),
        body,
    )


def _pair_table(rows: Sequence[IndexRow], sides: Sequence[str], pairs: Sequence[Pair]) -> Table:
    """The pairs by name, so that they can be taken out."""
    paths = [os.path.abspath(row.path) for row in rows]  # noqa: PTH100  # resolve() would follow links out of the set
    folder = os.path.commonpath([str(Path(path).parent) for path in paths])
    body = tuple(
        (
            os.path.relpath(paths[pair.first], folder),
            sides[pair.first],
            os.path.relpath(paths[pair.second], folder),
            sides[pair.second],
            pair.change,
            pair.correlation,
            "sure" if pair.sure else "likely",
        )
        for pair in pairs
    )
    columns = ("file", "in", "file", "in", "how they differ", "agreement", "how sure")
    return Table("Pairs on both sides", columns, body, f"The {len(body)} surest; paths below the folder of all images.")


def _side(row: IndexRow) -> str:
    return row.split or (f"fold {row.fold}" if row.fold else "")
