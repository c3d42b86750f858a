"""Which images an epoch shows, in which order and which view: a pure function of (seed, epoch), so that it replays."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.training.config import OptimisationConfig


def training_positions(dataset: Dataset, *, unlabelled: bool = False) -> NDArray[np.int64]:
    """Positions of the training split, in row order; with those that carry no label, if asked."""
    return np.array(
        [i for i, row in enumerate(dataset.rows) if row.split == "train" and (unlabelled or dataset.labels[i] >= 0)],
        dtype=np.int64,
    )


def epoch_plan(
    dataset: Dataset,
    positions: NDArray[np.int64],
    config: OptimisationConfig,
    *,
    epoch: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw one epoch.

    ``uniform`` shows each image once. ``class`` shows as many images, the classes equally often; ``class-source`` also
    the sources of a class; ``class-source-sqrt`` the sources of a class by the square root of their images, between
    their natural shares and equal ones, so that a handful of images is not shown hundreds of times. Within
    its group every image is shown equally often (give or take one). Images without a label are a group that keeps its
    natural share.

    Args:
        dataset: labels and sources.
        positions: [n], the images to draw from.
        config: its `sampling` and `seed`, and its `source_weights`: factors on the shares of sources within their
            classes, where sources are balanced; 1 where a source is not named.
        epoch: from 0.

    Returns:
        Positions [n] in the order of showing, and the number [n] of each image's view: over epochs an image runs
        through views 0, 1, 2, … without a repeat, also when an epoch shows it several times.
    """
    generator = np.random.default_rng((config.seed, epoch))
    groups = _groups(dataset, positions, config.sampling)
    tempered = config.sampling == "class-source-sqrt"
    counts = _shares(groups, len(positions), tempered=tempered, factors=config.source_weights)
    chosen: list[NDArray[np.int64]] = []
    views: list[NDArray[np.int64]] = []
    for key, count in counts.items():
        members = groups[key]
        rounds = -(-count // len(members))  # how often, at most, an image of this group is shown per epoch
        for turn in range(rounds):
            drawn = generator.permutation(members)[: count - turn * len(members)]
            chosen.append(drawn)
            views.append(np.full(len(drawn), epoch * rounds + turn, dtype=np.int64))
    order = generator.permutation(sum(map(len, chosen)))
    return np.concatenate(chosen)[order], np.concatenate(views)[order]


def _groups(dataset: Dataset, positions: NDArray[np.int64], sampling: str) -> dict[tuple[int, str], NDArray[np.int64]]:
    members: dict[tuple[int, str], list[int]] = defaultdict(list)
    for position in positions.tolist():
        label = int(dataset.labels[position])
        if sampling == "uniform":
            key = (0, "")
        else:
            source = dataset.rows[position].source if sampling.startswith("class-source") and label >= 0 else ""
            key = (label, source)
        members[key].append(position)
    return {key: np.array(members[key], dtype=np.int64) for key in sorted(members)}


def _shares(
    groups: dict[tuple[int, str], NDArray[np.int64]], total: int, *, tempered: bool, factors: Mapping[str, float]
) -> dict[tuple[int, str], int]:
    """How many images each group gives to an epoch of `total`."""
    free = [key for key in groups if key[0] < 0]
    labelled = [key for key in groups if key[0] >= 0]
    counts = {key: len(groups[key]) for key in free}
    classes = sorted({label for label, _ in labelled})
    remaining = total - sum(counts.values())
    for label, share in zip(classes, _split(remaining, [1.0] * len(classes)), strict=True):
        keys = [key for key in labelled if key[0] == label]
        weights = [factors.get(key[1], 1.0) * (len(groups[key]) ** 0.5 if tempered else 1.0) for key in keys]
        counts.update(zip(keys, _split(share, weights), strict=True))
    return counts


def _split(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to the weights that add up to `total`: largest remainders, the first of equals."""
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [int(value) for value in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: parts[i] - exact[i])
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts
