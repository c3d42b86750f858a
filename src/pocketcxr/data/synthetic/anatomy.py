"""The synthetic chest: the shadow of one patient in an image, as a map of attenuation.

The shapes are a draughtsman's reading of a frontal radiograph (lungs, heart, great vessels, ribs, clavicles, scapulae,
spine, diaphragm, stomach bubble, breasts), not a simulation: shadows add up, air takes away, nothing scatters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.synthetic.bones import draw_ribs, draw_shoulders, draw_spine
from pocketcxr.data.synthetic.canvas import blurred, ellipse, mirrored, spline
from pocketcxr.data.synthetic.patient import SIDES, stretched, width_at

if TYPE_CHECKING:
    from pocketcxr.data.synthetic.canvas import Canvas, Layer, Points
    from pocketcxr.data.synthetic.patient import Anatomy


@dataclass(frozen=True)
class Shadows:
    """Maps of one image, float32 [height, width].

    `attenuation` is that of the healthy chest; `air` how much of a pixel is aerated lung, 0 to 1; `lungs` the lungs'
    true outlines, as coverage of the pixel; `bronchi` the branches that stay dark in a consolidation.
    """

    attenuation: Layer
    air: Layer
    lungs: Layer
    bronchi: Layer


def draw_shadows(anatomy: Anatomy, canvas: Canvas) -> Shadows:
    """Project one patient through the canvas's pose."""
    unit = canvas.height / 320
    lungs = _lungs(anatomy, canvas)
    deep = blurred(lungs, 22 * unit)
    air = lungs * (0.5 + 0.5 * deep)  # thinner towards the edges
    body = _body(anatomy, canvas)
    belly, heart = _below_diaphragm(anatomy, canvas), _mediastinum(anatomy, canvas)
    soft = body * (0.5 + 0.06 * anatomy.fat + 0.23 * np.maximum(belly, heart) + 0.03 * heart)
    soft += _breasts(anatomy, canvas)
    bones = (
        draw_ribs(anatomy, canvas) * (0.45 + 0.55 * lungs)
        + draw_shoulders(anatomy, canvas)
        + draw_spine(anatomy, canvas)
    )
    vessels, bronchi = _vessels(anatomy, canvas)
    attenuation = soft + anatomy.bone * bones - 0.42 * air + 0.12 * vessels * air - 0.1 * _airways(canvas)
    return Shadows(attenuation=attenuation.astype(np.float32), air=air, lungs=lungs, bronchi=bronchi)


def lung_outline(anatomy: Anatomy, canvas: Canvas, side: int) -> Points:
    """Closed outline [n, 2] of one lung in patient coordinates; the heart's bulge is cut out of the left one."""
    dome = _dome_controls(anatomy, canvas, side)
    medial = [(0.09, 0.62), (0.083, 0.53), (0.062, 0.45), (0.056, 0.35), (0.05, 0.25)]
    if side > 0:
        heart, aorta = anatomy.heart, anatomy.aorta
        medial = [
            (0.195 * heart, 0.665),
            (0.165 * heart, 0.575),
            (0.115 * heart, 0.495),
            (0.082, 0.425),
            (0.066, 0.375),
            (0.075 + 0.018 * aorta, 0.325),
            (0.06, 0.272),
            (0.048, 0.22),
        ]
    else:
        medial[:2] = [(0.09 * anatomy.heart, 0.62), (0.085 * anatomy.heart, 0.53)]
    lateral = [(0.07, 0.15), (0.125, 0.112), (0.19, 0.132), (0.245, 0.2), (0.3, 0.32), (0.338, 0.46), (0.362, 0.6)]
    lateral = [(x * width_at(y, anatomy), stretched(y, anatomy)) for x, y in lateral]
    uneven = iter(anatomy.outline[(side > 0) * 16 :])  # no two people's lungs have one outline
    lateral = [(x + next(uneven), y + 0.4 * next(uneven)) for x, y in lateral]
    return mirrored(spline([*lateral, *dome, *medial], closed=True), side)


def _dome_controls(anatomy: Anatomy, canvas: Canvas, side: int) -> list[tuple[float, float]]:
    """Diaphragm from the costophrenic angle inwards."""
    down = (0.0 if side < 0 else 1.0) * anatomy.dome[1] + anatomy.dome[0] + canvas.pose.inspiration
    inner = 0.088 if side < 0 else 0.2 * anatomy.heart
    points = [(0.374, 0.72), (0.376, 0.785), (0.362, 0.775), (0.325, 0.735), (0.265, 0.702)]
    points += [(0.21, 0.69), (0.15, 0.697)] if side < 0 else [(0.225, 0.698)]
    points = [(x * width_at(0.74, anatomy), stretched(y, anatomy) + down) for x, y in points]
    return [*points, (inner, stretched(0.722, anatomy) + down)]


def _lungs(anatomy: Anatomy, canvas: Canvas) -> Layer:
    painter = canvas.painter()
    for side in SIDES:
        painter.fill(lung_outline(anatomy, canvas, side))
    return np.minimum(painter.layer(), 1)


