"""Whatever two images share, in splits and in folds alike, is found by the check before training and by the audit."""

from __future__ import annotations

import numpy as np
import pytest

from pocketcxr.audit.data.duplicates import Copies
from pocketcxr.audit.data.leaks import describe, measure
from pocketcxr.data.rows import IndexRow
from pocketcxr.data.splits.leakage import IMAGE_FOLD, check_leakage, components_of, some_paths
from pocketcxr.errors import LeakError

SIDES = {"split": ("train", "calibration", "test"), "fold": ("1", "2", "3")}
SHARED = {
    "patient_id": "patient",
    "study_id": "study",
    "duplicate_group": "group of near duplicates",
    "sha256": "file (equal bytes)",
}


def table(column, shared="", sides=(0, 2)):
    """Six images, two on each side of a column; the first of two sides share a value, unless it is empty."""
    rows = []
    for i in range(6):
        own = {name: f"{name}-{i}" for name in SHARED}
        if shared and i in {2 * side for side in sides}:
            own[shared] = "the same"
        rows.append(IndexRow(f"{i}.png", "set", "other", **own, **{column: SIDES[column][i // 2]}))
    return rows


@pytest.mark.parametrize("column", SIDES)
@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize("sides", [(0, 1), (0, 2), (1, 2)])
def test_whatever_is_shared_between_any_two_sides_stops_the_run(column, shared, sides):
    check_leakage(table(column))
    with pytest.raises(LeakError) as caught:
        check_leakage(table(column, shared, sides))
    first, second = sorted(f"{column} {SIDES[column][side]}: {2 * side}.png" for side in sides)
    assert str(caught.value) == f"one {SHARED[shared]} stands in 2 {column}s, expected one; {first}; {second}"


@pytest.mark.parametrize("column", SIDES)
@pytest.mark.parametrize("shared", SHARED)
def test_what_is_shared_within_a_side_or_with_an_image_of_no_side_is_no_leak(column, shared):
    rows = table(column)
    check_leakage([*rows, IndexRow("x", "s", "f", **{shared: f"{shared}-0", column: SIDES[column][0]})])
    check_leakage([*rows, IndexRow("x", "s", "f", **{shared: f"{shared}-0"})])
    check_leakage([IndexRow("x", "s", "f", **{column: side}) for side in SIDES[column]])  # nothing is said of them


def test_only_folds_that_carry_the_mark_of_images_may_leak():
    rows = table("fold", "patient_id")
    marked = [IndexRow(**{**vars(row), "fold": IMAGE_FOLD + row.fold}) for row in rows]
    check_leakage(marked)
    with pytest.raises(LeakError):
        check_leakage(rows)


@pytest.mark.parametrize(
    "count, told",
    [(1, "a0"), (3, "a0, a1, a2"), (4, "a0, a1, a2 and 1 more"), (9, "a0, a1, a2 and 6 more")],
)
def test_three_files_are_named_and_the_others_counted(count, told):
    assert some_paths([f"a{i}" for i in range(count)]) == told


def test_components_are_all_that_is_joined_by_any_chain():
    def one(**facts):
        return IndexRow("x", "s", "f", **facts)

    rows = [one(patient_id="a"), one(patient_id="a", study_id="b"), one(study_id="b", duplicate_group="c"), one(),
            one(duplicate_group="c", sha256="d"), one(sha256="d"), one(patient_id="z"), one(sha256="y")]  # fmt: skip
    assert sorted(map(sorted, components_of(rows, range(8)))) == [[0, 1, 2, 4, 5], [3], [6], [7]]
    assert sorted(map(sorted, components_of(rows, [0, 5, 3]))) == [[0, 5], [3]]  # joined by rows that are not asked for


def copies(groups, sure):
    return Copies((), tuple(groups), tuple(sure))


@pytest.mark.parametrize("column", SIDES)
@pytest.mark.parametrize("shared", ["patient_id", "study_id", "sha256"])
def test_the_audit_counts_what_splits_and_folds_share(column, shared):
    rows = [IndexRow(**{**vars(row), **({"patient_id": ""} if shared == "study_id" else {})}) for row in table(column)]
    expected = {"patients": set(), "same_file": set(), "near_duplicates": set()}
    apart = copies(range(6), range(6))
    assert measure(rows, apart).shared == expected
    rows = table(column, shared)
    if shared == "study_id":
        rows = [IndexRow(**{**vars(row), "patient_id": ""}) for row in rows]
    expected["same_file" if shared == "sha256" else "patients"] = {0, 4}
    found = measure(rows, apart)
    assert found.shared == expected
    assert found.names == [f"fold {side}" if column == "fold" else side for side in SIDES[column]]
    section = describe(found, rows, np.zeros((6, 8, 8), np.uint8), apart)
    assert section.summary.startswith("2 images of 6 share")


@pytest.mark.parametrize("column", SIDES)
def test_the_audit_tells_sure_copies_from_likely_ones(column):
    found = measure(table(column), copies([0, 1, 0, 3, 3, 5], [0, 1, 0, 3, 4, 5]))
    assert found.shared["near_duplicates"] == {0, 2}
    assert found.likely == {3, 4}
