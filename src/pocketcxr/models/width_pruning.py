"""A narrow MobileNetV2 out of a wide one: its strongest channels, for widths that have no published weights at hand.

Structured pruning after Li et al. 2017 ("Pruning filters for efficient ConvNets"), done once, before training: channels
that are added to one another (the two ends of a skip, a depthwise convolution and what it reads) go or stay together.
The result is no good network until it is trained; it is a better start for that than random numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from pocketcxr.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_NORM = ("weight", "bias", "running_mean", "running_var")
_BLOCK = re.compile(r"(blocks\.(\d+)\.(\d+))\.conv_dw\.weight")
FAMILY = "mobilenetv2_"


@dataclass
class _Channels:
    """Channels that stay or go together: who makes them (axis 0), scales them, and reads them (axis 1)."""

    makers: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    scales: list[str] = field(default_factory=list)
    """Batch norms whose output the readers see."""


def is_wider(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    """Whether a state dict holds the tensors of a network with as many or more channels in each, and more in some."""
    if any(key not in state or state[key].ndim != value.ndim for key, value in wanted.items()):
        return False
    norms = [(state[key].shape[0], value.shape[0]) for key, value in wanted.items() if value.ndim == 1]
    return all(wide >= narrow for wide, narrow in norms) and any(wide > narrow for wide, narrow in norms)


def prune_width(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut a wide MobileNetV2 down to the shapes of a narrow one.

    A channel's strength is what it brings to those who read it: the length of their weights for it, times that of
    scale and shift of the batch norm before them. The strongest stay, in their order.

    Args:
        state: of the wide network (timm's names), batch norms with statistics of their own.
        wanted: of the narrow one, for its shapes.

    Raises:
        CheckpointError: batch norms are folded away, so that strengths cannot be compared.
    """
    means = [value for key, value in state.items() if key.endswith("running_mean")]
    if not any(bool((value != 0).any()) for value in means):
        raise CheckpointError(
            "batch norms without statistics: expected a network that was trained here, so that its strongest channels "
            "can be told; train the wide one first"
        )
    result = {key: value.clone() for key, value in state.items() if key in wanted}
    for channels in _channels(state):
        count = wanted[channels.makers[0]].shape[0]
        kept = _strength(channels, state).topk(count).indices.sort().values
        for key in channels.makers:
            result[key] = result[key][kept]
        for norm in channels.norms:
            for part in _NORM:
                result[f"{norm}.{part}"] = result[f"{norm}.{part}"][kept]
        for key in channels.readers:
            result[key] = result[key][:, kept]
    return result


def _strength(channels: _Channels, state: Mapping[str, Tensor]) -> Tensor:
    read = sum((state[key].double().square().sum((0, 2, 3)) for key in channels.readers), torch.zeros(()))
    sent = sum(
        (state[f"{norm}.{part}"].double().square() for norm in channels.scales for part in ("weight", "bias")),
        torch.zeros(()),
    )
    return read.sqrt() * sent.sqrt()


def _channels(state: Mapping[str, Tensor]) -> list[_Channels]:
    """All sets of channels of timm's MobileNetV2, whose blocks after the first of a stage have skips."""
    stem = _Channels(makers=["conv_stem.weight"], norms=["bn1"])
    found, stream = [stem], stem
    for key in state:
        match = _BLOCK.fullmatch(key)
        if match is None:
            continue
        block, number = match[1], int(match[3])
        if f"{block}.conv_pwl.weight" not in state:  # the first block: depthwise on the stem, then to the stream
            stem.makers.append(key)
            stem.norms.append(f"{block}.bn1")
            stem.scales.append(f"{block}.bn1")
            stem.readers.append(f"{block}.conv_pw.weight")
            end, last = f"{block}.conv_pw.weight", f"{block}.bn2"
        else:
            stream.readers.append(f"{block}.conv_pw.weight")
            inside = _Channels(
                makers=[f"{block}.conv_pw.weight", key],
                norms=[f"{block}.bn1", f"{block}.bn2"],
                scales=[f"{block}.bn2"],
                readers=[f"{block}.conv_pwl.weight"],
            )
            found.append(inside)
            end, last = f"{block}.conv_pwl.weight", f"{block}.bn3"
        if number == 0:
            stream = _Channels()
            found.append(stream)
        stream.makers.append(end)
        stream.norms.append(last)
        stream.scales.append(last)
    stream.readers.append("conv_head.weight")
    return found
