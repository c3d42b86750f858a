"""Metrics on the calibration split during training: what chooses the best epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from pocketcxr.evaluation.metrics import auroc, label_wise_auroc
from pocketcxr.training.losses.parts import label_wise_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.training.engine import Engine

BATCH = 64
"""Images per forward pass without gradients."""


def evaluator(dataset: Dataset, engine: Engine) -> Callable[[nn.Module], dict[str, float]]:
    """Make a function that scores the calibration split with a network: `figures` of its logits; {} without images."""
    positions = dataset.positions("calibration")

    def evaluate(network: nn.Module) -> dict[str, float]:
        if not len(positions):
            return {}
        parts = [
            engine.infer(network, torch.from_numpy(dataset.images(positions[start : start + BATCH]))).logits
            for start in range(0, len(positions), BATCH)
        ]
        return figures(torch.cat(parts), torch.from_numpy(dataset.labels[positions]))

    return evaluate


def figures(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Macro one-against-rest AUROC over the classes present (NaN if only one is), cross-entropy, accuracy.

    Where images may have several findings: the mean AUROC of the findings over the images of which each is known, and
    the binary cross-entropy; there is no accuracy.

    Args:
        logits: float32 [n, classes].
        labels: int64 [n], or [n, labels] with -1 or less where a label is not known.
    """
    if labels.ndim == 2:  # noqa: PLR2004
        return {
            "auroc": label_wise_auroc(logits.double().sigmoid().numpy(), labels.numpy()),
            "cross_entropy": float(label_wise_loss(logits, labels)),
        }
    probabilities = logits.double().softmax(dim=1).numpy()
    truth = labels.numpy()
    areas = np.array([auroc(probabilities[:, label], truth == label) for label in range(logits.shape[1])])
    known = areas[~np.isnan(areas)]
    return {
        "auroc": float(known.mean()) if len(known) else float("nan"),
        "cross_entropy": float(functional.cross_entropy(logits.double(), labels)),
        "accuracy": float((probabilities.argmax(axis=1) == truth).mean()),
    }
