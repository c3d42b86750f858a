"""What fills the drawn lungs: consolidation, ground glass, and the harmless shadows that healthy images show too.

Appearances follow the wording of reports: pneumonia as one-sided consolidation of a lobe with air bronchograms;
COVID-19 as patches of ground glass on both sides, peripheral and basal (Simpson et al., RSNA consensus, Radiology:
Cardiothoracic Imaging 2020). Both come in degrees, so that mild disease is honestly hard to see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.synthetic.canvas import blurred, cloud, sigmoid, spline
from pocketcxr.data.synthetic.patient import SIDES, lateral_edge

if TYPE_CHECKING:
    from pocketcxr.data.synthetic.anatomy import Shadows
    from pocketcxr.data.synthetic.canvas import Canvas, Layer
    from pocketcxr.data.synthetic.patient import Anatomy

DISEASES = ("no_finding", "pneumonia", "covid19")
"""Findings that are drawn, in the vocabulary of `pocketcxr.labels`."""

_LOBES = {
    -1: {"upper": (0.17, 0.27, 0.10, 0.11), "middle": (0.17, 0.58, 0.11, 0.08), "lower": (0.24, 0.62, 0.11, 0.11)},
    1: {"upper": (0.18, 0.29, 0.10, 0.12), "lingula": (0.24, 0.53, 0.09, 0.09), "lower": (0.27, 0.63, 0.09, 0.11)},
}
"""Per side: centre and radii (from the midline, from the top, across, down) of the opacity of a lobe."""


@dataclass(frozen=True)
class Patch:
    """One opacity in patient coordinates: centre and radii in image heights, density 0 to 1, how its edge looks."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    density: float
    ragged: float
    sharp: float


@dataclass(frozen=True)
class Disease:
    """What one patient has: where (the same in all their images) and what kind of shadow it throws."""

    finding: str
    patches: tuple[Patch, ...]
    bronchograms: float
    mottle: float
    noise_seed: int


def sample_disease(rng: np.random.Generator, finding: str, anatomy: Anatomy) -> Disease:
    """Draw at random where the disease of one patient sits."""
    samplers = {"no_finding": lambda *_: (), "pneumonia": _pneumonia, "covid19": _covid}
    return Disease(
        finding=finding,
        patches=samplers[finding](rng, anatomy),
        bronchograms=0.35 if finding == "pneumonia" else 0.1,
        mottle=0.18 if finding == "pneumonia" else 0.5,
        noise_seed=int(rng.integers(2**32)),
    )


def draw_disease(disease: Disease, canvas: Canvas, shadows: Shadows, *, stage: float) -> Layer:
    """Attenuation that the disease adds, float32 [height, width]; `stage` 0 (hardly begun) to 1 (full).

    An opacity takes the place of air, so it adds at most what the lung's air took away.
    """
    if not disease.patches:
        return np.zeros_like(shadows.air)
    rng = np.random.default_rng(disease.noise_seed)  # the same texture in all of a patient's images
    shape = shadows.air.shape
    x, y = canvas.coordinates()
    edge, fine = cloud(rng, shape=shape, cells=14), cloud(rng, shape=shape, cells=70)
    clear = np.ones(shape, dtype=np.float32)
    for patch in disease.patches:
        distance = ((x - patch.x) / patch.radius_x) ** 2 + ((y - patch.y) / patch.radius_y) ** 2
        clear *= 1 - patch.density * sigmoid((1 - distance + patch.ragged * edge) * patch.sharp)
    opacity = (1 - clear) * (0.5 + 0.5 * stage)
    opacity *= np.clip(1 + disease.mottle * (0.6 * fine + 0.4 * edge), 0.1, 1.6)
    opacity *= 1 - disease.bronchograms * blurred(shadows.bronchi, 2 * canvas.height / 320)
    return 0.42 * shadows.air * np.minimum(opacity, 1)


