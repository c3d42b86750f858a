"""Device, precision and processes: a thin layer over Hugging Face Accelerate, which does the distributing.

Accelerate keeps one mixed precision per Python process, but a run trains its stages in one process with whatever
precision each asks for; so autocast and the gradient scaler are PyTorch's own here, and Accelerate places, wraps
(DistributedDataParallel) and synchronises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from pocketcxr.errors import ConfigError
from pocketcxr.models.networks import NetworkOutputs
from pocketcxr.training.distributed.layers import WholeBatch, over_whole_batch
from pocketcxr.training.distributed.processes import accelerator, from_main
from pocketcxr.training.environment import multiplies_bf16

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine:
    """Where and how precisely a network runs.

    `precision` is what ``auto`` came to: bf16 where the hardware multiplies it, else fp32, which is then
    faster. `rank` counts from 0 up to `processes`.
    """

    def __init__(self, precision: str) -> None:
        self._accelerator = accelerator()
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.processes: int = self._accelerator.num_processes
        self.main: bool = self._accelerator.is_main_process
        if precision == "auto":
            precision = "bf16" if multiplies_bf16(self.device) else "fp32"
        if precision == "fp16" and self.device.type == "cpu":
            raise ConfigError("precision: fp16 needs a GPU; use fp32, bf16 or auto on a CPU")
        self.precision = precision
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")

    def autocast(self) -> torch.autocast:
        """Context in which forward passes and losses run."""
        return torch.autocast(self.device.type, dtype=_TYPES[self.precision], enabled=self.precision != "fp32")

    def ready(self, network: nn.Module) -> nn.Module:
        """Bring a network that is to be trained to the device, in the memory format and precision that are fastest."""
        network = network.to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return depthwise_in_float32(network) if self.precision == "bf16" and self.device.type == "cpu" else network

    def distribute(self, network: nn.Module) -> nn.Module:
        """Wrap a network for several processes; one process gets it back as it is.

        Each process then puts in its part of a batch and gets the outputs of the whole, see `WholeBatch`.
        """
        if self.processes == 1:
            return network
        return WholeBatch(self._accelerator.prepare_model(over_whole_batch(network, self.device)))

    def share(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a batch."""
        return batch[self.rank :: self.processes]

    def place(self, tensor: Tensor) -> Tensor:
        """Bring a tensor to the device; images in the memory format that convolutions like best."""
        if tensor.ndim == 4:  # noqa: PLR2004
            return tensor.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        return tensor.to(self.device, non_blocking=True)

    def wait(self) -> None:
        """Wait for the other processes."""
        self._accelerator.wait_for_everyone()

    def from_main(self, value: _T) -> _T:
        """What the main process holds, in every process."""
        return from_main(value)

    @torch.inference_mode()
    def infer(self, network: nn.Module, images: Tensor) -> NetworkOutputs:
        """Outputs of a network in evaluation mode, float32 on the CPU."""
        network.eval()
        with self.autocast():
            outputs: NetworkOutputs = network(self.place(images))
        return NetworkOutputs(
            outputs.logits.float().cpu(), outputs.embedding.float().cpu(), outputs.features.float().cpu()
        )


class DepthwiseFloat32(nn.Conv2d):
    """A convolution that leaves autocast: float32 inside, its output in the type of its input."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name that nn.Conv2d gives it
        """Convolve [n, c, h, w] of any float type; same type out."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float()).to(input.dtype)


def depthwise_in_float32(network: nn.Module) -> nn.Module:
    """Let all plain depthwise convolutions of a network run in float32, in place; weights and names stay.

    oneDNN multiplies bf16 matrices in hardware (avx512_bf16, amx_bf16), but a depthwise convolution multiplies none:
    its backward pass in bf16 takes several times that of float32. A MobileNetV2 of 160 px trains 1.3 times as fast so
    (46 against 35 images/s on one core with AMX, 37 in float32 throughout).

    Only the class changes, so that copies (the running average) and state dictionaries are what they were.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
            module.__class__ = DepthwiseFloat32
    return network
