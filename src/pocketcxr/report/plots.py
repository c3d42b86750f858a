"""Charts as inline SVG: sharp on any screen, themed by the page's own colours, readable by a screen reader.

Written by hand rather than with matplotlib, whose SVG carries fixed colours (unreadable on a dark page) and hundreds of
kilobytes of glyph outlines. Colours are classes ``s0`` to ``s5`` of the page; dashes and markers repeat what they say,
for readers who see no colour.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 420, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 46
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 2")
_MOST_POINTS = 300
_LEGEND_LETTERS = 22  # longer names get a row of their own


@dataclass(frozen=True)
class Series:
    """One line: points (x, y), its name in the legend, whether points carry markers, and its place in the palette."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    markers: bool = False
    line: bool = True


@dataclass(frozen=True)
class Axis:
    """One axis: name with unit, and its range; ``None`` takes the range of the data."""

    name: str
    low: float | None = None
    high: float | None = None


def line_chart(
    series: Sequence[Series], x: Axis, y: Axis, *, title: str, description: str, diagonal: bool = False
) -> str:
    """Draw lines in one frame with a legend below it.

    Args:
        series: lines to draw; those without finite points are named as missing in the legend.
        x: horizontal axis.
        y: vertical axis.
        title: read out first by a screen reader.
        description: what the chart shows, in a sentence with the figures that matter.
        diagonal: draw the line of equality (chance, or perfect calibration).
    """
    drawn = [(one, _finite(one.points)) for one in series]
    across, along_x = _scale(x, [p[0] for _, points in drawn for p in points], _LEFT, WIDTH - _RIGHT)
    upward, along_y = _scale(y, [p[1] for _, points in drawn for p in points], HEIGHT - _BOTTOM, _TOP)
    columns = 2 if all(len(one.name) <= _LEGEND_LETTERS for one in series) else 1
    height = HEIGHT + 20 * math.ceil(len(series) / columns)
    parts = [_opening(height, title, description), _frame(along_x, along_y, across, upward, x.name, y.name)]
    if diagonal:
        (x0, x1), (y0, y1) = (across(0), across(1)), (upward(0), upward(1))
        parts.append(f'<line class="diagonal" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>')
    for one, points in drawn:
        places = [(across(a), upward(b)) for a, b in _thinned(points)]
        if one.line and len(places) > 1:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
            dash = _DASHES[one.colour % len(_DASHES)]
            parts.append(f'<polyline class="line s{one.colour % 6}" stroke-dasharray="{dash}" points="{path}"/>')
        if one.markers or len(places) == 1:
            parts += [_marker(a, b, one.colour) for a, b in places]
    parts += [_legend(one, number, columns, bool(points)) for number, (one, points) in enumerate(drawn)]
    return "".join(parts) + "</svg>"


def interval_chart(rows: Sequence[tuple[str, float, float | None, float | None]], *, title: str, axis: str) -> str:
    """Draw one figure per row with its interval as a bar: who is better, and how sure that is, at one look.

    Args:
        rows: name, value, low, high; without an interval only the dot is drawn.
        title: read out first by a screen reader.
        axis: name of the figure.
    """
    ends = [end for _, *values in rows for end in values if end is not None]
    margin = max(0.005, 0.06 * (max(ends) - min(ends)))
    low, high = max(0.0, min(ends) - margin), min(1.0, max(ends) + margin)
    across, ticks = _scale(Axis(axis, low, high), [], 150, WIDTH - 58)
    row_height = 34
    height = row_height * len(rows) + _BOTTOM + 6
    said = "; ".join(f"{name} {value:.3f}" for name, value, *_ in rows)
    parts = [_opening(height, title, f"{axis}: {said}.")]
    floor = height - _BOTTOM
    for tick in ticks:
        a = across(tick)
        parts.append(f'<line class="grid" x1="{a:.1f}" y1="4" x2="{a:.1f}" y2="{floor}"/>')
        parts.append(f'<text class="tick" x="{a:.1f}" y="{floor + 16}" text-anchor="middle">{_short(tick)}</text>')
    parts.append(
        f'<text class="name" x="{(150 + WIDTH - 58) / 2}" y="{height - 8}" text-anchor="middle">{_escaped(axis)}</text>'
    )
    for number, (name, value, least, most) in enumerate(rows):
        b = row_height * number + 22
        parts.append(f'<text class="name" x="142" y="{b + 4}" text-anchor="end">{_escaped(name)}</text>')
        if least is not None and most is not None:
            parts.append(
                f'<line class="line s{number % 6}" x1="{across(least):.1f}" y1="{b}" x2="{across(most):.1f}" y2="{b}"/>'
            )
        parts.append(_marker(across(value), b, number, size=5.5))
        parts.append(f'<text class="name" x="{WIDTH - 50}" y="{b + 4}">{value:.3f}</text>')
    return "".join(parts) + "</svg>"


