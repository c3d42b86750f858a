"""A bundle of several findings, made of the one that ships: the same network with a sigmoid per label.

What it says means nothing; it lets the page and Python answer alike.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pocketcxr.bundle.format import MANIFEST_KEY, SHA256_KEY, read_manifest, seal

LABELS = ("edema", "pneumonia", "my_finding")
TEMPERATURES = (1.3, 2.0, 1.6)
QUANTILES = (0.45, 0.81, 0.3)
"""So that both answers stay possible of one finding, and neither of another, on many images."""


def findings_bundle(data: bytes, name: str) -> bytes:
    """Seal the network of a bundle of three classes as one of three findings."""
    model = onnx.load_model_from_string(data)
    node = next(one for one in model.graph.node if list(one.output) == ["probabilities"])
    node.CopyFrom(helper.make_node("Sigmoid", list(node.input), list(node.output), node.name))
    divided = next(one for one in model.graph.node if list(one.output) == list(node.input))
    scale = next(one for one in model.graph.initializer if one.name == divided.input[1])
    scale.CopyFrom(numpy_helper.from_array(np.array(TEMPERATURES, np.float32), scale.name))
    manifest = json.loads(read_manifest(data, name).to_json())
    return with_manifest(model.SerializeToString(), {**manifest, **_fields()})


def _fields() -> dict[str, Any]:
    finding = zip(LABELS, TEMPERATURES, QUANTILES, strict=True)
    return {
        "format_version": 3,
        "name": "findings",
        "labels": LABELS,
        "positive": "",
        "temperature": 1.0,
        "conformal_quantile": 1.0,
        "findings": [dict(zip(("label", "temperature", "conformal_quantile"), one, strict=True)) for one in finding],
        "operating_points": [
            _point(label, name, threshold)
            for label in LABELS[:2]
            for name, threshold in (("screening", 0.3), ("confirming", 0.8))
        ],
        # 40 of 100 have an edema: 36 of them are called, 6 others too
        "metrics": {"findings": {"edema": {"images": 100, "overall": _measured(36 / 42, 0.9, 0.9)}}},
    }


def _point(label: str, name: str, threshold: float) -> dict[str, Any]:
    chosen = {"threshold": threshold, "sensitivity": 0.9, "specificity": 0.8, "chosen_on": "calibration split"}
    return {"name": name, "label": label, **chosen}


def _measured(ppv: float, sensitivity: float, specificity: float) -> dict[str, Any]:
    shares = {"ppv@screening": ppv, "sensitivity@screening": sensitivity, "specificity@screening": specificity}
    return {name: {"value": value} for name, value in {**shares, "ece": 0.031}.items()}


def with_manifest(data: bytes, manifest: dict[str, Any]) -> bytes:
    """Seal the same network with another manifest."""
    model = onnx.load_model_from_string(data)
    kept = [prop for prop in model.metadata_props if prop.key not in {MANIFEST_KEY, SHA256_KEY}]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=MANIFEST_KEY, value=json.dumps(manifest, sort_keys=True))
    return seal(model.SerializeToString())
