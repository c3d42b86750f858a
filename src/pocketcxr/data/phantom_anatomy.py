"""The drawn chest: one patient's shapes, and their shadow on a film as a map of attenuation.

The shapes are a draughtsman's reading of a frontal film (lungs, heart, great vessels, ribs, clavicles, scapulae, spine,
diaphragm, stomach bubble, breasts), not a simulation of X-rays: shadows add up, air takes away, nothing scatters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.phantom_canvas import Canvas, blurred, ellipse, mirrored, spline

if TYPE_CHECKING:
    from pocketcxr.data.phantom_canvas import Layer, Painter, Points

SIDES = (-1, 1)
"""Patient's right (left in the picture), patient's left."""


@dataclass(frozen=True)
class Vessels:
    """Branches of the pulmonary vessels, thin ones first: points [n, 3, 2], widths [n], brightness [n] in 0 to 1."""

    points: Points
    widths: Points
    values: Points


@dataclass(frozen=True)
class Anatomy:
    """One patient: what stays the same in all of their images. Lengths in film heights, other factors around 1."""

    sex: str
    age: int
    chest_width: float
    lung_height: float
    heart: float
    aorta: float
    fat: float
    rib_slope: float
    rib_jitter: tuple[float, ...]
    dome: tuple[float, float]
    breast: float
    gas: float
    bone: float
    vessels: Vessels


@dataclass(frozen=True)
class Shadows:
    """Maps of one film, float32 [height, width].

    `attenuation` is that of the healthy chest; `air` how much of a pixel is aerated lung, 0 to 1; `lungs` the lungs'
    true outlines, as coverage of the pixel; `bronchi` the branches that stay dark in a consolidation.
    """

    attenuation: Layer
    air: Layer
    lungs: Layer
    bronchi: Layer


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient by lot."""
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
        rib_slope=float(rng.uniform(0.7, 1.35)),
        rib_jitter=tuple(rng.normal(0, 0.004, 24).tolist()),
        dome=(float(rng.normal(0, 0.012)), float(rng.normal(0.022, 0.012))),
        breast=float(rng.uniform(0.4, 1.3)) if sex == "F" else 0.0,
        gas=float(rng.uniform(0, 1)),
        bone=float(np.clip(rng.normal(1.0 - 0.12 * older, 0.12), 0.6, 1.3)),
        vessels=_vessel_trees(rng),
    )


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
    bones = _ribs(anatomy, canvas) * (0.45 + 0.55 * lungs) + _shoulders(anatomy, canvas) + _spine(anatomy, canvas)
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
    lateral = [(x * anatomy.chest_width, _stretched(y, anatomy)) for x, y in lateral]
    return mirrored(spline([*lateral, *dome, *medial], closed=True), side)


def lateral_edge(anatomy: Anatomy, y: float) -> float:
    """Distance of the lung's outer edge from the midline at a height."""
    heights, edges = (0.11, 0.132, 0.2, 0.32, 0.46, 0.6, 0.74, 0.9), (0.1, 0.19, 0.245, 0.3, 0.338, 0.362, 0.375, 0.37)
    return float(np.interp(y, [_stretched(h, anatomy) for h in heights], edges)) * anatomy.chest_width


def _stretched(y: float, anatomy: Anatomy) -> float:
    return 0.115 + (y - 0.115) * anatomy.lung_height


def _dome_controls(anatomy: Anatomy, canvas: Canvas, side: int) -> list[tuple[float, float]]:
    """Diaphragm from the costophrenic angle inwards."""
    down = (0.0 if side < 0 else 1.0) * anatomy.dome[1] + anatomy.dome[0] + canvas.pose.inspiration
    inner = 0.088 if side < 0 else 0.2 * anatomy.heart
    points = [(0.374, 0.72), (0.376, 0.785), (0.362, 0.775), (0.325, 0.735), (0.265, 0.702)]
    points += [(0.21, 0.69), (0.15, 0.697)] if side < 0 else [(0.225, 0.698)]
    points = [(x * anatomy.chest_width, _stretched(y, anatomy) + down) for x, y in points]
    return [*points, (inner, _stretched(0.722, anatomy) + down)]


def _lungs(anatomy: Anatomy, canvas: Canvas) -> Layer:
    painter = canvas.painter()
    for side in SIDES:
        painter.fill(lung_outline(anatomy, canvas, side))
    return np.minimum(painter.layer(), 1)


def _body(anatomy: Anatomy, canvas: Canvas) -> Layer:
    wide, fat = anatomy.chest_width, 0.012 * anatomy.fat
    half = [(0.085, -0.2), (0.085, 0.0), (0.12, 0.055), (0.25, 0.085), (0.4, 0.105), (0.6, 0.16), (0.7, 0.42)]
    half += [(0.56, 0.4), (0.45 * wide + fat, 0.345), (0.425 * wide + fat, 0.4), (0.425 * wide + fat, 0.6)]
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


