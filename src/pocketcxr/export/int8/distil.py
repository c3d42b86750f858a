"""Quantisation-aware distillation: weights on an int8 grid learn the outputs of the float network, rounding included.

`int8.rounding` fits one layer at a time and stops at the last: what the rounding of activations does to the output as a
whole it cannot see. Here the whole rounded network is run on pictures, and its weights, which stay on the grid
that they were given, move by whole levels until its logits and its embedding are those of the float network. No label
is used. Rounding has no gradient; that of the number before it is taken (straight-through estimator: Bengio et al.
2013; for whole networks Jacob et al. 2018, arXiv 1712.05877), zero where an activation leaves its range. The float
network as the teacher: Mishra and Marr, Apprentice, 2018 (arXiv 1711.05852).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.errors import BundleError
from pocketcxr.export.int8.core import ancestors, attributes, constants
from pocketcxr.export.int8.rounding import (
    LARGEST,
    OPERATORS,
    PAIR_SUM,
    Rounded,
    any_pair,
    is_depthwise,
    within_pairs,
)
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray

STEPS = 240
BATCH = 16
_RATE = 0.03  # levels of the grid per step
_BIAS_RATE = 1e-3  # of a bias's own size per step
_WHOLE = 128  # pixels a side: smaller pictures are taken whole
_TARGETS = ("logits", "embedding")


def distil_rounding(
    core: onnx.ModelProto,
    pictures: NDArray[np.uint8],
    *,
    start: Rounded,
    ranges: Mapping[str, tuple[float, float]],
    portable: bool,
    steps: int = STEPS,
    seed: int = 0,
    progress: bool = True,
) -> Rounded:
    """Let rounded weights learn from the float network.

    Args:
        core: of `pocketcxr.export.int8.core.float_core`; the teacher.
        pictures: uint8 [n, size, size] of the train split, drawn in turn, every second batch mirrored.
        start: of `fit_rounding`; its scales stay.
        ranges: of every activation that will be quantised, by tensor name.
        portable: keep neighbouring weights of dense convolutions small enough for processors without VNNI.
        steps: of `BATCH` pictures each.
        seed: of the order of pictures.
        progress: show a bar on stderr.

    Raises:
        BundleError: the graph has an operator between picture and logits that is not known here.
    """
    graph = _Graph(core, start, ranges, portable=portable)
    optimiser = torch.optim.Adam(
        [
            {"params": list(graph.levels.values()), "rate": _RATE},
            {"params": list(graph.biases.values()), "rate": _BIAS_RATE},
        ],
        lr=_RATE,
        betas=(0.9, 0.99),
    )
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(len(pictures)) for _ in range(-(-steps * BATCH // len(pictures)))])
    for step in Bar(range(steps), desc="int8 distillation", unit="step", disable=not progress, leave=False):
        batch = _parts(pictures[order[step * BATCH : (step + 1) * BATCH]], generator)
        images = torch.from_numpy(batch[:, None].astype(np.float32) / 255)
        images = (images.flip(-1) if step % 2 else images).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            wanted = graph.run(images, rounded=False)
        found = graph.run(images, rounded=True)
        loss = torch.stack([_distance(a, b) for a, b in zip(found, wanted, strict=True)]).sum()
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.step()
    return graph.result(start)


def _parts(batch: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """A square from anywhere in large pictures: a third of the time, and every layer still sees its own values."""
    side = batch.shape[-1]
    part = side if side <= _WHOLE else max(_WHOLE, round(side * 4 / 7 / 32) * 32)
    top, left = generator.integers(0, side - part + 1, 2)
    return batch[:, top : top + part, left : left + part]


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean square difference as part of the teacher's spread over the batch, so that outputs count alike."""
    return (found - wanted).square().mean() / wanted.var(dim=0).mean().clamp_min(1e-8)


