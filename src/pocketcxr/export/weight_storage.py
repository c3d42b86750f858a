"""How a bundle stores its weights: as float32, in half precision, or the large ones in eight bits.

The arithmetic is float32 in any case. Eight bits are whole numbers with one scale per output channel, widened in the
graph by a Cast and a Mul, which runtimes compute once, when they load the file: a picture takes the time that it takes
with float32 weights. Hence no DequantizeLinear, which ONNX Runtime keeps. Only as many layers are rounded as the file's
limit asks for, those first whose rounding costs least per byte: a few projections make nine tenths of the harm
(decision 0012). They are rounded on pictures (`pocketcxr.export.int8.rounding`), activations in float.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.export.int8.core import ancestors, attributes, constants, replace_constant, session
from pocketcxr.export.onnx_tail import PREFIX, halve_weights
from pocketcxr.export.storages import BYTES, FLOAT, HALF

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


MOST_BYTES = 2_950_000
"""Of a graph before its tail and manifest, which take some 40 kB: the file stays below 3,000,000 bytes."""

PICTURES = 32
"""Train pictures on which it is measured how much the rounding of each layer changes."""

_ROUNDED_FROM = 8192  # weights in a layer: smaller ones save little, and lie early, where errors grow
_LARGEST = 127
_SMALLEST_SCALE = np.float32(1e-30)  # of a channel without weights
_SPANS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)  # of a channel's largest weight: cutting it off can pay for the others
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Stored:
    """A graph with its weights stored; `layers` in eight bits by the name of their weights."""

    model: onnx.ModelProto
    storage: str
    layers: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {"stored": self.storage} | ({"layers_in_8_bits": len(self.layers)} if self.layers else {})


def store_weights(
    model: onnx.ModelProto,
    storage: str,
    pictures: Callable[[], NDArray[np.float32]] | None = None,
    *,
    most_bytes: int = MOST_BYTES,
) -> Stored:
    """Store the weights of a float32 graph in one of `STORAGES`.

    Args:
        model: a core graph as exported, its weights float32; stays as it is.
        storage: ``8-bit`` rounds as many large convolutions as `most_bytes` asks for; all else is in half precision.
        pictures: gives float32 [n, 1, size, size] of the train split, on which the harm of rounding is measured; asked
            for only where needed. Without them, all large convolutions are rounded.
        most_bytes: of the stored graph; what cannot be kept is left larger.
    """
    if storage == FLOAT:
        return Stored(model, FLOAT)
    halved = halve_weights(model)
    excess = halved.ByteSize() - most_bytes
    if storage == HALF or excess <= 0:
        return Stored(halved, HALF)
    model = copy.deepcopy(model)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node.{number}"
    chosen = _chosen(model, excess, pictures)
    if not chosen:
        return Stored(halved, HALF)
    weights = _rounded(model, chosen, pictures)
    rest = frozenset(one.name for one in model.graph.initializer if one.name not in weights)
    return Stored(_narrowed(halve_weights(model, only=rest), weights), BYTES, tuple(weights))


def _rounded(
    model: onnx.ModelProto, layers: Sequence[onnx.NodeProto], pictures: Callable[[], NDArray[np.float32]] | None
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Levels and scales by the name of a weight: fitted on pictures, where there are any; biases go into `model`."""
    if pictures is None or any(len(node.input) < 3 for node in layers):  # noqa: PLR2004  # no bias to correct
        return {node.input[1]: _nearest(constants(model)[node.input[1]]) for node in layers}
    from pocketcxr.export.int8.rounding import fit_rounding

    names = frozenset(node.name for node in layers)
    found = fit_rounding(model, pictures(), ranges={}, convolutions=names, portable=False)
    for name, bias in found.biases.items():
        replace_constant(model, name, bias)
    scales = {name: of[:, None, None, None] for name, of in found.scales.items()}
    return {name: (np.rint(of / scales[name]), scales[name]) for name, of in found.weights.items()}


def _chosen(
    model: onnx.ModelProto, excess: int, pictures: Callable[[], NDArray[np.float32]] | None
) -> list[onnx.NodeProto]:
    """The convolutions to round: the least harmful per byte first, until `excess` bytes are saved."""
    stored, wanted = constants(model), ancestors(model, {"embedding"})
    large = [
        node
        for node in model.graph.node
        if node.op_type == "Conv" and node.name in wanted and attributes(node).get("group", 1) == 1
        if stored[node.input[1]].size >= _ROUNDED_FROM
    ]
    saved = {node.name: _saved(stored[node.input[1]]) for node in large}
    if pictures is None or sum(saved.values()) <= excess:
        return large
    harm = _harm(model, large, pictures())
    found: set[str] = set()
    for node in sorted(large, key=lambda node: harm[node.name] / saved[node.name]):
        if excess > 0:
            found.add(node.name)
            excess -= saved[node.name]
    return [node for node in large if node.name in found]


def _saved(weights: NDArray[Any]) -> int:
    """Bytes that eight bits save against sixteen: the scales take four a channel, names and nodes about 300."""
    return weights.size - 4 * len(weights) - 300


def _harm(model: onnx.ModelProto, layers: Sequence[onnx.NodeProto], images: NDArray[np.float32]) -> dict[str, float]:
    """Mean squared change of the logits when one layer alone is rounded to its nearest levels, by the node's name."""
    before, stored = _logits(model, images), constants(model)
    found: dict[str, float] = {}
    for node in layers:
        changed = copy.deepcopy(model)
        weights, scales = _nearest(stored[node.input[1]])
        replace_constant(changed, node.input[1], weights * scales)
        move = _logits(changed, images) - before
        found[node.name] = float(np.square(move - move.mean(axis=1, keepdims=True)).mean())
    return found


def _logits(model: onnx.ModelProto, images: NDArray[np.float32]) -> NDArray[np.float32]:
    graph = session(model)
    parts: list[Any] = [
        graph.run(["logits"], {INPUT_NAME: images[start : start + _BATCH]})[0]
        for start in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts)


def _nearest(weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Levels [out, in, rows, columns] and scales [out, 1, 1, 1]; each channel's has the least squared error."""
    places = tuple(range(1, weights.ndim))
    whole = np.maximum(np.abs(weights).max(axis=places, keepdims=True) / _LARGEST, _SMALLEST_SCALE)
    best, least = whole, np.full(whole.shape, np.inf)
    for span in _SPANS:
        scales = (whole * span).astype(np.float32)
        error = np.square(_levels(weights, scales) * scales - weights).sum(axis=places, keepdims=True)
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return _levels(weights, best), best.astype(np.float32)


def _levels(weights: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(np.rint(weights / scales), -_LARGEST, _LARGEST)


def _narrowed(
    model: onnx.ModelProto, weights: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
) -> onnx.ModelProto:
    """Store some weights as whole numbers with scales; see `pocketcxr.models.stored_weights.widened`."""
    nodes: list[onnx.NodeProto] = []
    kept = [one for one in model.graph.initializer if one.name not in weights]
    for name, (levels, scales) in weights.items():
        small, scale, wide = f"{name}.int8", f"{name}.scale", f"{name}.wide"
        kept += [numpy_helper.from_array(levels.astype(np.int8), small), numpy_helper.from_array(scales, scale)]
        nodes.append(helper.make_node("Cast", [small], [wide], f"{PREFIX}.widen.{name}", to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [wide, scale], [name], f"{PREFIX}.scale.{name}"))
    rest = list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend([*nodes, *rest])
    return model
