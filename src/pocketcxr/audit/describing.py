"""Measures and sections out of figures: numbers come from the probes, their titles and meanings from measures.toml."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import PocketCxrError
from pocketcxr.evaluation.intervals import Estimate
from pocketcxr.report.formatting import number, with_interval
from pocketcxr.report.panels import bars
from pocketcxr.report.types import Measure, Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pocketcxr.report.types import Picture, Table

    Figures = Mapping[str, Estimate | float | None]

_TABLES: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("measures.toml").read_text("utf-8"))
TEXTS: dict[str, dict[str, str]] = {
    f"{group}.{name}": text for group, table in _TABLES.items() for name, text in table.items() if name != "title"
}
"""Key of a measure, as in ``audit.json``, to its title, meaning, advice and unit; a key with * stands for several."""


class NotMeasurable(PocketCxrError):  # noqa: N818  # an outcome, not a fault
    """A probe cannot be taken on these data or this model; the message is the reason."""


def measured(key: str, figure: Estimate | float | None, *, images: int | None = None, **words: Any) -> Measure:
    """One measure: the figure, or why there is none, with the texts of its key.

    Args:
        key: as in `TEXTS`.
        figure: with its interval, or a plain number.
        images: that it rests on.
        words: fill the blanks of the texts; `worst` is appended to the title.
    """
    text = TEXTS.get(key) or next(text for pattern, text in TEXTS.items() if fnmatch(key, pattern))
    one = figure if isinstance(figure, Estimate) else Estimate(figure)
    worst = words.pop("worst", "")
    try:
        title, meaning, advice = (text.get(name, "").format_map(words) for name in ("title", "meaning", "advice"))
    except KeyError:
        if one.value is not None:
            raise
        title, meaning, advice = text["title"].split("{")[0].rstrip(" :“"), "", ""
    return Measure(
        key,
        f"{title}: {worst}" if worst else title,
        one.value,
        meaning,
        advice,
        text.get("unit", "share"),
        one.low,
        one.high,
        images,
        one.why if one.value is None else "",
        worst,
    )


def measures(group: str, figures: Figures, *, images: int | None = None, **words: Any) -> list[Measure]:
    """A measure of every figure of a section, in order; `figures` by the name within the section."""
    return [measured(f"{group}.{name}", figure, images=images, **words) for name, figure in figures.items()]


def not_measured(group: str, why: str, **words: Any) -> list[Measure]:
    """All measures of a section, none of them measurable, for one reason."""
    names = [name for name in _TABLES[group] if name != "title" and "*" not in name]
    return measures(group, {name: Estimate(None, why=why) for name in names}, **words)


def section(
    key: str, summary: str, own: Iterable[Measure], tables: Iterable[Table] = (), pictures: Iterable[Picture] = ()
) -> Section:
    """A section under its title."""
    return Section(key, _TABLES[key]["title"], summary, tuple(own), tuple(tables), tuple(pictures))


def missing_section(key: str, why: str, more: Iterable[Measure] = ()) -> Section:
    """A section of which nothing could be measured."""
    return section(key, f"Not measurable: {why}.", (*not_measured(key, why), *more))


def lowest(figures: Mapping[str, Estimate], prefix: str, names: Iterable[str]) -> str:
    """The name whose figure ``prefix name`` is smallest."""
    return min(names, key=lambda name: figures[f"{prefix} {name}"].value or 0)


def cells(figures: Mapping[str, Estimate], keys: Iterable[str]) -> tuple[str | None, ...]:
    """Figures with intervals as cells of a table; None for a key that is not there."""
    return tuple(with_interval(figures[key]) if key in figures else None for key in keys)


def interval_bars(title: str, rows: Iterable[tuple[str, Estimate]], **options: Any) -> tuple[Picture, ...]:
    """A chart of figures with intervals, those that exist; none where there is nothing to draw."""
    drawn = [(name, one.value, one.low, one.high) for name, one in rows if one.value is not None]
    alt = "; ".join(f"{name} {number(value, 2)}" for name, value, *_ in drawn)
    return (bars(title, drawn, alt=alt, **options),) if drawn else ()