def _body(anatomy: Anatomy, canvas: Canvas) -> Layer:
    wide, fat = anatomy.chest_width, 0.012 * anatomy.fat
    drop = sum(anatomy.shoulder) / 2 + 0.03
    half = [(0.085, -0.2), (0.085, 0.0), (0.12, 0.055), (0.25, 0.065 + drop / 2), (0.4, 0.075 + drop)]
    half += [
        (0.6, 0.13 + drop),
        (0.7, 0.42),
        (0.56, 0.4),
        (0.45 * wide + fat, 0.345),
        (0.425 * wide + fat, 0.4),
        (0.425 * wide + fat, 0.6),
    ]
    half += [(0.44 * wide + 2 * fat, 0.85), (0.46 * wide + 2 * fat, 1.3)]
    right, left = (mirrored(spline(half), side) for side in SIDES)
    outline = canvas.painter().fill(np.concatenate([left, right[::-1]])).layer()
    unit = canvas.height / 320
    return outline * (0.72 + 0.28 * blurred(outline, 40 * unit))


def _below_diaphragm(anatomy: Anatomy, canvas: Canvas) -> Layer:
    """Liver, spleen and stomach under the domes, with the gas bubble under the left one."""
    right, left = (mirrored(spline(_dome_controls(anatomy, canvas, side)[1:]), side) for side in SIDES)
    outline = np.concatenate([[(-0.6, 1.3), (-0.6, 0.95)], right, left[::-1], [(0.6, 0.95), (0.6, 1.3)]])
    # soft here: the crisp edge of the dome is the lung's own, and some lung lies behind the diaphragm
    belly = blurred(canvas.painter().fill(outline).layer(), 7 * canvas.height / 320)
    top = float(left[:, 1].min())
    gas = ellipse(0.2, top + 0.045 + 0.01 * anatomy.gas, 0.035 + 0.04 * anatomy.gas, 0.014 + 0.018 * anatomy.gas)
    bubble = blurred(canvas.painter().fill(gas).layer(), 3 * canvas.height / 320)
    return belly - 0.9 * bubble * min(1.0, 2 * anatomy.gas)


def _mediastinum(anatomy: Anatomy, canvas: Canvas) -> Layer:
    """Heart and great vessels; the lung outlines already leave room for them."""
    h, unit = anatomy.heart, canvas.height / 320
    low = anatomy.dome[0] + canvas.pose.inspiration
    heart = [
        (-0.045, 0.38),
        (-0.075, 0.45),
        (-0.085 * h, 0.52),
        (-0.095 * h, 0.61),
        (-0.075, 0.71 + low),
        (0.04, 0.75 + low),
    ]
    heart += [(0.15 * h, 0.745 + low), (0.2 * h, 0.69), (0.17 * h, 0.575), (0.115 * h, 0.49), (0.07, 0.41), (0.0, 0.36)]
    knob = 0.072 + 0.018 * anatomy.aorta
    vessels = [(-0.045, 0.0), (-0.045, 0.2), (-0.056, 0.3), (-0.06, 0.42), (-0.03, 0.5), (0.05, 0.5)]
    vessels += [(0.088, 0.43), (0.066, 0.375), (knob, 0.325), (0.058, 0.27), (0.045, 0.2), (0.045, 0.0)]
    painter = canvas.painter().fill(spline(vessels, closed=True), 0.8, depth=0.3)
    painter.fill(spline(heart, closed=True), 1.0, depth=0.5)
    layer = painter.layer()
    return 0.5 * blurred(layer, 5 * unit) + 0.5 * blurred(layer, 26 * unit)


def _breasts(anatomy: Anatomy, canvas: Canvas) -> Layer:
    if not anatomy.breast:
        return np.zeros((canvas.height, canvas.width), dtype=np.float32)
    size, unit = anatomy.breast, canvas.height / 320
    painter = canvas.painter()
    for side in SIDES:
        shape = ellipse(side * 0.235 * anatomy.chest_width, 0.6 + 0.03 * size, 0.15 + 0.02 * size, 0.12 + 0.05 * size)
        painter.fill(shape, depth=1.0)
    layer = painter.layer()
    return (0.35 * blurred(layer, 3 * unit) + 0.65 * blurred(layer, 24 * unit)) * 0.085 * size


def _airways(canvas: Canvas) -> Layer:
    """Trachea and the two main bronchi: darker."""
    painter = canvas.painter().stroke(spline([(0.0, -0.1), (0.0, 0.15), (-0.004, 0.28), (-0.006, 0.375)]), 0.036)
    painter.stroke([(-0.006, 0.37), (-0.035, 0.41), (-0.062, 0.45)], 0.022, 0.8)
    painter.stroke([(-0.006, 0.37), (0.035, 0.415), (0.078, 0.445)], 0.02, 0.8)
    return blurred(painter.layer(), 2 * canvas.height / 320)


def _vessels(anatomy: Anatomy, canvas: Canvas) -> tuple[Layer, Layer]:
    """Pulmonary vessels, and the bronchi that run beside them."""
    tree = anatomy.vessels
    vessels = canvas.painter().hairlines(tree.points, tree.widths, tree.values)
    wide = tree.widths > 0.0035  # noqa: PLR2004  # image heights: thinner bronchi are never seen
    beside = tree.points[wide] + (0.004, 0.003)
    bronchi = canvas.painter().hairlines(beside, 0.7 * tree.widths[wide], np.ones(int(wide.sum())))
    return vessels.layer(), bronchi.layer()
