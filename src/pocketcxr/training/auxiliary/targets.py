"""What is known of each training image beside its class: its finding, and where radiologists drew boxes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pocketcxr.errors import ConfigError, DataError
from pocketcxr.vocabulary import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.training.augmentation import AugmentedViews

BOXED = frozenset({"opacity", "boxes", "evidence"})
"""Parts that need the boxes of radiologists."""

EVIDENCE = "evidence"
"""The part that has no output of its own: it needs an image's class, so an image without one does not take part."""


@dataclass(frozen=True)
class AuxiliaryTargets:
    """Targets of the auxiliary outputs, by position in the data set.

    `weights` of the parts that are on; `findings` the names in the order of that output; `finding_of` int64 [rows] its
    index and `opacity` int64 [rows] 1 for an image with a box, 0 for one without, both -1 where it is not known;
    `boxes` [k, 4] of the images that have some, as shares of the square; `positions` of the training images without a
    class that take part, because at least one of their targets is known.
    """

    weights: Mapping[str, float]
    findings: tuple[str, ...]
    finding_of: NDArray[np.int64]
    opacity: NDArray[np.int64]
    boxes: Mapping[int, NDArray[np.float64]]
    positions: NDArray[np.int64]

    @property
    def identity(self) -> dict[str, Any]:
        """What the weights of a network depend on beside the configuration: targets are no part of a data set's own."""
        digest = hashlib.sha256()
        for array in (self.finding_of, self.opacity, *(self.boxes[i] for i in sorted(self.boxes))):
            digest.update(np.ascontiguousarray(array).tobytes())
        return {"findings": list(self.findings), "targets": digest.hexdigest()[:16]}


def takes_part(row: IndexRow, parts: Collection[str], boxed: Collection[str]) -> bool:
    """Whether a target of an image without a class is known: its finding, or its boxes (`boxed` are paths)."""
    by_boxes = not (BOXED - {EVIDENCE}).isdisjoint(parts)
    return ("findings" in parts and bool(_one_finding(row))) or (by_boxes and row.path in boxed)


def _one_finding(row: IndexRow) -> str:
    """The finding of an image that has exactly one, else ""."""
    return "" if SEPARATOR in row.finding else row.finding


def auxiliary_targets(dataset: Dataset, weights: Mapping[str, float]) -> AuxiliaryTargets | None:
    """Find the targets of the training split for the parts that are on; None where none is.

    The findings are those that its images have, in alphabetical order.

    Raises:
        ConfigError: evidence, where the classes do not exclude each other.
        DataError: fewer than two findings, or no image with a box or none without, where a part needs them.
    """
    active = {name: weight for name, weight in weights.items() if weight > 0}
    if not active:
        return None
    if EVIDENCE in active and dataset.task.multilabel:
        raise ConfigError(
            "auxiliary.evidence: expected classes that exclude each other, found a task with several findings an "
            "image, where a box does not tell whose it is; leave it out"
        )
    rows, boxed = dataset.rows, not BOXED.isdisjoint(active)
    train = [i for i, row in enumerate(rows) if row.split == "train"]
    findings = sorted({_one_finding(rows[i]) for i in train} - {""}) if "findings" in active else []
    finding_of, opacity = (np.full(len(rows), -1, dtype=np.int64) for _ in range(2))
    boxes: dict[int, NDArray[np.float64]] = {}
    for i in train:
        if rows[i].finding in findings:
            finding_of[i] = findings.index(rows[i].finding)
        own = dataset.boxes.get(rows[i].path) if boxed else None
        if own is not None:
            opacity[i] = len(own) > 0
            if len(own):
                boxes[i] = own
    if "findings" in active and len(findings) < 2:  # noqa: PLR2004
        raise DataError(
            f"auxiliary.findings: expected training images of two findings or more, found {findings}; leave it out"
        )
    if boxed and not {0, 1} <= set(opacity.tolist()):
        raise DataError(
            f"auxiliary.{min(BOXED & set(active))}: expected training images with and without boxes, found "
            f"{int((opacity == 1).sum())} with and {int((opacity == 0).sum())} without; leave it out, or name a table "
            "of boxes in data.boxes"
        )
    also = [i for i in train if not dataset.has_target[i] and takes_part(rows[i], active, dataset.boxes)]
    return AuxiliaryTargets(active, tuple(findings), finding_of, opacity, boxes, np.array(also, dtype=np.int64))


def load_views(
    views: AugmentedViews,
    positions: NDArray[np.int64],
    numbers: NDArray[np.int64],
    targets: AuxiliaryTargets | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Views [n, 1, s, s] of images, with their auxiliary targets by the name of the batch's field.

    ``findings`` and ``opacity`` int64 [n], -1 where unknown; ``box_masks`` float32 [n, 1, s, s], moved with the view.
    """
    if targets is None:
        return views(positions, numbers), {}
    known: dict[str, Tensor] = {}
    if "findings" in targets.weights:
        known["findings"] = torch.from_numpy(targets.finding_of[positions])
    if not BOXED.isdisjoint(targets.weights):
        known["opacity"] = torch.from_numpy(targets.opacity[positions])
    if {"boxes", EVIDENCE}.isdisjoint(targets.weights):
        return views(positions, numbers), known
    images, known["box_masks"] = views.with_boxes(positions, numbers, targets.boxes)
    return images, known
