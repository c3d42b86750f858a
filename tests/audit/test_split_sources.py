"""Sources by split: what only the test split holds is counted and named."""

import numpy as np

from pocketcxr.audit.data import split_sources
from pocketcxr.data.rows import IndexRow


def _rows(parts):
    """`parts`: (source, split, label, images)."""
    return [
        IndexRow(f"{source}{split}{label}{i}.png", source, "", split=split, label=label)
        for source, split, label, images in parts
        for i in range(images)
    ]


def _measured(parts):
    rows = _rows(parts)
    return split_sources.measure(rows, np.arange(len(rows)), seed=0)


EVEN = [(source, split, label, 20) for source in "ab" for split in ("train", "test") for label in "xy"]


def test_even_splits_hold_nothing_that_training_does_not():
    found = _measured(EVEN)
    assert (found.untrained.value, found.association.value, found.missing) == (0, 0, [])


def test_a_source_in_the_test_split_alone_is_counted_and_named():
    found = _measured([*EVEN, ("c", "test", "x", 40)])
    assert found.untrained.value == 40 / 120
    assert 0.2 < found.untrained.low < 40 / 120 < found.untrained.high < 0.5
    section = split_sources.describe(found)
    assert section.tables[0].note == "In the test split and not in training: x of c."
    assert ("c", "x", 0, 40) in section.tables[0].rows
    assert found.association.low > 0
    assert section.measures[0].worst == "c"


def test_a_class_of_a_source_that_training_lacks_counts_too():
    found = _measured([*EVEN, ("c", "train", "y", 40), ("c", "test", "x", 5)])
    assert found.missing == [("c", "x")]
    assert split_sources.describe(found).measures[0].worst == "x of c"


def test_of_many_sources_that_training_lacks_three_are_named():
    found = _measured([*EVEN, *((source, "test", "x", 9) for source in "cdefg")])
    assert split_sources.describe(found).measures[0].worst == "c, d, e and 2 more"


def test_without_splits_nothing_is_measured():
    found = _measured([("a", "", "x", 30), ("b", "", "y", 30)])
    assert found.untrained.value is None
    assert "pocketcxr split" in split_sources.describe(found).summary
