"""The public surface is pinned: a name added, lost or made heavy is noticed."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import pocketcxr


def test_public_names_are_these():
    assert pocketcxr.__all__ == [
        "Bundle",
        "PocketCxrError",
        "Prediction",
        "Predictor",
        "Radiograph",
        "__version__",
        "load_bundle",
        "read_image",
    ]
    assert len(pocketcxr.__all__) <= 10


def test_every_public_name_is_there_documented_and_listed():
    for name in pocketcxr.__all__:
        value = getattr(pocketcxr, name)
        assert name == "__version__" or inspect.getdoc(value)
    assert set(pocketcxr.__all__) <= set(dir(pocketcxr))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pocketcxr.nothing


def test_signatures_are_these():
    assert str(inspect.signature(pocketcxr.load_bundle)) == (
        "(path: 'Path | None' = None, *, threads: 'int | None' = None) -> 'Bundle'"
    )
    assert str(inspect.signature(pocketcxr.read_image)) == "(path: 'Path') -> 'Radiograph'"
    assert str(inspect.signature(pocketcxr.Predictor.predict_file)) == "(self, path: 'Path') -> 'Prediction'"


def test_import_alone_loads_nothing_heavy():
    probe = "import sys, pocketcxr; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "onnxruntime", "PIL", "pydicom", "torch", "tqdm"}
