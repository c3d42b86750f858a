"""Drawings for every test of the model audit."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import drawn_models


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """About 160 films of 70 drawn patients, with their true lungs."""
    return drawn_models.draw(tmp_path_factory.mktemp("model-audit") / "phantom")
