"""What all stages of one teacher share: data, configuration, the views it sees, its loss."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from pocketcxr.training.augmentation import AUGMENTATION_VERSION, AugmentedViews, augmentation_identity
from pocketcxr.training.auxiliary.targets import AuxiliaryTargets, auxiliary_targets, load_views
from pocketcxr.training.loop import Batch
from pocketcxr.training.losses.distillation import distillation_losses
from pocketcxr.training.run.identity import recorded, sampled_sources
from pocketcxr.training.sampling import epoch_plan, training_positions
from pocketcxr.training.starting import starting_backbone

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.models.backbones import Backbone
    from pocketcxr.models.networks import NetworkOutputs, NetworkSpec
    from pocketcxr.training.config import AugmentationConfig, TeacherConfig
    from pocketcxr.training.engine import Engine

_VIEW_SEED = 1_000_003
"""Added to the teacher's seed, so that it is not fitted on the very views whose outputs students learn from."""


@dataclasses.dataclass(frozen=True)
class TeacherTask:
    """What all stages of one teacher share."""

    dataset: Dataset
    config: TeacherConfig
    augmentation: AugmentationConfig
    spec: NetworkSpec
    engine: Engine
    out: Path
    progress: bool

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """The labelled training images."""
        return training_positions(self.dataset)

    @cached_property
    def auxiliary(self) -> AuxiliaryTargets | None:
        """Targets of the auxiliary outputs, learnt where backbones are trained."""
        return auxiliary_targets(self.dataset, self.config.auxiliary)

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """The images that backbones are trained on: labelled and auxiliary ones."""
        return training_positions(self.dataset, also=() if self.auxiliary is None else self.auxiliary.positions)

    @cached_property
    def views(self) -> AugmentedViews:
        """Augmented views of the training images."""
        return AugmentedViews(self.dataset, self.augmentation, seed=self.config.seed + _VIEW_SEED)

    @property
    def identity(self) -> dict[str, Any]:
        """What the weights of every stage depend on beside the configuration."""
        return {
            "network": self.spec.table(),
            "data": self.dataset.fingerprint,
            "augmentation": augmentation_identity(self.dataset, self.augmentation),
            "views": {"seed": self.views.seed, "version": AUGMENTATION_VERSION},
            "precision": self.engine.precision,
            **sampled_sources(self.config, self.dataset.rows),
            **({"auxiliary": self.auxiliary.identity} if self.auxiliary else {}),
        }

    @property
    def about(self) -> dict[str, Any]:
        """What every checkpoint's record says."""
        return {**self.identity, "configuration": recorded(self.config)}

    def plan(self, epoch: int, shown: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions and views of an epoch over the images that are shown, balanced as configured."""
        return epoch_plan(self.dataset, shown, self.config, epoch=epoch)

    def load(self, positions: NDArray[np.int64], views: NDArray[np.int64]) -> Batch:
        """Batch of augmented views with their labels and auxiliary targets."""
        labels = torch.from_numpy(self.dataset.targets[positions])
        images, known = load_views(self.views, positions, views, self.auxiliary)
        return Batch(images, labels, torch.from_numpy(positions), **known)

    def losses(self, outputs: NetworkOutputs, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of a network's outputs for a batch."""
        return distillation_losses(
            {"ce": 1.0},
            student_logits=outputs.logits,
            labels=batch.labels,
            label_smoothing=self.config.label_smoothing,
        )

    def backbone(self, number: int) -> tuple[Backbone, dict[str, Any]]:
        """One backbone with its first weights, and the record of where they came from."""
        return starting_backbone(
            self.config.backbones[number],
            self.config.weights[number],
            views=self.views,
            positions=self.positions,
            seed=self.config.seed + number,
            frozen_blocks=self.config.frozen_blocks,
            inner_size=self.spec.inner_size,
        )
