"""The bones of the drawn chest: ribs, shoulders, spine, each as a map of what it adds to the attenuation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.data.synthetic.canvas import ellipse, mirrored, spline
from pocketcxr.data.synthetic.patient import SIDES, lateral_edge, spine_x, stretched

if TYPE_CHECKING:
    from pocketcxr.data.synthetic.canvas import Canvas, Layer, Painter, Points
    from pocketcxr.data.synthetic.patient import Anatomy


def draw_ribs(anatomy: Anatomy, canvas: Canvas) -> Layer:
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
    start = stretched(0.118 + 0.0585 * anatomy.rib_spacing * number, anatomy) + anatomy.rib_phase + jitter
    drop = (0.03 + 0.0155 * number) * anatomy.rib_slope
    turn_y = start + drop
    edge = lateral_edge(anatomy, turn_y) + 0.012
    first = max(0.0, 1.5 - number) * 0.02  # the upper ribs are tight hoops
    bow = 0.008 * anatomy.rib_bow
    posterior = [
        (0.04, start),
        (0.3 * edge, start - bow - first),
        (0.62 * edge, start + 0.2 * drop - bow - first),
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
    painter.stroke(points, width, 1.0, depth=depth, marrow=0.66)


def draw_shoulders(anatomy: Anatomy, canvas: Canvas) -> Layer:
    """Clavicles, scapulae and humeral heads."""
    collar, blade = canvas.painter(), canvas.painter()
    wide, out = anatomy.chest_width, anatomy.scapula
    for side in SIDES:
        lift = anatomy.shoulder[side > 0]
        clavicle = [
            (0.035, 0.205),
            (0.1, 0.192),
            (0.19, 0.158 + lift),
            (0.29, 0.128 + lift),
            (0.4 * wide, 0.118 + 1.4 * lift),
        ]
        _cortical(collar, mirrored(spline(clavicle), side), 0.024, depth=1.0)
        scapula = [(0.4, 0.15), (0.335, 0.165), (0.325, 0.24), (0.345, 0.36), (0.365, 0.405), (0.4, 0.33), (0.43, 0.2)]
        outline = mirrored(spline([(x * wide + out, y + lift) for x, y in scapula], closed=True), side)
        blade.fill(outline, 0.4, depth=-0.8)
        blade.stroke(outline[: len(outline) * 2 // 3], 0.007, 0.75, depth=-0.8)
        blade.fill(ellipse(side * 0.475 * wide, 0.165 + lift, 0.042, 0.044), 0.9)
        blade.stroke(mirrored([(0.49 * wide, 0.17 + lift), (0.6, 0.3), (0.66, 0.45)], side), 0.05, 0.9)
    return 0.15 * collar.layer() + 0.1 * blade.layer()


def draw_spine(anatomy: Anatomy, canvas: Canvas) -> Layer:
    """Vertebrae with their end plates, pedicles and spinous processes."""
    painter = canvas.painter()
    for number in range(-1, 22):
        y = stretched(0.02 + 0.048 * number, anatomy) - anatomy.spine_phase
        x = spine_x(anatomy, y)
        half = 0.032 + 0.0006 * number
        box = [
            (x - half, y),
            (x + half, y),
            (x + half * 0.9, y + 0.02),
            (x + half, y + 0.041),
            (x - half, y + 0.041),
            (x - half * 0.9, y + 0.02),
        ]
        painter.fill(box, 0.62, depth=-0.7)
        painter.stroke([box[0], box[1]], 0.004, 0.85, depth=-0.7).stroke([box[3], box[4]], 0.004, 0.85, depth=-0.7)
        painter.fill(ellipse(x, y + 0.03, 0.007, 0.013, steps=10), 0.95, depth=-1.0)
        for side in SIDES:
            painter.fill(ellipse(x + side * half * 0.68, y + 0.013, 0.007, 0.009, steps=10), 0.9, depth=-0.8)
    return 0.1 * painter.layer()
