"""Whole pipelines from Python: settings, models of every kind, and the same results as the command line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch

import pocketcxr
from foreign_models import write_brightness_classifier
from pocketcxr.api import read_settings
from pocketcxr.bundle.description import ModelDescription
from pocketcxr.cli import main
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import ConfigError
from pocketcxr.inference.foreign import load_foreign_model
from pocketcxr.models.predict import as_classifier

LABELS = ("normal", "pneumonia", "covid19")


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Return a split table of synthetic chest X-rays."""
    folder = tmp_path_factory.mktemp("synthetic")
    draw_synthetic_xrays(folder / "images", patients=45, seed=2, size=96, progress=False)
    assert main(["index", str(folder / "images"), "-o", str(folder / "index.csv"), "--quiet"]) == 0
    assert main(["split", str(folder / "index.csv"), "-o", str(folder / "splits.csv")]) == 0
    return folder / "splits.csv"


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    return write_brightness_classifier(tmp_path_factory.mktemp("model"), labels=LABELS)


def _brightness(images):
    logits = np.linspace(-4, 4, 3) * (images.mean(axis=(1, 2, 3), dtype=np.float64)[:, None] - 0.5)
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def _probabilities(folder):
    (path,) = (folder / "predictions").glob("*.csv")
    with path.open(newline="") as stream:
        return [[float(row[f"p_{label}"]) for label in LABELS] for row in csv.DictReader(stream)]


def test_an_onnx_classifier_is_evaluated_by_one_option_and_by_python(splits, onnx_file, tmp_path, capsys):
    command = ["evaluate", "--model", str(onnx_file), "--splits", str(splits), "-o", str(tmp_path / "cli")]
    assert main([*command, "--set", "evaluation.bootstrap=20", "--quiet"]) == 0
    assert str(tmp_path / "cli" / "report.html") in capsys.readouterr().out
    result = pocketcxr.evaluate(
        tmp_path / "api",
        model={"by file": onnx_file, "loaded": load_foreign_model(onnx_file)},
        splits=splits,
        settings={"evaluation.bootstrap": 20},
        progress=False,
    )
    assert result.report.is_file()
    record = json.loads(result.record.read_text(encoding="utf-8"))
    names = list(record["models"]) if isinstance(record["models"], dict) else [m["name"] for m in record["models"]]
    assert names == ["by file", "loaded"]
    assert "report:" in result.summary


