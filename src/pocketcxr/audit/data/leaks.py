"""Copies and patients: what stands there twice, and what of it stands on both sides of a split."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.duplicates.search import SURE
from pocketcxr.data.rows import SPLITS
from pocketcxr.report.formatting import count
from pocketcxr.report.sheets import pair_sheet
from pocketcxr.report.types import Measure, Picture, Section, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.duplicates.search import Pair
    from pocketcxr.data.rows import IndexRow

_SHOWN, _LISTED = 12, 200
_NO_SPLIT = "the table has no splits yet; run  pocketcxr split  first"


@dataclass(frozen=True)
class Copies:
    """The pairs found, and for each row the group of copies it belongs to: of all pairs, and of the sure ones alone."""

    pairs: tuple[Pair, ...]
    groups: tuple[int, ...]
    sure_groups: tuple[int, ...]


def duplicate_section(rows: Sequence[IndexRow], pixels: NDArray[np.uint8], copies: Copies) -> Section:
    """Does the same picture stand there more than once?"""
    members: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(copies.sure_groups):
        members[group].append(i)
    repeated = [group for group in members.values() if len(group) > 1]
    extra = sum(len(group) - 1 for group in repeated)
    same = sum(pair.change == "same file" for pair in copies.pairs)
    doubtful = [group for group in repeated if len({rows[i].label for i in group if rows[i].label}) > 1]
    contrary = sum(bool(rows[i].label) for group in doubtful for i in group)
    labelled = sum(bool(row.label) for row in rows)
    changes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for pair in copies.pairs:
        changes[pair.change][0 if pair.sure else 1] += 1
    sure = [pair for pair in copies.pairs if pair.sure]
    across = sum(rows[pair.first].source != rows[pair.second].source for pair in sure)
    measures = (
        Measure(
            "duplicates.same_file",
            "Files that stand there again, byte for byte",
            same,
            "Each counts as one more image and is none.",
            "Remove the copies, or keep the index's groups together when you split.",
            "count",
            images=len(rows),
        ),
        Measure(
            "duplicates.near",
            "Images that are copies of another one",
            extra / max(len(rows), 1),
            "The same exposure re-encoded, resized, cropped, brightened or mirrored. They make the set look larger "
            "than it is, and leak when they are split apart.",
            "Split with `pocketcxr split`, which keeps copies together; count patients, not files, in a paper.",
            images=len(rows),
        ),
        Measure(
            "duplicates.contradictory",
            "Images whose copies bear another class",
            contrary / max(labelled, 1) if labelled else None,
            "One of the two labels is wrong, or the finding was read from something else than the picture.",
            "Look at the contradictory copies in the sheet, and correct their labels or leave them out.",
            images=labelled,
            why="" if labelled else "no image has a class",
        ),
    )
    summary = (
        f"{extra:,} of {len(rows):,} images are copies of another one ({len(repeated):,} groups); "
        f"{across:,} of {len(sure):,} pairs join two sources."
        if extra
        else f"No: among {len(rows):,} images no picture was found twice."
    )
    table = Table(
        "How the copies differ",
        ("what was done to the copy", "sure", "likely"),
        tuple((change, *counts) for change, counts in sorted(changes.items(), key=lambda item: -sum(item[1]))),
        f"Re-encoded covers compression, size, brightness and contrast. Sure: the fine structure agrees to {SURE} "
        "or more; only these count for figures and gates. Likely: a copy, or another film of the same person.",
    )
    worst = sorted(
        copies.pairs,
        key=lambda pair: (
            not pair.sure,
            rows[pair.first].label == rows[pair.second].label,
            pair.change in {"same file", "re-encoded"},
            -pair.correlation,
        ),
    )[:_SHOWN]
    pictures = (
        (
            Picture(
                "Copies: contradictory and disguised ones first",
                _sheet(rows, pixels, worst),
                f"{len(worst)} pairs of chest X-rays that show the same exposure",
                note="Over each pair: how they differ, and how well their fine structure agrees (1 is perfect).",
            ),
        )
        if worst
        else ()
    )
    return Section(
        "duplicates",
        "Does the same picture stand there twice?",
        summary,
        measures,
        (table,) if changes else (),
        pictures,
    )


def leak_section(rows: Sequence[IndexRow], pixels: NDArray[np.uint8], copies: Copies) -> Section:
    """Does a patient or a picture stand on both sides of a split?"""
    title = "Does a patient or a picture stand on both sides of a split?"
    sides = [_side(row) for row in rows]
    names = [name for name in (*SPLITS, *sorted({side for side in sides if side.startswith("fold")})) if name in sides]
    kinds = {
        "patients": _shared(sides, [row.patient_id or (row.study_id and f"study {row.study_id}") for row in rows]),
        "same_file": _shared(sides, [row.sha256 for row in rows]),
        "near_duplicates": _shared(sides, [str(group) for group in copies.sure_groups]),
    }
    why = "" if len(names) > 1 else _NO_SPLIT
    unnamed = sum(not row.patient_id and not row.study_id for row in rows)
    measures = tuple(_leak_measure(kind, found, rows, why) for kind, found in kinds.items())
    likely = _shared(sides, [str(group) for group in copies.groups]) - kinds["near_duplicates"]
    measures += (
        Measure(
            "leaks.likely_duplicates",
            "Images with a likely copy in another split",
            None if why else len(likely),
            "Copies, or two films of one person that no number joins; some are two people who look alike. No gate.",
            "Look at the sheet.",
            "count",
            images=len(rows),
            why=why,
        ),
        Measure(
            "leaks.patients_unknown",
            "Images whose patient nobody names",
            unnamed / max(len(rows), 1),
            "For these, only copies can be found; two different films of one person would go unnoticed.",
            "Name the patient column when indexing (--column patient_id=…), or ask the publisher of the set.",
            images=len(rows),
        ),
    )
    leaking = {i for found in kinds.values() for i in found}
    if why:
        summary = f"Not measurable: {why}."
    elif leaking:
        summary = (
            f"Yes: {count(len(leaking), 'image')} of {len(rows):,} share a patient or a picture with another split."
        )
    else:
        summary = f"No patient, file or copy was found in two of {', '.join(names)}."
    tables = tuple(
        _direction_table(words, sides, names, keys)
        for words, keys in (
            ("By patient or study", [row.patient_id or row.study_id for row in rows]),
            ("By picture (same file or sure copy)", [str(group) for group in copies.sure_groups]),
        )
        if not why
    )
    pairs = [
        pair
        for pair in copies.pairs
        if sides[pair.first] and sides[pair.second] and sides[pair.first] != sides[pair.second]
    ]
    if why:
        pairs = []
    elif pairs:
        tables += (_pair_table(rows, sides, pairs[:_LISTED]),)
    pairs = pairs[:_SHOWN]  # the surest first
    pictures = (
        (
            Picture(
                "Pictures on both sides",
                _sheet(rows, pixels, pairs),
                f"{len(pairs)} pairs of chest X-rays, one in each of two splits, that are or may be one exposure",
                note=f"The surest first; below an agreement of {SURE} it may be two films of one person or two people.",
            ),
        )
        if pairs
        else ()
    )
    return Section("leaks", title, summary, measures, tables, pictures)


def _leak_measure(kind: str, found: set[int], rows: Sequence[IndexRow], why: str) -> Measure:
    words = {
        "patients": (
            "Images whose patient stands in another split too",
            "The test asks about people whom the network has learnt; its figures flatter.",
            "Split again by patient with `pocketcxr split`; figures from the present splits cannot be kept.",
        ),
        "same_file": (
            "Images whose very file stands in another split too",
            "The test asks for what was learnt by heart.",
            "Remove the copies or split again with `pocketcxr split`.",
        ),
        "near_duplicates": (
            "Images with a copy in another split",
            "Re-encoded, cropped or mirrored, it is the same exposure: the answer was seen in training.",
            "Remove one of each sure pair listed below, or move it to the other's split, then audit again.",
        ),
    }
    title, meaning, advice = words[kind]
    if not why and kind == "patients" and not any(row.patient_id or row.study_id for row in rows):
        why = "the table names no patient and no study"
    return Measure(
        f"leaks.{kind}", title, None if why else len(found), meaning, advice, "count", images=len(rows), why=why
    )


def _shared(sides: Sequence[str], keys: Sequence[str]) -> set[int]:
    """Positions of images whose key stands in another side too."""
    seen: dict[str, set[str]] = defaultdict(set)
    for side, key in zip(sides, keys, strict=True):
        if side and key:
            seen[key].add(side)
    return {i for i, (side, key) in enumerate(zip(sides, keys, strict=True)) if side and key and len(seen[key]) > 1}


def _direction_table(title: str, sides: Sequence[str], names: Sequence[str], keys: Sequence[str]) -> Table:
    """Images of one side whose key also stands in another."""
    held: dict[str, set[str]] = {
        name: {k for s, k in zip(sides, keys, strict=True) if s == name and k} for name in names
    }
    counts: Callable[[str, str], int] = lambda a, b: sum(  # noqa: E731
        s == a and bool(k) and k in held[b] for s, k in zip(sides, keys, strict=True)
    )
    body = tuple((a, *(None if a == b else counts(a, b) for b in names)) for a in names)
    return Table(
        f"{title}: images of a row's split that also stand in a column's",
        ("images of", *(f"also in {b}" for b in names)),
        body,
    )


def _pair_table(rows: Sequence[IndexRow], sides: Sequence[str], pairs: Sequence[Pair]) -> Table:
    """The pairs by name, so that they can be taken out."""
    paths = [os.path.abspath(row.path) for row in rows]  # noqa: PTH100  # resolve() would follow links out of the set
    folder = os.path.commonpath([str(Path(path).parent) for path in paths])
    body = tuple(
        (
            os.path.relpath(paths[pair.first], folder),
            sides[pair.first],
            os.path.relpath(paths[pair.second], folder),
            sides[pair.second],
            pair.change,
            pair.correlation,
            "sure" if pair.sure else "likely",
        )
        for pair in pairs
    )
    columns = ("file", "in", "file", "in", "how they differ", "agreement", "how sure")
    return Table("Pairs on both sides", columns, body, f"The {len(body)} surest; paths below the folder of all images.")


def _side(row: IndexRow) -> str:
    return row.split or (f"fold {row.fold}" if row.fold else "")


def _sheet(rows: Sequence[IndexRow], pixels: NDArray[np.uint8], pairs: Iterable[Pair]) -> bytes:
    return pair_sheet(
        [
            (
                np.asarray(pixels[pair.first]),
                np.asarray(pixels[pair.second]),
                f"{pair.change}, agreement {pair.correlation:.2f}",
                _caption(rows[pair.first]),
                _caption(rows[pair.second]),
            )
            for pair in pairs
        ]
    )


def _caption(row: IndexRow) -> str:
    return ", ".join(word for word in (row.split, row.label or row.finding, row.source) if word)
