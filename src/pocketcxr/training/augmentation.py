"""Replayable augmentation: view k of an image is the same picture each time, wherever and with whatever it is made.

All of a view's parameters are drawn from a counter: a hash of (seed, image, view, number of the parameter). So any view
can be made alone, in any order, in any batch, on any machine, which is what lets a teacher's outputs be computed once.
The pixels, too, are the same bit for bit, alone or in a batch: grey-scale changes go through a table of 256 entries
per image, the geometry through elementwise arithmetic and one `grid_sample`, the noise is a window of a fixed bank;
the four kinds of noise for unseen sources come from a generator per view, seeded by a draw.

Every view is augmented; there is no plain view 0 (Beyer et al., CVPR 2022, *A good teacher is patient and consistent*:
teacher and student see the same augmented crops).
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pocketcxr.data.boxes import box_mask
from pocketcxr.errors import DataError
from pocketcxr.training.geometry import moved, view_grid
from pocketcxr.training.run.identity import recorded, sources_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.training.config import AugmentationConfig

AUGMENTATION_VERSION = 1
"""Raised when the same parameters would give other pixels; part of every cache's key."""

_PARAMETERS = (
    "flip", "rotation", "crop", "shift_x", "shift_y", "stretch", "gamma", "contrast", "brightness", "noise",
    "noise_window", "erase", "erase_edge", "erase_place", "erase_height", "erase_width", "erase_grey",
    "noise_kind", "noise_strength", "noise_seed", "style", "style_source", "style_image", "style_strength",
    "lungs", "lungs_room",
)  # fmt: skip
_NOISE_KINDS = ("noise_gaussian", "noise_speckle", "noise_poisson", "noise_salt_pepper")
_NOISE_BANK = 1 << 20
_ERASE_SIDES = (0.05, 0.25)


def image_keys(rows: Sequence[IndexRow]) -> NDArray[np.uint64]:
    """One number per image for its random draws: the first 64 bits of its SHA-256, or its position for want of one."""
    return np.array(
        [int(row.sha256[:16], 16) if row.sha256 else position for position, row in enumerate(rows)], dtype=np.uint64
    )


def augmentation_identity(dataset: Dataset, config: AugmentationConfig) -> dict[str, Any]:
    """Give what the pixels of views depend on beside images, seed and version: part of every key and identity.

    Optional fields that are 0 are left out, so that what was computed before they came keeps its key. Style
    adds the sources, which choose the other image and are no part of a data set's fingerprint; views around the lungs
    add where these are.
    """
    identity = recorded(config)
    if config.style > 0:
        identity["style_sources"] = sources_digest(dataset.rows)
    if config.lungs > 0:
        assert dataset.lungs is not None
        identity["lung_boxes"] = hashlib.sha256(dataset.lungs.tobytes()).hexdigest()
    return identity


