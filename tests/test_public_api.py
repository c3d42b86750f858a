"""The public surface is pinned: a name added, lost or made heavy is noticed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pocketcxr


def test_public_names_are_these():
    assert pocketcxr.__all__ == [
        "PocketCxrError",
        "Prediction",
        "Predictor",
        "__version__",
        "audit",
        "distill",
        "evaluate",
        "load",
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
    path = "str | os.PathLike[str]"
    assert str(inspect.signature(pocketcxr.load)) == (
        f"(path: '{path} | None' = None, *, threads: 'int | None' = None) -> 'Predictor'"
    )
    assert str(inspect.signature(pocketcxr.read_image)) == f"(path: '{path}') -> 'Radiograph'"
    assert str(inspect.signature(pocketcxr.Predictor.predict)) == "(self, image: 'ImageInput', /) -> 'Prediction'"
    assert str(inspect.signature(pocketcxr.Predictor.predict_many)) == (
        f"(self, paths: '{path} | Iterable[{path}]', *, workers: 'int | None' = None) -> 'Iterator[Prediction]'"
    )


def test_former_public_names_are_still_there():
    assert str(inspect.signature(pocketcxr.load_bundle)).startswith("(path: 'Path | None' = None")
    assert pocketcxr.Bundle.__name__ == "Bundle"
    assert pocketcxr.Radiograph.__name__ == "Radiograph"
    assert str(inspect.signature(pocketcxr.Predictor.predict_file)) == "(self, path: 'Path') -> 'Prediction'"


def test_load_takes_a_path_or_text_and_refuses_anything_else(tiny_bundle_path):
    assert pocketcxr.load(tiny_bundle_path).bundle.sha256 == pocketcxr.load(str(tiny_bundle_path)).bundle.sha256
    assert pocketcxr.load().bundle.manifest.labels
    for wrong in (5, b"x", ["x"]):
        with pytest.raises(pocketcxr.PocketCxrError, match="expected the path of a bundle"):
            pocketcxr.load(wrong)


def test_types_and_the_bundle_are_in_the_wheel():
    builders = pytest.importorskip("hatchling.builders.wheel", reason="needs the build back end")
    root = Path(__file__).parent.parent
    packed = {file.distribution_path for file in builders.WheelBuilder(str(root)).recurse_included_files()}
    assert {"pocketcxr/py.typed", "pocketcxr/__init__.py"} <= packed
    assert any(path.startswith("pocketcxr/bundle/weights/") and path.endswith(".onnx") for path in packed)


def test_import_alone_loads_nothing_heavy():
    probe = "import sys, pocketcxr; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "onnxruntime", "PIL", "pydicom", "torch", "tqdm"}
