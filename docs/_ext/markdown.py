"""Markdown tables and texts, as all generated reference pages write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; line breaks and vertical bars in cells are made harmless."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    lines += [f"| {' | '.join(cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


def cell(value: str) -> str:
    """One line of a table's cell."""
    return " ".join(value.split()).replace("|", "\\|")


def code(value: str) -> str:
    """A value as code, or a dash where there is none."""
    return f"`{value}`" if value else "–"


def sentence(text: str) -> str:
    """A text with a capital at its start and a full stop at its end."""
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    return text if not text or text[-1] in ".!?:" else f"{text}."
