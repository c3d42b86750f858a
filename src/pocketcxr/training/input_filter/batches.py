"""Batches for the learned input filter: true pictures of every kind, and those made of frontal radiographs.

Inverted, turned and cropped radiographs, screenshots and synthetic pictures cost no data. Everything is changed a
little (a few degrees, gamma, noise, blur, a blacked-out corner) in the same way for all kinds, so that none is known
by that. Polarity and position of what is no frontal radiograph say nothing of its kind, so they are changed at will.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from pocketcxr.data.synthetic.ood import draw_ood_images, screenshots

if TYPE_CHECKING:
    from numpy.typing import NDArray

VIEWS_VERSION = 3
"""Raised whenever filters come out otherwise for the same seed and settings, so that they are fitted again."""

MADE = ("inverted", "turned", "cropped")
"""Kinds that are made of frontal radiographs."""

CROPPED_SIDES = (0.3, 0.6)
"""Part of each side that a cropped radiograph keeps: at most 36 % of its area; or half of one side only."""
_HALF_SIDES = (0.35, 0.55)

_SHARES = {
    "frontal": 0.4,
    "lateral": 0.13,
    "ct": 0.11,
    "not_xray": 0.1,
    "other_part": 0.07,
    "inverted": 0.04,
    "turned": 0.06,
    "cropped": 0.09,
}
_DRAWN = 600
_SCREENSHOTS = 200


@dataclass(frozen=True, eq=False)
class KnownPictures:
    """Pictures whose kind is known: `pixels` uint8 [n, s, s], `kinds` and `sources` text [n]."""

    pixels: NDArray[np.uint8]
    kinds: NDArray[np.str_]
    sources: NDArray[np.str_]

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> KnownPictures:
        """Some of them."""
        return KnownPictures(self.pixels[chosen], self.kinds[chosen], self.sources[chosen])


def with_drawn(pictures: KnownPictures, *, seed: int) -> KnownPictures:
    """Add drawn pictures of nothing and screenshots of the radiographs, as ``not_xray`` from the source ``drawn``."""
    size = pictures.pixels.shape[1]
    radiographs = np.flatnonzero(pictures.kinds == "frontal")
    shown = np.random.default_rng([seed, 2]).choice(radiographs, min(_SCREENSHOTS, len(radiographs)), replace=False)
    drawn = np.concatenate(
        [draw_ood_images(_DRAWN, size=size, seed=seed), screenshots(pictures.pixels[np.sort(shown)], seed=seed)]
    )
    return KnownPictures(
        np.concatenate([pictures.pixels, drawn]),
        np.concatenate([pictures.kinds, np.full(len(drawn), "not_xray")]),
        np.concatenate([pictures.sources, np.full(len(drawn), "drawn")]),
    )


class Batches:
    """Draws changed pictures: kinds in fixed shares, within a kind the sources by the root of their size."""

    def __init__(self, pictures: KnownPictures, kinds: tuple[str, ...], *, side: int, seed: int) -> None:
        self._pictures, self._kinds = pictures, kinds
        self._small = reduced(pictures.pixels, side=side)
        self._generator = np.random.default_rng([seed, 3])
        shares = np.array([_SHARES[kind] for kind in kinds])
        self._shares = shares / shares.sum()
        self._chances = {kind: self._within(kind) for kind in kinds if kind not in MADE}

    def _within(self, kind: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        places = np.flatnonzero(self._pictures.kinds == kind)
        _, which, counts = np.unique(self._pictures.sources[places], return_inverse=True, return_counts=True)
        chances = 1 / np.sqrt(counts[which])
        return places, chances / chances.sum()

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Pictures [count, 1, side, side] in [0, 1] and the positions of their kinds [count]."""
        kinds = self._generator.choice(len(self._kinds), count, p=self._shares)
        names = np.array(self._kinds)[kinds]
        origin = np.where(np.isin(names, MADE), "frontal", names)
        places = np.zeros(count, dtype=np.int64)
        for kind, (among, chances) in self._chances.items():
            here = origin == kind
            places[here] = self._generator.choice(among, int(here.sum()), p=chances)
        small = torch.from_numpy(self._small[places])[:, None].float() / 255
        whole = torch.from_numpy(self._pictures.pixels[places[names == "cropped"]])[:, None].float() / 255
        return change(small, names, whole=whole, generator=self._generator), torch.from_numpy(kinds)


def reduced(pixels: NDArray[np.uint8], *, side: int, block: int = 256) -> NDArray[np.uint8]:
    """Pictures uint8 [n, s, s] at the size that the filter looks at, uint8 [n, side, side]."""
    parts = [np.zeros((0, side, side), np.uint8)]
    for start in range(0, len(pixels), block):
        whole = torch.from_numpy(np.ascontiguousarray(pixels[start : start + block]))[:, None].float()
        small = nn.functional.interpolate(whole, size=(side, side), mode="bilinear", antialias=True)
        parts.append(small[:, 0].round().clamp(0, 255).to(torch.uint8).numpy())
    return np.concatenate(parts)


