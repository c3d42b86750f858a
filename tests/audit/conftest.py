"""Real X-rays for the audit's tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data():
    """The folder of real X-rays."""
    folder = Path(os.environ.get("POCKETCXR_DATA", ""))
    if not os.environ.get("POCKETCXR_DATA") or not (folder / "manifest.csv").is_file():
        pytest.skip("real X-rays: POCKETCXR_DATA names no folder with a manifest.csv")
    return folder
