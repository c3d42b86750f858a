"""Weights of a bundle's graph as its layers read them: what is stored in fewer bytes is widened to float32 here.

A bundle stores large weights in half precision, widened by a Cast, or as whole numbers of eight bits with a scale per
output channel, widened by a Cast and a Mul (`pocketcxr.export.weight_storage`). Runtimes fold both on loading.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph with every weight stored as float32 under the name that its layer reads."""
    stored = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    wide: dict[str, NDArray[Any]] = {}
    rest: list[onnx.NodeProto] = []
    for node in model.graph.node:
        values = _folded(node, stored, wide)
        if values is None:
            rest.append(node)
        else:
            wide[node.output[0]] = values
    model = copy.deepcopy(model)
    read = {name for node in rest for name in node.input} | {output.name for output in model.graph.output}
    kept = [one for one in model.graph.initializer if one.name in read]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(of, name) for name, of in wide.items() if name in read)
    model.graph.node.extend(rest)
    return model


def _folded(
    node: onnx.NodeProto, stored: dict[str, NDArray[Any]], wide: dict[str, NDArray[Any]]
) -> NDArray[np.float32] | None:
    """What a node gives, where it only widens a stored tensor; None where it computes."""
    if node.op_type == "Cast" and node.input[0] in stored and _to(node) == TensorProto.FLOAT:
        return np.asarray(stored[node.input[0]].astype(np.float32))
    if node.op_type == "Mul" and node.input[0] in wide and node.input[1] in stored:
        return np.asarray(wide[node.input[0]] * stored[node.input[1]], dtype=np.float32)
    return None


def _to(node: onnx.NodeProto) -> int:
    return next(helper.get_attribute_value(one) for one in node.attribute if one.name == "to")
