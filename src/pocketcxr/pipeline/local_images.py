"""The labelled images of a site: listed, counted and scored, for local calibration."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.index import build_index
from pocketcxr.data.multilabel import held, is_of_task, label_array
from pocketcxr.data.rows import is_frontal_xray, read_rows
from pocketcxr.data.splits.assign import label_rows
from pocketcxr.data.summary import left_out_of
from pocketcxr.errors import ConfigError, DataError, InputError
from pocketcxr.evaluation.calibration import two_columns
from pocketcxr.evaluation.intervals import clusters
from pocketcxr.evaluation.label_wise import task_of_label
from pocketcxr.evaluation.scoring import Predictions
from pocketcxr.imaging.reading import read_image
from pocketcxr.inference.prediction import REFUSED
from pocketcxr.inference.predictor import Predictor
from pocketcxr.labels import Task, load_task
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pocketcxr.bundle.contract import ModelOutputs
    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.inference.session import Bundle

_LOGGER = logging.getLogger(__name__)

MIN_IMAGES = 50
"""With fewer, the coverage of 90 % prediction sets is anything from 80 to 97 % of later images, by chance alone."""

MIN_PATIENTS = 10
"""With fewer patients with, or without, the positive class one of them moves an operating point by over 10 points."""


@dataclass(frozen=True, eq=False)
class LocalPart:
    """Classes that exclude each other, with the images that have one: all classes of a bundle, or one of its findings.

    `rows` have the class as their label; `predictions` are of them, in their order.
    """

    task: Task
    rows: tuple[IndexRow, ...]
    predictions: Predictions


@dataclass(frozen=True, eq=False)
class LocalImages:
    """Images that were scored, their rows, and how many were left out: by reason, and the refused ones by class."""

    rows: tuple[IndexRow, ...]
    parts: tuple[LocalPart, ...]
    left_out: dict[str, int]
    refused: dict[str, int]


def bundle_task(manifest: Manifest) -> Task:
    """The classes or findings of a bundle, as a task that maps each to itself."""
    itself = {label: label for label in manifest.labels}
    return Task(manifest.task, manifest.labels, manifest.positive, itself, multilabel=manifest.multilabel)


def rows_of_parts(rows: Sequence[IndexRow], task: Task) -> list[tuple[Task, list[int], list[IndexRow]]]:
    """The parts of a task (see `LocalPart`), each with the places of its images and their rows."""
    if not task.multilabel:
        return [(task, list(range(len(rows))), list(rows))]
    known = label_array(rows, task)
    parts: list[tuple[Task, list[int], list[IndexRow]]] = []
    for number in range(len(task.labels)):
        one = task_of_label(task, number)
        places = np.flatnonzero(known[:, number] >= 0).tolist()
        own = [dataclasses.replace(rows[i], label=one.labels[known[i, number]]) for i in places]
        parts.append((one, places, own))
    return parts


def local_rows(
    data: Path,
    manifest: Manifest,
    task: str | None,
    columns: Mapping[str, str],
    aliases: Mapping[str, str],
    *,
    progress: bool,
) -> tuple[list[IndexRow], dict[str, int]]:
    """Rows with a class of the bundle, and how many were left out for which reason."""
    left_out: Counter[str] = Counter()
    if data.is_dir() or columns:
        index = build_index([data], columns=columns, finding_aliases=aliases, progress=progress)
        rows = list(index.rows)
        told = left_out_of(index)
        if told:
            _LOGGER.warning("%s: %s", data, told)
        left_out["not readable, or of an unknown class"] = len(index.rejected)
    else:
        rows = read_rows(data)
    if any(row.split for row in rows):
        kept = [row for row in rows if row.split == "calibration"]
        if not kept:
            raise DataError(
                f"{data}: expected images in the split calibration, found {len(rows)} in others; name a table without "
                "splits, or one whose calibration split holds the local images"
            )
        left_out["in another split than calibration"] = len(rows) - len(kept)
        rows = kept
    known, own = sorted({row.label for row in rows if row.label}), bundle_task(manifest)
    if not all(is_of_task(label, own) for label in known):
        raise DataError(
            f"{data}: expected labels among the bundle's {', '.join(manifest.labels)}, found {', '.join(known)}: "
            "calibrate with a table of the same task"
        )
    if not known:
        rows = label_rows(rows, _task(task, manifest))
    used = [row for row in rows if row.label and is_frontal_xray(row)]
    left_out["no frontal X-ray of a class of the bundle"] = len(rows) - len(used)
    if not used:
        findings = sorted({row.finding or "unlabelled" for row in rows})
        raise DataError(
            f"{data}: no frontal X-ray of one of the bundle's classes {', '.join(manifest.labels)}; "
            f"findings there: {', '.join(findings[:8]) or 'none'}: name a task that maps them with --task"
        )
    return used, {reason: count for reason, count in left_out.items() if count}


def _task(name: str | None, manifest: Manifest) -> Task:
    try:
        task = load_task(name or manifest.task)
    except ConfigError as error:
        raise ConfigError(f"{error}; the bundle's classes are {', '.join(manifest.labels)}: give --task") from error
    if (task.labels, task.multilabel) != (manifest.labels, manifest.multilabel):
        raise ConfigError(
            f"task {task.name} has classes {', '.join(task.labels)}, the bundle {', '.join(manifest.labels)}: "
            "name one that fits with --task"
        )
    return task


def check_enough(rows: Sequence[IndexRow], manifest: Manifest, left_out: Mapping[str, int]) -> None:
    """Refuse what is too little to calibrate on."""
    without = "; left out: " + ", ".join(f"{count} {reason}" for reason, count in left_out.items()) if left_out else ""
    for task, _, own in rows_of_parts(rows, bundle_task(manifest)):
        named = f"{task.positive}: " if manifest.multilabel else ""
        _check_part(own, task, named, without)


def _check_part(rows: Sequence[IndexRow], task: Task, named: str, without: str) -> None:
    present = {row.label for row in rows}
    if len(present) == 1:
        raise DataError(f"{named}calibration needs images of two classes at least, found {present.pop()} only{without}")
    if len(rows) < MIN_IMAGES:
        raise DataError(
            f"{named}calibration needs at least {MIN_IMAGES} labelled images, found {len(rows)}: with fewer, the "
            f"coverage of 90 % prediction sets may be 80 % by chance alone; add images (100 to 200 are better){without}"
        )
    numbers = clusters(rows)
    is_positive = np.array([row.label == task.positive for row in rows])
    found = [len(np.unique(numbers[mask])) for mask in (is_positive, ~is_positive)]
    if min(found) < MIN_PATIENTS:
        raise DataError(
            f"calibration needs at least {MIN_PATIENTS} patients with {task.positive} and {MIN_PATIENTS} without, "
            f"found {found[0]} and {found[1]}: with fewer, one patient moves an operating point by more than "
            f"10 points; add images{without}"
        )


def score_local(bundle: Bundle, rows: Sequence[IndexRow], left_out: dict[str, int], *, progress: bool) -> LocalImages:
    """Score the images as a prediction does, all their pixels read, and keep those that are not refused."""
    predictor = Predictor(bundle)
    kept: list[IndexRow] = []
    outputs: list[ModelOutputs] = []
    reasons: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for row in Bar(rows, desc="local images", unit="image", disable=not progress, mininterval=0.5):
        try:
            prediction, found = predictor.score_image(read_image(Path(row.path)), "")
        except InputError as error:
            reasons[f"unreadable ({error.code})"] += 1
            continue
        if prediction.decision == REFUSED:
            reasons[f"refused ({prediction.reasons[0].code})"] += 1
            refused.update(held(row.label))
            continue
        assert found is not None  # None only where the image was refused
        kept.append(row)
        outputs.append(found)
    empty = np.zeros((0, len(bundle.manifest.labels)))
    probabilities = np.concatenate([empty, *(one.probabilities.astype(np.float64) for one in outputs)])
    logits = np.concatenate([empty, *(one.logits.astype(np.float64) for one in outputs)])
    whole = bundle_task(bundle.manifest)
    parts: list[LocalPart] = []
    for number, (task, places, own) in enumerate(rows_of_parts(kept, whole)):
        chance, raw = probabilities[places], logits[places]
        if whole.multilabel:
            chance = np.stack([1 - chance[:, number], chance[:, number]], axis=1)
            raw = two_columns(raw[:, number])
        truth = np.array([task.labels.index(row.label) for row in own], dtype=np.int64)
        parts.append(LocalPart(task, tuple(own), Predictions("student", np.arange(len(own)), truth, chance, raw)))
    return LocalImages(tuple(kept), tuple(parts), left_out | dict(reasons), dict(refused))
