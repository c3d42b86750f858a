"""Leakage check: patients, studies and near duplicates that must stay in one split."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pocketcxr.data.duplicates.hashing import connected
from pocketcxr.errors import LeakError
from pocketcxr.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pocketcxr.data.rows import IndexRow

IMAGE_FOLD = "image:"
"""Marks folds assigned image by image, which leak: only to repeat published protocols."""

Component = list[int]
"""Positions of the rows that must stay together."""


def check_leakage(rows: Sequence[IndexRow]) -> None:
    """Stop where one patient, study or image stands in two splits or folds.

    Folds assigned by image are exempt, with the splits made from them: they carry their mark.

    Raises:
        LeakError: naming the files, never the patients.
    """
    if any(row.fold.startswith(IMAGE_FOLD) for row in rows):
        return
    for column in ("split", "fold"):
        placed = [i for i, row in enumerate(rows) if getattr(row, column)]
        for kind, members in _sharing(rows, placed):
            sides = defaultdict(list)
            for i in members:
                sides[getattr(rows[i], column)].append(rows[i].path)
            if len(sides) > 1:
                shown = "; ".join(f"{column} {side}: {some_paths(paths)}" for side, paths in sorted(sides.items()))
                raise LeakError(f"one {kind} stands in {len(sides)} {column}s, expected one; {shown}")


def some_paths(paths: Sequence[str], most: int = 3) -> str:
    """Name a few files and count the rest, to keep a message one line."""
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(map(one_line, paths[:most])) + more


def _sharing(rows: Sequence[IndexRow], positions: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """Sets of at least two rows that share a patient, a study, a near-duplicate group or their very bytes."""
    kinds = {
        "patient": lambda row: row.patient_id,
        "study": lambda row: row.study_id,
        "group of near duplicates": lambda row: row.duplicate_group,
        "file (equal bytes)": lambda row: row.sha256,
    }
    for kind, key in kinds.items():
        groups: dict[str, list[int]] = defaultdict(list)
        for i in positions:
            if key(rows[i]):
                groups[key(rows[i])].append(i)
        yield from ((kind, members) for members in groups.values() if len(members) > 1)


def components_of(rows: Sequence[IndexRow], positions: Sequence[int]) -> list[Component]:
    """Connected components of the rows at `positions`; chains through unlabelled rows count too."""
    pairs = [(members[0], other) for _, members in _sharing(rows, range(len(rows))) for other in members[1:]]
    components: dict[int, Component] = defaultdict(list)
    roots = connected(len(rows), pairs)
    for i in positions:
        components[roots[i]].append(i)
    return list(components.values())
