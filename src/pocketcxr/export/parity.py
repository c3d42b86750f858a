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
    from pocketcxr.models.input_filter import InputKindNetwork
    from pocketcxr.models.networks import Student

GRAPH_TOLERANCE = 1e-3
"""Largest difference of the float32 graph from PyTorch: of probabilities as they are, of the other outputs as a
fraction of the output's largest value. Both sum in float32 in another order; a wrong graph differs by 0.1 and more."""

STORED_PROBABILITY_TOLERANCE = 0.02
"""Largest change of a probability, of a class or of a kind, that storing the weights in fewer bytes may cause: on the
pictures that PyTorch is asked about too, and on 99 of 100 of the calibration split."""

MOST_PROBABILITY_MOVE = 0.05
"""The same on every picture of the calibration split."""

LEAST_CLASS_AGREEMENT = 0.995
"""Share of the calibration split whose likeliest class must stay when large weights are stored in eight bits."""

_PROBABILITIES = ("probabilities", INPUT_KIND)

_BATCH = 32


class GraphRun:
    """A core graph (logits, embedding, saliency) in ONNX Runtime."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = _session(model)

    def __call__(self, dataset: Dataset, positions: NDArray[np.int64], *, progress: bool, what: str) -> ModelOutputs:
        """Logits and embedding of images of a dataset, in the order of `positions`; probabilities stay uncalibrated."""
        from pocketcxr.progress import Bar

        logits: list[NDArray[np.float32]] = []
        embedding: list[NDArray[np.float32]] = []
        for start in Bar(range(0, len(positions), _BATCH), desc=what, unit="batch", disable=not progress, leave=False):
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
    temperature: float | tuple[float, ...],
    reference: NoveltyReference,
    input_filter: InputKindNetwork | None = None,
) -> ModelOutputs:
    """All outputs for pictures uint8 [n, size, size] from PyTorch and NumPy, without the exported graph."""
    network = cpu_copy(network)
    with torch.no_grad():
        outputs = network(torch.from_numpy(network_input(pictures)))
        maps = network.saliency(outputs.features)
        kinds = None if input_filter is None else input_filter(torch.from_numpy(network_input(pictures))).numpy()
    logits, embedding = outputs.logits.numpy(), outputs.embedding.numpy()
    return ModelOutputs(
        probabilities=_calibrated(logits, temperature),
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
    found = differences(model, pictures, expected)
    for name, difference in found.items():
        if not difference <= GRAPH_TOLERANCE:
            raise BundleError(
                f"the exported graph is not the network: {name} differs from PyTorch by {difference:.2g}, "
                f"expected at most {GRAPH_TOLERANCE:g}; nothing was written"
            )
    return found


def moves(
    found: NDArray[np.float32], exact: NDArray[np.float32], temperature: float | tuple[float, ...]
) -> dict[str, float]:
    """How far probabilities move between two graphs' logits [n, classes]: mean, 99th percentile, largest, agreement."""
    ours, theirs = (_calibrated(logits, temperature) for logits in (found, exact))
    move = np.abs(ours - theirs).max(axis=1)
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    if isinstance(temperature, tuple):  # findings by themselves
        same = (ours >= 0.5) == (theirs >= 0.5)  # noqa: PLR2004
    return {
        "mean_move": float(move.mean()),
        "percentile_99": float(np.percentile(move, 99)),
        "largest_move": float(move.max()),
        "class_agreement": float(same.mean()),
    }


def moved_too_far(record: dict[str, dict[str, float]]) -> str:
    """Say where storing the weights in fewer bytes moves outputs beyond what is allowed; "" where it does not.

    Args:
        record: ``stored_weights`` from `differences`, ``calibration_split`` from `moves`, where they were measured.
    """
    stored, split = record.get("stored_weights", {}), record.get("calibration_split", {})
    worst = max([*(stored[name] for name in _PROBABILITIES if name in stored), split.get("percentile_99", 0.0)])
    if not worst <= STORED_PROBABILITY_TOLERANCE:
        return (
            f"storing the weights in fewer bytes moves a probability by {worst:.2g}, "
            f"expected at most {STORED_PROBABILITY_TOLERANCE:g}"
        )
    largest = split.get("largest_move", 0.0)
    if not largest <= MOST_PROBABILITY_MOVE:
        return (
            f"storing the weights in fewer bytes moves a probability of one picture by {largest:.2g}, "
            f"expected at most {MOST_PROBABILITY_MOVE:g}"
        )
    agreement = split.get("class_agreement")
    if agreement is not None and not agreement >= LEAST_CLASS_AGREEMENT:
        return (
            f"storing the weights in fewer bytes keeps the class of {agreement:.2%} of the calibration split, "
            f"expected at least {LEAST_CLASS_AGREEMENT:.1%}"
        )
    return ""


def differences(model: onnx.ModelProto, pictures: NDArray[np.uint8], expected: ModelOutputs) -> dict[str, float]:
    """Return the largest difference of each output of a graph with its tail from what was `expected`.

    Probabilities as they are, the other outputs as a fraction of the output's largest value.
    """
    names = OUTPUT_NAMES if expected.input_kind is None else (*OUTPUT_NAMES, INPUT_KIND)
    found = _session(model).run(list(names), {INPUT_NAME: network_input(pictures)})
    largest: dict[str, float] = {}
    for name, actual in zip(names, found, strict=True):
        wanted = getattr(expected, name)
        scale = 1.0 if name in _PROBABILITIES else max(float(np.abs(wanted).max()), 1e-6)
        largest[name] = float(np.abs(actual - wanted).max()) / scale
    return largest


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _calibrated(logits: NDArray[np.float32], temperature: float | tuple[float, ...]) -> NDArray[np.float32]:
    """Probabilities at a temperature, or of findings by themselves at a temperature per label."""
    scaled = logits / np.asarray(temperature, dtype=np.float32)
    if not isinstance(temperature, tuple):
        return _softmax(scaled)
    return np.asarray(0.5 + 0.5 * np.tanh(scaled / 2), dtype=np.float32)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
