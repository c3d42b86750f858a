"""Whether a runtime gives a bundle's answers: its golden vectors, scored by it, within one stated tolerance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.bundle.contract import INPUT_KIND
from pocketcxr.bundle.golden import check_golden, golden_path, read_golden
from pocketcxr.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

    from pocketcxr.bundle.contract import Predict

PROBABILITY_TOLERANCE = 0.005
"""Largest change of a probability, of a class or of a kind of picture: as much as reduced reading may cause."""
OUTPUT_TOLERANCE = 0.02
"""Largest change of the other outputs, as a fraction of the output's largest value."""
HEATMAP_TOLERANCE = 0.05
"""The same for the heatmap, in whose cells nothing averages the roundings of int8 (decision 22)."""


def differences_from_golden(predict: Predict, bundle: Path, sha256: str) -> dict[str, float]:
    """Largest difference of each output over the golden vectors, probabilities as they are, the others as a fraction.

    Raises:
        BundleError: no golden vectors, those of another bundle, or outputs of other shapes.
    """
    golden = read_golden(golden_path(bundle))
    if golden.sha256 != sha256:
        raise BundleError(f"golden vectors {golden_path(bundle)}: of another bundle than {bundle}: export it again")
    found = check_golden(predict, golden)
    probabilities = ("probabilities", INPUT_KIND)
    return {
        name: difference / (1.0 if name in probabilities else float(np.abs(getattr(golden.outputs, name)).max() or 1))
        for name, difference in found.items()
    }


def too_different(differences: dict[str, float]) -> str:
    """Say which output is beyond its tolerance; "" where none is. NaN is beyond any."""
    for name, difference in differences.items():
        most = {
            "probabilities": PROBABILITY_TOLERANCE,
            INPUT_KIND: PROBABILITY_TOLERANCE,
            "saliency": HEATMAP_TOLERANCE,
        }.get(name, OUTPUT_TOLERANCE)
        if not difference <= most:
            return f"{name} differs from the golden vectors by {difference:.2g}, allowed are {most:g}"
    return ""


def check_answers(predict: Predict, bundle: Path, sha256: str, *, runtime: str) -> dict[str, float]:
    """Return `differences_from_golden`, and refuse a runtime that is beyond the tolerance.

    Raises:
        BundleError: it is, or the golden vectors are missing or of another bundle.
    """
    found = differences_from_golden(predict, bundle, sha256)
    words = too_different(found)
    if words:
        raise BundleError(f"{bundle}: with {runtime}, {words}: use --runtime onnxruntime")
    return found
