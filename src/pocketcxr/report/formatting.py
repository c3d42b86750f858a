"""Numbers as a reader sees them: the one place where figures, shares, intervals and names become text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Measure


Show: TypeAlias = "Callable[[float | None], str]"

MISSING = "–"
"""Stands where there is no number."""


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A number with so many decimals and a true minus; a dash where there is none."""
    if value is None:
        return MISSING
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """A share in per cent, ``12.3 %``; a dash where there is none."""
    return MISSING if value is None else f"{number(100 * value, digits, sign=sign)} %"


def in_unit(value: float | None, unit: str) -> str:
    """A measure in its unit: shares in per cent, counts whole, the rest with three decimals."""
    if unit == "share":
        return percent(value)
    if unit == "count" and value is not None:
        return f"{value:,.0f}"
    return number(value)


def interval(figure: Estimate | Measure, show: Show = number) -> str:
    """Bounds of the 95 % interval, ``0.862 to 0.914``, or the reason why there is none."""
    if figure.low is None or figure.high is None:
        return figure.why or "no interval"
    return f"{show(figure.low)} to {show(figure.high)}"


def bracket(figure: Estimate, show: Show = number) -> str:
    """The interval in brackets behind a value: ``(95 % interval 0.862 to 0.914)``."""
    return f"({'' if figure.low is None else '95 % interval '}{interval(figure, show)})"


def with_interval(figure: Estimate | Measure, digits: int = 2, *, unit: str = "") -> str:
    """Value and interval, ``0.89 (0.86 to 0.91)``; with a unit as `in_unit` writes it."""

    def show(value: float | None) -> str:
        return in_unit(value, unit) if unit else number(value, digits)

    if figure.value is None or figure.low is None or figure.high is None:
        return show(figure.value)
    return f"{show(figure.value)} ({interval(figure, show)})"


def p_value(p: float) -> str:
    """A p-value with no more digits than it deserves: ``p = 0.032``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"  # noqa: PLR2004


def count(items: int, noun: str) -> str:
    """Number and noun, in the plural where needed, thousands grouped."""
    return f"{items:,} {noun}{'' if items == 1 else 's'}"


def amount(value: float) -> str:
    """A large number with a unit prefix and three digits: 2.23 M, 292 M, 19.5 G."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g}"


def listed(parts: Sequence[str]) -> str:
    """Parts of a sentence joined by commas, the last one by "and"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def sentence_case(text: str) -> str:
    """Text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def slug(name: str) -> str:
    """Lower-case words joined by underscores, for keys and names of files."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def table_cell(value: str | float | None) -> str:
    """A cell of a table: text as it is, whole numbers grouped, others with three decimals."""
    if value is None:
        return MISSING
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else number(value)
