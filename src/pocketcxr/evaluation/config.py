"""How figures are made: the settings of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of the figures.

    `bootstrap` resamples of patients; `screening_sensitivity` and `confirming_specificity` define the operating points;
    `coverage` is that of the conformal sets.
    """

    bootstrap: int = 1000
    seed: int = 0
    screening_sensitivity: float = 0.95
    confirming_specificity: float = 0.95
    coverage: float = 0.9
