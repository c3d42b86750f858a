"""What is done to an exported graph: half-precision weights, and the calibrated outputs as its tail.

The tail is added after the graph was run, because what is fitted on the calibration split (temperature, novelty) must
be fitted on the graph that ships, half-precision weights included. Needs onnx, not PyTorch.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pocketcxr.bundle.contract import INPUT_KIND, OUTPUT_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.export.novelty import NoveltyReference

_HALVED_FROM = 256  # numbers in a tensor: smaller ones (biases, constants) save nothing
PREFIX = "pocketcxr"
"""Of the names of nodes and constants that an export adds to a graph."""


def halve_weights(model: onnx.ModelProto, *, only: frozenset[str] | None = None) -> onnx.ModelProto:
    """Store large weights in half precision, each widened by a Cast; the arithmetic stays float32.

    Half the bytes; runtimes fold the Casts when they load the model. A tensor that half precision cannot hold stays;
    so does one whose name is not among `only`, where that is given.
    """
    model = copy.deepcopy(model)
    casts: list[onnx.NodeProto] = []
    for initializer in model.graph.initializer:
        if initializer.data_type != TensorProto.FLOAT or np.prod(initializer.dims) < _HALVED_FROM:
            continue
        if only is not None and initializer.name not in only:
            continue
        weights = numpy_helper.to_array(initializer)
        if np.abs(weights).max() > np.finfo(np.float16).max:
            continue
        name, half = initializer.name, f"{initializer.name}.half"
        initializer.CopyFrom(numpy_helper.from_array(weights.astype(np.float16), half))
        casts.append(helper.make_node("Cast", [half], [name], f"{PREFIX}.widen.{name}", to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    return model


def attach_tail(
    model: onnx.ModelProto,
    *,
    temperature: float | tuple[float, ...],
    reference: NoveltyReference,
    half_weights: bool,
) -> onnx.ModelProto:
    """Add the calibrated probabilities and the novelty to a core graph, and put all outputs in their order.

    A temperature per label is that of findings by themselves, whose probabilities come from a sigmoid.
    """
    tail = _Tail()
    several = isinstance(temperature, tuple)
    scaled = tail.add("Div", "logits", tail.constant("temperature", temperature if several else [temperature]))
    if several:
        tail.add("Sigmoid", scaled, output="probabilities")
    else:
        tail.add("Softmax", scaled, output="probabilities", axis=1)
    directions = tail.constant("directions", reference.directions, half=half_weights)
    axis = tail.constant("axis", np.array([1], dtype=np.int64))
    centred = tail.add("Sub", "embedding", tail.constant("mean", reference.mean[None]))
    along = tail.add("MatMul", centred, directions)  # [n, k]
    white = tail.add("Mul", along, tail.constant("inverse_spread", reference.inverse_spread[None]))
    back = tail.add("Gemm", along, directions, transB=1)  # [n, features]
    outside = tail.add("Mul", tail.add("Sub", centred, back), tail.constant("inverse_rest", [reference.inverse_rest]))
    squares = [tail.add("ReduceSum", tail.add("Mul", part, part), axis, keepdims=0) for part in (white, outside)]
    distance = tail.add("Sqrt", tail.add("Add", *squares))
    tail.add("Div", distance, tail.constant("cut_off", [reference.cut_off]), output="novelty")

    model = copy.deepcopy(model)
    model.graph.node.extend(tail.nodes)
    model.graph.initializer.extend(tail.initializers)
    classes = next(o for o in model.graph.output if o.name == "logits").type.tensor_type.shape.dim[1].dim_value
    outputs = {output.name: output for output in model.graph.output}
    outputs["probabilities"] = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", classes])
    outputs["novelty"] = helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["n"])
    ordered = [copy.deepcopy(outputs[name]) for name in (*OUTPUT_NAMES, INPUT_KIND) if name in outputs]
    del model.graph.output[:]
    model.graph.output.extend(ordered)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Tail:
    """Nodes and constants that are about to be added to a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{PREFIX}.{operator.lower()}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], f"{PREFIX}.{len(self.nodes)}", **attributes))
        return name

    def constant(self, name: str, values: Sequence[float] | NDArray[np.generic], *, half: bool = False) -> str:
        array = values if isinstance(values, np.ndarray) else np.array(values, dtype=np.float32)
        name = f"{PREFIX}.{name}"
        if not half:
            self.initializers.append(numpy_helper.from_array(array, name))
            return name
        self.initializers.append(numpy_helper.from_array(array.astype(np.float16), f"{name}.half"))
        return self.add("Cast", f"{name}.half", output=name, to=TensorProto.FLOAT)
