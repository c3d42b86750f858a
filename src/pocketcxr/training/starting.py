"""Fresh networks at the start of a stage: seeded, with first weights, batch norms fit for training."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pocketcxr.errors import DataError
from pocketcxr.models.backbones import check_blocks
from pocketcxr.models.batch_norm import unfold_batch_norm
from pocketcxr.models.weights import prepare_backbone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.models.backbones import Backbone
    from pocketcxr.training.augmentation import AugmentedViews

_CALIBRATING_IMAGES = 256
_log = logging.getLogger(__name__)


def starting_backbone(
    name: str,
    weights: str,
    *,
    views: AugmentedViews,
    positions: NDArray[np.int64],
    seed: int,
    frozen_blocks: int = 0,
    inner_size: int = 0,
) -> tuple[Backbone, dict[str, Any]]:
    """Build a backbone with its first weights; the same seed gives the same random ones.

    With `inner_size` above 0 it resizes the views to that side, in pixels.

    Batch norms that came folded get their statistics back from the first views of up to 256 training images. Then the
    first `frozen_blocks` blocks are frozen, unless the backbone starts from scratch.

    Returns:
        The backbone, and for the run's record where its weights came from.

    Raises:
        ConfigError: the network has fewer blocks than are to be frozen.
    """
    torch.manual_seed(seed)
    backbone, source = prepare_backbone(name, weights, image_size=inner_size or views.dataset.pixels.shape[-1])
    backbone.inner_size = inner_size
    record = dataclasses.asdict(source)
    if source.source == "scratch":
        check_blocks(name, backbone.trunk, frozen_blocks)
        if frozen_blocks:
            _log.warning("%s starts from scratch: no block of it is frozen", name)
        return backbone, record
    _log.info("%s starts from %s", name, source.detail or source.source)
    chosen = np.random.default_rng(seed).permutation(positions)[:_CALIBRATING_IMAGES]
    images = views(chosen, np.zeros(len(chosen), dtype=np.int64))
    record["batch_norm_unfolded"] = unfold_batch_norm(backbone, images)
    if frozen_blocks:
        backbone.freeze(frozen_blocks)
        record["frozen_blocks"] = frozen_blocks
    return backbone, record


def check_training_images(dataset: Dataset, positions: NDArray[np.int64]) -> None:
    """Refuse a training split that cannot teach: fewer than two images, or one class only.

    Raises:
        DataError: saying what is there.
    """
    if dataset.task.multilabel:
        _check_findings(dataset, positions)
        return
    labels = dataset.labels[positions]
    present = sorted({dataset.task.labels[label] for label in labels[labels >= 0]})
    if len(present) < 2:  # noqa: PLR2004
        raise DataError(
            f"split 'train' has {len(positions)} images of {present or 'no class'}; expected at least two of "
            f"{list(dataset.task.labels)}: check the index and its split"
        )


def _check_findings(dataset: Dataset, positions: NDArray[np.int64]) -> None:
    targets = dataset.targets[positions]
    for i, label in enumerate(dataset.task.labels):
        counts = [int((targets[:, i] == code).sum()) for code in (1, 0)]
        if not all(counts):
            raise DataError(
                f"split 'train': {label} is present in {counts[0]} images and absent in {counts[1]}, expected both: "
                "check the index, its split, and what the task says of uncertain and unmentioned findings"
            )
