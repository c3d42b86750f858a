"""Bundles as PyTorch modules and in other runtimes' files: the bundle's golden answers, or nothing is written."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
import torch

from pocketcxr.bundle.format import WEIGHTS_FOLDER
from pocketcxr.bundle.golden import golden_path, network_input, read_golden
from pocketcxr.cli import main
from pocketcxr.errors import BundleError, ConfigError
from pocketcxr.export.runtimes import convert
from pocketcxr.export.runtimes.convert import convert_bundle
from pocketcxr.export.runtimes.torch_graph import GraphModule
from pocketcxr.inference.runtimes.checks import too_different
from pocketcxr.inference.runtimes.converted import read_converted
from pocketcxr.inference.session import load_bundle

FILES = {"float": WEIGHTS_FOLDER / "covid-3class.onnx", "int8": WEIGHTS_FOLDER / "int8" / "covid-3class.onnx"}
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")


@pytest.fixture
def bundle(tmp_path):
    """A copy of the bundle that ships, with its golden vectors."""
    for path in (FILES["float"], golden_path(FILES["float"])):
        shutil.copy(path, tmp_path)
    return tmp_path / FILES["float"].name


@pytest.mark.parametrize(("kind", "float_weights"), [("float", False), ("int8", False), ("int8", True)])
def test_the_module_gives_the_golden_answers(kind, float_weights):
    golden = read_golden(golden_path(FILES[kind]))
    names = ("probabilities", "logits", "embedding", "saliency", "novelty", "input_kind")
    module = GraphModule(onnx.load(FILES[kind]), names=names, float_weights=float_weights)
    with torch.no_grad():
        found = module(torch.from_numpy(network_input(golden.inputs)))
    assert module.quantised == (kind == "int8")
    differences = {}
    for name, array in zip(names, found, strict=True):
        expected = getattr(golden.outputs, name)
        scale = 1 if name in {"probabilities", "input_kind"} else np.abs(expected).max()
        differences[name] = float(np.abs(array.numpy() - expected).max() / scale)
    assert not too_different(differences)
    assert kind == "int8" or max(differences.values()) < 4e-5


def test_an_operator_that_no_bundle_has_is_refused():
    model = onnx.load(FILES["float"])
    model.graph.node[-1].op_type = "Erf"
    with pytest.raises(BundleError, match="cannot convert the operators Erf"):
        GraphModule(model, names=("novelty",))


@needs_openvino
def test_a_converted_file_is_written_with_its_record(bundle, capsys):
    folder = bundle.parent / "out"
    assert main(["export", "--bundle", str(bundle), "--format", "openvino", "-o", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "covid-3class.xml")
    sha256 = load_bundle(bundle).sha256
    path, record = read_converted(folder / bundle.name, sha256, "openvino")
    assert (
        set(record.files)
        == {"covid-3class.xml", "covid-3class.bin"}
        == {one.name for one in folder.iterdir()} - {f"{path.name}.json"}
    )
    assert record.differences["probabilities"] < 1e-4
    assert "openvino" in record.software


@needs_openvino
def test_nothing_is_written_where_the_answers_differ(bundle, monkeypatch):
    golden = dict(np.load(golden_path(bundle)))
    golden["probabilities"] = golden["probabilities"][:, ::-1].copy()
    np.savez(golden_path(bundle), **golden)
    with pytest.raises(BundleError, match=r"probabilities differs from the golden vectors by .*nothing was written"):
        convert_bundle(bundle, "openvino")
    assert {one.suffix for one in bundle.parent.iterdir()} == {".onnx", ".npz"}


def test_what_is_unknown_or_missing_is_said_first(bundle, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="expected one of litert, executorch, openvino, found 'ncnn'"):
        convert_bundle(bundle, "ncnn")
    assert main(["export", "--bundle", str(bundle), "-o", str(bundle.parent)]) == 2
    assert "--bundle: expected a --format to convert it to" in capsys.readouterr().err
    monkeypatch.setattr("pocketcxr.errors.importlib.util.find_spec", lambda name: None if name == "executorch" else 1)
    assert main(["export", "--bundle", str(bundle), "--format", "executorch", "-o", str(bundle.parent)]) == 2
    assert "pip install 'pocketcxr[executorch]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("default::DeprecationWarning")  # of the converters themselves
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("output_format", ["litert", "executorch"])
def test_the_converters_that_are_installed(tmp_path, kind, output_format):
    for module in convert._NEEDS[output_format][1]:
        pytest.importorskip(module)
    path = convert_bundle(FILES[kind], output_format, folder=tmp_path)
    record = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert record["differences"]["probabilities"] <= (1e-4 if kind == "float" else 0.005)
    if output_format == "litert":
        for one in (FILES[kind], golden_path(FILES[kind])):
            shutil.copy(one, tmp_path)
        assert load_bundle(tmp_path / FILES[kind].name, runtime="litert").manifest.labels
