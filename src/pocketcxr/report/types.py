"""Elements of a report: measures with their meaning, tables, pictures and sections; cells and rows of figures.

Data audit and model audit return sections; criteria, report, JSON, checklist and model card are made from sections and
from nothing else, so that every figure stands in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pocketcxr.evaluation.intervals import Estimate


@dataclass(frozen=True)
class Measure:
    """One figure of an audit, with what it means and what to do about it.

    `key` is its name for criteria and JSON, dotted and lower case (``duplicates.across_splits``). `value` is None where
    it cannot be measured on these data, and `why` says the reason. `low`, `high` bound the 95 % interval, None where
    there is none. `images` is how many images it rests on. `unit` is ``share`` (0 to 1), ``count``, ``auroc`` (0.5 is a
    guess) or another word that the report may print. `worst` names which of several things the figure is of, such as
    the property that goes with the class most; empty where there is one only.
    """

    key: str
    title: str
    value: float | None
    meaning: str
    advice: str = ""
    unit: str = "share"
    low: float | None = None
    high: float | None = None
    images: int | None = None
    why: str = ""
    worst: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the report; cells are text or numbers, None is shown as a dash."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture of the report: bytes of a PNG or SVG (`media_type`), with a text for those who cannot see it."""

    title: str
    data: bytes
    alt: str
    media_type: str = "image/png"
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One section of an audit: its `title`, and a `summary` of its figures in a sentence or two.

    `outcome` says which of its criteria failed; it is derived from them (`audit.conclusions.conclude`), as the headline
    is, so that the two cannot contradict one another. A summary states quantities and calls nothing a fault.
    """

    key: str
    title: str
    summary: str
    measures: tuple[Measure, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    outcome: str = ""


@dataclass(frozen=True)
class Cell:
    """One figure in a table: text, the interval below it, or why there is none."""

    text: str
    below: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Row:
    """One figure of all models: its name, what it means, and a cell per model."""

    name: str
    meaning: str
    cells: tuple[Cell, ...]


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
