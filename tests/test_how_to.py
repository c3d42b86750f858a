"""The Python of how-to pages about parts of one's own runs as it stands, in one folder, on drawn X-rays."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="parts of one's own need the extra train")

import numpy as np  # noqa: E402

from foreign_networks import XrvDenseNet  # noqa: E402
from pocketcxr import api  # noqa: E402
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays  # noqa: E402
from pocketcxr.inference.session import load_bundle  # noqa: E402
from pocketcxr.models.checkpoints import read_record  # noqa: E402

PAGES = Path(__file__).parent.parent / "docs" / "how-to"
BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
TINY = {
    "data.image_size": 32,
    "teacher.backbones": ["mobilenetv2_035"],
    "teacher.weights": ["scratch"],
    "views.count": 1,
    "student.backbone": "mobilenetv2_035",
    "student.weights": "scratch",
    "student.epochs": 1,
    "student.batch_size": 16,
    "evaluation.bootstrap": 20,
}


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Run a page's blocks in an empty folder with drawn X-rays, tiny settings under those that the page names."""
    monkeypatch.chdir(tmp_path)
    draw_synthetic_xrays(tmp_path / "x-rays", patients=24, seed=4, size=96, progress=False)
    read = api.read_settings

    def with_tiny(output, *, settings=(), **options):
        return read(output, settings={**TINY, **dict(settings)}, **options)

    monkeypatch.setattr(api, "read_settings", with_tiny)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # what a page defines is found there, as in a program's __main__

    def run(name: str) -> None:
        text = (PAGES / name).read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            language, code = block.groups()
            if language == "toml":
                (tmp_path / re.findall(r"`([\w-]+\.toml)`", text[: block.start()])[-1]).write_text(code, "utf-8")
            else:
                exec(compile(code, name, "exec"), module.__dict__)

    return run


def _models(run: Path) -> dict:
    return json.loads((run / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))["models"]


def test_a_network_of_torchxrayvision_and_any_module_teach(page, tmp_path, monkeypatch, caplog):
    networks = []

    def dense_net(weights):
        assert weights == "densenet121-res224-all"
        networks.append(XrvDenseNet())
        return networks[-1]

    library = ModuleType("torchxrayvision")
    library.models = SimpleNamespace(DenseNet=dense_net)
    monkeypatch.setitem(sys.modules, "torchxrayvision", library)
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        page("own-teacher.md")
    for name in ("xrv", "module"):
        run = tmp_path / "runs" / name
        assert {"teacher", "baseline student", "distilled student", "exported file"} <= set(_models(run))
        assert not (run / "teacher").exists()  # nothing was trained in its place
        record = read_record(run / "student-distilled" / "best.safetensors")
        assert record["teacher"]["answers"] == "cached"
    low, high = min(one[0] for one in networks[0].seen), max(one[1] for one in networks[0].seen)
    assert (low >= -1024, high <= 1024, high - low > 1024) == (True, True, True)
    assert json.loads((tmp_path / "runs" / "xrv" / "experiment.json").read_text())["teacher"]["checkpoint"] == (
        "python:XrvDenseNet"
    )
    summary = api.evaluate(tmp_path / "runs" / "xrv", progress=False).summary  # without the network
    assert "teacher" not in _models(tmp_path / "runs" / "xrv")
    assert "report:" in summary
    assert any("was given in Python and is in no file" in line for line in caplog.messages)


def test_a_loss_of_ones_own_is_trained_and_recorded(page, tmp_path):
    page("own-loss.md")
    run = tmp_path / "runs" / "own-loss"
    record = read_record(run / "student-distilled" / "best.safetensors")
    assert set(record["own"]) == {"page:focal", "page:Regressed"}
    assert record["own"]["page:focal"]["object"] == "page:focal"
    header = (run / "student-distilled" / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert {"loss_page:focal", "loss_kd", "loss_page:Regressed"} <= set(header.split(","))
    assert {"teacher", "exported file"} <= set(_models(run))


def test_a_student_of_ones_own_is_distilled_exported_and_answers_with_heatmaps(page, tmp_path, capsys):
    page("own-student.md")
    run = tmp_path / "runs" / "own-student"
    record = read_record(run / "student-distilled" / "best.safetensors")
    assert record["own"] == {"page:Tiny": record["own"]["page:Tiny"]}
    assert record["network"]["backbones"] == ["page:Tiny"]
    (bundle,) = (run / "bundle").glob("*.onnx")
    outputs = load_bundle(bundle)(np.random.default_rng(0).random((2, 1, 32, 32), np.float32))
    assert outputs.saliency.shape == (2, 3, 4, 4)
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("x-rays")]) > 20
