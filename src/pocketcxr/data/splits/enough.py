"""Whether a table has images enough for every part of a split to have every class."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pocketcxr.data.multilabel import classes_of, held
from pocketcxr.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.data.splits.leakage import Component
    from pocketcxr.labels import Task


def check_classes(rows: Sequence[IndexRow], task: Task, parts: Sequence[str]) -> None:
    """Refuse a split without some class: few large components, or splits that were kept.

    Raises:
        DataError: naming the parts and classes.
    """
    found = {(row.split, one) for row in rows for one in held(row.label)}
    absent = [f"{part} has no {label}" for part in parts for label in classes_of(task) if (part, label) not in found]
    if absent:
        raise DataError(
            f"task {task.name}: {', '.join(absent)}; add images, or change the fractions or the kept splits"
        )


def check_enough(
    rows: Sequence[IndexRow],
    components: Sequence[Component],
    task: Task,
    *,
    parts: int,
    what: str,
    unit: str = "patient",
) -> None:
    """Refuse a table that is too small for every part to have every class.

    Raises:
        DataError: saying which class has how many patients.
    """
    classes = classes_of(task)
    units = Counter(
        label for component in components for label in {one for i in component for one in held(rows[i].label)}
    )
    absent = [label for label in classes if not units[label]]
    if absent:
        found = ", ".join(f"{label} {units[label]}" for label in classes)
        findings = Counter(row.finding or "unlabelled" for row in rows).most_common(5)
        hint = '; where what is not mentioned is absent, say unmentioned = "absent" in a task file'
        raise DataError(
            f"task {task.name}: no frontal radiograph of class {', '.join(absent)} ({unit}s found: {found}); "
            f"the table's findings are {', '.join(f'{name} {count}' for name, count in findings)}"
            f"{hint if task.multilabel else ''}"
        )
    if len(components) == 1:
        raise DataError(f"task {task.name}: all images belong to one {unit}; {what} need at least {parts}")
    few = {label: units[label] for label in classes if units[label] < parts}
    if few:
        found = ", ".join(f"{label} {count}" for label, count in few.items())
        raise DataError(
            f"task {task.name}: every class needs at least {parts} separate {unit}s for {parts} {what}, found {found} "
            f"(images that share a {unit}, study or image count once); add images or ask for fewer {what}"
        )
