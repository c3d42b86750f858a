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
