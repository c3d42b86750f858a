"""One synthetic patient: sizes and proportions drawn at random, the same in all of their images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.synthetic.canvas import mirrored

if TYPE_CHECKING:
    from pocketcxr.data.synthetic.canvas import Points

SIDES = (-1, 1)
"""Patient's right (left in the image), patient's left."""


@dataclass(frozen=True)
class Vessels:
    """Branches of the pulmonary vessels, thin ones first: points [n, 3, 2], widths [n], brightness [n] in 0 to 1."""

    points: Points
    widths: Points
    values: Points


@dataclass(frozen=True)
class Anatomy:
    """One patient: what stays the same in all of their images.

    Factors around 1; lengths in image heights (`outline`, `rib_phase`, `rib_jitter`, `dome`, `shoulder`, `scapula`,
    `spine_phase`, `scoliosis`). They spread widely, so that hardly ever two patients look like copies of one image to a
    near-duplicate search.
    """

    sex: str
    age: int
    chest_width: float
    lung_height: float
    heart: float
    aorta: float
    fat: float
    outline: tuple[float, ...]
    barrel: float
    shoulder: tuple[float, float]
    scapula: float
    spine_phase: float
    scoliosis: float
    rib_phase: float
    rib_spacing: float
    rib_bow: float
    rib_slope: float
    rib_jitter: tuple[float, ...]
    dome: tuple[float, float]
    breast: float
    gas: float
    bone: float
    vessels: Vessels


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient at random."""
    sex = "F" if rng.random() < 0.47 else "M"  # noqa: PLR2004
    age = int(np.clip(rng.normal(55, 17), 18, 95))
    older = (age - 55) / 40
    return Anatomy(
        sex=sex,
        age=age,
        chest_width=float(np.clip(rng.normal(1.0 if sex == "M" else 0.95, 0.05), 0.86, 1.12)),
        lung_height=float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12)),
        heart=float(np.clip(rng.normal(1.0 + 0.06 * older, 0.1), 0.8, 1.3)),
        aorta=float(np.clip(rng.normal(1.0 + 0.25 * older, 0.15), 0.6, 1.6)),
        fat=float(np.clip(rng.gamma(4.0, 0.25), 0.3, 2.2)),
        outline=tuple(rng.normal(0, 0.009, 32).tolist()),
        barrel=float(rng.normal(0, 0.16)),
        shoulder=(float(rng.normal(0, 0.018)), float(rng.normal(0, 0.018))),
        scapula=float(rng.uniform(-0.03, 0.06)),
        spine_phase=float(rng.uniform(0, 0.048)),
        scoliosis=float(rng.normal(0, 0.009)),
        rib_phase=float(rng.uniform(-0.03, 0.03)),
        rib_spacing=float(rng.uniform(0.88, 1.14)),
        rib_bow=float(rng.uniform(0.2, 2.4)),
        rib_slope=float(rng.uniform(0.6, 1.45)),
        rib_jitter=tuple(rng.normal(0, 0.006, 20).tolist()),
        dome=(float(rng.normal(0, 0.02)), float(rng.normal(0.022, 0.015))),
        breast=float(rng.uniform(0.4, 1.3)) if sex == "F" else 0.0,
        gas=float(rng.uniform(0, 1)),
        bone=float(np.clip(rng.normal(1.0 - 0.12 * older, 0.12), 0.6, 1.3)),
        vessels=_vessel_trees(rng),
    )


def lateral_edge(anatomy: Anatomy, y: float) -> float:
    """Distance of the lung's outer edge from the midline at a height."""
    heights, edges = (0.11, 0.132, 0.2, 0.32, 0.46, 0.6, 0.74, 0.9), (0.1, 0.19, 0.245, 0.3, 0.338, 0.362, 0.375, 0.37)
    return float(np.interp(y, [stretched(h, anatomy) for h in heights], edges)) * width_at(y, anatomy)


def width_at(y: float, anatomy: Anatomy) -> float:
    """Factor on distances from the midline at a height: broad above and narrow below in a barrel chest."""
    return anatomy.chest_width * (1 + anatomy.barrel * float(np.clip(0.55 - y, -0.15, 0.4)))


def stretched(y: float, anatomy: Anatomy) -> float:
    """Height in the image of what stands at height y in a patient of average chest."""
    return 0.115 + (y - 0.115) * anatomy.lung_height


def spine_x(anatomy: Anatomy, y: float) -> float:
    """Where the spine stands at a height; it is seldom quite straight."""
    return anatomy.scoliosis * float(np.sin(2.5 * np.pi * y))


def _vessel_trees(rng: np.random.Generator) -> Vessels:
    branches = sorted((branch for side in SIDES for branch in _vessel_tree(rng, side)), key=lambda branch: branch[1])
    points, widths, values = zip(*branches, strict=True)
    return Vessels(points=np.stack(points), widths=np.array(widths), values=np.array(values))


def _vessel_tree(rng: np.random.Generator, side: int) -> list[tuple[Points, float, float]]:
    """Branches from the hilum outwards, thicker first: (points, width, brightness)."""
    branches: list[tuple[Points, float, float]] = []
    hilum = (0.075, 0.44) if side < 0 else (0.08, 0.425)
    pending = [(hilum, angle + rng.normal(0, 0.12), 0.0125, 4) for angle in (-1.25, -0.65, -0.1, 0.5, 0.95, 1.3)]
    pending.append(((hilum[0], hilum[1] + 0.01), 1.15, 0.024, 2))  # the lower lobe artery makes the hilum's shadow
    while pending:
        (x, y), angle, width, depth = pending.pop()
        length = rng.uniform(0.05, 0.085)
        bend = angle + rng.normal(0, 0.12)
        middle = (x + length * 0.5 * np.cos(angle), y + length * 0.5 * np.sin(angle))
        end = (middle[0] + length * 0.5 * np.cos(bend), middle[1] + length * 0.5 * np.sin(bend))
        branches.append((mirrored([(x, y), middle, end], side), width, min(1.0, 0.35 + 50 * width)))
        if depth:
            forks = -rng.uniform(0.15, 0.5), rng.uniform(0.15, 0.5)
            pending += [(end, bend + fork, width * 0.68, depth - 1) for fork in forks]
    return branches
