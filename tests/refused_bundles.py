"""Sealed files that are no usable bundle, made from the tiny bundle as somebody would who wants to deceive."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.bundle.format import MANIFEST_KEY, SHA256_KEY
from pocketcxr.bundle.protobuf import field

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx import ModelProto


def sealed(model: bytes) -> bytes:
    """The model and its hash; nothing is checked."""
    digest = hashlib.sha256(model).hexdigest()
    return model + field(14, field(1, SHA256_KEY.encode()) + field(2, digest.encode()))


def elsewhere(model: ModelProto) -> None:
    """The head's weights stand in a file beside the bundle."""
    head = next(one for one in model.graph.initializer if one.name == "head")
    head.ClearField("raw_data")
    head.data_location = 1
    for key, value in {"location": "head.bin", "offset": "0", "length": "16"}.items():
        entry = head.external_data.add()
        entry.key, entry.value = key, value


def write_elsewhere(folder: Path) -> None:
    """What `elsewhere` points at."""
    np.array([[-5, 5], [5, -5]], np.float32).tofile(folder / "head.bin")


def manifest(**changes: object) -> Callable[[ModelProto], None]:
    """A change of the manifest's fields."""

    def change(model: ModelProto) -> None:
        entry = next(one for one in model.metadata_props if one.key == MANIFEST_KEY)
        entry.value = json.dumps({**json.loads(entry.value), **changes})

    return change


def deep(model: ModelProto) -> None:
    """Lists inside lists, more than a parser's stack holds."""
    entry = next(one for one in model.metadata_props if one.key == MANIFEST_KEY)
    entry.value = entry.value.replace('"run": {', f'"run": {{"deep": {"[" * 100_000}{"]" * 100_000}, ', 1)


def fails_on_images(model: ModelProto) -> None:
    """A feature that the embedding does not have; the runtime finds out when it runs."""
    from onnx import helper, numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 9], np.int64), "odd.features"))
    node = next(one for one in model.graph.node if "embedding" in one.output)
    node.output[0] = "embedding.before"
    place = list(model.graph.node).index(node) + 1
    gather = helper.make_node("Gather", ["embedding.before", "odd.features"], ["embedding"], axis=1)
    model.graph.node.insert(place, gather)


def flat(model: ModelProto) -> None:
    """Novelty with an axis too many."""
    from onnx import helper, numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "odd.axis"))
    node = next(one for one in model.graph.node if "novelty" in one.output)
    node.output[0] = "novelty.before"
    model.graph.node.append(helper.make_node("Unsqueeze", ["novelty.before", "odd.axis"], ["novelty"]))
    output = next(one for one in model.graph.output if one.name == "novelty")
    output.type.tensor_type.shape.dim.add().dim_value = 1


def no_probabilities(model: ModelProto) -> None:
    """The logits under the name of probabilities."""
    from onnx import helper

    node = next(one for one in model.graph.node if "probabilities" in one.output)
    node.output[0] = "unused"
    model.graph.node.append(helper.make_node("Identity", ["logits"], ["probabilities"]))


def unknown_operator(model: ModelProto) -> None:
    """What no runtime knows."""
    model.graph.node[0].op_type = "NoSuchOperator"


def huge(model: ModelProto) -> None:
    """A tensor whose announced size is not that of its bytes."""
    model.graph.initializer[0].dims[0] = 2**40


def not_a_number(model: ModelProto) -> None:
    """What Python's JSON writer makes of a figure that could not be worked out."""
    entry = next(one for one in model.metadata_props if one.key == MANIFEST_KEY)
    entry.value = entry.value.replace('"metrics": {', '"metrics": {"auroc": NaN', 1)


def no_outputs(model: ModelProto) -> None:
    """A graph that gives nothing."""
    del model.graph.output[:]


def no_graph(model: ModelProto) -> None:
    """A manifest and nothing to run."""
    model.ClearField("graph")


def cut_short(model: ModelProto) -> None:
    """A tensor with fewer bytes than its shape takes."""
    tensor = next(one for one in model.graph.initializer if one.name == "head")
    tensor.raw_data = tensor.raw_data[:-4]


def circle(model: ModelProto) -> None:
    """The first step waits for the last."""
    model.graph.node[0].input[0] = "logits"


def greedy(model: ModelProto) -> None:
    """Four terabytes for one image."""
    from onnx import helper, numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "odd.shape"))
    node = next(one for one in model.graph.node if "novelty" in one.output)
    node.output[0] = "novelty.before"
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["odd.shape"], ["odd.zeros"]),
            helper.make_node("ReduceSum", ["odd.zeros"], ["odd.sum"], keepdims=0),
            helper.make_node("Add", ["novelty.before", "odd.sum"], ["novelty"]),
        ]
    )


def drawn(model: ModelProto) -> None:
    """Novelty with chance in it."""
    from onnx import helper, numpy_helper

    for name, value in {"odd.share": np.array(0.5, np.float32), "odd.training": np.array(True)}.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    node = next(one for one in model.graph.node if "novelty" in one.output)
    node.output[0] = "novelty.before"
    model.graph.node.append(helper.make_node("Dropout", ["novelty.before", "odd.share", "odd.training"], ["novelty"]))


REFUSED: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    "external data": (elsewhere, "external data"),
    "number in quotes": (manifest(temperature="2"), "temperature"),
    "negative limit": (manifest(conformal_quantile=-0.5), "conformal_quantile"),
    "missing field": (manifest(labels=None), "labels"),
    "deep nesting": (deep, "manifest"),
    "unknown operator": (unknown_operator, "ONNX Runtime .* cannot load it"),
    "huge tensor": (huge, "ONNX Runtime .* cannot load it"),
    "another shape": (flat, "output novelty"),
    "fails on images": (fails_on_images, "fails on an image"),
    "no probabilities": (no_probabilities, "probabilities"),
    "labels in a table": (manifest(labels={"dark": 1, "bright": 2}), "labels"),
    "coverage below zero": (manifest(conformal_coverage=-0.1), "conformal_coverage"),
    "figure that is no number": (not_a_number, "NaN"),
    "no outputs": (no_outputs, "outputs"),
    "no graph": (no_graph, "ONNX Runtime .* cannot load it"),
    "tensor cut short": (cut_short, "ONNX Runtime .* cannot load it"),
    "circle": (circle, "ONNX Runtime .* cannot load it"),
    "four terabytes": (greedy, "fails on an image|cannot load it"),
    "chance": (drawn, "Dropout"),
}
"""Case to what is done to the tiny model, and what the one line says of it."""


def write_refused(case: str, tiny_model: bytes, folder: Path) -> Path:
    """Write a case's file, sealed by its maker."""
    from onnx import load_from_string

    model = load_from_string(tiny_model)
    REFUSED[case][0](model)
    path = folder / "odd.onnx"
    path.write_bytes(sealed(model.SerializeToString()))
    write_elsewhere(folder)
    return path
