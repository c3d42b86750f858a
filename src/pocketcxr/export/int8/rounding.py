"""Round the weights of a network to eight bits so that its outputs stay, instead of each weight to its nearest level.

Layer by layer, from the input to the output, on pictures: the layer sees what the quantised layers before it give, its
weights move a little so that it gives what the float layer gives (ridge regression towards the old weights), and they
are rounded one input at a time, each rounding error made up for by the weights still to be rounded. Source: Frantar et
al., GPTQ, 2023 (arXiv 2210.17323), after Hassibi and Stork, Optimal Brain Surgeon, 1993. Biases keep the mean of every
output channel (Nagel et al., Data-free quantization, 2019, section 4.2).

Portable weights: on x86 processors without VNNI, the product of unsigned activations with signed weights adds two
neighbours in 16 bits and saturates: 255 * (127 + 127) does not fit. Where neighbours of one sign sum to 128 at most,
255 * 128 = 32640 does, and every processor gives the same integers. That costs a fraction of a bit, where ONNX
Runtime's `reduce_range` costs a whole one. Depthwise convolutions are summed in 32 bits and need no such care.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.export.int8.core import attributes, constants

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray

LARGEST = 127
PAIR_SUM = 128
"""Most that two neighbouring weights of one sign may sum to; 255 * 128 fits into 16 bits with a sign."""

_POSITIONS = (1024, 8, 4096)  # places of the output that a layer is fitted on: at least, per input, at most
_RIDGE = 0.01  # of the mean square of a layer's inputs: what a moved weight must pay for
_SMALLEST_SCALE = 1e-5  # of a channel without weights: its bias must still fit into 32 bits
_SPANS = (0.7, 0.8, 0.85, 0.9, 0.95, 1.0)  # of the largest weight: cutting it off can pay for the others
_PAIRED_SPANS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0)  # a wider span keeps pairs of large weights whole


@dataclass(frozen=True, eq=False)
class Rounded:
    """Per name of a weight tensor: `weights` on their grid (float32), `scales` of the grid [out]; `biases` by name."""

    weights: dict[str, NDArray[np.float32]]
    scales: dict[str, NDArray[np.float32]]
    biases: dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class _Layer:
    """What one convolution is fitted on: inputs [places, groups, inputs], wanted outputs [places, groups, outputs]."""

    inputs: NDArray[np.float32]
    wanted: NDArray[np.float32]
    weight: NDArray[np.float64]  # [groups, outputs, inputs]
    kernel: tuple[int, int]

    @property
    def places(self) -> int:
        """Places of the kernel."""
        return self.kernel[0] * self.kernel[1]


def fit_rounding(
    core: onnx.ModelProto,
    images: NDArray[np.float32],
    *,
    ranges: Mapping[str, tuple[float, float]],
    convolutions: frozenset[str],
    portable: bool,
    seed: int = 0,
) -> Rounded:
    """Round the weights of some convolutions, fitted on pictures.

    Args:
        core: of `pocketcxr.export.int8.core.float_core`.
        images: float32 [n, 1, size, size] of the train split; 64 of 160 pixels take about 600 MB.
        ranges: of every activation that will be quantised, by tensor name.
        convolutions: names of the nodes to round.
        portable: keep neighbouring weights of dense convolutions small enough for processors without VNNI.
        seed: of the places that are looked at.
    """
    generator = np.random.default_rng(seed)
    stored = constants(core)
    exact = {name: torch.from_numpy(np.array(values)) for name, values in stored.items()}
    exact[INPUT_NAME] = torch.from_numpy(images)
    rough = dict(exact)  # what the quantised network computes
    last_use = {name: number for number, node in enumerate(core.graph.node) for name in node.input}
    clipped = {node.input[0] for node in core.graph.node if node.op_type in {"Clip", "Relu"}}
    found = Rounded({}, {}, {})
    last = max(number for number, node in enumerate(core.graph.node) if node.name in convolutions)
    with torch.inference_mode():
        for number, node in enumerate(core.graph.node[: last + 1]):
            output = node.output[0]
            exact[output] = OPERATORS[node.op_type](node, exact)
            if node.name in convolutions:
                layer = _observed(node, rough, exact, stored, generator)
                _round_layer(node, layer, found, portable=portable)
                rough[node.input[1]] = torch.from_numpy(found.weights[node.input[1]])
                rough[node.input[2]] = torch.from_numpy(found.biases[node.input[2]])
            rough[output] = OPERATORS[node.op_type](node, rough)
            if output in ranges and output not in clipped:
                rough[output] = _quantised(rough[output], *ranges[output])
            for name in node.input:
                if last_use[name] == number and name not in stored:
                    exact.pop(name, None), rough.pop(name, None)
    return found


def is_portable(weights: NDArray[np.integer[Any]], *, group: int) -> bool:
    """Whether the integers [out, in / group, rows, columns] of a convolution can never saturate without VNNI."""
    if is_depthwise(weights.shape, group):
        return True
    table = weights.reshape(len(weights), -1).astype(np.int64)
    if any_pair(weights.shape):
        return bool(2 * np.abs(table).max() <= PAIR_SUM)
    pairs = _pairs(table)
    return all(int(np.maximum(s * pairs, 0).sum(axis=-1).max()) <= PAIR_SUM for s in (1, -1))


def is_depthwise(shape: tuple[int, ...], group: int) -> bool:
    """Whether weights [out, in / group, rows, columns] belong to a depthwise convolution, summed in 32 bits."""
    return group > 1 and shape[1] == 1


def any_pair(shape: tuple[int, ...]) -> bool:
    """Whether any two inputs may be neighbours: kernels put channels or places first, as they like."""
    return shape[1] > 1 and shape[2] * shape[3] > 1


def _pairs(table: NDArray[Any]) -> NDArray[Any]:
    """Neighbours [..., inputs / 2, 2]; a last one without neighbour is paired with zero."""
    if table.shape[-1] % 2:
        table = np.concatenate([table, np.zeros_like(table[..., :1])], axis=-1)
    return table.reshape(*table.shape[:-1], -1, 2)


def _observed(
    node: onnx.NodeProto,
    rough: dict[str, torch.Tensor],
    exact: dict[str, torch.Tensor],
    stored: dict[str, NDArray[Any]],
    generator: np.random.Generator,
) -> _Layer:
    """Sample a layer's inputs in the quantised network and its outputs in the float one, at random places."""
    given, weight = attributes(node), stored[node.input[1]].astype(np.float64)
    group, wanted = given.get("group", 1), exact[node.output[0]]
    images, outputs, rows, columns = wanted.shape
    inputs = weight[0].size
    fewest, each, most = _POSITIONS
    places = images * rows * columns
    chosen = generator.permutation(places)[: min(most, fewest + each * inputs)]
    index = torch.from_numpy(np.sort(chosen))
    pads = given.get("pads", [0, 0, 0, 0])
    source = functional.pad(rough[node.input[0]], (pads[1], pads[3], pads[0], pads[2]))
    step_y, step_x = given.get("strides", [1, 1])
    taps = []
    for y in range(weight.shape[2]):
        for x in range(weight.shape[3]):
            view = source[:, :, y : y + step_y * (rows - 1) + 1 : step_y, x : x + step_x * (columns - 1) + 1 : step_x]
            taps.append(_at(view, index))
    seen = np.stack(taps, axis=-1).reshape(len(index), group, inputs)  # channels, then places of the kernel
    return _Layer(
        inputs=seen,
        wanted=_at(wanted, index).reshape(len(index), group, outputs // group),
        weight=weight.reshape(group, outputs // group, inputs),
        kernel=(weight.shape[2], weight.shape[3]),
    )


def _at(maps: torch.Tensor, index: torch.Tensor) -> NDArray[np.float32]:
    """Values [places, channels] of maps [n, channels, rows, columns] at flat places n * rows * columns."""
    _, _, rows, columns = maps.shape
    image, rest = index // (rows * columns), index % (rows * columns)
    return maps[image, :, rest // columns, rest % columns].numpy()


def _round_layer(node: onnx.NodeProto, layer: _Layer, found: Rounded, *, portable: bool) -> None:
    group, outputs, inputs = layer.weight.shape
    shape = (group * outputs, inputs // layer.places, *layer.kernel)
    mean_in, mean_out = layer.inputs.mean(axis=0), layer.wanted.mean(axis=0)  # [groups, inputs], [groups, outputs]
    centred = (layer.inputs - mean_in).transpose(1, 2, 0).astype(np.float64)  # [groups, inputs, places]
    missing = (layer.wanted - mean_out).transpose(1, 2, 0) - layer.weight @ centred
    places = centred.shape[-1]
    spread = centred @ centred.transpose(0, 2, 1) / places  # [groups, inputs, inputs]
    ridge = _RIDGE * np.trace(spread, axis1=1, axis2=2) / inputs + 1e-10
    spread += ridge[:, None, None] * np.eye(inputs)
    moved = np.linalg.solve(spread, centred @ missing.transpose(0, 2, 1) / places).transpose(0, 2, 1)
    target = layer.weight + moved
    paired = portable and not is_depthwise(shape, group)
    largest = PAIR_SUM // 2 if paired and any_pair(shape) else LARGEST
    scales = _scales(target, spread, paired=paired, largest=largest)
    levels = _rounded(target, spread, scales, paired=paired, largest=largest)
    weights = levels * scales[..., None]
    bias = mean_out - np.einsum("gok,gk->go", weights, mean_in)
    found.weights[node.input[1]] = weights.reshape(shape).astype(np.float32)
    found.scales[node.input[1]] = scales.ravel().astype(np.float32)
    found.biases[node.input[2]] = bias.ravel().astype(np.float32)


def _scales(
    target: NDArray[np.float64], spread: NDArray[np.float64], *, paired: bool, largest: int
) -> NDArray[np.float64]:
    """One scale per output channel [groups, outputs]: the grid with the least error, weighted by the inputs."""
    whole = np.abs(target).max(axis=-1) / largest
    importance = np.diagonal(spread, axis1=1, axis2=2)[:, None, :]
    best, error = whole, np.full(whole.shape, np.inf)
    for span in _PAIRED_SPANS if paired else _SPANS:
        scales = np.maximum(whole * span, _SMALLEST_SCALE)
        levels = np.clip(np.round(target / scales[..., None]), -largest, largest)
        rounded = (within_pairs(levels) if paired else levels) * scales[..., None]
        cost = (np.square(rounded - target) * importance).sum(axis=-1)
        best, error = np.where(cost < error, scales, best), np.minimum(cost, error)
    return np.maximum(best, _SMALLEST_SCALE).astype(np.float32).astype(np.float64)


def within_pairs(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels [..., inputs] with what neighbours of one sign sum to above `PAIR_SUM` taken from both alike."""
    pairs = _pairs(levels)
    for sign in (1, -1):
        excess = np.maximum(np.maximum(sign * pairs, 0).sum(axis=-1) - PAIR_SUM, 0)
        pairs = pairs - sign * np.ceil(excess / 2)[..., None]
    return pairs.reshape(*levels.shape[:-1], -1)[..., : levels.shape[-1]]


def _rounded(
    target: NDArray[np.float64],
    spread: NDArray[np.float64],
    scales: NDArray[np.float64],
    *,
    paired: bool,
    largest: int,
) -> NDArray[np.float64]:
    """Integers of weights [groups, outputs, inputs], rounded input by input with the error passed on (GPTQ)."""
    weights, levels = target.copy(), np.zeros_like(target)
    factor = np.linalg.cholesky(np.linalg.inv(spread)).transpose(0, 2, 1)  # upper triangular
    inputs = target.shape[-1]
    for k in range(inputs):
        low, high = np.full(scales.shape, -float(largest)), np.full(scales.shape, float(largest))
        if paired and k % 2:
            before = levels[..., k - 1]
            low = np.maximum(low, np.maximum(-before, 0) - PAIR_SUM)
            high = np.minimum(high, PAIR_SUM - np.maximum(before, 0))
        wanted = weights[..., k] / scales
        if paired and not k % 2 and k + 1 < inputs:
            after = weights[..., k + 1] / scales
            same = wanted * after > 0
            excess = np.maximum(np.abs(wanted) + np.abs(after) - PAIR_SUM, 0)
            wanted = wanted - np.where(same, np.sign(wanted) * np.minimum(excess / 2, np.abs(wanted)), 0)
        levels[..., k] = np.clip(np.round(wanted), low, high)
        error = (weights[..., k] - levels[..., k] * scales) / factor[:, None, k, k]
        weights[..., k + 1 :] -= error[..., None] * factor[:, None, k, k + 1 :]
    return levels


def _quantised(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Round activations to 256 levels as an unsigned asymmetric grid does."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, 1e-12)
    zero = round(-low / scale)
    return ((values / scale).round_() + zero).clamp_(0, 255).sub_(zero).mul_(scale)


def _convolution(node: onnx.NodeProto, values: dict[str, torch.Tensor]) -> torch.Tensor:
    given = attributes(node)
    pads = given.get("pads", [0, 0, 0, 0])
    source = functional.pad(values[node.input[0]], (pads[1], pads[3], pads[0], pads[2]))
    bias = values[node.input[2]] if len(node.input) > 2 else None  # noqa: PLR2004
    strides, group = given.get("strides", [1, 1]), given.get("group", 1)
    return functional.conv2d(source, values[node.input[1]], bias, stride=strides, groups=group)


def _clip(node: onnx.NodeProto, values: dict[str, torch.Tensor]) -> torch.Tensor:
    low, high = (float(values[name]) for name in node.input[1:3])
    return values[node.input[0]].clamp(low, high)


def _pad(node: onnx.NodeProto, values: dict[str, torch.Tensor]) -> torch.Tensor:
    _, _, top, left, _, _, bottom, right = values[node.input[1]].tolist()
    return functional.pad(values[node.input[0]], (left, right, top, bottom), value=float(values[node.input[2]]))


OPERATORS = {
    "Conv": _convolution,
    "Clip": _clip,
    "Pad": _pad,
    "Relu": lambda node, values: values[node.input[0]].relu(),
    "Add": lambda node, values: values[node.input[0]] + values[node.input[1]],
    "Sub": lambda node, values: values[node.input[0]] - values[node.input[1]],
    "Div": lambda node, values: values[node.input[0]] / values[node.input[1]],
}
