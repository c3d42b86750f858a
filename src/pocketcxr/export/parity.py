"""The exported graph against PyTorch: what a bundle says is what the trained network says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch

from pocketcxr.bundle.contract import INPUT_KIND, INPUT_NAME, OUTPUT_NAMES, ModelOutputs
from pocketcxr.bundle.golden import network_input
from pocketcxr.errors import BundleError
from pocketcxr.export.novelty import novelty
from pocketcxr.export.onnx_export import cpu_copy

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.export.novelty import NoveltyReference
    from pocketcxr.models.input_kind import InputKindNetwork
    from pocketcxr.models.networks import Student

GRAPH_TOLERANCE = 1e-3
"""Largest difference of the float32 graph from PyTorch: of probabilities as they are, of the other outputs as a
fraction of the output's largest value. Both sum in float32 in another order; a wrong graph differs by 0.1 and more."""

HALF_PROBABILITY_TOLERANCE = 0.02
"""Largest change of a probability, of a class or of a kind, that rounding the weights to half precision may cause."""

_PROBABILITIES = ("probabilities", INPUT_KIND)

_BATCH = 32


class GraphRun:
    """A core graph (logits, embedding, saliency) in ONNX Runtime."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = _session(model)

    def __call__(self, dataset: Dataset, positions: NDArray[np.int64], *, progress: bool, what: str) -> ModelOutputs:
        """Logits and embedding of images of a dataset, in the order of `positions`; probabilities stay uncalibrated."""
        from tqdm import tqdm

        logits: list[NDArray[np.float32]] = []
        embedding: list[NDArray[np.float32]] = []
        for start in tqdm(range(0, len(positions), _BATCH), desc=what, unit="batch", disable=not progress, leave=False):
            images = dataset.images(positions[start : start + _BATCH])
            found: list[Any] = list(self._session.run(["logits", "embedding"], {INPUT_NAME: images}))
            logits.append(found[0])
            embedding.append(found[1])
        whole = np.concatenate(logits)
        return ModelOutputs(probabilities=_softmax(whole), logits=whole, embedding=np.concatenate(embedding))


def torch_outputs(
    network: Student,
    pictures: NDArray[np.uint8],
    *,
    temperature: float,
    reference: NoveltyReference,
    input_gate: InputKindNetwork | None = None,
) -> ModelOutputs:
    """All outputs for pictures uint8 [n, size, size] from PyTorch and NumPy, without the exported graph."""
    network = cpu_copy(network)
    with torch.no_grad():
        outputs = network(torch.from_numpy(network_input(pictures)))
        maps = network.saliency(outputs.features)
        kinds = None if input_gate is None else input_gate(torch.from_numpy(network_input(pictures))).numpy()
    logits, embedding = outputs.logits.numpy(), outputs.embedding.numpy()
    return ModelOutputs(
        probabilities=_softmax(logits / np.float32(temperature)),
        logits=logits,
        embedding=embedding,
        saliency=maps.numpy(),
        novelty=novelty(embedding, reference),
        input_kind=kinds,
    )


def check_parity(model: onnx.ModelProto, pictures: NDArray[np.uint8], expected: ModelOutputs) -> dict[str, float]:
    """Return the largest difference of each output of a full-precision graph from PyTorch (see `GRAPH_TOLERANCE`).

    Raises:
        BundleError: one is above the tolerance.
    """
    differences = _differences(model, pictures, expected)
    for name, difference in differences.items():
        if not difference <= GRAPH_TOLERANCE:
            raise BundleError(
                f"the exported graph is not the network: {name} differs from PyTorch by {difference:.2g}, "
                f"expected at most {GRAPH_TOLERANCE:g}; nothing was written"
            )
    return differences


def check_halves(model: onnx.ModelProto, pictures: NDArray[np.uint8], expected: ModelOutputs) -> dict[str, float]:
    """Return the largest difference of each output of the half-weights graph from PyTorch with unrounded weights.

    Raises:
        BundleError: a probability moved by more than `HALF_PROBABILITY_TOLERANCE`.
    """
    differences = _differences(model, pictures, expected)
    worst = max(differences[name] for name in _PROBABILITIES if name in differences)
    if not worst <= HALF_PROBABILITY_TOLERANCE:
        raise BundleError(
            f"rounding the weights to half precision moves a probability by {worst:.2g}, "
            f"expected at most {HALF_PROBABILITY_TOLERANCE:g}: export with half_weights=False"
        )
    return differences


def _differences(model: onnx.ModelProto, pictures: NDArray[np.uint8], expected: ModelOutputs) -> dict[str, float]:
    names = OUTPUT_NAMES if expected.input_kind is None else (*OUTPUT_NAMES, INPUT_KIND)
    found = _session(model).run(list(names), {INPUT_NAME: network_input(pictures)})
    differences: dict[str, float] = {}
    for name, actual in zip(names, found, strict=True):
        wanted = getattr(expected, name)
        scale = 1.0 if name in _PROBABILITIES else max(float(np.abs(wanted).max()), 1e-6)
        differences[name] = float(np.abs(actual - wanted).max()) / scale
    return differences


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
