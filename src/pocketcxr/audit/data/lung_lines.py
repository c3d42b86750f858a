"""Narrow bright lines within the lungs: tubes, leads, or marks drawn by somebody.

A bank of elongated filters at 192 x 192 pixels answers to lines of one to three pixels' width. Ribs and vessels are
wider, shorter or weaker; disease changes texture more than it adds long lines. What counts is how long the connected
answers are that exceed the image's own typical answer by a factor.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

from pocketcxr.audit.data.pixel_statistics import SMALLER
from pocketcxr.audit.model.lungs import find_lungs, load_segmenter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_BLOCK = 32
_DIRECTIONS, _LENGTH = 10, 19
_WIDTHS = (0.7, 1.3)
_FACTORS = (4, 6, 9, 13)
_QUANTILES = (0.9, 0.99, 0.999, 1.0)
_REACH = 12
_INSIDE = 3  # pixels that the mask is narrowed by: its own edge, and the ribs' at it, are lines
_LEAST_AREA = 400
_LONG = 8

FEATURES = len(_WIDTHS) * (3 * len(_FACTORS) + len(_QUANTILES))
"""Numbers per image."""


def measure_lines(images: Mapping[int, NDArray[np.floating]], count: int) -> NDArray[np.float32]:
    """Lines within the lungs of some of `count` images, [count, FEATURES]; NaN for others, or without lungs found.

    Args:
        images: position to picture, [192, 192] in [0, 1].
        count: of all images.
    """
    found = np.full((count, FEATURES), np.nan, np.float32)
    places, segment = list(images), load_segmenter()
    for start in range(0, len(places), _BLOCK):
        block = places[start : start + _BLOCK]
        pixels = np.stack([images[place] for place in block]).astype(np.float32)
        lungs = find_lungs(pixels[:, None], segment)
        for place, image, mask, reason in zip(block, pixels, lungs.masks, lungs.reasons, strict=True):
            if not reason:
                found[place] = line_features(image, mask)
    return found


def line_features(image: NDArray[np.float32], lungs: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Length and strength of lines within the lungs, [FEATURES].

    Args:
        image: [192, 192] in [0, 1].
        lungs: mask of the same size.
    """
    padded = np.pad(image, _REACH, mode="edge")
    spectrum = np.asarray(fft.rfft2(padded))
    answers = np.asarray(fft.irfft2(spectrum * _filters(), padded.shape))[:, _REACH:-_REACH, _REACH:-_REACH]
    inside = np.asarray(ndimage.binary_erosion(lungs, iterations=_INSIDE), bool)
    inside = inside if inside.sum() >= _LEAST_AREA else lungs
    parts = []
    for bank in answers.reshape(len(_WIDTHS), _DIRECTIONS, *answers.shape[1:]):
        typical = np.median(np.abs(bank[:, inside])) + 1e-4
        parts.append(_of_bank(bank.max(axis=0) / typical, inside))
    return np.concatenate(parts).astype(np.float32)


def _of_bank(strength: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Above each factor: the longest connected piece, the length of all long ones, the greatest elongation."""
    numbers: list[float] = []
    pieces = np.zeros(inside.shape, np.int32)
    for factor in _FACTORS:
        ndimage.label((strength > factor) & inside, np.ones((3, 3)), output=pieces)
        boxes = ndimage.find_objects(pieces)
        if not boxes:
            numbers += [0.0, 0.0, 0.0]
            continue
        lengths = np.array([np.hypot(y.stop - y.start, x.stop - x.start) for y, x in boxes])
        areas = np.bincount(pieces.ravel())[1:]
        numbers += [lengths.max(), lengths[lengths > _LONG].sum(), (lengths / np.sqrt(areas)).max()]
    quantiles = np.quantile(strength[inside], _QUANTILES)
    return np.array([*numbers, *np.log(np.maximum(quantiles, 1e-3))])


@functools.cache
def _filters() -> NDArray[np.complex64]:
    """Spectra of all filters, complex64 [filters, rows, columns]; each sums to 0, absolute values to 1."""
    y, x = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1]
    kernels = []
    for width in _WIDTHS:
        for direction in range(_DIRECTIONS):
            angle = np.pi * direction / _DIRECTIONS
            along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
            ridge = (1 - (across / width) ** 2) * np.exp(-(across**2) / (2 * width**2))
            kernels.append(ridge * np.exp(-((2 * along / _LENGTH) ** 4)))
    side = SMALLER + 2 * _REACH
    spectra = []
    for kernel in kernels:
        balanced = kernel - kernel.mean()
        canvas = np.zeros((side, side), np.float32)
        canvas[: 2 * _REACH + 1, : 2 * _REACH + 1] = balanced / np.abs(balanced).sum()
        spectra.append(fft.rfft2(np.roll(canvas, (-_REACH, -_REACH), (0, 1))))
    return np.array(spectra, np.complex64)
