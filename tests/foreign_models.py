"""Small ONNX classifiers that are no bundle, written by hand for the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTION = """\
labels = [{labels}]
positive = "covid19"
image_size = {size}
"""


def write_brightness_classifier(folder: Path, *, labels=("normal", "covid19"), size=32, batch="n", extra="") -> Path:
    """Write an ONNX file whose logits grow with the mean brightness, last label first, and its description."""
    from onnx import TensorProto, helper, numpy_helper, save

    count = len(labels)
    weights = {
        "weight": np.linspace(-4, 4, count, dtype=np.float32).reshape(1, count),
        "bias": -0.5 * np.linspace(-4, 4, count, dtype=np.float32),
    }
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["mean"]),
        helper.make_node("Gemm", ["mean", "weight", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 1, size, size])],
        [
            helper.make_tensor_value_info("mean", TensorProto.FLOAT, [batch, 1]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, count]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "brightness.onnx"
    save(model, str(path))
    text = DESCRIPTION.format(labels=", ".join(f'"{label}"' for label in labels), size=size)
    path.with_suffix(".toml").write_text(f'{text}output = "logits"\n{extra}')
    return path
