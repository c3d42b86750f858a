"""The frontier shows each bundle's own figure, bytes and time, and refuses what says nothing of its accuracy."""

from __future__ import annotations

import dataclasses
import json

import pytest

pytest.importorskip("matplotlib", reason="needs the extra evaluate")
pytest.importorskip("torch", reason="needs the extra train")


@pytest.fixture
def frontier(script):
    return script("frontier")


def _figure(value):
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


def _metrics(value):
    return {"overall": {"auroc": _figure(0.99)}, "sources": {"siim": {"auroc": _figure(value)}}}


@pytest.fixture
def sealed(tiny_model, tmp_path):
    """Return a function that writes a bundle with figures."""
    import onnx

    from pocketcxr.bundle.format import MANIFEST_KEY, seal
    from pocketcxr.bundle.manifest import Manifest

    def write(name, **changes):
        model = onnx.load_model_from_string(tiny_model)
        entry = next(one for one in model.metadata_props if one.key == MANIFEST_KEY)
        entry.value = dataclasses.replace(Manifest.from_json(entry.value), **changes).to_json()
        path = tmp_path / name
        path.write_bytes(seal(model.SerializeToString()))
        return path

    return write


def test_points_hold_figures_bytes_and_time(frontier, sealed, tmp_path):
    paths = [
        sealed("a.onnx", metrics=_metrics(0.9)),
        sealed("b.onnx", metrics=_metrics(0.8), run={"quantisation": {}, "experiment": {"student": {"backbone": "m"}}}),
    ]
    assert frontier.main([*map(str, paths), "-o", str(tmp_path / "f.json")]) == 0
    points = {point["file"]: point for point in json.loads((tmp_path / "f.json").read_text())["points"]}
    assert points["a.onnx"]["auroc"]["value"] == 0.9
    assert points["b.onnx"]["int8"]
    assert frontier.label(points["b.onnx"]) == "m, 32 px, int8"
    assert points["a.onnx"]["bytes"] == paths[0].stat().st_size
    assert all(point["ms"] > 0 for point in points.values())
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_a_bundle_without_figures_or_a_folder_without_bundle_gets_one_line(frontier, sealed, tmp_path, capsys):
    assert frontier.main([str(sealed("a.onnx")), "-o", str(tmp_path / "f.json")]) == 2
    assert "says nothing of its accuracy" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    assert frontier.main([str(tmp_path / "run"), "-o", str(tmp_path / "f.json")]) == 2
    assert "export the run first" in capsys.readouterr().err
    assert not (tmp_path / "f.json").exists()
