"""Markdown for documents: escaped text, and tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pocketcxr.plain_text import lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SIGNS = re.compile(r"([\\*_`|<\[\]~])")


def plain(text: str) -> str:
    """Escape text for Markdown; lines that begin with ``- `` stay a list."""
    return _SIGNS.sub(r"\\\1", lines(text))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; cells are text or numbers (floats get three decimals), an empty or missing one is shown as a dash."""
    whole = [tuple(map(plain, columns)), tuple("---" for _ in columns), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in whole)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if isinstance(value, float) else str(value)
    return " ".join(plain(text).split()) or "–"
