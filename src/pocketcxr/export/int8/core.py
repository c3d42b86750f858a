"""The float graph that is quantised: a bundle's core without its calibrated tail, its pixels made exact in eight bits.

A network that takes grey levels k/255 and begins with (x - 0.5) / 0.5 puts every level half-way between two levels of
an int8 grid that has a zero: half of them would be lost, and rounding ties would differ between machines. Moved into
the first convolution, the normalisation leaves the levels as they are, and eight bits hold each exactly.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.errors import BundleError
from pocketcxr.models.stored_weights import widened

if TYPE_CHECKING:
    from numpy.typing import NDArray

TAIL_OUTPUTS = frozenset({"probabilities", "novelty"})
"""Outputs that are fitted on the graph that ships: taken off before quantising, attached anew afterwards."""

PADDED = "pocketcxr.padded"
"""The picture with its border, in grey levels: exact with the scale 1/255."""

_ACTIVATIONS = frozenset({"Clip", "Relu"})
_MARGIN = 1.25  # a channel of an unseen picture may exceed what was seen by so much before the clip cuts it
_MOST_SCALED = 32.0


@dataclass(frozen=True)
class Trunk:
    """What is quantised, by node names: `convolutions` from input to output, residual `additions`, `activations`.

    `groups` are the convolutions in parts that are kept in float together: the first, the last, and each stage of the
    network where the names of its weights tell stages, else each convolution.
    """

    convolutions: tuple[str, ...]
    additions: tuple[str, ...]
    activations: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]


def float_core(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take the tail off a bundle's graph, widen its weights to float32, and put the normalisation into the first layer.

    Raises:
        BundleError: it is quantised already, or batch norms were not folded into convolutions.
    """
    kinds = {node.op_type for node in model.graph.node}
    if "QuantizeLinear" in kinds or "DequantizeLinear" in kinds:
        raise BundleError("expected a float bundle, found one that is quantised already: give the one it was made from")
    if "BatchNormalization" in kinds:
        raise BundleError("expected batch norms folded into convolutions, found BatchNormalization: export it again")
    core = widened(model)
    del core.metadata_props[:]
    for number, node in enumerate(core.graph.node):
        node.name = node.name or f"node.{number}"
    _drop_tail(core)
    _give_biases(core)
    _exact_pixels(core)
    used = {name for node in core.graph.node for name in node.input}
    kept = [one for one in core.graph.initializer if one.name in used]
    del core.graph.initializer[:]
    core.graph.initializer.extend(kept)
    onnx.checker.check_model(core)
    return core


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Stored tensors of a graph by name."""
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def replace_constant(model: onnx.ModelProto, name: str, values: NDArray[Any]) -> None:
    """Store other values under the name of a tensor."""
    found = next(one for one in model.graph.initializer if one.name == name)
    found.CopyFrom(numpy_helper.from_array(values, name))


def session(model: onnx.ModelProto | bytes, *, fused: bool = True) -> onnxruntime.InferenceSession:
    """Load a graph as the program does, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values."""
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def trunk(core: onnx.ModelProto) -> Trunk:
    """Find what is quantised: the convolutions before the embedding, the additions between them, their activations.

    Raises:
        BundleError: no convolution leads to the embedding.
    """
    wanted = ancestors(core, {"embedding"})
    nodes = [node for node in core.graph.node if node.name in wanted]
    made_by = {output: node.op_type for node in nodes for output in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    if not convolutions:
        raise BundleError("no convolution leads to the embedding: this graph is no student's")
    additions = [n.name for n in nodes if n.op_type == "Add" and all(made_by.get(i) in _PARTS for i in n.input)]
    groups: dict[str, tuple[str, ...]] = {}
    for number, node in enumerate(convolutions):
        group = "first" if number == 0 else _stage(node)
        group = "last" if number == len(convolutions) - 1 and number else group
        groups[group] = (*groups.get(group, ()), node.name)
    return Trunk(
        convolutions=tuple(node.name for node in convolutions),
        additions=tuple(additions),
        activations=tuple(node.name for node in nodes if node.op_type in _ACTIVATIONS),
        groups=groups,
    )


_PARTS = frozenset({"Conv", "Add"}) | _ACTIVATIONS


def _stage(node: onnx.NodeProto) -> str:
    """``stage 3`` of a weight that is called ``….blocks.3.1.conv_pw.weight``, else the weight's own name."""
    _before, found, after = node.input[1].partition("blocks.")
    return f"stage {after.partition('.')[0]}" if found and after[:1].isdigit() else node.input[1]


def _drop_tail(core: onnx.ModelProto) -> None:
    kept = [output for output in core.graph.output if output.name not in TAIL_OUTPUTS]
    del core.graph.output[:]
    core.graph.output.extend(kept)
    wanted = ancestors(core, {output.name for output in kept})
    nodes = [node for node in core.graph.node if node.name in wanted]
    del core.graph.node[:]
    core.graph.node.extend(nodes)


def ancestors(model: onnx.ModelProto, outputs: set[str]) -> set[str]:
    """Names of the nodes that some tensors depend on; nodes stand in topological order."""
    needed, found = set(outputs), set()
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            found.add(node.name)
    return found