def change(radiographs: Tensor, kinds: NDArray[np.str_], *, whole: Tensor, generator: np.random.Generator) -> Tensor:
    """Turn radiographs [n, 1, side, side] into pictures of their kinds, each changed a little.

    `whole` [m, 1, s, s] holds the ``cropped`` ones among them, in the same order, with all the pixels there are: from
    the others' few, a crop would be known by its blur.
    """
    affine = torch.from_numpy(np.stack([_placement(kind, generator) for kind in kinds]).astype(np.float32))
    pictures = _sampled(radiographs, affine, radiographs.shape[-1])
    cropped = torch.from_numpy(kinds == "cropped")
    if cropped.any():
        pictures[cropped] = _sampled(whole, affine[cropped], radiographs.shape[-1])
    inverted = (kinds == "inverted") | (_free(kinds) & (generator.random(len(kinds)) < 0.35))  # noqa: PLR2004
    chosen = torch.from_numpy(inverted)
    pictures[chosen] = 1 - pictures[chosen]
    return _exposed(pictures, generator)


def make(radiographs: NDArray[np.uint8], kind: str, *, seed: int) -> NDArray[np.uint8]:
    """Radiographs uint8 [n, s, s] made ``inverted``, ``turned`` or ``cropped``, otherwise unchanged, to evaluate on."""
    generator = np.random.default_rng([seed, 4])
    if kind == "inverted":
        return 255 - radiographs
    if kind == "turned":
        return np.stack([np.rot90(radiograph, 1 + i % 3) for i, radiograph in enumerate(radiographs)])
    affine = torch.from_numpy(np.stack([_window(generator) for _ in radiographs]).astype(np.float32))
    pictures = _sampled(torch.from_numpy(radiographs)[:, None].float(), affine, radiographs.shape[1])
    return pictures[:, 0].round().clamp(0, 255).to(torch.uint8).numpy()


def _free(kinds: NDArray[np.str_]) -> NDArray[np.bool_]:
    return np.isin(kinds, ("lateral", "ct", "not_xray", "other_part"))


def _window(generator: np.random.Generator) -> NDArray[np.float64]:
    """Affine map [2, 3] from the output's to the radiograph's coordinates, of a window that holds a part of it."""
    case = generator.integers(4)
    width, height = generator.uniform(*CROPPED_SIDES, size=2)
    if case == 0:  # the left or right half
        width, height = generator.uniform(*_HALF_SIDES), generator.uniform(0.85, 1)
    elif case == 1:  # the upper or lower half
        width, height = generator.uniform(0.85, 1), generator.uniform(*_HALF_SIDES)
    across, down = generator.uniform(width - 1, 1 - width), generator.uniform(height - 1, 1 - height)
    return np.array([[width, 0, across], [0, height, down]])


def _placement(kind: str, generator: np.random.Generator) -> NDArray[np.float64]:
    if kind == "cropped":
        return _window(generator)
    angle = np.radians(generator.uniform(-10, 10))
    quarters = 0
    if kind == "turned":
        quarters = int(generator.integers(1, 4))
    elif kind in ("ct", "not_xray", "other_part"):
        quarters = int(generator.integers(0, 4))
    angle += quarters * np.pi / 2
    scale = generator.uniform(0.85, 1.1) * np.exp(generator.uniform(-0.08, 0.08, size=2))
    flip = 1 if generator.random() < 0.5 else -1  # noqa: PLR2004  # a coin
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([flip * scale[0], scale[1]])
    return np.concatenate([turn, generator.uniform(-0.06, 0.06, size=(2, 1))], axis=1)


def _sampled(radiographs: Tensor, affine: Tensor, side: int) -> Tensor:
    grid = nn.functional.affine_grid(affine, [len(radiographs), 1, side, side], align_corners=False)
    return nn.functional.grid_sample(radiographs, grid, align_corners=False)  # black beyond the edge


def _exposed(pictures: Tensor, generator: np.random.Generator) -> Tensor:
    """Gamma, contrast, brightness, now and then blur, a margin, a blotted-out box; always a little noise."""
    count, side = len(pictures), pictures.shape[-1]

    def per_picture(low: float, high: float) -> Tensor:
        return torch.from_numpy(generator.uniform(low, high, (count, 1, 1, 1)).astype(np.float32))

    pictures = pictures.clamp(0, 1) ** per_picture(-0.5, 0.5).exp()
    pictures = 0.5 + (pictures - 0.5) * per_picture(0.6, 1.15) + per_picture(-0.12, 0.12)
    blurred = torch.from_numpy(generator.random(count) < 0.25)  # noqa: PLR2004
    if blurred.any():
        pictures[blurred] = nn.functional.avg_pool2d(pictures[blurred], 3, stride=1, padding=1, count_include_pad=False)
    for i in np.flatnonzero(generator.random(count) < 0.3):  # noqa: PLR2004
        if generator.random() < 0.5:  # noqa: PLR2004  # a margin, as scanners and web pages leave
            width, edge = int(generator.integers(1, 1 + side // 10)), int(generator.integers(4))
            rotated = torch.rot90(pictures[i], edge, (1, 2))
            rotated[:, :width] = float(generator.choice([0, 0, 1]))
            pictures[i] = torch.rot90(rotated, -edge, (1, 2))
        else:
            top, left = generator.integers(0, side, size=2)
            height, width = generator.integers(side // 16, side // 4, size=2)
            pictures[i, :, top : top + height, left : left + width] = float(generator.random())
    noise = torch.from_numpy(generator.standard_normal(tuple(pictures.shape), dtype=np.float32))
    return (pictures + noise * per_picture(0, 0.03)).clamp(0, 1)
