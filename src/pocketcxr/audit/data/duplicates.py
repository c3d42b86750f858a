"""Duplicates: exact and near copies of images, and copies with contradicting classes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import measured, section
from pocketcxr.data.duplicates.search import SURE
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.report.sheets import pair_sheet
from pocketcxr.report.types import Picture, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.duplicates.search import Pair
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.report.types import Section

SHOWN = 12
"""Pairs on a sheet."""


@dataclass(frozen=True)
class Copies:
    """The pairs found, and for each row the group of copies it belongs to: of all pairs, and of the sure ones only."""

    pairs: tuple[Pair, ...]
    groups: tuple[int, ...]
    sure_groups: tuple[int, ...]


@dataclass(frozen=True)
class Duplicates:
    """Counts of images, of those that are copies of another (`extra`, in `groups`) and of contradicting ones.

    `labelled` images have a class; of the `sure` pairs, `across` join two sources; `changes` by what was done to the
    copy: sure and likely pairs.
    """

    images: int
    labelled: int
    same_file: int
    extra: int
    groups: int
    contradictory: int
    sure: int
    across: int
    changes: Mapping[str, tuple[int, int]]


def measure(rows: Sequence[IndexRow], copies: Copies) -> Duplicates:
    """Count copies."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(copies.sure_groups):
        members[group].append(i)
    repeated = [group for group in members.values() if len(group) > 1]
    doubtful = [group for group in repeated if len({rows[i].label for i in group if rows[i].label}) > 1]
    changes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for pair in copies.pairs:
        changes[pair.change][0 if pair.sure else 1] += 1
    sure = [pair for pair in copies.pairs if pair.sure]
    return Duplicates(
        len(rows),
        sum(bool(row.label) for row in rows),
        sum(pair.change == "same file" for pair in copies.pairs),
        sum(len(group) - 1 for group in repeated),
        len(repeated),
        sum(bool(rows[i].label) for group in doubtful for i in group),
        len(sure),
        sum(rows[pair.first].source != rows[pair.second].source for pair in sure),
        {change: (sure, likely) for change, (sure, likely) in changes.items()},
    )


def describe(found: Duplicates, rows: Sequence[IndexRow], pixels: NDArray[np.uint8], copies: Copies) -> Section:
    """Copies, how they differ, and a sheet of the worst."""
    contrary = found.contradictory / found.labelled if found.labelled else not_measurable("no image has a class")
    own = (
        measured("duplicates.same_file", found.same_file, images=found.images),
        measured("duplicates.near", found.extra / max(found.images, 1), images=found.images),
        measured("duplicates.contradictory", contrary, images=found.labelled),
    )
    summary = (
        f"Copies of another image: {found.extra:,} of {found.images:,} ({found.groups:,} groups); "
        f"{found.across:,} of {found.sure:,} pairs join two sources."
        if found.extra
        else f"Copies of another image: none among {found.images:,}."
    )
    table = Table(
        "How the copies differ",
        ("what was done to the copy", "sure", "likely"),
        tuple((change, *counts) for change, counts in sorted(found.changes.items(), key=lambda item: -sum(item[1]))),
        f"Re-encoded covers compression, size, brightness and contrast. Sure: the fine structure agrees to {SURE} "
        "or more; only these count for figures and criteria. Likely: a copy, or another image of the same person.",
    )
    worst = sorted(
        copies.pairs,
        key=lambda pair: (
            not pair.sure,
            rows[pair.first].label == rows[pair.second].label,
            pair.change in {"same file", "re-encoded"},
            -pair.correlation,
        ),
    )[:SHOWN]
    note = "Over each pair: how they differ, and how well their fine structure agrees (1 is perfect)."
    pictures = pair_pictures(
        "Copies: contradictory and altered ones first", rows, pixels, worst, "that show the same exposure", note
    )
    return section("duplicates", summary, own, (table,) if found.changes else (), pictures)


def pair_pictures(
    title: str, rows: Sequence[IndexRow], pixels: NDArray[np.uint8], pairs: Sequence[Pair], what: str, note: str
) -> tuple[Picture, ...]:
    """A sheet of pairs; none without pairs."""
    alt = f"{len(pairs)} pairs of chest X-rays {what}"
    told = [(pair.first, pair.second, f"{pair.change}, agreement {pair.correlation:.2f}") for pair in pairs]
    return (Picture(title, captioned_sheet(rows, pixels, told), alt, note=note),) if pairs else ()


def captioned_sheet(
    rows: Sequence[IndexRow], pixels: NDArray[np.uint8], pairs: Iterable[tuple[int, int, str]]
) -> bytes:
    """A PNG of pairs side by side, each with its words above and what each image is below it."""
    return pair_sheet(
        [
            (
                np.asarray(pixels[first]),
                np.asarray(pixels[second]),
                words,
                row_caption(rows[first]),
                row_caption(rows[second]),
            )
            for first, second, words in pairs
        ]
    )


def row_caption(row: IndexRow) -> str:
    """Split, class and source of an image, for the line below its picture."""
    return ", ".join(word for word in (row.split, row.label or row.finding, row.source) if word)
