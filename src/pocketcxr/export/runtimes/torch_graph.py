"""A bundle's graph as a PyTorch module, for the converters that take nothing else.

Only the operators that bundles consist of (`pocketcxr.export.onnx_export`, `onnx_tail`, `int8`) are known; the weights
are those of the file, rounded as they are stored. Quantised activations become the operators of PyTorch's own
quantisation (``quantized_decomposed``), which converters turn into integer arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators below
import torch.nn.functional as F  # noqa: N812
from onnx import numpy_helper

from pocketcxr.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_Q = torch.ops.quantized_decomposed
_SIGNED = 128  # activations are unsigned in the file, signed in the converters
_CONSTANTS = {  # operators to the inputs that are read as numbers while the module is built, not as tensors
    "Clip": (1, 2),
    "Pad": (1, 2),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "QuantizeLinear": (1, 2),
}


class GraphModule(torch.nn.Module):
    """A bundle's graph; takes images [n, 1, size, size] and returns its outputs in the order of `names`."""

    def __init__(self, model: onnx.ModelProto, *, names: tuple[str, ...], float_weights: bool = False) -> None:
        """Take a graph.

        Args:
            model: of a bundle.
            names: outputs to give.
            float_weights: keep eight-bit weights as numbers on their grid, quantised where they are used, as LiteRT's
                converter wants them; otherwise as integers.

        Raises:
            BundleError: an operator that no bundle has.
        """
        super().__init__()
        self.names, self._float_weights = names, float_weights
        self._image = model.graph.input[0].name
        constants = _folded(model)
        self._constants = constants
        self._nodes = [node for node in model.graph.node if node.output[0] not in constants]
        self.quantised = any(node.op_type == "QuantizeLinear" for node in self._nodes)
        unknown = sorted({node.op_type for node in self._nodes} - _OPERATORS.keys() - {"DequantizeLinear"})
        if unknown:
            raise BundleError(f"cannot convert the operators {', '.join(unknown)}: only those of pocketcxr's bundles")
        self._tensors: dict[str, str] = {}
        for node in self._nodes:
            for position, name in enumerate(node.input):
                if name in constants and position not in _CONSTANTS.get(node.op_type, ()):
                    self._keep(node, position, name)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Score images [n, 1, size, size], float32 in [0, 1]."""
        values: dict[str, Callable[[], torch.Tensor]] = {self._image: lambda: image}

        def tensor(name: str) -> torch.Tensor:
            return values[name]() if name in values else getattr(self, self._tensors[name])

        for node in self._nodes:
            if node.op_type == "DequantizeLinear":  # anew for every use: converters want a pair around each operator
                values[node.output[0]] = self._dequantised(node, tensor)
                continue
            fixed = _CONSTANTS.get(node.op_type, ())
            inputs = [self._constants[name] if k in fixed else tensor(name) for k, name in enumerate(node.input)]
            result = _OPERATORS[node.op_type](inputs, _attributes(node))
            values[node.output[0]] = lambda result=result: result
        return tuple(tensor(name) for name in self.names)

    def _keep(self, node: onnx.NodeProto, position: int, name: str) -> None:
        if node.op_type == "DequantizeLinear" and node.input[0] not in self._constants:
            return  # scale and zero point of activations
        array = self._constants[name]
        if node.op_type == "DequantizeLinear":
            scale = self._constants[node.input[1]]
            if position == 0 and self._float_weights:
                array = array.astype(np.float32) * scale.reshape(-1, *[1] * (array.ndim - 1))
            elif position == 2:  # noqa: PLR2004  # the zero point
                array = np.zeros(len(scale), np.int64)
        self._tensors[name] = name.replace(".", "_")
        self.register_buffer(self._tensors[name], torch.from_numpy(np.array(array)))

    def _dequantised(self, node: onnx.NodeProto, tensor: Callable[[str], torch.Tensor]) -> Callable[[], torch.Tensor]:
        values, scale, zero = node.input
        if values in self._constants:

            def weights() -> torch.Tensor:
                grid = (tensor(scale), tensor(zero), 0, -127, 127, torch.int8)
                whole = tensor(values)
                return _Q.dequantize_per_channel(
                    _Q.quantize_per_channel(whole, *grid) if self._float_weights else whole, *grid
                )

            return weights
        grid = _grid(self._constants[scale], self._constants[zero])
        return lambda: _Q.dequantize_per_tensor(tensor(values), *grid)


def _folded(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Initializers, and what depends on nothing else, by name; eight-bit weights stay as they are."""
    known: dict[str, Any] = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        eight = node.op_type == "DequantizeLinear" and known.get(node.input[0], np.zeros(0)).dtype == np.int8
        if not eight and all(name in known for name in node.input):
            nodes.append(node)
            known[node.output[0]] = np.zeros(0)
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for node in nodes for name in node.output]
    if not outputs:
        return known
    graph = onnx.helper.make_graph(nodes, "constants", [], outputs, initializer=list(model.graph.initializer))
    alone = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3  # it would name every initializer that no constant node uses
    session = onnxruntime.InferenceSession(alone.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
    names = [one.name for one in outputs]
    known.update(zip(names, session.run(names, {}), strict=True))
    return known


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def _grid(scale: NDArray[Any], zero: NDArray[Any]) -> tuple[float, int, int, int, torch.dtype]:
    return float(scale), int(zero) - _SIGNED, -128, 127, torch.int8


def _conv(inputs: list[Any], given: dict[str, Any]) -> torch.Tensor:
    pads = given.get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:]:
        raise BundleError(f"cannot convert a convolution with the borders {list(pads)}: export the bundle again")
    image, weights, *bias = inputs
    return F.conv2d(
        image,
        weights,
        *bias,
        stride=given["strides"],
        padding=pads[:2],
        dilation=given["dilations"],
        groups=given["group"],
    )


