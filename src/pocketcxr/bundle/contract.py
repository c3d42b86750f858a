"""What every network of the project takes and gives, whether PyTorch, fp32 ONNX or int8.

The one signature that evaluation, audit and prediction are written against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INPUT_NAME = "image"
OUTPUT_NAMES = ("probabilities", "logits", "embedding", "saliency", "novelty")
"""What every bundle gives."""
INPUT_KIND = "input_kind"
"""The sixth output, of bundles that learned what a frontal chest X-ray looks like (`bundle.manifest.InputFilter`)."""


@dataclass(frozen=True)
class ModelOutputs:
    """Outputs of one forward pass over n images; float32 arrays, rows in the order of the images.

    `probabilities` [n, classes] sum to 1 (temperature-calibrated where the model has a temperature), but not where each
    is of a finding by itself;
    `logits` [n, classes], before the temperature; `embedding` [n, features];
    `saliency` [n, classes, rows, columns], class activation maps in logit units, None where a network has none;
    `novelty` [n], 1.0 at the bundle's cut-off, larger means less like the training images; None without a reference.
    `input_kind` [n, kinds], probabilities of what the picture is, in the order of the manifest's `InputFilter.kinds`;
    None where the network has no learned input filter.
    """

    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    saliency: NDArray[np.float32] | None = None
    novelty: NDArray[np.float32] | None = None
    input_kind: NDArray[np.float32] | None = None


class Predict(Protocol):
    """Anything that scores images: teacher, student, exported file."""

    def __call__(self, images: NDArray[np.float32], /) -> ModelOutputs:
        """Score images [n, 1, size, size], float32 in [0, 1], MONOCHROME2 polarity (air dark, bone bright)."""
        ...
