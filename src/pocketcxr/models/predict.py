"""PyTorch networks, of this project and others, as callables from NumPy images to NumPy outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pocketcxr.bundle.contract import ModelOutputs, Predict
from pocketcxr.models.networks import NetworkOutputs, Student

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from pocketcxr.bundle.description import ModelDescription


def as_predict(
    network: nn.Module,
    *,
    temperature: float | NDArray[np.float64] = 1.0,
    batch_size: int = 64,
    multilabel: bool = False,
) -> Predict:
    """Wrap a network as `bundle.contract.Predict`; it runs where its weights are, in evaluation mode and float32.

    Args:
        network: teacher, student, a teacher's backbone, or any module that gives `NetworkOutputs`. It is put into
            evaluation mode at each call.
        temperature: divides the logits before the softmax or sigmoid; one for all, or one per label [labels].
        multilabel: a sigmoid for each logit by itself instead of the softmax.
        batch_size: images per forward pass; the output does not depend on it beyond rounding.

    Returns:
        A callable: images float32 [n, 1, s, s] in [0, 1] -> outputs in the same order. `saliency` is given for a
        student (class activation maps in logit units) and None for a teacher, whose fusion has hidden layers;
        `novelty` is None, since only a bundle has a reference.
    """

    def predict(images: NDArray[np.float32], /) -> ModelOutputs:
        network.eval()
        parts = [_score(network, images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
        if not parts:  # no images: run one, keep the shapes
            parts = [tuple(array[:0] for array in _score(network, np.zeros((1, *images.shape[1:]), np.float32)))]
        logits, embedding, *saliency = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        scaled = logits.astype(np.float64) / temperature
        if multilabel:
            probabilities = 0.5 + 0.5 * np.tanh(scaled / 2)  # the sigmoid, without overflow
        else:
            exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        return ModelOutputs(probabilities.astype(np.float32), logits, embedding, saliency[0] if saliency else None)

    return predict


def as_classifier(
    module: nn.Module, description: ModelDescription, *, batch_size: int = 64
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Wrap any PyTorch classifier, such as one of timm or torchxrayvision, for `pocketcxr.evaluate` and `audit`.

    Args:
        module: takes a batch of images and returns a tensor [n, columns].
        description: its classes, its input and the meaning of its output; `output` is not used.
        batch_size: images per forward pass.

    Returns:
        A callable with `labels` and `image_size`: images float32 [n, 1, s, s] in [0, 1] -> probabilities [n, labels].
    """

    @torch.inference_mode()
    def predict(images: NDArray[np.float32], /) -> NDArray[np.float32]:
        module.eval()
        first = next(module.parameters(), torch.zeros(0))
        parts = [np.zeros((0, len(description.labels)), np.float32)]
        for start in range(0, len(images), batch_size):
            block = torch.from_numpy(description.prepare(images[start : start + batch_size]))
            output = module(block.to(first.device)).float().cpu().numpy()
            parts.append(description.probabilities(output, type(module).__name__))
        return np.concatenate(parts)

    predict.labels, predict.image_size = description.labels, description.image_size  # type: ignore[attr-defined]
    return predict


@torch.inference_mode()
def _score(network: nn.Module, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    device = next(network.parameters(), torch.zeros(0)).device
    outputs: NetworkOutputs = network(torch.from_numpy(np.ascontiguousarray(images)).to(device))
    tensors = [outputs.logits, outputs.embedding]
    if isinstance(network, Student):
        tensors.append(network.saliency(outputs.features))
    return tuple(tensor.float().cpu().numpy() for tensor in tensors)
