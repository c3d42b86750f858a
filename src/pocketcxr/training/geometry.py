"""The geometry of an augmented view: drawn once, for the image and for what is marked in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.training.config import AugmentationConfig


LUNG_ROOM = (0.04, 0.20)
"""Least and most room around the lungs in a view that is cut out around them, as a share of their extent."""


def view_grid(
    draws: dict[str, NDArray[np.float64]],
    config: AugmentationConfig,
    size: int,
    lungs: NDArray[np.float32] | None = None,
) -> Tensor | None:
    """Where each output pixel is read, [n, size, size, 2] in [-1, 1]: mirror, stretch, crop, rotate, shift.

    None where the configuration moves nothing. Without matrix products, whose rounding depends on the size of the
    batch. `lungs` [n, 4] are the edges of each image's lungs, for views that are cut out around them.
    """
    moving = (config.flip, config.rotation_degrees, config.shift, config.stretch, config.lungs)
    if config.crop >= 1 and not any(moving):
        return None
    angle = np.deg2rad(config.rotation_degrees * (2 * draws["rotation"] - 1))
    side = np.sqrt(config.crop + (1 - config.crop) * draws["crop"])
    stretch = np.exp2(config.stretch * (2 * draws["stretch"] - 1) / 2)
    mirror = np.where(draws["flip"] < config.flip, -1.0, 1.0)
    reach = (1 - side) + 2 * config.shift  # a side is 2 long
    columns = (
        np.cos(angle) * side * stretch * mirror, -np.sin(angle) * side / stretch, reach * (2 * draws["shift_x"] - 1),
        np.sin(angle) * side * stretch * mirror, np.cos(angle) * side / stretch, reach * (2 * draws["shift_y"] - 1),
    )  # fmt: skip
    if lungs is not None and config.lungs > 0:
        columns = _around(lungs, columns, draws, config)
    xx, xy, x0, yx, yy, y0 = (torch.from_numpy(column.astype(np.float32)).view(-1, 1, 1) for column in columns)
    centres = (torch.arange(size, dtype=torch.float32) * 2 + 1) / size - 1
    x, y = centres.view(1, 1, size), centres.view(1, size, 1)
    grid = torch.empty(len(angle), size, size, 2)
    torch.add(xx * x + x0, xy * y, out=grid[..., 0])
    torch.add(yx * x + y0, yy * y, out=grid[..., 1])
    return grid


def _around(
    lungs: NDArray[np.float32],
    columns: tuple[NDArray[np.float64], ...],
    draws: dict[str, NDArray[np.float64]],
    config: AugmentationConfig,
) -> tuple[NDArray[np.float64], ...]:
    """The same geometry within the lungs and their surroundings, for the views that are drawn so."""
    left, top, right, bottom = lungs.astype(np.float64).T
    room = LUNG_ROOM[0] + (LUNG_ROOM[1] - LUNG_ROOM[0]) * draws["lungs_room"]
    chosen = draws["lungs"] < config.lungs
    parts: list[NDArray[np.float64]] = []
    for start, (near, far) in zip((0, 3), ((left, right), (top, bottom)), strict=True):
        extent = far - near
        low, high = np.maximum(near - room * extent, 0), np.minimum(far + room * extent, 1)
        half = np.where(chosen, high - low, 1.0)  # a side is 2 long
        centre = np.where(chosen, low + high - 1, 0.0)
        own = columns[start : start + 3]
        parts += [half * own[0], half * own[1], centre + half * own[2]]
    return tuple(parts)


def moved(pictures: Tensor, grid: Tensor | None) -> Tensor:
    """Pictures [n, c, size, size] read where the grid says; black outside. As they are where the grid is None."""
    if grid is None:
        return pictures
    return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
