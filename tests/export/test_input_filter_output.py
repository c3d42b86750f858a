"""A student with a learned input gate ships both in one graph, and each stays what it was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pocketcxr.bundle.contract import INPUT_KIND, INPUT_NAME, OUTPUT_NAMES
from pocketcxr.bundle.golden import check_golden, drawn_inputs, golden_path, network_input, read_golden
from pocketcxr.errors import BundleError, ConfigError
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.inference.session import load_bundle
from pocketcxr.labels import INPUT_KINDS

torch = pytest.importorskip("torch", reason="needs the extra train")

import onnxruntime  # noqa: E402

from pocketcxr.export.export import export_student  # noqa: E402
from pocketcxr.export.onnx_export import core_graph  # noqa: E402
from pocketcxr.export.randomised import _layers  # noqa: E402
from pocketcxr.models.input_filter import InputKindNetwork, InputKindSpec  # noqa: E402
from pocketcxr.models.networks import NetworkSpec, build_network  # noqa: E402

KINDS = ("frontal", "lateral", "ct", "cropped")


def _gate(image_size: int) -> tuple[InputKindNetwork, InputKindSpec]:
    """Return a gate whose batch norms have statistics of their own."""
    spec = InputKindSpec(KINDS, image_size, 0.3)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = InputKindNetwork(spec).train()
        with torch.no_grad():
            for _ in range(5):
                network(torch.rand(16, 1, image_size, image_size))
            network.classifier.weight *= 10  # fresh weights say the same of everything
    return network.eval(), spec


def _export(case, out, gate):
    return export_student(
        case.network,
        case.spec,
        case.dataset,
        out=out,
        evaluation=EvaluationConfig(coverage=0.8),
        name="toy",
        version="1",
        licence="CC0-1.0",
        records={},
        input_filter=gate,
        progress=False,
    )


@pytest.fixture(scope="module")
def exported(case, tmp_path_factory):
    return _export(case, tmp_path_factory.mktemp("gate") / "toy.onnx", _gate(32))


def test_the_sixth_output_is_the_gates_answer(case, exported):
    bundle = load_bundle(exported, threads=1)
    assert bundle.outputs == (*OUTPUT_NAMES, INPUT_KIND)
    images = network_input(np.concatenate([drawn_inputs(32), case.dataset.pixels]))
    with torch.no_grad():
        expected = _gate(32)[0](torch.from_numpy(images)).numpy()
    found = bundle(images).input_kind
    np.testing.assert_allclose(found, expected, atol=0.01)  # its weights are stored in half precision
    assert np.ptp(found, axis=0).max() > 0.02  # and it does not answer the same to everything
    assert set(bundle.manifest.run["parity_with_pytorch"]["graph"]) == {*OUTPUT_NAMES, INPUT_KIND}


def test_the_manifest_names_kinds_limit_and_words(exported):
    gate = load_bundle(exported, threads=1).manifest.input_filter
    assert (gate.kinds, gate.accept, gate.threshold) == (KINDS, "frontal", 0.3)
    assert gate.words == {kind: INPUT_KINDS[kind] for kind in KINDS[1:]}


def test_golden_vectors_hold_the_gates_answers(exported):
    golden = read_golden(golden_path(exported))
    assert golden.outputs.input_kind.shape == (6, len(KINDS))
    assert check_golden(load_bundle(exported, threads=1), golden)[INPUT_KIND] < 1e-6


def test_with_a_gate_before_it_novelty_refuses_fewer_films(case, exported, tmp_path):
    plain = load_bundle(_export(case, tmp_path / "plain.onnx", None), threads=1)
    assert plain.manifest.data["novelty"]["cut_off"].startswith("percentile 99 ")
    gated = load_bundle(exported, threads=1)
    assert gated.manifest.data["novelty"]["cut_off"].startswith("percentile 99.8 ")


def test_without_a_gate_the_other_outputs_are_the_same(case, exported, tmp_path):
    plain = load_bundle(_export(case, tmp_path / "plain.onnx", None), threads=1)
    assert plain.outputs == OUTPUT_NAMES
    assert plain.manifest.input_filter is None
    images = network_input(drawn_inputs(32))
    gated = load_bundle(exported, threads=1)(images)
    for name in OUTPUT_NAMES:  # of 15 calibration images either percentile is the largest
        np.testing.assert_allclose(getattr(plain(images), name), getattr(gated, name), atol=1e-5)


def test_gate_of_another_image_size_is_refused_with_what_to_do(case, tmp_path):
    with pytest.raises(
        ConfigError, match=r"trained for 64 pixels, the student takes 32: run  pocketcxr train-input-filter"
    ):
        _export(case, tmp_path / "x.onnx", _gate(64))


def test_graph_whose_gate_differs_is_not_written(case, tmp_path, monkeypatch):
    from pocketcxr.export import onnx_export

    other = _gate(32)[0]
    other.classifier.bias.data += torch.tensor([2.0, 0, 0, 0])
    graph = core_graph(case.network, image_size=32, input_filter=other)
    monkeypatch.setattr(onnx_export, "core_graph", lambda *_, **__: graph)
    with pytest.raises(BundleError, match="the exported graph is not the network: input_kind differs"):
        _export(case, tmp_path / "x.onnx", _gate(32))
    assert list(tmp_path.iterdir()) == []


def test_a_larger_input_is_averaged_in_the_graph_and_the_student_found_beside_the_gate():
    gate, _ = _gate(160)
    assert (gate.cell, gate.side) == (3, 53)
    assert sum(weight.numel() for weight in gate.parameters()) * 2 < 200_000  # bytes in half precision
    spec = NetworkSpec("student", ("mobilenetv2_035",), ("a", "b"), 160)
    student = build_network(spec)
    model = core_graph(student, image_size=160, input_filter=gate)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = network_input(drawn_inputs(160))
    with torch.no_grad():
        expected = gate(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(session.run([INPUT_KIND], {INPUT_NAME: images})[0], expected, atol=1e-4)
    # the saliency check randomises the student's layers, never the gate's
    names = [name for layer in _layers(model) for name in layer]
    assert names
    assert not [name for name in names if name.startswith("input_gate.")]
    assert any(one.name.startswith("input_gate.") for one in model.graph.initializer)


@pytest.mark.parametrize("image_size, cell, side", [(32, 1, 32), (64, 1, 64), (128, 2, 64), (224, 4, 56)])
def test_it_looks_at_about_56_pixels_whatever_the_student_takes(image_size, cell, side):
    network = InputKindNetwork(dataclasses.replace(_SPEC, image_size=image_size)).eval()
    assert (network.cell, network.side) == (cell, side)
    assert network(torch.rand(2, 1, image_size, image_size)).shape == (2, len(KINDS))


_SPEC = InputKindSpec(KINDS, 32)
