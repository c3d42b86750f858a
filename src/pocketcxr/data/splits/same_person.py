"""Gives images of one person, as a table of pairs names them, one patient, so that no split separates them."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from pocketcxr.data.duplicates.hashing import connected
from pocketcxr.data.tables import read_table
from pocketcxr.errors import DataError
from pocketcxr.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pocketcxr.data.rows import IndexRow


def join_persons(rows: Sequence[IndexRow], tables: Sequence[Path]) -> list[IndexRow]:
    """Set one `patient_id` for the images of each pair, and for all others of their patients, over chains of pairs too.

    The patient keeps the identifier that comes first in alphabetical order; where the index names none, it becomes
    ``person:`` and the first digits of the smallest SHA-256 (the path, of an image that was never hashed).

    Args:
        rows: the index, in any order.
        tables: CSV with the columns ``first`` and ``second``, paths of images, as ``split --find-persons`` writes it;
            pairs that proved to be two persons are deleted from it before.

    Returns:
        The same rows in the same order.

    Raises:
        DataError: a column is missing, or a line names no image of the index.
    """
    places = {os.path.abspath(row.path): i for i, row in enumerate(rows)}  # noqa: PTH100  # as the table was written
    pairs: list[tuple[int, int]] = []
    for path in tables:
        for number, line in read_table(path, "first", "second").lines:
            unknown = [name for name in (line["first"], line["second"]) if name not in places]
            if unknown:
                raise DataError(
                    f"{path}, line {number}: expected two images of the index, found {one_line(unknown[0])!r}, "
                    "which is none; correct or remove the line"
                )
            pairs.append((places[line["first"]], places[line["second"]]))
    first_of: dict[str, int] = {}
    known = [(first_of.setdefault(row.patient_id, i), i) for i, row in enumerate(rows) if row.patient_id]
    roots = connected(len(rows), [*known, *pairs])
    joined = {roots[i] for pair in pairs for i in pair}
    names: dict[int, str] = {}
    for root in joined:
        members = [row for row, of in zip(rows, roots, strict=True) if of == root]
        named = sorted({row.patient_id for row in members} - {""})
        names[root] = named[0] if named else f"person:{min(row.sha256[:16] or row.path for row in members)}"
    return [
        dataclasses.replace(row, patient_id=names[root]) if root in joined else row
        for row, root in zip(rows, roots, strict=True)
    ]
