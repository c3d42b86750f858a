"""What happens to a film on its way to a screen: noise, blur, JPEG, gamma, tilt, cropping, inversion, few pixels.

Strengths and their units: ``noise`` standard deviation in grey levels of [0, 1]; ``blur`` standard deviation in pixels
of a film 224 pixels wide; ``jpeg`` quality; ``gamma`` exponent, below 1 brighter; ``rotation`` degrees, half of the
films each way, black corners; ``crop`` share of each side that is kept, at a place drawn by lot; ``resolution`` share
of the model's pixels a side that the film had before it was enlarged again; ``inversion`` has one strength
(MONOCHROME1 taken for MONOCHROME2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.masking import jpeg
from pocketcxr.errors import ConfigError
from pocketcxr.imaging.resize import resize

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Picture = NDArray[np.float32]
    Distort = Callable[[Picture, float, np.random.Generator], Picture]

_NOMINAL = 224


def distort(images: NDArray[np.float32], kind: str, strength: float, *, seed: int) -> NDArray[np.float32]:
    """Distort pictures float32 [n, 1, s, s] in [0, 1]; same shape and range. The seed decides noise, place and side.

    Raises:
        ConfigError: an unknown kind.
    """
    if kind not in DISTORTIONS:
        raise ConfigError(f"distortion: expected one of {list(DISTORTIONS)}, found {kind!r}")
    rng = np.random.default_rng(seed)
    changed = [np.clip(DISTORTIONS[kind](image[0], strength, rng), 0, 1)[None] for image in images]
    return np.stack(changed).astype(np.float32) if changed else images.copy()


def rotated(image: Picture, degrees: float) -> Picture:
    """Turn a picture counter-clockwise about its middle; black comes in at the corners."""
    from scipy import ndimage

    turned = ndimage.rotate(image, degrees, reshape=False, order=1, mode="constant", cval=0.0)
    return np.asarray(turned, dtype=np.float32)


def _noise(image: Picture, strength: float, rng: np.random.Generator) -> Picture:
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    return np.add(image, strength * grain, dtype=np.float32)


def _blur(image: Picture, strength: float, _rng: np.random.Generator) -> Picture:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(image, strength * image.shape[0] / _NOMINAL), dtype=np.float32)


def _jpeg(image: Picture, strength: float, _rng: np.random.Generator) -> Picture:
    return jpeg(image, round(strength))


def _gamma(image: Picture, strength: float, _rng: np.random.Generator) -> Picture:
    return np.power(image, np.float32(strength), dtype=np.float32)


def _rotation(image: Picture, strength: float, rng: np.random.Generator) -> Picture:
    return rotated(image, strength * float(rng.choice((-1, 1))))


def _crop(image: Picture, strength: float, rng: np.random.Generator) -> Picture:
    side = image.shape[0]
    kept = max(1, round(strength * side))
    top, left = rng.integers(0, side - kept + 1, 2)
    return resize(np.ascontiguousarray(image[top : top + kept, left : left + kept]), size=side)


def _resolution(image: Picture, strength: float, _rng: np.random.Generator) -> Picture:
    side = image.shape[0]
    return resize(resize(image, size=max(1, round(strength * side))), size=side)


def _inversion(image: Picture, _strength: float, _rng: np.random.Generator) -> Picture:
    return 1 - image


DISTORTIONS: dict[str, Distort] = {
    "noise": _noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "gamma": _gamma,
    "rotation": _rotation,
    "crop": _crop,
    "resolution": _resolution,
    "inversion": _inversion,
}
