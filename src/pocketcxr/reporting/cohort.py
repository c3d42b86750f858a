"""Counts, sexes, ages, projections and gaps of each split, from the run's table."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pocketcxr.data.rows import SPLITS, is_frontal_xray
from pocketcxr.report.formatting import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pocketcxr.data.rows import IndexRow

DESCRIBED = ("patient_id", "sex", "age", "view", "licence")
"""Fields of the index whose gaps a reader must know."""


@dataclass(frozen=True)
class Part:
    """Characteristics of a set of images.

    `patients` are those that the data sets name; `studies` those named for images without a patient; `anonymous` counts
    images that name neither, which are not counted as patients. `ages` are of the images whose age is known, in years.
    """

    name: str
    images: int
    patients: int
    studies: int
    anonymous: int
    labels: dict[str, int]
    sources: dict[str, int]
    sexes: dict[str, int]
    views: dict[str, int]
    ages: tuple[float, ...]
    unknown: dict[str, int]


def parts(rows: Sequence[IndexRow]) -> list[Part]:
    """Each split that holds images with a class, and all of them together last; that alone where there is one split."""
    used = used_rows(rows)
    found = [part(name, [row for row in used if row.split == name]) for name in SPLITS]
    found = [one for one in found if one.images]
    return [*(found if len(found) > 1 else []), part("all", used)] if used else []


def part(name: str, rows: Sequence[IndexRow]) -> Part:
    """Describe a set of images."""
    return Part(
        name=name,
        images=len(rows),
        patients=len({row.patient_id for row in rows} - {""}),
        studies=len({row.study_id for row in rows if not row.patient_id} - {""}),
        anonymous=sum(not (row.patient_id or row.study_id) for row in rows),
        labels=_counted(row.label for row in rows),
        sources=_counted(row.source for row in rows),
        sexes=_counted(row.sex.upper() or "not stated" for row in rows),
        views=_counted(row.view.upper() or "not stated" for row in rows),
        ages=tuple(sorted(age for row in rows if (age := _years(row.age)) is not None)),
        unknown={name: sum(not getattr(row, name) for row in rows) for name in DESCRIBED},
    )


def people_words(one: Part) -> str:
    """The patients and studies that the data sets name: never more than they say."""
    if one.anonymous == one.images:
        return "no patient or study named"
    named = [count(one.patients, "patient")] if one.patients else []
    if one.studies:
        named.append(f"{one.studies:,} {'study' if one.studies == 1 else 'studies'} without a named patient")
    if one.anonymous:
        named.append(f"{count(one.anonymous, 'image')} naming neither")
    return ", ".join(named)


def used_rows(rows: Sequence[IndexRow]) -> list[IndexRow]:
    """Images with a class that stand in one of the three splits."""
    return [row for row in rows if row.label and row.split in SPLITS]


def left_out(rows: Iterable[IndexRow]) -> dict[str, int]:
    """Images of the index that take no part with a label, by reason."""
    why: Counter[str] = Counter()
    for row in rows:
        if row.label and row.split in SPLITS:
            continue
        if not is_frontal_xray(row):
            why["not a frontal X-ray (lateral, CT)"] += 1
        elif row.label:
            why["in no split"] += 1
        elif row.finding:
            why[f"finding {row.finding} is in no class of the task"] += 1
        else:
            why["without a label"] += 1
    return dict(why.most_common())


def classes_from(rows: Iterable[IndexRow]) -> dict[str, dict[str, int]]:
    """Class to the findings it was made of, with images."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.label:
            found[row.label][row.finding] += 1
    return {label: dict(counts.most_common()) for label, counts in found.items()}


def shared(rows: Sequence[IndexRow]) -> dict[str, int]:
    """How many patients, studies and near-duplicate groups stand in more than one split, or more than one fold."""
    counts = {}
    for words, name in (
        ("patients", "patient_id"),
        ("studies", "study_id"),
        ("near-duplicate groups", "duplicate_group"),
    ):
        sides: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            if row.split in SPLITS and getattr(row, name):
                sides[getattr(row, name)].add(row.fold or row.split)
        counts[words] = sum(len(splits) > 1 for splits in sides.values())
    return counts


def contradictions(rows: Sequence[IndexRow]) -> tuple[int, int]:
    """Groups of near duplicates with two members or more that bear a class, and how many bear different ones."""
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.label and row.duplicate_group:
            groups[row.duplicate_group].append(row.label)
    several = [labels for labels in groups.values() if len(labels) > 1]
    return len(several), sum(len(set(labels)) > 1 for labels in several)


def new_sources(rows: Sequence[IndexRow]) -> tuple[str, ...]:
    """Sources of the test split from which no image was trained or calibrated on: data from outside."""
    used = used_rows(rows)
    known = {row.source for row in used if row.split != SPLITS[2]}
    return tuple(sorted({row.source for row in used if row.split == SPLITS[2]} - known))


def licences(rows: Iterable[IndexRow]) -> dict[str, dict[str, int]]:
    """Source to the licences that its table states for the images in use; empty text is "not stated"."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        found[row.source][row.licence or "not stated"] += 1
    return {source: dict(counts.most_common()) for source, counts in sorted(found.items())}


def age_words(ages: Sequence[float]) -> str:
    """Median and range of ages in words."""
    if not ages:
        return "not stated"
    return f"median {statistics.median(ages):g} years ({ages[0]:g} to {ages[-1]:g}; known for {len(ages):,} images)"


def counted_words(counts: dict[str, int], *, most: int = 8) -> str:
    """``31 normal, 39 pneumonia``; what is beyond `most` is counted together as others."""
    shown = [f"{number:,} {name}" for name, number in list(counts.items())[:most]]
    rest = list(counts.values())[most:]
    return ", ".join([*shown, *([f"{sum(rest):,} others"] if rest else [])])


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _years(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