def test_a_plain_function_and_a_network_of_pytorch_give_what_the_file_gives(splits, onnx_file, tmp_path):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = torch.nn.Parameter(torch.linspace(-4, 4, 3))

        def forward(self, images):
            return self.slope * (images.mean(dim=(1, 2, 3))[:, None] - 0.5)

    description = ModelDescription(labels=LABELS, positive="covid19", image_size=32)
    models = {
        "onnx": (onnx_file, {}),
        "function": (_brightness, {"labels": LABELS, "image_size": 32}),
        "network": (as_classifier(Network().train(), description), {}),
    }
    found = {}
    for name, (model, options) in models.items():
        pocketcxr.evaluate(
            tmp_path / name, model=model, splits=splits, settings=["evaluation.bootstrap=20"], progress=False, **options
        )
        found[name] = _probabilities(tmp_path / name)
    assert len(found["onnx"]) > 5
    np.testing.assert_allclose(found["function"], found["onnx"], atol=2e-5)
    np.testing.assert_allclose(found["network"], found["onnx"], atol=2e-5)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"model": 5}, "expected a file or a callable, found int"),
        ({"model": _brightness}, "_brightness: name the classes"),
        (
            {"model": _brightness, "labels": ("a", "b", "c"), "image_size": 32},
            "no task known here",
        ),
        ({"model": _brightness, "labels": LABELS[::-1], "image_size": 32, "task": "covid-3class"}, "knows the classes"),
        ({"model": _brightness, "labels": LABELS, "image_size": 32, "splits": "absent.csv"}, "absent.csv: expected a"),
        ({"model": _brightness, "labels": LABELS, "image_size": 32, "settings": {"student.epoch": 3}}, "student.epoch"),
    ],
)
def test_what_cannot_be_evaluated_is_said(splits, tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        pocketcxr.evaluate(tmp_path, **{"splits": splits, "progress": False} | options)


def test_a_function_whose_output_is_no_distribution_is_refused(splits, tmp_path):
    with pytest.raises(pocketcxr.PocketCxrError, match="expected probabilities"):
        pocketcxr.evaluate(
            tmp_path, model=lambda images: 2 * _brightness(images), labels=LABELS, image_size=32, splits=splits
        )


def test_an_onnx_classifier_is_audited_by_one_option_and_a_function_by_python(splits, onnx_file, tmp_path, capsys):
    status = main(["audit", str(splits), "--model", str(onnx_file), "-o", str(tmp_path / "cli"), "--quick", "--quiet"])
    assert str(tmp_path / "cli" / "report.html") in capsys.readouterr().out
    result = pocketcxr.audit(
        splits,
        model=_brightness,
        labels=LABELS,
        image_size=32,
        output=tmp_path / "api",
        quick=True,
        progress=False,
    )
    assert bool(result.failed) == bool(status)
    by_file, by_function = (
        json.loads((tmp_path / name / "audit.json").read_text(encoding="utf-8")) for name in ("cli", "api")
    )
    assert (by_file["subject"]["model"], by_function["subject"]["model"]) == ("brightness", "_brightness")
    assert {"scorecard", "shortcuts"} <= {section["key"] for section in by_file["sections"]}
    outcomes = [[(one["key"], one["outcome"]) for one in record["criteria"]] for record in (by_file, by_function)]
    assert outcomes[0] == outcomes[1]
    measured = [key for key, outcome in outcomes[0] if outcome != "not measurable"]
    assert any(key.startswith("scorecard") or "auroc" in key for key in measured), outcomes[0]


def test_a_function_without_labels_cannot_be_audited(splits, tmp_path):
    with pytest.raises(ConfigError, match="name the classes"):
        pocketcxr.audit(splits, model=_brightness, output=tmp_path, progress=False)


def test_settings_are_those_of_the_command_line(tmp_path):
    settings = {
        "student.epochs": 3,
        "student.losses": {"hard": 1.0},
        "teacher.weights": ["scratch", "scratch"],
        "data.seed": 2,
    }
    as_text = ["student.epochs=3", "student.losses={hard=1.0}", 'teacher.weights=["scratch", "scratch"]', "data.seed=2"]
    found = read_settings(tmp_path, task="covid-binary", settings=settings)
    assert found == read_settings(tmp_path, settings=[*as_text, "data.task=covid-binary"])
    assert (found.student.epochs, found.data.task) == (3, "covid-binary")


def test_distil_wants_x_rays(tmp_path):
    with pytest.raises(ConfigError, match="--data"):
        pocketcxr.distill(tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match="expected paths"):
        pocketcxr.distill(tmp_path / "run", data=[5], progress=False)


@pytest.mark.parametrize(
    "program",
    [
        "import pocketcxr; f = pocketcxr.audit; import pocketcxr.audit.criteria",
        "import pocketcxr.audit.criteria; import pocketcxr; f = pocketcxr.audit",
        "import pocketcxr; import pocketcxr.audit.criteria; f = pocketcxr.audit",
        "from pocketcxr import audit as f; import pocketcxr.audit.criteria",
        "from pocketcxr.audit.criteria import load_criteria; from pocketcxr import audit as f; import pocketcxr",
    ],
)
def test_audit_is_a_function_and_a_package_in_any_order_of_imports(program):
    check = (
        "\nassert pocketcxr.audit is f and f.criteria.load_criteria\n"
        "try: f('absent')\nexcept pocketcxr.PocketCxrError as error: print(error)\n"
        "import inspect; print(list(inspect.signature(f).parameters)[:2])"
    )
    done = subprocess.run([sys.executable, "-c", program + check], capture_output=True, text=True, check=True)
    assert "absent: expected an index" in done.stdout
    assert "['target', 'model']" in done.stdout