class _Graph:
    """The core as PyTorch sees it: run in float, or rounded with weights that learn."""

    def __init__(
        self,
        core: onnx.ModelProto,
        start: Rounded,
        ranges: Mapping[str, tuple[float, float]],
        *,
        portable: bool,
    ) -> None:
        wanted = ancestors(core, set(_TARGETS))
        self._nodes = [node for node in core.graph.node if node.name in wanted]
        unknown = {node.op_type for node in self._nodes} - set(_KNOWN)
        if unknown:
            raise BundleError(f"int8 distillation knows {', '.join(sorted(_KNOWN))}; the graph has {sorted(unknown)}")
        self._stored = {name: torch.from_numpy(np.array(values)) for name, values in constants(core).items()}
        self._clipped = {node.input[0] for node in self._nodes if node.op_type in {"Clip", "Relu"}}
        self._ranges = dict(ranges)
        self._scales = {name: torch.from_numpy(of)[:, None, None, None] for name, of in start.scales.items()}
        groups = {node.input[1]: attributes(node).get("group", 1) for node in self._nodes if node.op_type == "Conv"}
        self._paired = {n for n, w in start.weights.items() if portable and not is_depthwise(w.shape, groups[n])}
        self.levels = {
            name: (torch.from_numpy(values) / self._scales[name]).requires_grad_()
            for name, values in start.weights.items()
        }
        # a bias as a part of its own spread, so that one rate serves all
        self._units = {name: max(float(np.abs(of).mean()), 1e-3) for name, of in start.biases.items()}
        self.biases = {
            name: (torch.from_numpy(values) / self._units[name]).requires_grad_()
            for name, values in start.biases.items()
        }

    def run(self, images: Tensor, *, rounded: bool) -> tuple[Tensor, ...]:
        """Logits [n, classes] and embedding [n, features] of images [n, 1, size, size]."""
        values = dict(self._stored)
        values[INPUT_NAME] = images
        if rounded:
            values |= {name: self._weights(name) for name in self.levels}
            values |= {name: of * self._units[name] for name, of in self.biases.items()}
        last_use = {name: number for number, node in enumerate(self._nodes) for name in node.input}
        for number, node in enumerate(self._nodes):
            output = node.output[0]
            values[output] = _KNOWN[node.op_type](node, values)
            if rounded and output in self._ranges and output not in self._clipped:
                values[output] = _rounded(values[output], *self._ranges[output])
            for name in node.input:
                if last_use[name] == number and name not in _TARGETS:
                    values.pop(name, None)
        return tuple(values[name] for name in _TARGETS)

    def result(self, start: Rounded) -> Rounded:
        """The weights on their grid, and the biases."""
        with torch.no_grad():
            weights = {name: (self._weights(name)).numpy() for name in self.levels}
            biases = {name: (of * self._units[name]).numpy() for name, of in self.biases.items()}
        return Rounded(weights, start.scales, biases)

    def _weights(self, name: str) -> Tensor:
        levels = self.levels[name]
        paired = name in self._paired
        largest = PAIR_SUM // 2 if paired and any_pair(tuple(levels.shape)) else LARGEST
        with torch.no_grad():
            whole = levels.round().clamp(-largest, largest)
            if paired:
                whole = torch.from_numpy(within_pairs(whole.flatten(1).numpy())).reshape(levels.shape)
        return (levels + (whole - levels).detach()) * self._scales[name]


def _rounded(values: Tensor, low: float, high: float) -> Tensor:
    """Activations on 256 levels of an unsigned asymmetric grid; the gradient passes inside the range."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, 1e-12)
    return torch.fake_quantize_per_tensor_affine(values, scale, round(-low / scale), 0, 255)


def _mean(node: onnx.NodeProto, values: dict[str, Tensor]) -> Tensor:
    axes = values[node.input[1]].tolist() if len(node.input) > 1 else list(attributes(node)["axes"])
    return values[node.input[0]].mean(dim=axes, keepdim=bool(attributes(node).get("keepdims", 1)))


def _gemm(node: onnx.NodeProto, values: dict[str, Tensor]) -> Tensor:
    weight = values[node.input[1]]
    product = values[node.input[0]] @ (weight.T if attributes(node).get("transB", 0) else weight)
    return product + values[node.input[2]] if len(node.input) > 2 else product  # noqa: PLR2004


_KNOWN: dict[str, Any] = {
    **OPERATORS,
    "ReduceMean": _mean,
    "GlobalAveragePool": lambda node, values: values[node.input[0]].mean(dim=(2, 3), keepdim=True),
    "Flatten": lambda node, values: values[node.input[0]].flatten(1),
    "Gemm": _gemm,
    "MatMul": lambda node, values: values[node.input[0]] @ values[node.input[1]],
}