def _gemm(inputs: list[Any], given: dict[str, Any]) -> torch.Tensor:
    rows, weights, *bias = inputs
    return F.linear(rows, weights if given.get("transB") else weights.T, *bias)


def _pad(inputs: list[Any], _: dict[str, Any]) -> torch.Tensor:
    image, border, value = inputs
    top, left, bottom, right = (int(border[k]) for k in (2, 3, 6, 7))
    return F.pad(image, [left, right, top, bottom], value=value.item())


_OPERATORS: dict[str, Callable[[list[Any], dict[str, Any]], torch.Tensor]] = {
    "Add": lambda x, _: x[0] + x[1],
    "AveragePool": lambda x, a: F.avg_pool2d(x[0], a["kernel_shape"], a["strides"]),
    "Clip": lambda x, _: torch.clamp(x[0], x[1].item(), x[2].item()),
    "Conv": _conv,
    "Div": lambda x, _: x[0] / x[1],
    "Gemm": _gemm,
    "MatMul": lambda x, _: x[0] @ x[1],
    "Mul": lambda x, _: x[0] * x[1],
    "Pad": _pad,
    "QuantizeLinear": lambda x, _: _Q.quantize_per_tensor(x[0], *_grid(x[1], x[2])),
    "ReduceMean": lambda x, a: x[0].mean(x[1].tolist(), keepdim=bool(a.get("keepdims", 1))),
    "ReduceSum": lambda x, a: x[0].sum(x[1].tolist(), keepdim=bool(a.get("keepdims", 1))),
    "Relu": lambda x, _: F.relu(x[0]),
    "Reshape": lambda x, _: x[0].flatten(1),
    "Sigmoid": lambda x, _: torch.sigmoid(x[0]),
    "Softmax": lambda x, a: torch.softmax(x[0], a["axis"]),
    "Sqrt": lambda x, _: torch.sqrt(x[0]),
    "Sub": lambda x, _: x[0] - x[1],
}
