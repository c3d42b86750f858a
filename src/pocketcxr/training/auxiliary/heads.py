"""Heads that are trained beside a network's own: their outputs, their losses, and the network without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pocketcxr.errors import ConfigError
from pocketcxr.training.auxiliary.targets import EVIDENCE
from pocketcxr.training.distributed.processes import whole_batch
from pocketcxr.training.losses.parts import binary_loss, cross_entropy_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
    network: nn.Module,
    outputs: NetworkOutputs,
    batch: Batch,
    targets: AuxiliaryTargets | None,
    *,
    maps: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Losses of the auxiliary outputs by part, times their weights; mean over the backbones. {} without targets.

    Findings: cross-entropy; opacity and box map: binary cross-entropy, the map's against the share of each cell that
    boxes cover; evidence: see `evidence_loss`. Each is the mean over the images whose target is known.

    Args:
        network: from `with_heads`.
        outputs: of the network for this process's part of the batch.
        batch: the whole batch's targets.
        targets: None where no auxiliary output is on.
        maps: gives the class activation maps [n, classes, h, w] of a student's `features`; only evidence needs it.
    """
    if targets is None:
        return {}
    assert isinstance(network, WithHeads)
    heads = zip(network.heads, outputs.backbones, strict=True)
    found = [{name: whole_batch(part) for name, part in head(seen).items()} for head, seen in heads]
    losses: dict[str, Tensor] = {}
    for name, weight in targets.weights.items():
        if name == EVIDENCE:
            assert maps is not None
            part = evidence_loss(whole_batch(maps(outputs.features)), batch)
        else:
            part = torch.stack([_loss(name, one[name], batch) for one in found]).mean()
        losses[name] = part * weight
    return losses


def evidence_loss(maps: Tensor, batch: Batch) -> Tensor:
    """Share of the positive evidence for an image's class that lies outside its boxes, mean over images with both.

    Evidence as in `inference.saliency.evidence_map`: the class's activation map minus the mean of the other classes'.
    Energy loss of Rao et al., Studying How to Efficiently and Effectively Guide Models with Explanations, ICCV 2023.

    Args:
        maps: class activation maps [n, classes, h, w].
        batch: `labels` int64 [n], negative for no class; `opacity`; `box_masks`.
    """
    assert batch.opacity is not None
    assert batch.box_masks is not None
    maps = maps.float()
    known = (batch.labels >= 0) & (batch.opacity > 0)
    own = maps.gather(1, batch.labels.clamp(min=0)[:, None, None, None].expand(-1, 1, *maps.shape[2:]))
    others = (maps.sum(dim=1, keepdim=True) - own) / (maps.shape[1] - 1)
    evidence = torch.relu(own - others)
    covered = functional.adaptive_avg_pool2d(batch.box_masks, (maps.shape[-2], maps.shape[-1]))
    outside = (evidence * (1 - covered)).sum(dim=(1, 2, 3)) / evidence.sum(dim=(1, 2, 3)).clamp(min=1e-6)
    return (outside * known).sum() / known.sum().clamp(min=1)


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
