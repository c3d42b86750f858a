"""The arithmetic of a step: learning rate, parameter groups, averaged weights, seeds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from pocketcxr.training.config import OptimisationConfig


def make_optimiser(network: nn.Module, config: OptimisationConfig) -> torch.optim.AdamW:
    """AdamW; weight decay acts on matrices and convolutions, not on biases and norms.

    Loshchilov, Hutter, ICLR 2019. Frozen parameters are left out.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},  # noqa: PLR2004
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},  # noqa: PLR2004
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate(step: int, *, config: OptimisationConfig, steps_per_epoch: int) -> float:
    """Linear warm-up, then half a cosine to 0 at the end of the last epoch."""
    total = config.epochs * steps_per_epoch
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total - 1)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, step: int, decay: float) -> None:
    """Move the averaged weights towards the present ones, statistics of batch norms included.

    The decay grows to its value over the first steps, (1 + step) / (10 + step), so that a short run is not dominated by
    its random start. Counters are copied.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    ours, theirs = list(average.state_dict().values()), list(network.state_dict().values())
    floating = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floating], [b for _, b in floating], weight)  # as torch.optim does
    for a, b in zip(ours, theirs, strict=True):
        if not a.is_floating_point():
            a.copy_(b)


def seed_step(seed: int, step: int) -> None:
    """Seed all generators for one step, so that dropout replays when the step does."""
    torch.manual_seed((seed * 1_000_003 + step) * 4099)
