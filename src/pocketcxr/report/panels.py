"""Charts and picture sheets of the model audit, as PNG that looks the same in any report, light or dark.

matplotlib draws without its global state, so nothing is left behind and no display is needed.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.report.palette import SERIES, light
from pocketcxr.report.types import Picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from numpy.typing import NDArray

_COLOURS = tuple(map(light, SERIES))
_DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
_DPI = 110


@dataclass(frozen=True)
class Panel:
    """One small chart: `lines` name to points (x, y); `diagonal` draws equality, `level` a dotted reference."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    x: str = ""
    y: str = ""
    ticks: Sequence[str] = ()
    low: float | None = 0.0
    high: float | None = 1.0
    diagonal: bool = False
    level: float | None = None


def panels(title: str, drawn: Sequence[Panel], *, columns: int = 4, alt: str, note: str = "") -> Picture:
    """Draw small charts in rows, with one legend for all."""
    columns = min(columns, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    side = 2.6 if columns > 1 else 4.4
    figure = _figure(columns * side * 1.12 + 0.4, rows * side + 0.5)
    names = list(dict.fromkeys(name for panel in drawn for name in panel.lines))
    for number, panel in enumerate(drawn):
        axes = figure.add_subplot(rows, columns, number + 1)
        _draw(axes, panel, names)
    handles = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if len(handles) > 1:
        figure.legend(
            list(handles.values()), list(handles), loc="outside lower center", ncols=min(4, len(handles)), frameon=False
        )
    return Picture(title, _png(figure), alt, note=note)


def bars(
    title: str,
    rows: Sequence[tuple[str, float, float | None, float | None]],
    *,
    x: str,
    alt: str,
    low: float = 0.0,
    high: float = 1.0,
    level: float | None = None,
    note: str = "",
) -> Picture:
    """Draw one dot per row with its interval; `level` is a reference, such as what a guess would reach."""
    figure = _figure(7.2, 0.34 * len(rows) + 1.1)
    axes = figure.add_subplot(1, 1, 1)
    for place, (_, value, least, most) in enumerate(rows):
        if least is not None and most is not None:
            axes.plot([least, most], [place, place], color=_COLOURS[0], linewidth=2, solid_capstyle="butt", alpha=0.55)
        axes.plot([value], [place], "o", color=_COLOURS[0], markersize=6)
        axes.annotate(f"{value:.2f}", (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    if level is not None:
        axes.axvline(level, color=light("soft"), linestyle=":", linewidth=1)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(low, high + 0.008 * (high - low))  # a dot at the end stays whole
    axes.set_xlabel(x)
    axes.grid(axis="x", color=light("grid"), linewidth=0.7)
    _plain(axes)
    return Picture(title, _png(figure), alt, note=note)


def sheet(
    title: str,
    rows: Sequence[Sequence[NDArray[np.float32]]],
    *,
    columns: Sequence[str],
    names: Sequence[str] = (),
    alt: str,
    note: str = "",
) -> Picture:
    """Lay pictures [s, s] in [0, 1], or RGB [s, s, 3], out as a table with a word above each column."""
    figure = _figure(1.25 * len(columns) + 0.3, 1.28 * len(rows) + 0.35)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            axes = figure.add_subplot(len(rows), len(columns), row * len(columns) + column + 1)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(columns[column], fontsize=8)
            if column == 0 and names:
                axes.set_ylabel(names[row], fontsize=8)
    return Picture(title, _png(figure), alt, note=note)


def overlay(
    image: NDArray[np.float32], mask: NDArray[np.bool_], *, colour: tuple[float, float, float]
) -> NDArray[np.float32]:
    """A picture [s, s] as RGB [s, s, 3] with a mask tinted over it."""
    rgb = np.repeat(image[..., None], 3, axis=2)
    tint = np.array(colour, dtype=np.float32)
    return np.where(mask[..., None], 0.65 * rgb + 0.35 * tint, rgb).astype(np.float32)


def _draw(axes: Axes, panel: Panel, names: Sequence[str]) -> None:
    if panel.diagonal:
        axes.plot([0, 1], [0, 1], color=light("soft"), linewidth=1, linestyle=":")
    if panel.level is not None:
        axes.axhline(panel.level, color=light("soft"), linewidth=1, linestyle=":")
    for name, points in panel.lines.items():
        number = names.index(name) % len(_COLOURS)
        x, y = [point[0] for point in points], [point[1] for point in points]
        marker = "o" if len(points) <= 12 else None  # noqa: PLR2004
        axes.plot(x, y, label=name, color=_COLOURS[number], linestyle=_DASHES[number], marker=marker, markersize=3.5)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.x, fontsize=9)
    axes.set_ylabel(panel.y, fontsize=9)
    if panel.ticks:
        axes.set_xticks(range(len(panel.ticks)), panel.ticks)
    if panel.low is not None or panel.high is not None:
        axes.set_ylim(panel.low, panel.high)
    axes.tick_params(labelsize=8)
    axes.grid(color=light("grid"), linewidth=0.7)
    _plain(axes)


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _figure(width: float, height: float) -> Canvas:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")


def _png(figure: Canvas) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
