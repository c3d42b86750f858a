"""Parameters and arithmetic of a network, counted by running it once rather than read from a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from torch import nn


class NetworkCosts(NamedTuple):
    """`parameters`: trainable and frozen numbers, buffers left out; `macs`: multiply-accumulates of one image."""

    parameters: int
    macs: int


def network_costs(network: nn.Module, *, image_size: int, channels: int = 1) -> NetworkCosts:
    """Count the parameters of a network and the multiply-accumulates of one forward pass.

    Convolutions, matrix products and attention are counted, as PyTorch's own counter does; additions, activations and
    normalisation (a few percent) are not. The network's mode is left as it was.

    Args:
        network: takes [1, channels, image_size, image_size].
        image_size: side of the image in pixels.
        channels: of the image.
    """
    parameters = list(network.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, channels, image_size, image_size, device=device))
    finally:
        network.train(was_training)
    # Tied weights appear once in parameters(); a MAC is two floating-point operations.
    return NetworkCosts(sum(parameter.numel() for parameter in parameters), counter.get_total_flops() // 2)


CHECKPOINT_PROGRAM = """
import sys, torch
from pathlib import Path
from pocketcxr.models.checkpoints import load_network
torch.set_num_threads(1)
network, spec, _ = load_network(Path(sys.argv[1]))
with torch.inference_mode():
    network.eval()(torch.zeros(1, 1, spec.image_size, spec.image_size))
"""
"""Program for `evaluation.costs.measure_peak_memory`: PyTorch scores one image; its argument is a checkpoint."""
