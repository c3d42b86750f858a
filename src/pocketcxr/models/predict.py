"""A PyTorch network behind the one signature that evaluation is written against: NumPy in, NumPy out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pocketcxr.bundle.contract import ModelOutputs, Predict
from pocketcxr.models.networks import Network, Student

if TYPE_CHECKING:
    from numpy.typing import NDArray


def as_predict(network: Network, *, temperature: float = 1.0, batch_size: int = 64) -> Predict:
    """Wrap a network as `bundle.contract.Predict`; it runs where its weights are, in evaluation mode and float32.

    Args:
        network: teacher, student or a teacher's backbone. It is put into evaluation mode at each call.
        temperature: divides the logits before the softmax.
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
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        return ModelOutputs(probabilities.astype(np.float32), logits, embedding, saliency[0] if saliency else None)

    return predict


@torch.inference_mode()
def _score(network: Network, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    device = next(network.parameters()).device
    outputs = network(torch.from_numpy(np.ascontiguousarray(images)).to(device))
    tensors = [outputs.logits, outputs.embedding]
    if isinstance(network, Student):
        tensors.append(network.saliency(outputs.features))
    return tuple(tensor.float().cpu().numpy() for tensor in tensors)