def _ribs(anatomy: Anatomy, canvas: Canvas) -> Layer:
    """Ten pairs: from the spine outwards behind, round the chest wall, and down again in front."""
    behind, front = canvas.painter(), canvas.painter()
    for number in range(10):
        for side in SIDES:
            posterior, anterior = _rib(anatomy, number, side)
            _cortical(behind, posterior, 0.0185, depth=-0.4)
            if 0 < number < 7:  # noqa: PLR2004  # costal cartilage below and the first rib's end are not seen
                _cortical(front, anterior, 0.02, depth=0.6)
    return 0.125 * behind.layer() + 0.085 * front.layer()


def _rib(anatomy: Anatomy, number: int, side: int) -> tuple[Points, Points]:
    jitter = anatomy.rib_jitter[number + (10 if side > 0 else 0)]
    start = _stretched(0.118 + 0.0585 * number, anatomy) + jitter
    drop = (0.03 + 0.0155 * number) * anatomy.rib_slope
    turn_y = start + drop
    edge = lateral_edge(anatomy, turn_y) + 0.012
    first = max(0.0, 1.5 - number) * 0.02  # the upper ribs are tight hoops
    posterior = [
        (0.04, start),
        (0.3 * edge, start - 0.008 - first),
        (0.62 * edge, start + 0.12 * drop - first),
        (0.88 * edge, start + 0.52 * drop),
        (edge, turn_y),
    ]
    fall = (0.05 + 0.013 * number) * anatomy.rib_slope
    inner = 0.085 + 0.012 * number
    anterior = [
        (edge, turn_y),
        (edge - 0.012, turn_y + 0.3 * fall),
        (0.72 * edge + 0.28 * inner, turn_y + 0.75 * fall),
        (0.35 * edge + 0.65 * inner, turn_y + 1.05 * fall),
    ]
    return mirrored(spline(posterior), side), mirrored(spline(anterior), side)


def _cortical(painter: Painter, points: Points, width: float, *, depth: float) -> None:
    """A tubular bone: bright edges, fainter marrow."""
    painter.stroke(points, width, 1.0, depth=depth).stroke(points, 0.62 * width, 0.66, depth=depth)


def _shoulders(anatomy: Anatomy, canvas: Canvas) -> Layer:
    """Clavicles, scapulae and humeral heads."""
    collar, blade = canvas.painter(), canvas.painter()
    wide = anatomy.chest_width
    for side in SIDES:
        lift = anatomy.rib_jitter[20 + (side > 0)] * 2
        clavicle = [
            (0.035, 0.205),
            (0.1, 0.192),
            (0.19, 0.158 + lift),
            (0.29, 0.128 + lift),
            (0.4 * wide, 0.118 + lift),
        ]
        _cortical(collar, mirrored(spline(clavicle), side), 0.024, depth=1.0)
        scapula = [(0.4, 0.15), (0.335, 0.165), (0.325, 0.24), (0.345, 0.36), (0.365, 0.405), (0.4, 0.33), (0.43, 0.2)]
        outline = mirrored(spline([(x * wide, y) for x, y in scapula], closed=True), side)
        blade.fill(outline, 0.4, depth=-0.8)
        blade.stroke(outline[: len(outline) * 2 // 3], 0.007, 0.75, depth=-0.8)
        blade.fill(ellipse(side * 0.475 * wide, 0.165, 0.042, 0.044), 0.9)
        blade.stroke(mirrored([(0.49 * wide, 0.17), (0.6, 0.3), (0.66, 0.45)], side), 0.05, 0.9)
    return 0.15 * collar.layer() + 0.1 * blade.layer()


def _spine(anatomy: Anatomy, canvas: Canvas) -> Layer:
    painter = canvas.painter()
    for number in range(-1, 22):
        y = _stretched(0.02 + 0.048 * number, anatomy)
        half = 0.032 + 0.0006 * number
        box = [
            (-half, y),
            (half, y),
            (half * 0.9, y + 0.02),
            (half, y + 0.041),
            (-half, y + 0.041),
            (-half * 0.9, y + 0.02),
        ]
        painter.fill(box, 0.62, depth=-0.7)
        painter.stroke([*box, box[0]], 0.003, 0.85, depth=-0.7)
        painter.fill(ellipse(0.0, y + 0.03, 0.007, 0.013, steps=10), 0.95, depth=-1.0)
        for side in SIDES:
            painter.fill(ellipse(side * half * 0.68, y + 0.013, 0.007, 0.009, steps=10), 0.9, depth=-0.8)
    return 0.1 * painter.layer()


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
    wide = tree.widths > 0.0035  # noqa: PLR2004  # film heights: thinner bronchi are never seen
    beside = tree.points[wide] + (0.004, 0.003)
    bronchi = canvas.painter().hairlines(beside, 0.7 * tree.widths[wide], np.ones(int(wide.sum())))
    return vessels.layer(), bronchi.layer()


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