def _opening(height: float, title: str, description: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{_escaped(title)}. {_escaped(description)}">'
        f"<title>{_escaped(title)}</title>"
    )


def _frame(
    along_x: Sequence[float],
    along_y: Sequence[float],
    across: Callable[[float], float],
    upward: Callable[[float], float],
    x_name: str,
    y_name: str,
) -> str:
    right, floor = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for tick in along_x:
        a = across(tick)
        parts.append(f'<line class="grid" x1="{a:.1f}" y1="{_TOP}" x2="{a:.1f}" y2="{floor}"/>')
        parts.append(f'<text class="tick" x="{a:.1f}" y="{floor + 16}" text-anchor="middle">{_short(tick)}</text>')
    for tick in along_y:
        b = upward(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{b:.1f}" x2="{right}" y2="{b:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{b + 4:.1f}" text-anchor="end">{_short(tick)}</text>')
    middle_x, middle_y = (_LEFT + right) / 2, (_TOP + floor) / 2
    parts.append(f'<text class="name" x="{middle_x}" y="{floor + 36}" text-anchor="middle">{_escaped(x_name)}</text>')
    parts.append(
        f'<text class="name" x="13" y="{middle_y}" text-anchor="middle" transform="rotate(-90 13 {middle_y})">'
        f"{_escaped(y_name)}</text>"
    )
    return "".join(parts)


def _legend(one: Series, number: int, columns: int, present: bool) -> str:
    a, b = _LEFT - 40 + (number % columns) * 195, HEIGHT + 8 + 20 * (number // columns)
    dash = _DASHES[one.colour % len(_DASHES)]
    line = f'<line class="line s{one.colour % 6}" stroke-dasharray="{dash}" x1="{a}" y1="{b}" x2="{a + 26}" y2="{b}"/>'
    mark = _marker(a + 13, b, one.colour) if one.markers else ""
    name = one.name if present else f"{one.name}: not measurable"
    return f'{line if one.line else ""}{mark}<text class="name" x="{a + 33}" y="{b + 4}">{_escaped(name)}</text>'


def _marker(a: float, b: float, colour: int, *, size: float = 3.6) -> str:
    kind = colour % 3
    style = f'class="mark s{colour % 6}"'
    if kind == 0:
        return f'<circle {style} cx="{a:.1f}" cy="{b:.1f}" r="{size}"/>'
    if kind == 1:
        return f'<rect {style} x="{a - size:.1f}" y="{b - size:.1f}" width="{2 * size}" height="{2 * size}"/>'
    top = size * 1.3
    return f'<path {style} d="M{a:.1f} {b - top:.1f}l{top:.1f} {2 * size:.1f}h{-2 * top:.1f}z"/>'


def _scale(
    axis: Axis, values: Sequence[float], start: float, end: float
) -> tuple[Callable[[float], float], list[float]]:
    """Map data to drawing units, and choose round ticks."""
    low = axis.low if axis.low is not None else min(values, default=0.0)
    high = axis.high if axis.high is not None else max(values, default=1.0)
    if high - low < 1e-9:  # noqa: PLR2004  # one value only: give it room
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    ticks = [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
    return (lambda value: start + (value - low) / (high - low) * (end - start)), ticks


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in points if math.isfinite(a) and math.isfinite(b)]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= _MOST_POINTS:
        return points
    keep = np.unique(np.linspace(0, len(points) - 1, _MOST_POINTS).round().astype(int))
    return [points[i] for i in keep]


def _short(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def _escaped(text: str) -> str:
    return html.escape(one_line(text))
