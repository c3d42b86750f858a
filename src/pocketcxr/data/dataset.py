"""A labelled, split, decoded set of images in memory-mapped form: what training and evaluation read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.multilabel import UNKNOWN, is_known, training_targets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import Task


@dataclass(frozen=True)
class Dataset:
    """Images of one task at one size.

    `pixels` uint8 [n, size, size], memory-mapped, resized by the project's one specification; `labels` int64 [n],
    position in ``task.labels``, -1 where unlabelled, or where an image may have several findings int64 [n, labels], 1
    present, 0 absent, below 0 not known (`data.multilabel`); `fingerprint` changes with any image, label,
    split or size.
    `boxes` are those that radiologists drew, by the path of the image, as shares of the square (`boxes.known_boxes`);
    empty unless a training asks for them, and no part of the fingerprint. `lungs` float32 [n, 4] likewise: edges of the
    lungs (`training.lung_boxes`).
    """

    task: Task
    rows: tuple[IndexRow, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    fingerprint: str
    boxes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    lungs: NDArray[np.float32] | None = None

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """Labels to train on, of the shape of `labels`: uncertain ones are what the task says, -1 takes no part."""
        return training_targets(self.labels, self.task)

    @cached_property
    def has_target(self) -> NDArray[np.bool_]:
        """Whether an image has a label to train on [n]."""
        return is_known(self.targets)

    def positions(self, split: str) -> NDArray[np.int64]:
        """Positions of the images of a split of which a label is known, in row order."""
        known = is_known(self.labels)
        return np.array([i for i, row in enumerate(self.rows) if row.split == split and known[i]], dtype=np.int64)

    def without_labels_of(self, split: str) -> Dataset:
        """The same images, with the same fingerprint; nothing can be measured on `split`: no label of it is known."""
        labels = self.labels.copy()
        labels[[row.split == split for row in self.rows]] = UNKNOWN
        rows = tuple(dataclasses.replace(row, split="") if row.split == split else row for row in self.rows)
        return dataclasses.replace(self, rows=rows, labels=labels)

    def images(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Images as a network takes them: float32 [n, 1, size, size] in [0, 1]."""
        return self.pixels[positions][:, None].astype(np.float32) / np.float32(255)


def evenly(positions: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many positions, evenly spaced, so that every source of a sorted table is among them."""
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).round().astype(np.int64)]
