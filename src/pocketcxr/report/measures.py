"""Small words that the sections of the model audit share: measures out of figures, shares, names of keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pocketcxr.report.types import Measure

if TYPE_CHECKING:
    from pocketcxr.evaluation.intervals import Estimate


def measure(
    key: str,
    title: str,
    figure: Estimate,
    meaning: str,
    *,
    advice: str = "",
    unit: str = "share",
    images: int | None = None,
) -> Measure:
    """A measure of a figure with its interval; one that does not exist keeps its reason."""
    return Measure(
        key,
        title,
        figure.value,
        meaning,
        advice=advice,
        unit=unit,
        low=figure.low,
        high=figure.high,
        images=images,
        why=figure.why if figure.value is None else "",
    )


def missing(key: str, title: str, why: str, meaning: str = "", *, advice: str = "", unit: str = "share") -> Measure:
    """A measure that cannot be taken on these data, with the reason."""
    return Measure(key, title, None, meaning, advice=advice, unit=unit, why=why)


def slug(name: str) -> str:
    """Lower-case words joined by underscores, for keys."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def shown(value: float | None, digits: int = 2) -> str:
    """A number in a sentence; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def interval_words(figure: Estimate | Measure, digits: int = 2) -> str:
    """Value and interval as a cell of a table."""
    if figure.value is None:
        return "–"
    if figure.low is None or figure.high is None:
        return shown(figure.value, digits)
    return f"{shown(figure.value, digits)} ({shown(figure.low, digits)} to {shown(figure.high, digits)})"


def percent(value: float | None) -> str:
    """A share in per cent, in a sentence."""
    return "–" if value is None else f"{100 * value:.0f} %".replace("-", "−")