class AugmentedViews:
    """The augmented views of a data set's images: each call with the same image and number gives the same pixels."""

    def __init__(self, dataset: Dataset, augmentation: AugmentationConfig, *, seed: int) -> None:
        """Take the images, the ranges of the random draws, and the seed of the views."""
        self.dataset, self.augmentation, self.seed = dataset, augmentation, seed
        self._keys = image_keys(dataset.rows)
        self._styles = _images_by_source(dataset, self._keys) if augmentation.style > 0 else {}

    def __call__(self, positions: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """Make view ``views[j]`` (from 0, any number) of the image at ``positions[j]``.

        Returns:
            float32 [n, 1, size, size] in [0, 1], equal bit for bit whatever else is in the batch.
        """
        return self.with_boxes(positions, views, {})[0]

    def with_boxes(
        self, positions: NDArray[np.int64], views: NDArray[np.int64], boxes: Mapping[int, NDArray[np.float64]]
    ) -> tuple[Tensor, Tensor]:
        """Make views as a call does, and the boxes of each as a mask that is moved with it.

        Args:
            positions: [n], of images.
            views: [n], numbers of views.
            boxes: [k, 4] by position, as shares of the square; see `data.boxes`.

        Returns:
            Views, and masks float32 [n, 1, size, size]: the part of each pixel that boxes cover, 0 for an image that
            `boxes` does not name.
        """
        draws = uniforms(self._keys[positions], views, seed=self.seed)
        images = [self.dataset.pixels[position] for position in positions]
        size = images[0].shape[0]
        lungs = None if self.dataset.lungs is None else self.dataset.lungs[positions]
        grid = view_grid(draws, self.augmentation, size, lungs)
        styles = self._drawn_styles(positions, draws)
        pictures = augment(images, draws, self.augmentation, seed=self.seed, styles=styles, grid=grid)
        masks = torch.zeros(len(images), 1, size, size) if boxes else torch.zeros(0)
        for j, position in enumerate(positions.tolist()):
            if position in boxes:
                mask = torch.from_numpy(box_mask(boxes[position], size).astype(np.float32))[None, None]
                masks[j] = moved(mask, None if grid is None else grid[j : j + 1])[0]
        return pictures, masks

    def _drawn_styles(
        self, positions: NDArray[np.int64], draws: dict[str, NDArray[np.float64]]
    ) -> list[NDArray[np.uint8] | None]:
        """Per view the training image that gives the histogram, each other source equally often; None for most."""
        chosen: list[NDArray[np.uint8] | None] = [None] * len(positions)
        for j in np.flatnonzero(draws["style"] < self.augmentation.style):
            own = self.dataset.rows[positions[j]].source
            others = [images for source, images in self._styles.items() if source != own]
            images = others[int(draws["style_source"][j] * len(others))]
            chosen[j] = self.dataset.pixels[images[int(draws["style_image"][j] * len(images))]]
        return chosen


def _images_by_source(dataset: Dataset, keys: NDArray[np.uint64]) -> dict[str, list[int]]:
    """Positions of the training images of each source, in an order that does not depend on the rows'."""
    found: dict[str, list[int]] = defaultdict(list)
    for position in np.argsort(keys, kind="stable").tolist():
        if dataset.rows[position].split == "train":
            found[dataset.rows[position].source].append(position)
    if len(found) < 2:  # noqa: PLR2004
        raise DataError(
            f"augmentation.style: expected training images of two sources or more, found {list(found) or 'none'}; "
            "set style=0, or add a source"
        )
    return dict(sorted(found.items()))


def uniforms(keys: NDArray[np.uint64], views: NDArray[np.int64], *, seed: int) -> dict[str, NDArray[np.float64]]:
    """Uniform draws in [0, 1), [n] per parameter, each a pure function of (seed, key, view, parameter).

    SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014) over a weighted sum of the four counters, applied twice.
    """
    with np.errstate(over="ignore"):
        stream = _mix(_mix(keys) + _mix(views.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
        stream = _mix(stream + _mix(np.array([seed], np.int64).astype(np.uint64) + np.uint64(0x632BE59BD9B4E019)))
        return {
            name: (_mix(stream + np.uint64(number + 1) * np.uint64(0xD1342543DE82EF95)) >> np.uint64(11))
            / float(1 << 53)
            for number, name in enumerate(_PARAMETERS)
        }


def augment(
    images: Sequence[NDArray[np.uint8]],
    draws: dict[str, NDArray[np.float64]],
    config: AugmentationConfig,
    *,
    seed: int,
    styles: Sequence[NDArray[np.uint8] | None] = (),
    grid: Tensor | None = None,
) -> Tensor:
    """Apply one set of draws per image; see `AugmentedViews`.

    Args:
        images: n arrays uint8 [size, size].
        draws: [n] per parameter, in [0, 1).
        config: ranges.
        seed: of the noise bank.
        styles: n images uint8 whose histograms are taken, None for a view that keeps its own; empty for none.
        grid: where each pixel is read (`geometry.view_grid`); None where nothing is moved.
    """
    size = images[0].shape[0]
    levels = np.tile(np.arange(256) / 255.0, (len(images), 1))
    for j, style in enumerate(styles):
        if style is not None:
            part = config.style_strength * draws["style_strength"][j]
            levels[j] += part * (_matched_levels(images[j], style) - levels[j])
    tables = _grey_tables(levels, draws, config)  # [n, 256]
    pictures = np.empty((len(images), 1, size, size), dtype=np.float32)
    for table, image, picture in zip(tables, images, pictures, strict=True):
        np.take(table, image, out=picture[0], mode="clip")
    batch = moved(torch.from_numpy(pictures), grid)
    if config.noise > 0:
        bank = _noise_bank(seed)
        starts = (draws["noise_window"] * (_NOISE_BANK - size * size)).astype(np.int64)
        for picture, start, draw in zip(batch, starts.tolist(), draws["noise"].tolist(), strict=True):
            picture.add_(bank[start : start + size * size].view(1, size, size) * (draw * config.noise))
        batch.clamp_(0.0, 1.0)
    _add_drawn_noise(batch, draws, config)
    if config.erase > 0:
        _erase(batch, draws, config)
    return batch


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _matched_levels(image: NDArray[np.uint8], style: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where each of the 256 levels goes so that the image gets the histogram of `style`: [256] in [0, 1], rising.

    Histogram matching (Gonzalez and Woods, *Digital Image Processing*, 3.3.2); as augmentation against unseen
    scanners: Ma, STACOM 2020, arXiv 2012.13871.
    """
    own, other = (np.cumsum(np.bincount(one.ravel(), minlength=256)) / one.size for one in (image, style))
    present = np.flatnonzero(np.diff(other, prepend=0.0))
    return np.interp(own, other[present], present / 255.0)


def _grey_tables(
    levels: NDArray[np.float64], draws: dict[str, NDArray[np.float64]], config: AugmentationConfig
) -> NDArray[np.float32]:
    """Gamma, contrast about mid-grey and brightness of `levels` [n, 256], as tables [n, 256] float32 in [0, 1]."""
    gamma = np.exp2(config.gamma * (2 * draws["gamma"] - 1))
    contrast = np.exp2(config.contrast * (2 * draws["contrast"] - 1))
    brightness = config.brightness * (2 * draws["brightness"] - 1)
    tables = np.empty((len(gamma), 256), dtype=np.float32)
    for table, level, power, factor, offset in zip(tables, levels, gamma, contrast, brightness, strict=True):
        table[:] = np.clip((level**power - 0.5) * factor + 0.5 + offset, 0.0, 1.0)
    return tables


@functools.lru_cache(maxsize=2)
def _noise_bank(seed: int) -> Tensor:
    """A million standard normal numbers; a view's noise is a window into them at a place of its own."""
    return torch.randn(_NOISE_BANK, generator=torch.Generator().manual_seed(seed))


def _add_drawn_noise(batch: Tensor, draws: dict[str, NDArray[np.float64]], config: AugmentationConfig) -> None:
    """Add to each image, in place, one of the kinds of noise that are on; the strengths are those of the fields.

    Each view has a generator of its own. Injected noise against unseen sources: speckle and Gaussian noise follow the
    grey value or not, Poisson noise is that of few photons, salt and pepper that of broken detector elements.
    """
    kinds = [kind for kind in _NOISE_KINDS if getattr(config, kind) > 0]
    if not kinds:
        return
    for j, picture in enumerate(batch.numpy()):
        kind = kinds[int(draws["noise_kind"][j] * len(kinds))]
        strength = getattr(config, kind) * draws["noise_strength"][j]
        generator = np.random.default_rng(int(draws["noise_seed"][j] * (1 << 53)))
        if kind == "noise_salt_pepper":
            chance = generator.random(picture.shape, dtype=np.float32)
            picture[chance < strength / 2] = 0.0
            picture[chance > 1 - strength / 2] = 1.0
        elif kind == "noise_poisson":
            photons = 1 / max(strength, 1e-4) ** 2  # expected at white: their standard deviation is then the strength
            picture[:] = generator.poisson(picture * photons) / photons
        else:
            noise = generator.standard_normal(picture.shape, dtype=np.float32) * np.float32(strength)
            picture[:] += noise * picture if kind == "noise_speckle" else noise
    batch.clamp_(0.0, 1.0)


def _erase(batch: Tensor, draws: dict[str, NDArray[np.float64]], config: AugmentationConfig) -> None:
    """Cover one rectangle at an edge with one grey, in place: markers and laterality letters stand there."""
    size = batch.shape[-1]
    low, high = _ERASE_SIDES
    for i in np.flatnonzero(draws["erase"] < config.erase):
        height, width = (
            max(1, round(size * (low + (high - low) * draws[name][i]))) for name in ("erase_height", "erase_width")
        )
        edge = int(draws["erase_edge"][i] * 4)
        along = draws["erase_place"][i]
        top = (0, size - height, round(along * (size - height)), round(along * (size - height)))[edge]
        left = (round(along * (size - width)), round(along * (size - width)), 0, size - width)[edge]
        batch[i, 0, top : top + height, left : left + width] = float(draws["erase_grey"][i])
