"""First weights out of a bundle: fine-tune the student that ships, or one of your own, on other X-rays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.bundle.format import read_bundle, verify
from pocketcxr.errors import CheckpointError
from pocketcxr.models.backbones import Backbone, build_backbone
from pocketcxr.models.stored_weights import widened

if TYPE_CHECKING:
    from pathlib import Path

_PLACE = "network.backbone."  # where the exporter keeps the student's backbone; see `pocketcxr.export.onnx_export`


def load_bundle_backbone(name: str, path: Path, *, image_size: int) -> Backbone:
    """Build a backbone with the weights of a bundle's student.

    In a bundle each batch norm is folded into the convolution before it. Here the convolution keeps the folded weight
    and the batch norm takes the bias, with mean 0 and variance 1: in evaluation mode the same network. For training,
    its statistics are then restored by `pocketcxr.models.batch_norm.unfold_batch_norm`.

    Args:
        name: of the timm network that the bundle's student has.
        path: of the bundle; any task and any image size.
        image_size: in pixels, of the new network.

    Raises:
        BundleError: the file is missing, damaged or no bundle.
        CheckpointError: the bundle's student is another network, or a quantised one.
    """
    data = read_bundle(path)
    verify(data, str(path))
    graph = widened(onnx.load_from_string(data)).graph
    tensors = _tensors(graph)
    backbone = build_backbone(name, image_size=image_size)
    _fill(backbone.trunk, name, tensors, path)
    backbone.normalise(*_normalisation(graph, tensors, path))
    return backbone


def _tensors(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Tensors of the backbone by their name inside it, float32."""
    found = {}
    for tensor in graph.initializer:
        if tensor.name.startswith(_PLACE):
            values = numpy_helper.to_array(tensor).astype(np.float32)
            found[tensor.name.removeprefix(_PLACE)] = torch.from_numpy(values)
    return found


def _normalisation(graph: onnx.GraphProto, tensors: dict[str, Tensor], path: Path) -> tuple[float, float]:
    """Mean and standard deviation, from the two operations that the graph begins with.

    Not by their names: where both are equal (0.5 and 0.5), the exporter keeps one constant for the two.
    """
    after = {node.input[0]: node for node in graph.node if node.op_type in {"Sub", "Div"}}
    less = after.get(INPUT_NAME)
    over = after.get(less.output[0]) if less else None
    names = [node.input[1].removeprefix(_PLACE) for node in (less, over) if node]
    if not less or not over or (less.op_type, over.op_type) != ("Sub", "Div") or not set(names) <= set(tensors):
        raise CheckpointError(f"{path.name}: does not begin with (image - mean) / std; export the bundle again")
    mean, std = (float(tensors[name]) for name in names)
    return mean, std


@torch.no_grad()
def _fill(trunk: nn.Module, name: str, tensors: dict[str, Tensor], path: Path) -> None:
    convolution = ""
    for place, module in trunk.named_modules():
        if isinstance(module, nn.Conv2d):
            convolution = f"trunk.{place}.weight"
            _copy(module.weight, convolution, name, tensors, path)
            if module.bias is not None:
                _copy(module.bias, f"trunk.{place}.bias", name, tensors, path)
        elif isinstance(module, BatchNorm):
            if not module.affine or module.running_mean is None or not convolution:
                raise CheckpointError(f"{path.name}: batch norm {place} of {name} stands behind no convolution")
            _copy(module.bias, f"{convolution}_bias", name, tensors, path)
            module.weight.fill_((1 + module.eps) ** 0.5)  # evaluation mode divides by it again


def _copy(target: Tensor, key: str, name: str, tensors: dict[str, Tensor], path: Path) -> None:
    if key not in tensors or tensors[key].shape != target.shape:
        found = f"shape {list(tensors[key].shape)}" if key in tensors else "none of that name"
        raise CheckpointError(
            f"{path.name}: expected {key} of shape {list(target.shape)}, found {found}: its student is no float {name}"
        )
    target.copy_(tensors[key])
