"""What a data set says of each finding of an image, as three columns of the index: present, uncertain, absent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pocketcxr.data.rows import ALL_OTHERS
from pocketcxr.errors import DataError
from pocketcxr.vocabulary import SEPARATOR, finding_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PRESENT, ABSENT, UNCERTAIN = "present", "absent", "uncertain"
_CELLS = {
    **dict.fromkeys(("1", "1.0"), PRESENT),
    **dict.fromkeys(("0", "0.0"), ABSENT),
    **dict.fromkeys(("-1", "-1.0", "u"), UNCERTAIN),
    **dict.fromkeys(("", "nan"), ""),
}
"""Cells of a column per finding, as CheXpert's labeller writes them."""


def cell_of(names: Iterable[str], aliases: Mapping[str, str]) -> str:
    """Findings of a table's own words as one cell of the index: each once, words for "unlabelled" left out.

    Raises:
        DataError: a word that cannot be a name.
    """
    return SEPARATOR.join(dict.fromkeys(filter(None, (finding_named(name, aliases) for name in names))))


def words_of(cell: str) -> list[str]:
    """Words of a cell that names one finding or several, which a bar or a semicolon separates."""
    return [word.strip() for word in re.split(r"[|;]", cell) if word.strip()]


def of_cells(finding: str, uncertain: str, absent: str, aliases: Mapping[str, str]) -> dict[str, Any]:
    """Columns `finding`, `uncertain` and `absent` of a row of the index, from three cells of words.

    Raises:
        DataError: a word that cannot be a name, or a finding that is in two of the cells.
    """
    others = [word for word in words_of(absent) if word != ALL_OTHERS]
    told = {
        "finding": cell_of(words_of(finding), aliases),
        "uncertain": cell_of(words_of(uncertain), aliases),
        "absent": cell_of(others, aliases),
    }
    return _checked(told, closed=len(others) < len(words_of(absent)))


def of_columns(cells: Mapping[str, str], aliases: Mapping[str, str]) -> dict[str, Any]:
    """The same from a column per finding that holds 1, 0, -1 or nothing.

    Args:
        cells: name of the column to its cell.
        aliases: the user's own words.

    Raises:
        DataError: another cell, or columns of one finding that contradict each other.
    """
    words: dict[str, list[str]] = {PRESENT: [], UNCERTAIN: [], ABSENT: [], "": []}
    for name, cell in cells.items():
        told = _CELLS.get(cell.lower())
        if told is None:
            raise DataError(
                f"column {name}: expected 1 (present), 0 (absent), -1 (uncertain) or nothing, found {cell!r}"
            )
        words[told].append(name)
    return _checked(
        {
            "finding": cell_of(words[PRESENT], aliases),
            "uncertain": cell_of(words[UNCERTAIN], aliases),
            "absent": cell_of(words[ABSENT], aliases),
        }
    )


def of_list(names: Sequence[str], aliases: Mapping[str, str], *, uncertain: Sequence[str] = ()) -> dict[str, Any]:
    """The same from the list of a set that names all of its findings that an image has: all others are absent.

    Raises:
        DataError: a word that cannot be a name.
    """
    return _checked(
        {"finding": cell_of(names, aliases), "uncertain": cell_of(uncertain, aliases), "absent": ""}, closed=True
    )


def _checked(told: dict[str, str], *, closed: bool = False) -> dict[str, Any]:
    every = [(name, column) for column, cell in told.items() for name in cell.split(SEPARATOR) if name]
    columns = dict(every)
    twice = next((name for name, column in every if columns[name] != column), "")
    if twice:
        raise DataError(f"{twice} is said to be two of present, uncertain and absent; keep the true one")
    if closed:
        told["absent"] = SEPARATOR.join(filter(None, (told["absent"], ALL_OTHERS)))
    return told
