"""The learned input filter: a network of its own, as small as the question, that says what a picture is.

::

    image [n, 1, s, s] -> mean over k x k pixels, about 56 a side -> 4 convolutions, each halving -> 32 maps -> kinds

It shares nothing with the student: features that were trained to tell diseases apart no longer show what is no chest
(decision 0010). 85,000 weights and 2 MMAC, one in eighty of the student's; it travels in the same graph.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pocketcxr.errors import CheckpointError
from pocketcxr.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 56
"""Pixels a side that are looked at, about: whole cells of the student's input are averaged."""

_CHANNELS = (16, 32, 64, 96)
_LAST_CHANNELS = 32
_SPEC, _RECORD = "pocketcxr.input_gate", "pocketcxr.record"  # the file format, older than the name


@dataclass(frozen=True)
class InputKindSpec:
    """What rebuilds the network, and its limit: `image_size` of the student's input in pixels.

    A picture whose probability of ``kinds[0]``, frontal, is below `threshold` is refused.
    """

    kinds: tuple[str, ...]
    image_size: int
    threshold: float = 0.5


def seen_side(image_size: int) -> int:
    """Pixels a side that the network looks at, of an input of this size."""
    return image_size // _cell(image_size)


def _cell(image_size: int) -> int:
    return max(1, round(image_size / SIDE))


class InputKindNetwork(nn.Module):
    """Probabilities of the kinds of a picture; see the module's head."""

    def __init__(self, spec: InputKindSpec) -> None:
        super().__init__()
        self.cell, self.side = _cell(spec.image_size), seen_side(spec.image_size)
        layers: list[nn.Module] = []
        side, before = self.side, 1
        for channels in _CHANNELS:
            layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels)]
            layers.append(nn.ReLU())
            side, before = (side + 1) // 2, channels
        layers += [nn.Conv2d(before, _LAST_CHANNELS, 1, bias=False), nn.BatchNorm2d(_LAST_CHANNELS), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.3)
        # where in the picture something lies matters: upside down, the same parts stand elsewhere
        self.classifier = nn.Linear(_LAST_CHANNELS * side * side, len(spec.kinds))

    def seen(self, images: Tensor) -> Tensor:
        """What is looked at [n, 1, about 56, about 56] of images [n, 1, s, s] in [0, 1]."""
        return nn.functional.avg_pool2d(images, self.cell) if self.cell > 1 else images

    def logits(self, seen: Tensor) -> Tensor:
        """Logits [n, kinds] of pictures that were reduced already."""
        return self.classifier(self.dropout(self.layers(seen).flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities [n, kinds] of images [n, 1, s, s] in [0, 1]."""
        return torch.softmax(self.logits(self.seen(images)), dim=1)


def save_input_filter(path: Path, network: InputKindNetwork, spec: InputKindSpec, record: dict[str, Any]) -> None:
    """Write weights, specification and record as one safetensors file; it appears whole or not at all.

    Raises:
        CheckpointError: the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {_SPEC: json.dumps(dataclasses.asdict(spec)), _RECORD: json.dumps(record, default=str), "format": "pt"}
    try:
        write_bytes(path, save(tensors, metadata))
    except OSError as error:
        raise CheckpointError(f"cannot write input filter {path}: {error.strerror or error}") from error


def load_input_filter(path: Path) -> tuple[InputKindNetwork, InputKindSpec, dict[str, Any]]:
    """Rebuild the filter from its file, on the CPU, in evaluation mode: network, specification, record.

    Raises:
        CheckpointError: the file is missing, damaged or no input filter.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        table = json.loads(metadata[_SPEC])
        spec = InputKindSpec(**{**table, "kinds": tuple(table["kinds"])})
        network = InputKindNetwork(spec)
        network.load_state_dict(tensors)
        return network.eval(), spec, json.loads(metadata[_RECORD])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: expected an input filter of pocketcxr ({str(error).splitlines()[0]}); "
            "run  pocketcxr train-input-filter"
        ) from error