def draw_harmless(rng: np.random.Generator, canvas: Canvas, shadows: Shadows) -> Layer:
    """Shadows that any image may show, whatever the finding: uneven haze, plates of atelectasis, nipples, leads."""
    shape, unit = shadows.air.shape, canvas.height / 320
    haze = cloud(rng, shape=shape, cells=5) * rng.uniform(0.005, 0.022) + cloud(rng, shape=shape, cells=24) * 0.007
    lines, dots, leads = canvas.painter(), canvas.painter(), canvas.painter()
    for _ in range(rng.poisson(0.9)):  # plates of atelectasis and scars
        side, y, length = rng.choice(SIDES), rng.uniform(0.25, 0.68), rng.uniform(0.03, 0.1)
        x, tilt = rng.uniform(0.1, 0.25), rng.normal(0, 0.3)
        ends = [(side * x, y), (side * (x + length), y + tilt * length)]
        lines.stroke(ends, rng.uniform(0.003, 0.012), rng.uniform(0.3, 1))
    if rng.random() < 0.3:  # noqa: PLR2004  # nipples
        for side in SIDES:
            dots.stroke([(side * 0.21, 0.6), (side * 0.222, 0.6)], 0.012)
    if rng.random() < 0.15:  # noqa: PLR2004  # monitoring leads
        for _ in range(int(rng.integers(1, 4))):
            start, end = rng.uniform((-0.35, 0.2), (0.35, 0.7)), rng.uniform((-0.4, -0.05), (0.4, 0.05))
            middle = (start + end) / 2 + rng.normal(0, 0.08, 2)
            leads.stroke(spline(np.stack([start, middle, end]), steps=12), 0.0045)
            leads.stroke(start + np.array([(-0.009, 0.0), (0.009, 0.0)]), 0.018, 0.8)
    hidden = 0.1 * blurred(lines.layer(), 2 * unit) + 0.05 * blurred(dots.layer(), 2 * unit)
    return (haze + hidden) * shadows.air + 0.22 * leads.layer()


def _pneumonia(rng: np.random.Generator, anatomy: Anatomy) -> tuple[Patch, ...]:
    """One lobe of one side, sometimes with a smaller satellite in the same lung."""
    side = int(rng.choice(SIDES))
    lobe = _LOBES[side][str(rng.choice(list(_LOBES[side])))]
    size, density = rng.uniform(0.65, 1.1), rng.uniform(0.5, 1.0)
    x, y = lobe[0] * anatomy.chest_width + rng.normal(0, 0.02), lobe[1] + rng.normal(0, 0.025)
    patches = [Patch(side * x, y, lobe[2] * size, lobe[3] * size, density, 0.4, 2.5)]
    if rng.random() < 0.3:  # noqa: PLR2004
        angle = rng.uniform(0, 2 * np.pi)
        x, y = x + 0.08 * np.cos(angle), y + 0.1 * np.sin(angle)
        patches.append(Patch(side * x, y, 0.05 * size, 0.05 * size, 0.6 * density, 0.4, 2.0))
    return tuple(patches)


def _covid(rng: np.random.Generator, anatomy: Anatomy) -> tuple[Patch, ...]:
    """Several faint patches near the chest wall, more of them below, on both sides and not symmetrically."""
    patches: list[Patch] = []
    balance = rng.uniform(0.3, 0.7)
    density = rng.uniform(0.4, 0.8)
    for side, share in zip(SIDES, (balance, 1 - balance), strict=True):
        for _ in range(max(1, rng.poisson(8 * share))):
            y = 0.74 - abs(rng.normal(0, 0.17))
            x = max(0.11, lateral_edge(anatomy, y) - abs(rng.normal(0.035, 0.035)))
            radii = rng.uniform(0.03, 0.075), rng.uniform(0.04, 0.1)
            patches.append(Patch(side * x, y, *radii, density * rng.uniform(0.5, 1.1), 0.5, 1.5))
    return tuple(patches)
