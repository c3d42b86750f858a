"""Drawing of synthetic chest X-rays: curves in patient coordinates, painted through a pose onto a pixel grid.

Patient coordinates: x from -0.5 to 0.5 across the image, y from 0 (top) to 1 (bottom); x grows towards the right edge
of the image, which is the patient's *left* side, as on every frontal radiograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    Layer = NDArray[np.floating]  # float32 in practice
    Points = NDArray[np.float64]

_SUPERSAMPLING = 2
_DRAWN = 250.0  # grey level that stands for 1.0; lines brighter than their neighbours keep some headroom


@dataclass(frozen=True)
class Pose:
    """How one image was taken: an affine map from patient coordinates to the image.

    `turn` moves what lies in front (clavicles, heart) against what lies behind (spine), as a rotated patient does;
    `inspiration` moves the diaphragm, in image heights, downwards where positive.
    """

    scale: float = 1.0
    stretch: float = 1.0
    rotation: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    turn: float = 0.0
    inspiration: float = 0.0

    @cached_property
    def matrix(self) -> Points:
        """Linear part [2, 2] of the map."""
        cosine, sine = np.cos(self.rotation), np.sin(self.rotation)
        return self.scale * np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([1.0, self.stretch])


@dataclass(frozen=True)
class Canvas:
    """An image of width x height pixels seen through a pose; the height is the unit of length."""

    width: int
    height: int
    pose: Pose

    def to_pixels(self, points: ArrayLike, *, depth: float = 0.0) -> Points:
        """Pixel coordinates [..., 2] (x, y) of patient points [..., 2] at a depth in [-1 (back), 1 (front)]."""
        centred = np.asarray(points, dtype=float) - (0.0, 0.5)
        centred[..., 0] += depth * self.pose.turn
        moved = centred @ self.pose.matrix.T + (self.pose.shift_x, self.pose.shift_y)
        return moved * self.height + (self.width / 2, self.height / 2)

    def coordinates(self) -> tuple[Layer, Layer]:
        """Patient coordinates x, y [height, width] of every pixel's centre."""
        inverse = np.linalg.inv(self.pose.matrix)
        columns = (np.arange(self.width) + 0.5 - self.width / 2) / self.height - self.pose.shift_x
        rows = (np.arange(self.height) + 0.5) / self.height - 0.5 - self.pose.shift_y
        x = inverse[0, 0] * columns[None, :] + inverse[0, 1] * rows[:, None]
        y = inverse[1, 0] * columns[None, :] + inverse[1, 1] * rows[:, None] + 0.5
        return x.astype(np.float32), y.astype(np.float32)

    def painter(self) -> Painter:
        """Start an empty layer."""
        return Painter(self)


class Painter:
    """One layer being drawn at twice the resolution; brighter strokes cover darker ones."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._image = Image.new("L", (canvas.width * _SUPERSAMPLING, canvas.height * _SUPERSAMPLING))
        self._draw = ImageDraw.Draw(self._image)

    def fill(self, points: ArrayLike, value: float = 1.0, *, depth: float = 0.0) -> Painter:
        """Fill a closed outline."""
        self._draw.polygon(self._flat(points, depth), fill=round(value * _DRAWN))
        return self

    def stroke(
        self, points: ArrayLike, width: float, value: float = 1.0, *, depth: float = 0.0, marrow: float | None = None
    ) -> Painter:
        """Draw a smooth curve of a width in image heights, as a filled ribbon; `marrow` fills its inner part."""
        line = np.asarray(points, dtype=float)
        along = np.empty_like(line)  # central differences, one-sided at the ends
        along[1:-1], along[0], along[-1] = line[2:] - line[:-2], line[1] - line[0], line[-1] - line[-2]
        across = along[:, ::-1] * (-1, 1) * (width / 2 / np.sqrt((along * along).sum(axis=1, keepdims=True)))
        self.fill(np.concatenate([line + across, (line - across)[::-1]]), value, depth=depth)
        if marrow is not None:
            across *= 0.62
            self.fill(np.concatenate([line + across, (line - across)[::-1]]), marrow, depth=depth)
        return self

    def hairlines(self, lines: Points, widths: Iterable[float], values: Iterable[float]) -> Painter:
        """Draw many short lines [n, points, 2] at once, each with its width and value."""
        flat = (self._canvas.to_pixels(lines) * _SUPERSAMPLING).reshape(len(lines), -1).tolist()
        pixels = self._canvas.pose.scale * self._canvas.height * _SUPERSAMPLING
        for line, width, value in zip(flat, widths, values, strict=True):
            self._draw.line(line, fill=round(value * _DRAWN), width=max(1, round(width * pixels)))
        return self

    def layer(self) -> Layer:
        """What was drawn, float32 [height, width], 0 to 1, antialiased."""
        return np.asarray(self._image.reduce(_SUPERSAMPLING), dtype=np.float32) / np.float32(_DRAWN)

    def _flat(self, points: ArrayLike, depth: float) -> list[float]:
        return (self._canvas.to_pixels(points, depth=depth) * _SUPERSAMPLING).ravel().tolist()


def spline(points: Iterable[tuple[float, float]] | Points, *, closed: bool = False, steps: int = 6) -> Points:
    """Catmull-Rom curve through control points [n, 2]; through the ends too where it is open."""
    controls = np.asarray(list(points), dtype=float)
    if closed:
        padded = np.concatenate([controls[-1:], controls, controls[:2]])
    else:
        padded = np.concatenate([2 * controls[:1] - controls[1:2], controls, 2 * controls[-1:] - controls[-2:-1]])
    four = np.stack([padded[i : len(padded) - 3 + i] for i in range(4)], axis=1)  # [pieces, 4, 2]
    flat = (_catmull_rom(steps) @ four).reshape(-1, 2)
    return flat if closed else np.concatenate([flat, controls[-1:]])


@cache
def _catmull_rom(steps: int) -> Points:
    """Weights [steps, 4] of the four control points around a piece."""
    t = np.arange(steps)[:, None] / steps
    powers = np.concatenate([t**0, t, t**2, t**3], axis=1)
    return powers @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2


def ellipse(x: float, y: float, rx: float, ry: float, *, steps: int = 24) -> Points:
    """Outline of an axis-parallel ellipse."""
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def mirrored(points: ArrayLike, side: int) -> Points:
    """Points given as (distance from the midline, y) on side -1 (patient's right) or +1 (left)."""
    return np.asarray(points, dtype=float) * (side, 1)


def blurred(layer: Layer, radius: float) -> Layer:
    """Smooth a layer over about `radius` pixels, cheaply: shrink by averaging, enlarge by bicubic interpolation."""
    factor = max(1, round(radius))
    if factor == 1:
        return layer
    image = Image.fromarray(layer)
    return np.asarray(image.reduce(factor).resize(image.size, Image.Resampling.BICUBIC))


def cloud(rng: np.random.Generator, *, shape: tuple[int, int], cells: int) -> Layer:
    """Smooth noise of about unit deviation, `cells` humps down the image; float32 [height, width]."""
    height, width = shape
    coarse = rng.standard_normal((cells + 3, max(4, round(cells * width / height) + 3)), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)) * np.float32(1.4)


def sigmoid(values: Layer) -> Layer:
    """Logistic function without overflow."""
    return (np.tanh(values * np.float32(0.5)) + np.float32(1)) * np.float32(0.5)