def _give_biases(core: onnx.ModelProto) -> None:
    """Give every convolution of the trunk a bias of its own: rounding corrects the mean of each channel with it."""
    wanted, stored = ancestors(core, {"embedding"}), constants(core)
    for node in core.graph.node:
        if node.op_type == "Conv" and node.name in wanted and len(node.input) < 3:  # noqa: PLR2004
            zeros = np.zeros(len(stored[node.input[1]]), dtype=np.float32)
            core.graph.initializer.append(numpy_helper.from_array(zeros, f"{node.input[1]}.bias"))
            node.input.append(f"{node.input[1]}.bias")


def _exact_pixels(core: onnx.ModelProto) -> None:
    """Move ``(image - mean) / deviation`` into the convolution behind it; any other beginning stays as it is.

    The convolution pads with zero after the normalisation, which is `mean` before it: hence a border of its own.
    """
    nodes, stored = list(core.graph.node), constants(core)
    wanted = ancestors(core, {"embedding"})  # another network of the same graph, an input filter, reads the image too
    first = [node for node in nodes if node.name in wanted and INPUT_NAME in node.input]
    if len(first) != 1:
        return
    subtract, divide = first[0], _only_reader(nodes, first[0])
    convolution = _only_reader(nodes, divide)
    if divide is None or convolution is None:
        return
    if (subtract.op_type, divide.op_type, convolution.op_type) != ("Sub", "Div", "Conv"):
        return
    given = attributes(convolution)
    mean, deviation = stored.get(subtract.input[1]), stored.get(divide.input[1])
    if mean is None or deviation is None or mean.size != 1 or deviation.size != 1 or len(convolution.input) < 3:  # noqa: PLR2004
        return
    weight_name, bias_name = convolution.input[1:3]
    weight = stored[weight_name].astype(np.float64) / float(deviation.ravel()[0])
    bias = stored[bias_name] - float(mean.ravel()[0]) * weight.sum(axis=(1, 2, 3))
    replace_constant(core, weight_name, weight.astype(np.float32))
    replace_constant(core, bias_name, bias.astype(np.float32))
    pads = list(given.get("pads", [0, 0, 0, 0]))
    border = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], dtype=np.int64)
    core.graph.initializer.append(numpy_helper.from_array(border, f"{PADDED}.border"))
    core.graph.initializer.append(numpy_helper.from_array(mean.astype(np.float32).reshape(()), f"{PADDED}.value"))
    pad = helper.make_node("Pad", [INPUT_NAME, f"{PADDED}.border", f"{PADDED}.value"], [PADDED], PADDED)
    for attribute in list(convolution.attribute):
        if attribute.name in {"pads", "auto_pad"}:
            convolution.attribute.remove(attribute)
    convolution.attribute.append(helper.make_attribute("pads", [0, 0, 0, 0]))
    convolution.input[0] = PADDED
    del core.graph.node[:]
    core.graph.node.extend([pad, *(node for node in nodes if node not in (subtract, divide))])


def _only_reader(nodes: list[onnx.NodeProto], source: onnx.NodeProto | None) -> onnx.NodeProto | None:
    """The one node that reads what another gives; None where there are several, or none."""
    found = [node for node in nodes if source is not None and source.output[0] in node.input]
    return found[0] if len(found) == 1 else None


def equalised(core: onnx.ModelProto, largest: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Let every channel between an expansion and its depthwise convolution use the whole range of its activation.

    One range serves all channels of a tensor; a channel that never comes near its clip at 6 has few levels left.
    Scaled up before the clip and down in the depthwise weights, which have a scale per channel, it loses nothing: the
    function stays as long as the channel stays below the clip. After Nagel et al., Data-free quantization, 2019 (arXiv
    1906.04721), section 4.1, where it costs nothing and ReLU6 may stay.

    Args:
        core: of `float_core`.
        largest: per clipped tensor the largest value of each channel on pictures.
    """
    core = copy.deepcopy(core)
    nodes, stored = list(core.graph.node), constants(core)
    made_by = {output: node for node in nodes for output in node.output}
    for clip in nodes:
        before, after = made_by.get(clip.input[0]), _only_reader(nodes, clip)
        if clip.op_type != "Clip" or clip.output[0] not in largest or before is None or after is None:
            continue
        if before.op_type != "Conv" or after.op_type != "Conv" or attributes(after).get("group", 1) == 1:
            continue
        if stored[after.input[1]].shape[1] != 1 or len(stored[after.input[1]]) != len(stored[before.input[1]]):
            continue
        high = float(stored[clip.input[2]])
        scale = np.clip(high / np.maximum(largest[clip.output[0]] * _MARGIN, 1e-6), 1, _MOST_SCALED)  # [channels]
        scale = np.where(largest[clip.output[0]] > 0, scale, 1).astype(np.float32)
        for name, by in ((before.input[1], scale[:, None, None, None]), (before.input[2], scale)):
            replace_constant(core, name, (stored[name] * by).astype(np.float32))
        replace_constant(core, after.input[1], (stored[after.input[1]] / scale[:, None, None, None]).astype(np.float32))
    return core


def clipped_tensors(core: onnx.ModelProto) -> list[str]:
    """Outputs of all Clips."""
    return [node.output[0] for node in core.graph.node if node.op_type == "Clip"]
