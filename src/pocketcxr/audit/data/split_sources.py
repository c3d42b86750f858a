"""Splits: images by source, split and class, and test images of sources that training does not hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.data.association import cramers_v
from pocketcxr.audit.describing import measured, section
from pocketcxr.data.rows import SPLITS
from pocketcxr.evaluation.intervals import bootstrap, interval, not_measurable
from pocketcxr.report.formatting import listed, with_interval
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Section

_TRAIN, _, _TEST = SPLITS
_RESAMPLES = 500
_NAMED = 3


@dataclass(frozen=True)
class SplitSources:
    """`counts` by (source, split, class); `untrained` and `association` as in measures.toml.

    `missing`: the sources and classes that the test split holds and the training split does not.
    """

    counts: Mapping[tuple[str, str, str], int]
    untrained: Estimate
    association: Estimate
    missing: Sequence[tuple[str, str]]
    test_images: int


def measure(rows: Sequence[IndexRow], members: NDArray[np.int64], *, seed: int) -> SplitSources:
    """Compare the splits' sources; rows are the labelled ones, `members` their patients."""
    counts = Counter((row.source, row.split, row.label) for row in rows if row.split)
    trained = {(source, label) for source, split, label in counts if split == _TRAIN}
    tested = {(source, label) for source, split, label in counts if split == _TEST}
    test = [i for i, row in enumerate(rows) if row.split == _TEST]
    if not trained or not tested:
        reason = not_measurable("the table has no train and test split; run  pocketcxr split  first")
        return SplitSources(counts, reason, reason, (), len(test))
    foreign = np.array([(rows[i].source, rows[i].label) not in trained for i in test], dtype=np.float64)
    _, patients = np.unique(members[test], return_inverse=True)
    replicates = bootstrap(
        {"": lambda weights: {"share": weights @ foreign / weights.sum(axis=1)}},
        patients.astype(np.int64),
        count=_RESAMPLES,
        seed=seed,
    )[""]["share"]
    untrained = interval("share", float(foreign.mean()), replicates, patients=int(patients.max()) + 1)
    placed = [i for i, row in enumerate(rows) if row.split]
    association = cramers_v(
        [rows[i].source for i in placed], [rows[i].split for i in placed], members[placed], seed=seed, what="split"
    )
    return SplitSources(counts, untrained, association, sorted(tested - trained), len(test))


def describe(found: SplitSources) -> Section:
    """Counts of every source in every split, by class."""
    own = (
        measured("splits.untrained", found.untrained, images=found.test_images, worst=_missing(found)),
        measured("splits.source", found.association),
    )
    summary = (
        f"Not measurable: {found.untrained.why}."
        if found.untrained.value is None
        else f"Test images whose source and class are not in training: {with_interval(found.untrained, unit='share')}; "
        f"Cramér's V of source and split {with_interval(found.association)}."
    )
    parts = [name for name in SPLITS if any(split == name for _, split, _ in found.counts)]
    pairs = sorted({(source, label) for source, _, label in found.counts})
    body = tuple(
        (source, label, *(found.counts.get((source, part, label), 0) for part in parts)) for source, label in pairs
    )
    missing = listed([f"{label} of {source}" for source, label in found.missing])
    note = f"In the test split and not in training: {missing}." if missing else ""
    tables = (Table("Images by source, class and split", ("source", "class", *parts), body, note),) if body else ()
    return section("splits", summary, own, tables)


def _missing(found: SplitSources) -> str:
    """Sources that training lacks, or has without a class; the first three, and how many more."""
    trained = {source for source, split, _ in found.counts if split == _TRAIN}
    names = [source if source not in trained else f"{label} of {source}" for source, label in found.missing]
    names = list(dict.fromkeys(names))
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return listed([*names[:_NAMED], *more])
