"""Settings of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of the figures.

    `bootstrap` resamples of patients; `screening_sensitivity` and `confirming_specificity` define the operating points;
    `coverage` is that of the conformal sets. `calibration_source`: temperature, conformal sets and operating points are
    fitted on calibration images of this source alone; "" takes all. Where classes come from different sources, most
    images are told by their source, and what is fitted on them is too sure of itself in the one place where both
    classes come from the same hospitals.
    """

    bootstrap: int = 1000
    seed: int = 0
    screening_sensitivity: float = 0.95
    confirming_specificity: float = 0.95
    coverage: float = 0.9
    calibration_source: str = ""
