"""Images whose prediction the tiny bundle of `tests/conftest.py` makes known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle


@pytest.fixture(scope="session")
def bundle(tiny_bundle_path):
    return load_bundle(tiny_bundle_path, threads=1)


@pytest.fixture(scope="session")
def predictor(bundle):
    return Predictor(bundle)


@pytest.fixture(scope="session")
def gated(tiny_filter_path):
    """Return the predictor of the tiny bundle with a learned input filter."""
    return Predictor(load_bundle(tiny_filter_path, threads=1))


@pytest.fixture(scope="session")
def save_picture():
    """Save a grey image of a mean brightness with enough contrast for the input filter."""

    def save(path, *, brightness: float, shape: tuple[int, int] = (160, 160)):
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = np.linspace(-0.09, 0.09, shape[1])
        pixels = np.clip(brightness + np.broadcast_to(columns, shape), 0, 1)
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(path)
        return path

    return save
