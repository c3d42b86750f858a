"""The data audit: composition, duplicates, leaks, persons, confounding and shortcuts of a table; needs no model."""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.data import (
    confounding,
    duplicates,
    label_noise,
    leaks,
    persons_section,
    scope,
    shortcut_section,
    split_sources,
)
from pocketcxr.audit.data.duplicates import Copies
from pocketcxr.audit.data.file_properties import read_file_facts
from pocketcxr.audit.data.lung_lines import measure_lines
from pocketcxr.audit.data.pixel_statistics import read_pixel_statistics
from pocketcxr.audit.describing import measures, section
from pocketcxr.data.duplicates.hashing import THUMBNAIL_SIZE
from pocketcxr.data.duplicates.search import find_pairs, groups_of
from pocketcxr.data.rows import SPLITS
from pocketcxr.data.splits.leakage import components_of
from pocketcxr.errors import DataError
from pocketcxr.evaluation.intervals import clusters
from pocketcxr.progress import Bar
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.data.file_properties import FileProperties
    from pocketcxr.audit.data.persons import Persons
    from pocketcxr.audit.data.pixel_statistics import PixelStatistics
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.report.types import Section

SIZE = THUMBNAIL_SIZE
"""Side of the data audit's images, in pixels; aspect ``squash``."""


def audit_data(
    rows: Sequence[IndexRow],
    dataset: Dataset,
    *,
    persons: Persons | None = None,
    embedding: NDArray[np.float32] | None = None,
    seed: int = 0,
    only: Collection[str] = (),
    progress: bool = True,
) -> tuple[Section, ...]:
    """Audit the images of a table.

    Args:
        rows: the whole table, with splits where there are any; what is in it and not in `dataset` is only counted.
        dataset: its images, `SIZE` pixels, squashed; unlabelled ones take part in the search for copies.
        persons: from `find_persons` on the rows of the dataset; None leaves that section out.
        embedding: of a network, float [n, features] in the order of the dataset; finds copies that pixels do not.
        seed: of folds and resampling.
        only: keys of the sections wanted, in place of all.
        progress: show bars on stderr.

    Returns:
        Sections: composition, duplicates, leaks, persons, splits, confounding, cues (shortcut features), labels, scope.

    Raises:
        DataError: images of another size.
    """
    if dataset.pixels.shape[1] != SIZE:
        raise DataError(f"data audit: expected images of {SIZE} pixels, found {dataset.pixels.shape[1]}")
    pixels = np.asarray(dataset.pixels)
    copies = find_copies(dataset, embedding=embedding, progress=progress)
    labelled = np.flatnonzero(dataset.labels >= 0)
    # Patients that the table joins and copies that were just found: what may not stand on two sides of a fold.
    grouped = [
        dataclasses.replace(row, duplicate_group=f"copies {group}")
        for row, group in zip(dataset.rows, copies.groups, strict=True)
    ]
    members = _members(grouped)[labelled]
    shown = [dataset.rows[i] for i in labelled]
    own = pixels[labelled]
    files = _Files(shown, seed=seed, progress=progress)

    def labels() -> Section:
        known = None if embedding is None else embedding[labelled]
        return label_noise.describe(
            label_noise.measure(shown, own, members.tolist(), embedding=known, seed=seed), shown
        )

    def confounders() -> Section:
        tied = confounding.measure(shown, own, files.properties, members, files.full_size, seed=seed)
        return confounding.describe(tied, shown, own)

    def cues() -> Section:
        seen = shortcut_section.Seen(shown, own, files.properties, files.full_size.spectrum, files.lines)
        return shortcut_section.describe(shortcut_section.measure(seen, members.tolist(), seed=seed))

    makers: dict[str, Callable[[], Section]] = {
        "composition": lambda: composition_section(rows, dataset),
        "duplicates": lambda: duplicates.describe(
            duplicates.measure(dataset.rows, copies), dataset.rows, pixels, copies
        ),
        "leaks": lambda: leaks.leak_section(dataset.rows, pixels, copies),
        **({"persons": lambda: persons_section.describe(persons, dataset.rows, pixels)} if persons else {}),
        "splits": lambda: split_sources.describe(split_sources.measure(shown, members, seed=seed)),
        "confounding": confounders,
        "cues": cues,
        "labels": labels,
        "scope": lambda: scope.describe(files.full_size, files.lines),
    }
    wanted = [make for name, make in makers.items() if not only or name in only]
    return tuple(make() for make in Bar(wanted, desc="data audit", unit="section", disable=not progress))


class _Files:
    """What the files of the labelled rows say, read when it is asked for."""

    def __init__(self, rows: Sequence[IndexRow], *, seed: int, progress: bool) -> None:
        self._rows, self._seed, self._progress = rows, seed, progress

    @cached_property
    def properties(self) -> list[FileProperties]:
        """Of the headers."""
        return read_file_facts(self._rows)

    @cached_property
    def full_size(self) -> PixelStatistics:
        """Of the pixels in full size."""
        return read_pixel_statistics(self._rows, seed=self._seed, progress=self._progress)

    @cached_property
    def lines(self) -> NDArray[np.float32]:
        """Lines within the lungs."""
        return measure_lines(self.full_size.smaller, len(self._rows))


def find_copies(dataset: Dataset, *, embedding: NDArray[np.float32] | None = None, progress: bool = False) -> Copies:
    """The pairs of images that are one, and the groups that they join."""
    pixels = np.asarray(dataset.pixels)
    pairs = find_pairs(pixels, sha256=[row.sha256 for row in dataset.rows], embedding=embedding, progress=progress)
    sure = [pair for pair in pairs if pair.sure]
    return Copies(pairs, tuple(groups_of(len(pixels), pairs)), tuple(groups_of(len(pixels), sure)))


def composition_section(rows: Sequence[IndexRow], dataset: Dataset) -> Section:
    """Images by class, split and source, patients, licences."""
    used = [row for row in dataset.rows if row.label]
    patients = len(np.unique(clusters(used))) if used else 0
    sources = sorted({row.source for row in used})
    parts = [name for name in SPLITS if any(row.split == name for row in used)]
    counts = Counter((row.label, row.split) for row in used)
    body = tuple(
        (label, *(counts[label, part] for part in parts), sum(row.label == label for row in used))
        for label in dataset.task.labels
    )
    licences = sorted({row.licence for row in used if row.licence})
    figures = {"images": len(used), "patients": patients, "sources": len(sources)}
    left = len(rows) - len(used)
    summary = (
        f"{len(used):,} images of {patients:,} patients from {len(sources)} source{'' if len(sources) == 1 else 's'}"
        f"{f'; {left:,} more have no class in this task' if left else ''}."
    )
    note = f"Licences named: {'; '.join(licences)}." if licences else "The table names no licence."
    table = Table("Images by class and split", ("class", *parts, "all"), body, note)
    return section("composition", summary, measures("composition", figures), (table,))


def _members(rows: Sequence[IndexRow]) -> NDArray[np.int64]:
    """Number of the component (patient, study, copies) of every row."""
    found = np.empty(len(rows), dtype=np.int64)
    for number, component in enumerate(components_of(rows, range(len(rows)))):
        found[component] = number
    return found
