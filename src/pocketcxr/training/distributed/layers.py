"""Layers that see the whole batch, of which each process has a part: as if one process had all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.dropout import _DropoutNd as Dropout

from pocketcxr.training.distributed.processes import accelerator, at_least_float32, whole_batch
from pocketcxr.training.losses.own import BuiltLoss

if TYPE_CHECKING:
    from pocketcxr.models.networks import NetworkOutputs


class WholeBatch(nn.Module):
    """A network wrapped for several processes: a part of the batch in, logits and embedding of the whole batch out.

    Feature maps, which only auxiliary heads read, stay those of the part.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, part: Tensor) -> NetworkOutputs:
        """Outputs for a process's part of the batch, those of the others put in."""
        outputs: NetworkOutputs = self.network(part)
        return outputs._replace(logits=whole_batch(outputs.logits), embedding=whole_batch(outputs.embedding))


def over_whole_batch(network: nn.Module, device: torch.device) -> nn.Module:
    """Let batch norms and dropout act as in one process with the whole batch; weights and their names stay.

    PyTorch's own SyncBatchNorm runs on accelerators only, so a CPU gets `_BatchNormOverProcesses`.
    """
    if device.type != "cpu":
        network = convert_sync_batchnorm(network)
    whole = {one for built in network.modules() if isinstance(built, BuiltLoss) for one in built.modules()}
    for module in set(network.modules()) - whole:  # losses of one's own are given the whole batch
        if isinstance(module, BatchNorm) and device.type == "cpu":
            _mix_in(module, _BatchNormOverProcesses)
        elif isinstance(module, Dropout):
            _mix_in(module, _DropoutOverProcesses)
    return network


def _mix_in(module: nn.Module, behaviour: type[nn.Module]) -> None:
    """Change a module's class and nothing else, as `engine.depthwise_in_float32` does."""
    kind = type(module)
    module.__class__ = type(kind.__name__, (behaviour, kind), {})


class _BatchNormOverProcesses(nn.Module):
    """Mixed into a batch norm: in training mode, statistics are of all processes' (equal) parts of the batch."""

    def forward(self: Any, input: Tensor) -> Tensor:  # noqa: A002  # the name that nn.BatchNorm2d gives it
        if not self.training:
            return super().forward(input)  # pyright: ignore[reportAttributeAccessIssue]
        values = at_least_float32(input)
        axes = [axis for axis in range(values.ndim) if axis != 1]
        own = torch.stack([values.mean(axes), values.var(axes, correction=0)])  # [2, c]
        means, variances = whole_batch(own[None]).unbind(dim=1)  # [processes, c] each
        mean, variance = means.mean(dim=0), variances.mean(dim=0) + means.var(dim=0, correction=0)
        if self.track_running_stats:
            self._update(mean.detach(), variance.detach(), count=values.numel() // values.shape[1] * len(means))
        shape = [-1 if axis == 1 else 1 for axis in range(values.ndim)]
        scale = torch.rsqrt(variance + self.eps) * (1 if self.weight is None else self.weight)
        output = (values - mean.view(shape)) * scale.view(shape)
        output = (output if self.bias is None else output + self.bias.view(shape)).to(input.dtype)
        return self.act(self.drop(output)) if hasattr(self, "act") else output  # timm's have both

    def _update(self: Any, mean: Tensor, variance: Tensor, *, count: int) -> None:
        self.num_batches_tracked.add_(1)
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), momentum)


class _DropoutOverProcesses(nn.Module):
    """Mixed into a dropout: the mask is drawn for the whole batch, and each process takes its rows of it."""

    def forward(self: Any, input: Tensor) -> Tensor:  # noqa: A002
        if not self.training:
            return input
        count, rank = accelerator().num_processes, accelerator().process_index
        mask = super().forward(input.new_ones(len(input) * count, *input.shape[1:]))  # pyright: ignore[reportAttributeAccessIssue]
        return input * mask[rank::count]
