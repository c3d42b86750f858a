"""Heads that are trained beside a network's own: their outputs, their losses, and the network without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pocketcxr.errors import ConfigError
from pocketcxr.training.distributed.processes import whole_batch
from pocketcxr.training.losses.parts import binary_loss, cross_entropy_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.models.backbones import Backbone, BackboneOutputs
    from pocketcxr.models.networks import NetworkOutputs
    from pocketcxr.training.auxiliary.targets import AuxiliaryTargets
    from pocketcxr.training.loop import Batch


class BackboneHeads(nn.Module):
    """Auxiliary heads of one backbone: findings and opacity on its pooled features, a box map on its map of places."""

    def __init__(self, features: int, targets: AuxiliaryTargets) -> None:
        super().__init__()
        parts = targets.weights
        self.findings = nn.Linear(features, len(targets.findings)) if "findings" in parts else None
        self.opacity = nn.Linear(features, 1) if "opacity" in parts else None
        self.boxes = nn.Conv2d(features, 1, kernel_size=1) if "boxes" in parts else None

    def forward(self, seen: BackboneOutputs) -> dict[str, Tensor]:
        """Logits by part: findings [n, k], opacity [n], boxes [n, 1, h, w]."""
        found: dict[str, Tensor] = {}
        if self.findings is not None:
            found["findings"] = self.findings(seen.pooled)
        if self.opacity is not None:
            found["opacity"] = self.opacity(seen.pooled)[:, 0]
        if self.boxes is not None:
            found["boxes"] = self.boxes(seen.places)
        return found


class WithHeads(nn.Module):
    """A network with the auxiliary heads of its backbones, for a stage of training; checkpoints keep the network.

    The state of an interrupted stage has both.
    """

    def __init__(self, network: nn.Module, heads: Sequence[BackboneHeads]) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Outputs of the network; `auxiliary_losses` reads the heads."""
        return self.network(images)


def with_heads(
    network: nn.Module, backbones: Sequence[Backbone], targets: AuxiliaryTargets | None, *, seed: int
) -> nn.Module:
    """Put fresh auxiliary heads beside a network, one set for each of its backbones; the network where there are none.

    Raises:
        ConfigError: a box map is asked of a backbone that ends in no feature map.
    """
    if targets is None:
        return network
    for backbone in backbones:
        if "boxes" in targets.weights and not backbone.has_map:
            raise ConfigError(
                f"auxiliary.boxes: backbone {backbone.name!r} ends in no feature map [n, c, h, w]; choose a "
                "convolutional network such as vgg19, or leave boxes out"
            )
    torch.manual_seed(seed)
    return WithHeads(network, [BackboneHeads(backbone.features, targets) for backbone in backbones])


def without_heads(network: nn.Module) -> nn.Module:
    """The network alone, as it is saved."""
    return network.network if isinstance(network, WithHeads) else network


def auxiliary_losses(
    network: nn.Module, outputs: NetworkOutputs, batch: Batch, targets: AuxiliaryTargets | None
) -> dict[str, Tensor]:
    """Losses of the auxiliary outputs by part, times their weights; mean over the backbones. {} without targets.

    Findings: cross-entropy; opacity and box map: binary cross-entropy, the map's against the share of each cell that
    boxes cover. Each is the mean over the images whose target is known.
    """
    if targets is None:
        return {}
    assert isinstance(network, WithHeads)
    heads = zip(network.heads, outputs.backbones, strict=True)
    found = [{name: whole_batch(part) for name, part in head(seen).items()} for head, seen in heads]
    return {
        name: torch.stack([_loss(name, one[name], batch) for one in found]).mean() * weight
        for name, weight in targets.weights.items()
    }


def _loss(name: str, logits: Tensor, batch: Batch) -> Tensor:
    if name == "findings":
        assert batch.findings is not None
        return cross_entropy_loss(logits, batch.findings)
    assert batch.opacity is not None
    known = batch.opacity >= 0
    if name == "opacity":
        return binary_loss(logits, batch.opacity, known)
    assert batch.box_masks is not None
    covered = functional.adaptive_avg_pool2d(batch.box_masks, (logits.shape[-2], logits.shape[-1]))  # [n, 1, h, w]
    return binary_loss(logits, covered, known)
