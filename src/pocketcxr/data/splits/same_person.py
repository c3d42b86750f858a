"""Gives images of one person, as a table of pairs names them, one patient, so that no split separates them."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.data.adapters.patients import images_by_name, known_image
from pocketcxr.data.duplicates.hashing import connected
from pocketcxr.data.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.data.rows import IndexRow


def join_persons(rows: Sequence[IndexRow], tables: Sequence[Path]) -> list[IndexRow]:
    """Set one `patient_id` for the images of each pair, and for all others of their patients, over chains of pairs too.

    The patient keeps the identifier that comes first in alphabetical order; where the index names none, it becomes
    ``person:`` and the first digits of the smallest SHA-256 (the path, of an image that was never hashed).

    Args:
        rows: the index, in any order.
        tables: CSV with the columns ``first`` and ``second``, as ``split --find-persons`` writes it; an image is named
            by its path or the end of it (``siim/a1.png``, ``a1``). Pairs that proved to be two persons are deleted
            from it before.

    Returns:
        The same rows in the same order.

    Raises:
        DataError: a column is missing, or a line names something that is no image of the index, or several.
    """
    if not tables:
        return list(rows)
    places = {Path(row.path): i for i, row in enumerate(rows)}
    by_name = images_by_name(places)
    pairs: list[tuple[int, int]] = []
    for path in tables:
        table = read_table(path, "first", "second")
        for number, line in table.lines:
            where = f"{path}, line {number}"
            first, second = (
                places[known_image(line[column], by_name, path.parent, where, table.doubt)]
                for column in ("first", "second")
            )
            pairs.append((first, second))
    first_of: dict[str, int] = {}
    known = [(first_of.setdefault(row.patient_id, i), i) for i, row in enumerate(rows) if row.patient_id]
    roots = connected(len(rows), [*known, *pairs])
    joined = {roots[i] for pair in pairs for i in pair}
    members: dict[int, list[IndexRow]] = defaultdict(list)
    for row, root in zip(rows, roots, strict=True):
        if root in joined:
            members[root].append(row)
    names = {root: _patient_of(some) for root, some in members.items()}
    return [
        dataclasses.replace(row, patient_id=names[root]) if root in names else row
        for row, root in zip(rows, roots, strict=True)
    ]


def _patient_of(rows: Sequence[IndexRow]) -> str:
    named = {row.patient_id for row in rows} - {""}
    return min(named) if named else f"person:{min(row.sha256[:16] or row.path for row in rows)}"
