"""Which images an epoch shows, in which order and which view: a pure function of (seed, epoch), so that it replays."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.training.config import OptimisationConfig


ONE_CLASS = "sources of one class"
"""Stands for all sources that have a single class, where classes are balanced within sources."""


def training_positions(dataset: Dataset, *, unlabelled: bool = False, also: Collection[int] = ()) -> NDArray[np.int64]:
    """Positions of the training split, in row order; with those that carry no label, if asked: all, or those named."""
    others = set(also)
    return np.array(
        [
            i
            for i, row in enumerate(dataset.rows)
            if row.split == "train" and (unlabelled or dataset.has_target[i] or i in others)
        ],
        dtype=np.int64,
    )


def epoch_plan(
    dataset: Dataset,
    positions: NDArray[np.int64],
    config: OptimisationConfig,
    *,
    epoch: int,
    total: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw one epoch.

    ``uniform`` shows each image once (equally often, where `total` asks for more). ``class`` shows as many images, the
    classes equally often; ``class-source`` also the sources of a class; ``class-source-sqrt`` the sources of a class by
    the square root of their images, between their natural shares and equal ones, so that a handful of images is not
    shown hundreds of times. Within its group every image is shown equally often (give or take one). Where images may
    have several findings, ``class`` shows each once too, and sampling by sources is refused. Images without a label
    (unlabelled ones of a distilled student, auxiliary ones) are a group that keeps its natural share: each is shown
    once an epoch.

    ``class-within-source`` shows the classes equally often within each source, so that the source tells nothing of the
    class; sources keep their natural shares. A source whose labelled images are all of one class is never drawn alone:
    such sources are taken together as one; where they are all of the same class they are not shown at all.

    Args:
        dataset: labels and sources.
        positions: [n], the images to draw from.
        config: its `sampling` and `seed`, and its `source_weights`: factors on the shares of sources within their
            classes, where sources are balanced; 1 where a source is not named.
        epoch: from 0.
        total: how many images the epoch shows; as many as there are, if None.

    Returns:
        Positions [n] in the order of showing, and the number [n] of each image's view: over epochs an image runs
        through views 0, 1, 2, … without a repeat, also when an epoch shows it several times.

    Raises:
        DataError: ``class-within-source`` where every source has one class, or would leave out a class.
    """
    if "-source" in config.sampling:
        dataset.task.refuse_several(f"sampling {config.sampling}")
    generator = np.random.default_rng((config.seed, epoch))
    groups = _groups(dataset, positions, config.sampling)
    tempered = config.sampling == "class-source-sqrt"
    if config.sampling == "class-within-source":
        counts = _shares_within(groups, total or len(positions), config.source_weights)
    else:
        counts = _shares(groups, total or len(positions), tempered=tempered, factors=config.source_weights)
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
    classes = _classes_by_source(dataset, positions) if sampling == "class-within-source" else {}
    for position in positions.tolist():
        label = int(dataset.labels[position]) if dataset.labels.ndim == 1 else int(dataset.has_target[position]) - 1
        if sampling == "uniform":
            key = (0, "")
        else:
            source = dataset.rows[position].source if "-source" in sampling and label >= 0 else ""
            key = (label, ONE_CLASS if len(classes.get(source, ())) == 1 else source)
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


def _classes_by_source(dataset: Dataset, positions: NDArray[np.int64]) -> dict[str, set[int]]:
    """Which classes, as positions in the task's labels, the labelled images of each source have."""
    found: dict[str, set[int]] = defaultdict(set)
    for position in positions.tolist():
        if dataset.labels[position] >= 0:
            found[dataset.rows[position].source].add(int(dataset.labels[position]))
    return found


def _shares_within(
    groups: dict[tuple[int, str], NDArray[np.int64]], total: int, factors: Mapping[str, float]
) -> dict[tuple[int, str], int]:
    """How many images each (class, source) gives to an epoch of `total`: classes equal within each source."""
    counts = {key: len(members) for key, members in groups.items() if key[0] < 0}
    by_source: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for key in groups:
        if key[0] >= 0:
            by_source[key[1]].append(key)
    _check_within(by_source)
    mixed = [keys for _, keys in sorted(by_source.items()) if len(keys) > 1]
    weights = [factors.get(keys[0][1], 1.0) * sum(len(groups[key]) for key in keys) for keys in mixed]
    for keys, share in zip(mixed, _split(total - sum(counts.values()), weights), strict=True):
        counts.update(zip(keys, _split(share, [1.0] * len(keys)), strict=True))
    return counts


def _check_within(by_source: Mapping[str, Sequence[tuple[int, str]]]) -> None:
    """Refuse a set whose classes cannot be balanced within sources."""
    if set(by_source) <= {ONE_CLASS}:
        raise DataError(
            "sampling class-within-source: expected a source with images of two classes or more in the training split, "
            "found none, so that the source tells the class; add such a source, or choose sampling class-source"
        )
    drawn = {label for keys in by_source.values() if len(keys) > 1 for label, _ in keys}
    lost = sorted({label for keys in by_source.values() for label, _ in keys} - drawn)
    if lost:
        raise DataError(
            f"sampling class-within-source: class {lost[0]} (from 0, in the task's order) stands only in sources that "
            "have no other class, so that it cannot be balanced within a source; add a source that has it beside "
            "another class, or choose sampling class-source"
        )


def _split(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to the weights that add up to `total`: largest remainders, the first of equals."""
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [int(value) for value in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: parts[i] - exact[i])
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts
