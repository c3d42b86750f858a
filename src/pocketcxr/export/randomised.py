"""A bundle with weights replaced by noise, layer by layer from the output: the models that the saliency check needs.

Adebayo et al. (2018), *Sanity Checks for Saliency Maps*, cascading randomisation. It works on the exported graph, so
that what is checked is what ships.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from pocketcxr.bundle.contract import INPUT_NAME, OUTPUT_NAMES, ModelOutputs
from pocketcxr.bundle.format import read_bundle, verify
from pocketcxr.errors import BundleError
from pocketcxr.export.int8.core import session
from pocketcxr.models.stored_weights import widened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import Predict

_LAYERS = frozenset({"Conv", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul", "ConvTranspose"})
_PASSING = frozenset(
    {"Cast", "DequantizeLinear", "Reshape", "Transpose", "Unsqueeze"}
)  # between a weight and its layer
_OWN = "pocketcxr."  # nodes of the bundle's tail: temperature and novelty are no layers of the network
_GATE = "input_gate."  # weights of the learned input filter, which is a network of its own
_STEPS = ((0.0, "classifier"), (0.25, "+ last quarter"), (0.5, "+ last half"), (1.0, "all layers"))


def randomised_bundle(path: Path, *, seed: int = 0) -> Callable[[], Iterable[tuple[str, Predict]]]:
    """Prepare randomised versions of a bundle, each made when it is asked for.

    The weights of a layer are permuted: their distribution stays, what they learned goes. Biases stay, as the folded
    batch norms keep the activations in their range.

    Args:
        path: the bundle.
        seed: of the permutations.

    Returns:
        A function whose pairs name what was randomised, from the classifier alone to all layers, with the model.

    Raises:
        BundleError: no bundle, or one without layers to randomise.
    """
    data = read_bundle(path)
    verify(data, str(path))
    model = widened(onnx.load_model_from_string(data))  # weights, not the whole numbers some are stored as
    layers = _layers(model)
    if len(layers) < 2:  # noqa: PLR2004
        raise BundleError(f"{path}: expected a network of several layers, found {len(layers)}: nothing to randomise")

    def versions() -> Iterator[tuple[str, Predict]]:
        for share, words in _STEPS:
            count = max(1, round(share * len(layers)))
            yield words, _predict(_permuted(model, [name for names in layers[-count:] for name in names], seed))

    return versions


def _layers(model: onnx.ModelProto) -> list[list[str]]:
    """Names of the weights of each layer, from the input to the output.

    The classifier stands twice in a bundle, for the logits and for the maps: layers that share weights, or that follow
    the embedding, are one.
    """
    made_by = {output: node for node in model.graph.node for output in node.output}
    weights = {one.name for one in model.graph.initializer if len(one.dims) > 1}
    found: list[list[str]] = []
    for node in model.graph.node:
        if node.op_type not in _LAYERS or node.name.startswith(_OWN):
            continue
        names = [name for given in node.input if (name := _origin(given, made_by)) in weights]
        if any(name.startswith(_GATE) for name in names):
            continue
        heads = set(node.output) & {"logits", "saliency"}
        if heads and found and found[-1][:1] == ["heads"]:
            found[-1] += names
        elif names:
            found.append((["heads"] if heads else []) + names)
    return [[name for name in names if name != "heads"] for names in found]


def _origin(name: str, made_by: dict[str, onnx.NodeProto]) -> str:
    """The stored tensor behind a layer's input: widened, reshaped or dequantised on the way."""
    while name in made_by and made_by[name].op_type in _PASSING:
        name = made_by[name].input[0]
    return name


def _permuted(model: onnx.ModelProto, names: Sequence[str], seed: int) -> onnx.ModelProto:
    changed = copy.deepcopy(model)
    for initializer in changed.graph.initializer:
        if initializer.name in names:
            # one seed per number of values: the classifier's two copies stay the same network
            values = numpy_helper.to_array(initializer)
            order = np.random.default_rng([seed, values.size]).permutation(values.size)
            shuffled = values.ravel()[order].reshape(values.shape)
            initializer.CopyFrom(numpy_helper.from_array(shuffled, initializer.name))
    return changed


def _predict(model: onnx.ModelProto) -> Predict:
    graph = session(model)

    def predict(images: NDArray[np.float32], /) -> ModelOutputs:
        outputs: Sequence[Any] = graph.run(list(OUTPUT_NAMES), {INPUT_NAME: images})
        return ModelOutputs(*outputs)

    return predict
