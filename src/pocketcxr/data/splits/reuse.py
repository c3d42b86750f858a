"""Reuse of another table's splits, so that two runs are tested on the same patients and never train on them.

A run on one source, or on classes of its own, is comparable with a run on all sources only where both leave the same
images for the test; a student that learns from both must not have seen in one what the other tests.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import TYPE_CHECKING

from pocketcxr.data.rows import SPLITS
from pocketcxr.data.splits.assign import check_classes, label_rows, with_unlabelled
from pocketcxr.data.splits.leakage import IMAGE_FOLD, check_leakage
from pocketcxr.errors import DataError
from pocketcxr.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import Task


def reuse_splits(rows: Sequence[IndexRow], task: Task, other: Sequence[IndexRow], *, name: str) -> list[IndexRow]:
    """Give every image the split and the fold that it has in another table.

    Images are recognised by their bytes (`sha256`), or by path where a table was never hashed. A frontal radiograph
    without a class here goes to the side of its patient, study and copies in either table, or to train where neither
    places any of them; one that hangs in two splits stays out.

    Args:
        rows: the index, in any order.
        task: maps findings to classes; not necessarily the other table's task.
        other: from ``pocketcxr split``, with splits, folds or both.
        name: of the other table, for messages.

    Returns:
        The same rows in the same order with `label`, `split`, `fold` and `duplicate_group` filled.

    Raises:
        DataError: the tables name two patients for one image, the other table has no sides, has none for an image
            with a class, or leaves a split without a class.
        LeakError: either table has a patient, a study or an image in two splits.
    """
    columns = [column for column in ("split", "fold") if any(getattr(row, column) for row in other)]
    if not columns:
        raise DataError(f"{name}: expected a table with splits or folds, found none; run  pocketcxr split  on it first")
    check_leakage(other)
    _check_one_key(rows, other, name)
    sides = {_identity(row): row for row in sorted(other, key=lambda row: bool(row.split or row.fold))}
    labelled = [dataclasses.replace(row, split="", fold="") for row in label_rows(rows, task)]
    placed = [_placed(row, sides) if row.label else row for row in labelled]
    _check_placed(placed, columns, name)
    if "split" in columns and not any(row.fold.startswith(IMAGE_FOLD) for row in other):
        placed = _with_unlabelled(placed, other)
    check_leakage(placed)
    if "split" in columns:
        check_classes(placed, task, [part for part in SPLITS if any(row.split == part and row.label for row in other)])
    return placed


def _check_one_key(rows: Sequence[IndexRow], other: Sequence[IndexRow], name: str) -> None:
    """Refuse tables that call the patient of one image differently: nothing would tie a patient's images together."""
    patients: dict[str, set[str]] = defaultdict(set)  # one file can stand in a set under two patients
    for row in other:
        if row.sha256 and row.patient_id:
            patients[row.sha256].add(row.patient_id)
    for row in rows:
        known = patients.get(row.sha256, set()) if row.patient_id else set()
        of_table = {name for name in known if name.rpartition(":")[0] == row.patient_id.rpartition(":")[0]}
        if of_table and row.patient_id not in of_table:
            raise DataError(
                f"{one_line(row.path)} has another patient here than in {name}: index both with one table of patients, "
                "and with one key of pseudonyms (pocketcxr index --key)"
            )


def _identity(row: IndexRow) -> str:
    return row.sha256 or row.path


def _placed(row: IndexRow, sides: dict[str, IndexRow]) -> IndexRow:
    found = sides.get(_identity(row))
    return row if found is None else dataclasses.replace(row, split=found.split, fold=found.fold)


def _check_placed(rows: Sequence[IndexRow], columns: Sequence[str], name: str) -> None:
    used = [row for row in rows if row.label]
    without = [row for row in used if not all(getattr(row, column) for column in columns)]
    if without:
        example = without[0]
        raise DataError(
            f"{len(without)} of {len(used)} images with a class have no {' and no '.join(columns)} in {name}, such as "
            f"{example.path} ({example.label}); leave them out of the index, or split a table that holds them too"
        )


def _with_unlabelled(rows: Sequence[IndexRow], other: Sequence[IndexRow]) -> list[IndexRow]:
    """Place the frontal radiographs without a class, with all that the other table ties them to.

    Equal bytes join the tables, whose names of duplicate groups may differ; hence the path stands in for the hash.
    """
    both = [dataclasses.replace(row, sha256=_identity(row)) for row in (*rows, *other)]
    parts = with_unlabelled(both, {i: row.split for i, row in enumerate(both) if row.split})
    return [dataclasses.replace(row, split=parts.get(i, "")) for i, row in enumerate(rows)]
