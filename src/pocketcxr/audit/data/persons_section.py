"""Probable persons in two splits: section of the report, and a page and a table of the pairs beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.data.duplicates import SHOWN, captioned_sheet, row_caption
from pocketcxr.audit.data.persons import EXPECTED_FALSE
from pocketcxr.audit.data.reidentification import read_whole
from pocketcxr.audit.describing import measured, section
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.files import write_csv, write_text
from pocketcxr.report.formatting import count
from pocketcxr.report.images import data_uri
from pocketcxr.report.page import render
from pocketcxr.report.types import Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.data.persons import Persons
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.report.types import Section

PAGE, TABLE = "persons.html", "persons.csv"
"""Names of the page and the table of pairs, beside the report."""

MOST_ON_PAGE = 100
_COLUMNS = ("first", "split", "second", "split_of_second", "likeness")


def describe(found: Persons, rows: Sequence[IndexRow], pixels: NDArray[np.uint8]) -> Section:
    """Measures, and a sheet of the pairs that are most alike.

    Args:
        found: from `find_persons`.
        rows: the images.
        pixels: their thumbnails, uint8 [n, s, s].
    """
    groups = found.groups
    images = sum(map(len, groups))
    why = not_measurable(found.why) if found.why else None
    own = (
        measured("persons.images", why or images / max(found.images, 1), images=found.images),
        measured("persons.pairs", why or len(found.pairs), images=found.images),
        measured("persons.groups", why or len(groups), images=found.images),
        measured("persons.compared", why or found.compared, images=found.images),
    )
    if found.why:
        return section("persons", f"Not measurable: {found.why}.", own)
    shown = found.pairs[:SHOWN]
    if not shown:
        return section("persons", f"{summary(found)}.", own)
    sheet = captioned_sheet(
        rows, pixels, ((pair.first, pair.second, f"likeness {pair.likeness:.1f}") for pair in shown)
    )
    alt = f"{len(shown)} pairs of chest X-rays, one in each of two splits, that are probably of one person"
    note = f"All {len(found.pairs):,} pairs are in {TABLE}, the first {MOST_ON_PAGE} side by side in {PAGE}."
    return section("persons", f"{summary(found)}.", own, (), (Picture("Most alike", sheet, alt, note=note),))


def summary(found: Persons) -> str:
    """The outcome in one line."""
    if found.why:
        return f"Probable persons in two splits: not measurable ({found.why})"
    if not found.pairs:
        if not found.compared:
            return "Probable persons in two splits: none, for the table joins all pairs"
        return f"Probable persons in two splits: none found in {found.compared:,} pairs"
    images = count(sum(map(len, found.groups)), "image")
    people = count(len(found.groups), "person")
    return f"Probable persons in two splits: {people} ({images}, {count(len(found.pairs), 'pair')})"


def write_pairs(found: Persons, rows: Sequence[IndexRow], page: Path, table: Path) -> None:
    """Write a table of all pairs, and a page that shows the first `MOST_ON_PAGE` side by side.

    Where there are none, neither is written, and those of an earlier call are removed.

    Raises:
        DataError: an image can no longer be read.
    """
    if not found.pairs:
        page.unlink(missing_ok=True)
        table.unlink(missing_ok=True)
        return
    paths = [os.path.abspath(row.path) for row in rows]  # noqa: PTH100  # resolve() would follow links out of the set
    folder = os.path.commonpath([str(Path(path).parent) for path in paths])

    def side(place: int) -> str:
        return rows[place].split or f"fold {rows[place].fold}"

    def shown(place: int) -> dict[str, str]:
        pixels = np.floor(read_whole(rows[place]) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        name = os.path.relpath(paths[place], folder)
        return {"uri": data_uri(pixels), "side": side(place), "path": name, "words": row_caption(rows[place])}

    body = (
        (paths[pair.first], side(pair.first), paths[pair.second], side(pair.second), f"{pair.likeness:.2f}")
        for pair in found.pairs
    )
    write_csv(table, _COLUMNS, body)
    text = render(
        "report/templates/persons.html.j2",
        summary=summary(found),
        compared=found.compared,
        all_pairs=len(found.pairs),
        pairs=[(pair.likeness, shown(pair.first), shown(pair.second)) for pair in found.pairs[:MOST_ON_PAGE]],
        expected_false=EXPECTED_FALSE,
        table=table.name,
    )
    write_text(page, text)
