"""Which images a run works on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataConfig:
    """Which images, which task, how split.

    `image_size` in pixels; `fractions` of patients: train, calibration, test. `adults_only` leaves out patients under
    18 years and sources that hold children only (Kermany); patients whose age is not stated are kept. `boxes` is a
    table of boxes of your own for auxiliary outputs, with the columns of ``pocketcxr audit --boxes``; those of SIIM and
    RSNA are found beside their images.
    """

    task: str = "covid-3class"
    layout: str = "auto"
    image_size: int = 224
    aspect: str = "squash"
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    seed: int = 0
    adults_only: bool = False
    boxes: str = ""
