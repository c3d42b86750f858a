"""Synthetic out-of-distribution images that an input filter must refuse: noise, ramps, pages, screenshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

_LEAST_CONTRAST = 0.2


def draw_ood_images(count: int, *, size: int, seed: int) -> NDArray[np.uint8]:
    """Draw images uint8 [count, size, size], each kind in turn; the same seed draws the same."""
    generator = np.random.default_rng([seed, size])
    kinds = tuple(_KINDS.values())
    return np.stack([_as_bytes(kinds[i % len(kinds)](generator, size)) for i in range(count)])


def screenshots(images: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
    """Images uint8 [n, size, size] as a viewer shows them: small, among panels and lines of text."""
    generator = np.random.default_rng([seed, 1])
    return np.stack([_screenshot(image, generator) for image in images]) if len(images) else images


def _screenshot(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    size = len(image)
    canvas = np.full((size, size), generator.choice([0, 20, 60, 200, 240, 255]), dtype=np.float64)
    ink = 255 - canvas[0, 0]
    for _ in range(generator.integers(2, 5)):  # panels and title bars
        along, thickness = generator.integers(0, size), generator.integers(size // 24 + 1, size // 5)
        shade = generator.uniform(0, 255)
        if generator.random() < 0.5:  # noqa: PLR2004  # a coin
            canvas[along : along + thickness] = shade
        else:
            canvas[:, along : along + thickness] = shade
    _write(canvas, generator, ink, lines=int(generator.integers(6, 20)))
    height, width = (int(size * generator.uniform(0.3, 0.62)) for _ in range(2))
    top, left = int(generator.integers(0, size - height)), int(generator.integers(0, size - width))
    rows = (np.arange(height) + 0.5) * size / height
    columns = (np.arange(width) + 0.5) * size / width
    canvas[top : top + height, left : left + width] = image[rows.astype(int)[:, None], columns.astype(int)]
    return np.round(canvas).clip(0, 255).astype(np.uint8)


def _write(canvas: NDArray[np.float64], generator: np.random.Generator, ink: float, *, lines: int) -> None:
    """Lines of words, as strokes of changing length: at this size letters are no more than that."""
    size = len(canvas)
    for _ in range(lines):
        top, left = int(generator.integers(0, size - 2)), int(generator.integers(0, size // 2))
        height = int(generator.integers(1, max(2, size // 32)))
        while left < size * generator.uniform(0.5, 1):
            length = int(generator.integers(1, max(2, size // 16)))
            canvas[top : top + height, left : left + length] = ink * generator.uniform(0.6, 1)
            left += length + int(generator.integers(1, max(2, size // 32)))


def _axes(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    axis = np.linspace(0, 1, size)
    x, y = np.meshgrid(axis, axis)
    return x, y


def _noise(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    return generator.random((size, size))


def _clouds(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Noise of several scales: soft, grey and of no shape."""
    total = np.zeros((size, size))
    for cells in (2, 4, 8, 16):
        coarse = generator.normal(size=(cells, cells)) / cells ** generator.uniform(0.3, 1)
        places = np.linspace(0, cells - 1, size)
        rows = np.stack([np.interp(places, np.arange(cells), row) for row in coarse])
        total += np.stack([np.interp(places, np.arange(cells), column) for column in rows.T], axis=1)
    return total


def _ramp(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    x, y = _axes(size)
    angle = generator.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    return np.sign(along) * np.abs(along) ** generator.uniform(0.5, 2)


def _waves(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """A test pattern: stripes, a checkerboard, rings."""
    x, y = _axes(size)
    angle, frequency = generator.uniform(0, np.pi), generator.uniform(2, 14)
    centre = generator.uniform(0.2, 0.8, size=2)
    along = np.cos(angle) * x + np.sin(angle) * y
    across = -np.sin(angle) * x + np.cos(angle) * y
    rings = np.hypot(x - centre[0], y - centre[1])
    pattern = (along, rings)[generator.integers(2)]
    wave = np.sin(2 * np.pi * frequency * pattern) * (1, np.sin(2 * np.pi * frequency * across))[generator.integers(2)]
    return (wave, np.sign(wave))[generator.integers(2)]


def _shapes(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Ovals and boxes at random, sharp or soft: two dark ovals on grey are no chest."""
    x, y = _axes(size)
    canvas = np.full((size, size), generator.uniform(0, 1))
    for _ in range(generator.integers(1, 7)):
        cx, cy = generator.uniform(0.1, 0.9, size=2)
        width, height = generator.uniform(0.05, 0.4, size=2)
        distance = np.hypot((x - cx) / width, (y - cy) / height)
        if generator.random() < 0.3:  # noqa: PLR2004  # now and then a box
            distance = np.maximum(np.abs(x - cx) / width, np.abs(y - cy) / height)
        edge = 1 / (1 + np.exp(np.clip(generator.uniform(3, 60) * (distance - 1), -50, 50)))
        canvas = canvas * (1 - edge) + generator.uniform(0, 1) * edge
    return canvas + generator.uniform(0, 0.05) * generator.normal(size=canvas.shape)


def _page(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """A page of text, dark on light or light on dark."""
    canvas = np.full((size, size), 255.0)
    _write(canvas, generator, 0.0, lines=int(generator.integers(15, 60)))
    return canvas if generator.random() < 0.7 else 255 - canvas  # noqa: PLR2004  # most are printed black on white


def _as_bytes(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Stretch to a random part of the grey scale, with contrast enough to pass the plain rules."""
    low, high = float(image.min()), float(image.max())
    spread = (image - low) / max(high - low, 1e-9)
    generator = np.random.default_rng(int(spread.sum() * 1000) % 2**32)  # of the image itself
    bottom = generator.uniform(0, 0.4)
    top = generator.uniform(bottom + _LEAST_CONTRAST, 1)
    return np.round((bottom + (top - bottom) * spread) * 255).astype(np.uint8)


_KINDS: dict[str, Draw] = {
    "shapes": _shapes,
    "clouds": _clouds,
    "waves": _waves,
    "ramp": _ramp,
    "page": _page,
    "noise": _noise,
}
