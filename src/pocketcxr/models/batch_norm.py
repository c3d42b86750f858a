"""Give folded batch norms their statistics back, so that published folded weights can be fine-tuned."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


def has_folded_batch_norm(network: nn.Module) -> bool:
    """Whether every batch norm's statistics are folded away: mean 0, variance 1, and biases that are not all 0.

    A network with fresh weights has mean 0 and variance 1 too, but its biases are 0.
    """
    norms = _norms(network)
    return (
        bool(norms)
        and all(bool((norm.running_mean == 0).all() and (norm.running_var == 1).all()) for norm in norms)
        and any(bool((norm.bias != 0).any()) for norm in norms)
    )


@torch.no_grad()
def unfold_batch_norm(network: nn.Module, images: Tensor, *, batch_size: int = 32) -> bool:
    """Restore the statistics of batch norms that were folded into scale and shift.

    Some published weights (TensorFlow's MobileNetV2, say) come with ``weight = γ/σ``, ``bias = β - γμ/σ``, mean 0 and
    variance 1. In evaluation mode that is the same network, but training mode normalises by each batch's statistics
    and would then apply a scale that already holds 1/σ: the network is destroyed. Here μ and σ² of each layer's input
    are measured on real images, in evaluation mode, where all activations are still right; then
    ``running_mean = μ``, ``running_var = σ²``, ``weight = scale·√(σ² + ε)``, ``bias = shift + scale·μ``, where
    ``scale = weight/√(1 + ε)``. Evaluation gives what it gave before, and training mode agrees with it.

    Args:
        network: any module that takes `images`; changed in place.
        images: [n, 1, s, s], some dozens or more, float32 in [0, 1], as training will show them.
        batch_size: how many run at once.

    Returns:
        Whether anything was folded; if not, nothing was changed.
    """
    if not has_folded_batch_norm(network):
        return False
    norms = _norms(network)
    moments = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}
    handles = [norm.register_forward_pre_hook(_collect(moments)) for norm in norms]
    was_training = network.training
    network.eval()
    try:
        for batch in images.split(batch_size):
            network(batch)
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    for norm, (count, total, squares) in moments.items():
        if bool((count == 0).any()):
            continue  # a layer that these images never reached keeps its folded form
        mean = total / count
        variance = (squares / count - mean**2).clamp(min=0.0)
        shift = norm.bias.double().cpu()
        scale = norm.weight.double().cpu() / (1 + norm.eps) ** 0.5  # the folded layer still divides by √(1 + ε)
        norm.load_state_dict(
            {
                **norm.state_dict(),
                "running_mean": mean,
                "running_var": variance,
                "weight": scale * (variance + norm.eps).sqrt(),
                "bias": shift + scale * mean,
            }
        )
    _log.info("batch norm statistics restored for %d layers from %d images", len(norms), len(images))
    return True


def _norms(network: nn.Module) -> list[BatchNorm]:
    return [
        module
        for module in network.modules()
        if isinstance(module, BatchNorm) and module.track_running_stats and module.affine
    ]


def _collect(moments: dict[BatchNorm, Tensor]) -> Callable[[BatchNorm, tuple[Tensor, ...]], None]:
    """Hook that adds count, sum and sum of squares per channel of a layer's input."""

    def hook(norm: BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach().double()
        axes = [axis for axis in range(values.ndim) if axis != 1]
        count = torch.full((norm.num_features,), values.numel() / values.shape[1], dtype=torch.float64)
        moments[norm] += torch.stack([count, values.sum(axes).cpu(), values.square().sum(axes).cpu()])

    return hook
