"""Adults only: children are left out of a table before it is split, and counted per source."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.data.rows import IndexRow

PAEDIATRIC_SOURCES = frozenset({"kermany"})
"""Sources that hold children only and state no ages. Kermany: aged one to five years (Cell 2018; 172: 1122)."""

ADULT_YEARS = 18


def adults_only(rows: Sequence[IndexRow]) -> tuple[list[IndexRow], str]:
    """Leave out patients under 18 years and paediatric sources; patients whose age is not stated are kept.

    Returns:
        The rows that stay, in their order, and a line per source that lost rows or has unknown ages.
    """
    kept: list[IndexRow] = []
    left_out, unknown = Counter[str](), Counter[str]()
    for row in rows:
        years = _years(row.age)
        if row.source in PAEDIATRIC_SOURCES or (years is not None and years < ADULT_YEARS):
            left_out[row.source] += 1
        else:
            kept.append(row)
            unknown[row.source] += years is None
    lines = [
        f"adults only, {source}: left out {left_out[source]} images of children, kept {unknown[source]} of unknown age"
        for source in sorted({row.source for row in rows})
        if left_out[source] or unknown[source]
    ]
    return kept, "\n".join(lines)


def _years(text: str) -> float | None:
    try:
        years = float(text)
    except ValueError:
        return None
    return years if math.isfinite(years) else None
