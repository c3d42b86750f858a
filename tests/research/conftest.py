"""Scripts of ``research/`` as modules: their folder is no package."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a script by name, with its neighbours at hand, for one test."""
    monkeypatch.syspath_prepend(ROOT / "research")
    names = {path.stem for path in (ROOT / "research").glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names & set(sys.modules)}
    yield importlib.import_module
    for name in names & set(sys.modules):
        del sys.modules[name]
    sys.modules.update(before)
