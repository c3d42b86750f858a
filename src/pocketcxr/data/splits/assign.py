"""Assigns splits and folds so that no patient, no study and no image is in two of them.

The unit is the *component*: all images joined by a patient, a study or a group of near duplicates, however long the
chain. Units are assigned per class and source, so that every part has its share of each.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.duplicates.grouping import with_duplicate_groups
from pocketcxr.data.multilabel import held, label_texts
from pocketcxr.data.rows import SPLITS, is_frontal_xray
from pocketcxr.data.splits.enough import check_classes, check_enough
from pocketcxr.data.splits.leakage import IMAGE_FOLD, Component, check_leakage, components_of, some_paths
from pocketcxr.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import Task

__all__ = [
    "FRACTIONS",
    "assign_folds",
    "assign_splits",
    "assign_training_folds",
    "check_classes",
    "check_leakage",
    "fold_splits",
    "label_rows",
    "with_unlabelled",
]

FRACTIONS = (0.7, 0.1, 0.2)
"""Shares of train, calibration and test where nothing is said."""

LEVELS = ("patient", "image")


def label_rows(rows: Sequence[IndexRow], task: Task) -> list[IndexRow]:
    """Give every frontal radiograph its class, and every image its group of near duplicates where it is hashed.

    CT slices, laterals and findings without a class in the task get the label "". Labels of tasks with several findings
    per image are those of `data.multilabel`.
    """
    rows = with_duplicate_groups(rows)
    return [dataclasses.replace(row, label=label) for row, label in zip(rows, label_texts(rows, task), strict=True)]


def assign_splits(
    rows: Sequence[IndexRow], task: Task, *, fractions: Sequence[float] = FRACTIONS, seed: int = 0, keep: bool = False
) -> list[IndexRow]:
    """Assign the images of a task to train, calibration and test.

    A frontal radiograph without a class in the task (label "") takes the side of its component, or train where the
    component has no labelled image: unlabelled material for distillation that cannot leak. CT slices and laterals get
    no split.

    Args:
        rows: the index, in any order; the result does not depend on it.
        task: maps findings to classes.
        fractions: shares of train, calibration and test, adding up to 1.
        seed: other seeds give other splits.
        keep: keep the splits that stand in the table and check them. Where the table has no calibration part, it is
            taken from train in the proportion of `fractions`.

    Returns:
        The same rows in the same order with `label`, `split` and `duplicate_group` filled.

    Raises:
        DataError: one class or one patient only, a class with fewer patients than parts, or impossible fractions.
        LeakError: splits that were kept share a patient, a study or an image.
    """
    shares = _checked_fractions(fractions)
    labelled = [dataclasses.replace(row, split=row.split if keep else "", fold="") for row in label_rows(rows, task)]
    if keep:
        parts = _kept_parts(labelled, task, shares, seed)
    else:
        components = components_of(labelled, [i for i, row in enumerate(labelled) if row.label])
        check_enough(labelled, components, task, parts=sum(share > 0 for share in shares), what="splits")
        parts = _assign(labelled, components, dict(zip(SPLITS, shares, strict=True)), seed)
    parts = with_unlabelled(labelled, parts)
    result = [dataclasses.replace(row, split=parts.get(i, "")) for i, row in enumerate(labelled)]
    check_leakage(result)
    check_classes(result, task, [name for name, share in zip(SPLITS, shares, strict=True) if share > 0])
    return result


def assign_folds(
    rows: Sequence[IndexRow], task: Task, *, folds: int = 5, seed: int = 0, level: str = "patient"
) -> list[IndexRow]:
    """Assign the images of a task to k folds.

    Args:
        rows: the index, in any order.
        task: maps findings to classes.
        folds: number of folds, at least 2.
        seed: other seeds give other folds.
        level: ``patient`` keeps components together. ``image`` deals out single images, as many published protocols
            did; such folds leak, are marked ``image:0`` and serve only to repeat those protocols.

    Returns:
        The same rows in the same order, with `fold` "0" .. "k-1" (or marked) for the images that have a class.

    Raises:
        DataError: too few folds, one class only, or a class with fewer patients (images) than folds.
    """
    if folds < 2:  # noqa: PLR2004
        raise DataError(f"folds: expected at least 2, found {folds}")
    if level not in LEVELS:
        raise DataError(f"level of the folds: expected one of {LEVELS}, found {level!r}")
    labelled = [dataclasses.replace(row, split="", fold="") for row in label_rows(rows, task)]
    used = [i for i, row in enumerate(labelled) if row.label]
    components = components_of(labelled, used) if level == "patient" else [[i] for i in used]
    check_enough(labelled, components, task, parts=folds, what="folds", unit=level)
    mark = IMAGE_FOLD if level == "image" else ""
    names = _assign(labelled, components, {f"{mark}{fold}": 1 / folds for fold in range(folds)}, seed)
    return [dataclasses.replace(row, fold=names.get(i, "")) for i, row in enumerate(labelled)]


def assign_training_folds(
    rows: Sequence[IndexRow], task: Task, *, folds: int, seed: int = 0, also: Collection[int] = ()
) -> list[int]:
    """Assign the images of split ``train`` to k folds for cross-fitting; components stay together.

    Args:
        rows: a table with splits and classes.
        task: whose classes every fold must have.
        folds: number of folds, at least 2.
        seed: other seeds give other folds.
        also: positions of the training images without a class that the networks are trained on too.

    Returns:
        Fold of each row, from 0. An image without a class is in the fold of its component. -1: not in the training
        split, or in no component with a training image that is labelled or in `also`.

    Raises:
        DataError: a class with fewer patients than folds.
    """
    trained = [i for i, row in enumerate(rows) if row.split == SPLITS[0]]
    others = set(also)
    components = components_of(rows, [i for i in trained if rows[i].label or i in others])
    check_enough(rows, components, task, parts=folds, what="teacher folds")
    names = _assign(rows, components, {str(fold): 1 / folds for fold in range(folds)}, seed)
    result = [-1] * len(rows)
    for component in components_of(rows, trained):
        fold = next((int(names[i]) for i in component if i in names), -1)
        for i in component:
            result[i] = fold
    return result


def fold_splits(rows: Sequence[IndexRow], fold: int, *, calibration: float = 0.1, seed: int = 0) -> list[IndexRow]:
    """Turn one fold into test, a share of the others into calibration, and the rest into train.

    Args:
        rows: from `assign_folds`.
        fold: which fold is tested on.
        calibration: share of the remaining images, assigned as the folds were (by component, or by image).
        seed: of the calibration part.

    Raises:
        DataError: there is no such fold.
    """
    tested = {i for i, row in enumerate(rows) if row.fold.removeprefix(IMAGE_FOLD) == str(fold)}
    rest = [i for i, row in enumerate(rows) if row.fold and i not in tested]
    if not tested or not rest:
        raise DataError(f"fold {fold}: no image is in it, or none outside it; assign folds first")
    by_image = any(row.fold.startswith(IMAGE_FOLD) for row in rows)
    components = [[i] for i in rest] if by_image else components_of(rows, rest)
    parts = dict.fromkeys(tested, SPLITS[2])
    parts |= _assign(rows, components, {SPLITS[0]: 1 - calibration, SPLITS[1]: calibration}, seed)
    parts = parts if by_image else with_unlabelled(rows, parts)
    result = [dataclasses.replace(row, split=parts.get(i, "")) for i, row in enumerate(rows)]
    check_leakage(result)
    return result


def _assign(
    rows: Sequence[IndexRow], components: Sequence[Component], shares: Mapping[str, float], seed: int
) -> dict[int, str]:
    """Give every component to the part that most lacks its classes, and its classes per source.

    A greedy form of iterative stratification (Sechidis et al. 2011). Large components go first, for small ones even
    out what they leave; equal ones in an order drawn from the seed over content hashes, so that neither the order of
    the rows nor their folder matters.

    Returns:
        The part of each image, a key of `shares`, by the image's position in `rows`.
    """
    groups = [held(row.label) or (row.finding,) for row in rows]  # without a class: auxiliary images of a teacher
    strata = [
        tuple(name for group in own for name in (group, f"{group} {row.source}"))
        for own, row in zip(groups, rows, strict=True)
    ]
    total = Counter(name for component in components for i in component for name in strata[i])
    taken = {part: Counter[str]() for part, share in shares.items() if share > 0}
    keys = [min((rows[i].sha256, rows[i].path) for i in component) for component in components]
    by_key = sorted(range(len(components)), key=lambda c: keys[c])
    drawn = np.random.default_rng(seed).permutation(len(components)).tolist()
    order = sorted(zip(by_key, drawn, strict=True), key=lambda item: (-len(components[item[0]]), item[1]))
    parts: dict[int, str] = {}
    for c, _ in order:
        holds = Counter(name for i in components[c] for name in strata[i])

        def lack(part: str, holds: Counter[str] = holds) -> tuple[float, float]:
            share = shares[part]
            missing = sum(n * (1 - taken[part][name] / (share * total[name])) for name, n in holds.items())
            return missing, share

        part = max(taken, key=lack)
        taken[part].update(holds)
        parts.update(dict.fromkeys(components[c], part))
    return parts


def with_unlabelled(rows: Sequence[IndexRow], parts: dict[int, str]) -> dict[int, str]:
    """Add the frontal radiographs without a class: to the side of their component, else the table's, else train.

    `parts` are the sides of the labelled images, by position.
    """
    frontal = [i for i, row in enumerate(rows) if is_frontal_xray(row)]
    placed = dict(parts)
    for component in components_of(rows, frontal):
        sides = {parts[i] for i in component if i in parts}
        sides = sides or {rows[i].split for i in component if rows[i].split} or {SPLITS[0]}
        if len(sides) == 1:  # two sides: a chain through unlabelled images joins splits that were kept; leave those out
            placed.update(dict.fromkeys((i for i in component if i not in parts), *sides))
    return placed


def _kept_parts(rows: Sequence[IndexRow], task: Task, shares: Sequence[float], seed: int) -> dict[int, str]:
    """Splits that the table brought, checked, with calibration taken from train where there is none."""
    used = [i for i, row in enumerate(rows) if row.label]
    without = [rows[i].path for i in used if rows[i].split not in SPLITS]
    if without:
        raise DataError(
            f"kept splits: expected one of {SPLITS} for every labelled image; missing for {some_paths(without)}"
        )
    check_leakage([rows[i] for i in used])
    parts = {i: rows[i].split for i in used}
    if SPLITS[1] not in parts.values() and shares[1] > 0:
        components = components_of(rows, [i for i in used if parts[i] == SPLITS[0]])
        check_enough(rows, components, task, parts=2, what="splits")
        parts |= _assign(rows, components, dict(zip(SPLITS[:2], shares, strict=False)), seed)
    return parts


def _checked_fractions(fractions: Sequence[float]) -> list[float]:
    shares = [float(share) for share in fractions]
    fits = len(shares) == len(SPLITS) and shares[0] > 0 and min(shares) >= 0 and abs(sum(shares) - 1) < 1e-6  # noqa: PLR2004
    if not fits:
        raise DataError(
            f"fractions: expected three shares {'/'.join(SPLITS)} that add up to 1, train above 0, found {shares}"
        )
    return shares
