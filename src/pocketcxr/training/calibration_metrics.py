"""Figures on the calibration split during training: what chooses the best epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from pocketcxr.training.augmentation import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.training.engine import Engine

_BATCH = 64


def evaluator(dataset: Dataset, engine: Engine) -> Callable[[nn.Module], dict[str, float]]:
    """Make a function that scores the calibration split with a network: `figures` of its logits; {} without images."""
    positions = dataset.positions("calibration")

    def evaluate(network: nn.Module) -> dict[str, float]:
        if not len(positions):
            return {}
        parts = [
            engine.infer(network, plain(dataset, positions[start : start + _BATCH])).logits
            for start in range(0, len(positions), _BATCH)
        ]
        return figures(torch.cat(parts), torch.from_numpy(dataset.labels[positions]))

    return evaluate


def figures(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Macro one-against-rest AUROC over the classes present (NaN if only one is), cross-entropy, accuracy.

    Args:
        logits: float32 [n, classes].
        labels: int64 [n].
    """
    probabilities = logits.double().softmax(dim=1).numpy()
    truth = labels.numpy()
    areas = [_auroc(probabilities[:, label], truth == label) for label in range(logits.shape[1])]
    known = [area for area in areas if area is not None]
    return {
        "auroc": float(np.mean(known)) if known else float("nan"),
        "cross_entropy": float(functional.cross_entropy(logits.double(), labels)),
        "accuracy": float((probabilities.argmax(axis=1) == truth).mean()),
    }


def _auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Share of (positive, negative) pairs in the right order, ties half (Mann and Whitney); None without both."""
    count = int(positive.sum())
    if count in {0, len(positive)}:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))
