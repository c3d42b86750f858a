"""Image distortions of everyday handling: noise, blur, JPEG, gamma, rotation, cropping, inversion, low resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.masking import jpeg
from pocketcxr.errors import ConfigError
from pocketcxr.imaging.resize import resize

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Image = NDArray[np.float32]
    Distort = Callable[[Image, float, np.random.Generator], Image]

_NOMINAL = 224

UNITS = {
    "noise": "standard deviation",  # of grey levels in [0, 1]
    "blur": "pixels of 224",  # standard deviation
    "jpeg": "quality",
    "gamma": "exponent",  # below 1 brighter
    "rotation": "degrees",  # half of the images each way, black corners
    "crop": "share kept",  # of each side, at a random place
    "resolution": "of the pixels a side",  # before it was enlarged again
    "inversion": "",  # one strength: MONOCHROME1 taken for MONOCHROME2
}
"""Unit of the strength of each distortion."""


def distort(images: NDArray[np.float32], kind: str, strength: float, *, seed: int) -> NDArray[np.float32]:
    """Distort images float32 [n, 1, s, s] in [0, 1]; same shape and range. The seed decides noise, place and side.

    Raises:
        ConfigError: an unknown kind.
    """
    if kind not in DISTORTIONS:
        raise ConfigError(f"distortion: expected one of {list(DISTORTIONS)}, found {kind!r}")
    rng = np.random.default_rng(seed)
    changed = [np.clip(DISTORTIONS[kind](image[0], strength, rng), 0, 1)[None] for image in images]
    return np.stack(changed).astype(np.float32) if changed else images.copy()


def rotated(image: Image, degrees: float) -> Image:
    """Turn an image counter-clockwise about its middle; black comes in at the corners."""
    from scipy import ndimage

    turned = ndimage.rotate(image, degrees, reshape=False, order=1, mode="constant", cval=0.0)
    return np.asarray(turned, dtype=np.float32)


def _blur(image: Image, strength: float, _: np.random.Generator) -> Image:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(image, strength * image.shape[0] / _NOMINAL), dtype=np.float32)


def _crop(image: Image, strength: float, rng: np.random.Generator) -> Image:
    side = image.shape[0]
    kept = max(1, round(strength * side))
    top, left = rng.integers(0, side - kept + 1, 2)
    return resize(np.ascontiguousarray(image[top : top + kept, left : left + kept]), size=side)


def _resolution(image: Image, strength: float, _: np.random.Generator) -> Image:
    side = image.shape[0]
    return resize(resize(image, size=max(1, round(strength * side))), size=side)


def _noise(image: Image, strength: float, rng: np.random.Generator) -> Image:
    return np.add(image, strength * rng.standard_normal(image.shape, dtype=np.float32), dtype=np.float32)


DISTORTIONS: dict[str, Distort] = {
    "noise": _noise,
    "blur": _blur,
    "jpeg": lambda image, strength, _: jpeg(image, round(strength)),
    "gamma": lambda image, strength, _: np.power(image, np.float32(strength), dtype=np.float32),
    "rotation": lambda image, strength, rng: rotated(image, strength * float(rng.choice((-1, 1)))),
    "crop": _crop,
    "resolution": _resolution,
    "inversion": lambda image, _, __: np.subtract(1, image, dtype=np.float32),
}
