"""The processes of one training: which one this is, what the first one does alone, and what all of them must have.

Launched by ``torchrun`` or ``accelerate launch``, all run the same command. Each takes its part of every batch, and the
main one (rank 0) alone writes files and logs. Without a launcher there is one process, and nothing here does anything.
"""

from __future__ import annotations

import functools
import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import distributed

from pocketcxr.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

_T = TypeVar("_T")
_PATIENCE = timedelta(days=7)
"""How long a process waits for the main one, which decodes images and evaluates alone; launchers end what is lost."""


@functools.cache
def accelerator() -> Accelerator:
    """Accelerate's view of this process and of those launched with it; the first call joins them."""
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return Accelerator(
        mixed_precision="no",
        cpu=launched and not torch.cuda.is_available(),  # unasked, each process would take itself for the only one
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


def from_main(value: _T) -> _T:
    """What the main process holds, in every process."""
    if accelerator().num_processes == 1:
        return value
    box: list[Any] = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def to_main(value: _T) -> list[_T]:
    """What each process holds, by rank, in the main process; elsewhere nothing."""
    if accelerator().num_processes == 1:
        return [value]
    box: list[Any] | None = [None] * accelerator().num_processes if accelerator().is_main_process else None
    distributed.gather_object(value, box)
    return box or []


@contextmanager
def main_first() -> Iterator[None]:
    """Run a block in the main process, then in the others, which find what it wrote."""
    with accelerator().main_process_first():
        yield


def refuse_several(command: str) -> None:
    """Refuse to run on several processes what only one can do.

    Raises:
        ConfigError: naming the commands that can be launched so.
    """
    count = accelerator().num_processes
    if count > 1:
        raise ConfigError(
            f"{command}: expected one process, found {count}; launch train-teacher, cache-views or train-student on "
            f"several, then run {command} in one: it goes on from what they made"
        )


@contextmanager
def lost_process_explained() -> Iterator[None]:
    """Say in one line that another process of the training has ended.

    Raises:
        TrainingError: the connection to it broke.
    """
    try:
        yield
    except (RuntimeError, distributed.DistError) as error:  # gloo's own errors are of no class of their own
        if accelerator().num_processes == 1 or not _broken_connection(error):
            raise
        raise TrainingError(
            f"process {accelerator().process_index} of {accelerator().num_processes}: another process of this training "
            "has ended; the same command goes on from the last saved state"
        ) from error


def _broken_connection(error: Exception) -> bool:
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def whole_batch(part: Tensor) -> Tensor:
    """All processes' equal parts [n / processes, …] of a batch as one [n, …] in its order, in every process.

    Row i is of process ``i mod processes`` (`Engine.share`). Floats come as float32 at least. Gradients flow back into
    each part, summed over the processes: where each of them computes the same loss of the whole batch, the mean of
    their weights' gradients, which DistributedDataParallel takes, is that of one process with the whole batch.
    """
    count = accelerator().num_processes
    if count == 1:
        return part
    part = at_least_float32(part) if part.is_floating_point() else part
    whole = part.new_zeros(len(part) * count, *part.shape[1:])
    whole[accelerator().process_index :: count] = part
    return _SumOverProcesses.apply(whole)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor itself, or, of half precision, in float32."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes, and of its gradient on the way back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ARG004  # torch calls it so
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total
