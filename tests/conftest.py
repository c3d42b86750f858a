"""Fixtures that several folders share: a tiny bundle written by hand, so that its answers are known beforehand."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pocketcxr.bundle.manifest import (
    MULTILABEL_VERSION,
    FindingCalibration,
    InputFilter,
    Manifest,
    OperatingPoint,
    Preprocessing,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pacs_archive import Orthanc

SIZE = 32
sys.path.insert(0, str(Path(__file__).parent))  # `dicom_files`, `known_models`: modules that several folders import
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # `planted_faults`


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Take the command line's handlers away before each test: their stderr is gone, and other tests read the log."""
    logger = logging.getLogger("pocketcxr")
    logger.handlers[:], logger.propagate, level = [], True, logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def tiny_manifest() -> Manifest:
    """Labels dark and bright; a class needs a probability of 0.7 to stay in the conformal set."""
    return Manifest(
        name="tiny",
        version="0.0.1",
        created="2026-01-01T00:00:00+00:00",
        task="brightness",
        labels=("dark", "bright"),
        positive="bright",
        preprocessing=Preprocessing(size=SIZE),
        temperature=2.0,
        conformal_quantile=0.3,
        conformal_coverage=0.9,
        operating_points=(OperatingPoint("screening", "bright", 0.4, 0.95, 0.5, "calibration split, 9 images"),),
        licence="CC0-1.0",
        intended_use="tests",
        limits=("knows only brightness",),
    )


def _tiny_graph(manifest: Manifest, temperature: float | tuple[float, ...]) -> bytes:
    """The tiny model with its tail and an unsealed manifest; see `tiny_model`."""
    pytest.importorskip("onnx", reason="needs the extra train, to write a tiny ONNX model")
    from onnx import TensorProto, helper, numpy_helper

    from pocketcxr.bundle.format import MANIFEST_KEY
    from pocketcxr.export.novelty import NoveltyReference
    from pocketcxr.export.onnx_tail import attach_tail

    mean = np.full((2, 1, 8, 8), 1 / 64, dtype=np.float32)
    mean[1] *= -1
    head = np.array([[-5, 5], [5, -5]], dtype=np.float32)  # classes x features
    constants = {
        "cells": mean,
        "offset": np.array([0, 1], dtype=np.float32),
        "head": head,
        "head_as_filter": head[:, :, None, None],
        "bias": np.zeros(2, dtype=np.float32),
        "space": np.array([2, 3], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["image", "cells", "offset"], ["features"], strides=[8, 8]),
        helper.make_node("ReduceMean", ["features", "space"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "head", "bias"], ["logits"], transB=1),
        helper.make_node("Conv", ["features", "head_as_filter", "bias"], ["saliency"]),
    ]
    shapes = {"logits": ["n", 2], "embedding": ["n", 2], "saliency": ["n", 2, 4, 4]}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    core = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    reference = NoveltyReference(
        mean=np.array([0.5, 0.5], dtype=np.float32),
        directions=np.array([[1], [0]], dtype=np.float32),
        inverse_spread=np.ones(1, dtype=np.float32),
        inverse_rest=0.0,
        cut_off=0.4,
    )
    model = attach_tail(core, temperature=temperature, reference=reference, half_weights=False)
    entry = model.metadata_props.add()
    entry.key, entry.value = MANIFEST_KEY, manifest.to_json()
    return model.SerializeToString()


@pytest.fixture(scope="session")
def tiny_model(tiny_manifest: Manifest) -> bytes:
    """Return an unsealed ONNX model whose logits are -10 and +10 times (mean brightness - 0.5).

    Its features are 2 maps of 4 x 4: brightness and darkness of each 8 x 8 cell. Novelty is the distance of the mean
    brightness from 0.5, divided by 0.4: pictures darker than 0.1 or brighter than 0.9 are novel.
    """
    return _tiny_graph(tiny_manifest, tiny_manifest.temperature)


@pytest.fixture(scope="session")
def tiny_findings_path(tiny_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with the logits of the tiny one for two findings by themselves, at temperatures 2 and 4."""
    import dataclasses

    from pocketcxr.bundle.format import seal

    findings = (FindingCalibration("dark", 2.0, 0.3), FindingCalibration("bright", 4.0, 0.4))
    manifest = dataclasses.replace(
        tiny_manifest,
        positive="",
        temperature=1.0,
        conformal_quantile=1.0,
        findings=findings,
        format_version=MULTILABEL_VERSION,
    )
    path = tmp_path_factory.mktemp("findings") / "findings.onnx"
    path.write_bytes(seal(_tiny_graph(manifest, (2.0, 4.0))))
    return path


TINY_FILTER = InputFilter(
    kinds=("frontal", "lateral", "ct"),
    accept="frontal",
    threshold=0.5,
    words={"lateral": "a side view", "ct": "a CT slice"},
)
"""Probabilities of lateral, frontal and ct are the softmax of -20, 0 and 20 times (brightness - 0.5) plus 0, 6 and 0:
a mean brightness below 0.2 is lateral, above 0.8 a CT slice."""


@pytest.fixture(scope="session")
def tiny_filter_path(tiny_model: bytes, tiny_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny bundle with the learned input filter `TINY_FILTER`."""
    import dataclasses

    onnx = pytest.importorskip("onnx", reason="needs the extra train, to write a tiny ONNX model")
    from onnx import TensorProto, helper, numpy_helper

    from pocketcxr.bundle.format import MANIFEST_KEY, seal

    model = onnx.load_from_string(tiny_model)
    weights = {
        "kind.weight": np.array([[0, -20, 20], [0, 0, 0]], dtype=np.float32),
        "kind.bias": np.array([6, 10, -10], dtype=np.float32),
    }
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    model.graph.node.extend(
        [
            helper.make_node("Gemm", ["embedding", *weights], ["kind.logits"]),
            helper.make_node("Softmax", ["kind.logits"], ["input_kind"], axis=1),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("input_kind", TensorProto.FLOAT, ["n", 3]))
    manifest = dataclasses.replace(tiny_manifest, input_filter=TINY_FILTER)
    next(entry for entry in model.metadata_props if entry.key == MANIFEST_KEY).value = manifest.to_json()
    path = tmp_path_factory.mktemp("gated") / "tiny-gated.onnx"
    path.write_bytes(seal(model.SerializeToString()))
    return path


@pytest.fixture(scope="session")
def tiny_bundle_path(tiny_model: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sealed bundle file; see `tiny_model` for what it answers."""
    from pocketcxr.bundle.format import seal

    path = tmp_path_factory.mktemp("bundle") / "tiny.onnx"
    path.write_bytes(seal(tiny_model))
    return path


@pytest.fixture(scope="session")
def installed() -> None:
    """Skip a test marked `pacs` where Orthanc cannot be installed."""
    from pacs_archive import install

    absent = install()
    if absent:
        pytest.skip(f"needs Orthanc and DCMTK, and cannot install them here: apt-get install orthanc dcmtk ({absent})")


@pytest.fixture
def orthanc(installed: None, tmp_path: Path) -> Iterator[Orthanc]:
    """Run a real Orthanc on free ports."""
    from pacs_archive import Orthanc

    archive = Orthanc(tmp_path / "orthanc").start()
    yield archive
    archive.end()
