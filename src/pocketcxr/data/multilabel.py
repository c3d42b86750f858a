"""Labels of images that may have several findings: from an index row to text in a split table, and to arrays.

``edema=1|fracture=0|mass=u`` says that edema is present, fracture absent and mass uncertain; of other labels nothing is
known. With one class per image, a label is the name of the class.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.rows import ALL_OTHERS, is_frontal_xray
from pocketcxr.vocabulary import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import Task

PRESENT, ABSENT, UNKNOWN, UNCERTAIN = 1, 0, -1, -2
"""Values of a label in arrays; what is 0 or above is known."""

_SIGNS = {PRESENT: "1", ABSENT: "0", UNCERTAIN: "u"}
_CODES = {sign: code for code, sign in _SIGNS.items()}
_POLICIES = {"ignore": UNKNOWN, "ones": PRESENT, "zeros": ABSENT}
_NO_FINDING, _NO_DISEASE = "no_finding", "support_devices"


def label_texts(rows: Sequence[IndexRow], task: Task) -> list[str]:
    """Label of every row for a task: "" where it has none, as all that are no frontal radiographs."""
    if not task.multilabel:
        return [task.label_of(row.finding) or "" if is_frontal_xray(row) else "" for row in rows]
    named: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        named[row.source].update(filter(None, f"{row.finding}|{row.uncertain}|{row.absent}".split(SEPARATOR)))
    return [_label_text(row, task, named[row.source]) if is_frontal_xray(row) else "" for row in rows]


def held(label: str) -> tuple[str, ...]:
    """Classes that a row's label puts it in: the class itself, or each finding, ``no`` and each that is absent."""
    if "=" not in label:
        return (label,) if label else ()
    told = [part.rpartition("=") for part in label.split(SEPARATOR)]
    words = {"1": "{}", "0": "no {}", "u": "{} uncertain"}
    return tuple(words[sign].format(name) for name, _, sign in told if sign in words)


def classes_of(task: Task) -> tuple[str, ...]:
    """Classes as `held` names them, each of which every part of a split needs."""
    return tuple(one for label in task.labels for one in ((label, f"no {label}") if task.multilabel else (label,)))


def contradict(labels: Iterable[str]) -> bool:
    """Whether labels of copies of one image cannot all be true."""
    names = set(labels)
    if not any("=" in label for label in names):
        return len(names) > 1
    every = {one for label in names for one in held(label)}
    return any(f"no {one}" in every for one in every)


def is_of_task(label: str, task: Task) -> bool:
    """Whether a row's label says something of a task's labels."""
    return any(code != UNKNOWN for code in _codes(label, task)) if task.multilabel else label in task.labels


def label_array(rows: Sequence[IndexRow], task: Task) -> NDArray[np.int64]:
    """Labels of rows: int64 [n], position in ``task.labels`` or -1; int64 [n, labels] for several findings."""
    if task.multilabel:
        return np.array([_codes(row.label, task) for row in rows], dtype=np.int64).reshape(-1, len(task.labels))
    positions = {label: i for i, label in enumerate(task.labels)}
    return np.array([positions.get(row.label, -1) for row in rows], dtype=np.int64)


def texts_of(labels: NDArray[np.int64], task: Task) -> list[str]:
    """The text of each row of an array as `label_array` gives it."""
    if not task.multilabel:
        return [task.labels[label] if label >= 0 else "" for label in labels.tolist()]
    return [
        SEPARATOR.join(f"{name}={_SIGNS[code]}" for name, code in zip(task.labels, row, strict=True) if code != UNKNOWN)
        for row in labels.tolist()
    ]


def training_targets(labels: NDArray[np.int64], task: Task) -> NDArray[np.int64]:
    """Labels to train on, of the same shape: what is uncertain becomes what the task's policy says; -1 is left out."""
    if not task.multilabel:
        return labels
    policies = np.array([_POLICIES[task.uncertain.get(label, "ignore")] for label in task.labels], dtype=np.int64)
    return np.where(labels == UNCERTAIN, policies, labels)


def is_known(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an image has a label: bool [n] of labels [n] or [n, labels]."""
    return np.asarray((labels.reshape(len(labels), -1) >= 0).any(axis=1))


def _codes(label: str, task: Task) -> list[int]:
    told: Mapping[str, str] = {
        name: sign for name, _, sign in (part.rpartition("=") for part in label.split(SEPARATOR))
    }
    return [_CODES.get(told.get(name, ""), UNKNOWN) for name in task.labels]


def _label_text(row: IndexRow, task: Task, named: Collection[str]) -> str:
    states: dict[str, list[int]] = {label: [] for label in task.labels}
    for finding in task.findings:
        for label in task.labels_of(finding):
            states[label].append(_state(finding, row, task, named))
    told: list[str] = []
    for label, found in states.items():
        code = next((one for one in (PRESENT, UNCERTAIN, UNKNOWN) if one in found), ABSENT)
        if code != UNKNOWN:
            told.append(f"{label}={_SIGNS[code]}")
    return SEPARATOR.join(told)


def _state(finding: str, row: IndexRow, task: Task, named: Collection[str]) -> int:
    """What a row says of one finding. An image read as normal has none but devices, and one with a finding is not."""
    present, uncertain, absent = (set(cell.split(SEPARATOR)) for cell in (row.finding, row.uncertain, row.absent))
    if finding in present or finding in uncertain:
        return PRESENT if finding in present else UNCERTAIN
    diseases = present - {"", _NO_FINDING, _NO_DISEASE}
    excluded = diseases if finding == _NO_FINDING else _NO_FINDING in present and finding != _NO_DISEASE
    closed = ALL_OTHERS in absent and finding in named
    unmentioned = task.unmentioned == "absent" and not row.is_unlabelled
    return ABSENT if finding in absent or excluded or closed or unmentioned else UNKNOWN
