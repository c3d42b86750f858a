"""How the learned input filter is fitted."""

from __future__ import annotations

from dataclasses import dataclass

from pocketcxr.errors import expect


@dataclass(frozen=True)
class InputFilterConfig:
    """How the learned input filter is fitted.

    `ood` are folders of out-of-distribution images that must be refused, a folder per kind (``knee_xray``,
    ``photograph``), beside what the index holds; `refused_frontal` is the share of frontal calibration radiographs that
    the limit refuses. `pixels` a side that images are decoded to, at least the student's.
    """

    ood: tuple[str, ...] = ()
    refused_frontal: float = 0.005
    steps: int = 800
    batch_size: int = 96
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.02
    ema_decay: float = 0.99
    pixels: int = 160
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        expect(0 <= self.refused_frontal < 0.1, "refused_frontal", "a share between 0 and 0.1", self.refused_frontal)  # noqa: PLR2004
        expect(self.steps >= 1 and self.batch_size >= 1, "steps", "a positive number of steps of 1 or more", self.steps)
        expect(self.learning_rate > 0, "learning_rate", "a positive number", self.learning_rate)
        expect(0 <= self.ema_decay < 1, "ema_decay", "a number from 0 to below 1", self.ema_decay)
        expect(self.pixels >= 32, "pixels", "at least 32", self.pixels)  # noqa: PLR2004
