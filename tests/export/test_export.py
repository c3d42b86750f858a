"""An exported student is the trained student, calibrated on the calibration split, in a file that proves itself."""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar

import numpy as np
import pytest

from pocketcxr.bundle.contract import OUTPUT_NAMES
from pocketcxr.bundle.golden import check_golden, drawn_inputs, golden_path, network_input, read_golden
from pocketcxr.errors import BundleError, ConfigError, DataError
from pocketcxr.evaluation.calibration import conformal_quantile, fit_temperature
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.inference.session import load_bundle
from pocketcxr.labels import TASKS

torch = pytest.importorskip("torch", reason="needs the extra train")

from pocketcxr.export import onnx_export, onnx_tail, parity  # noqa: E402
from pocketcxr.export.export import export_student  # noqa: E402
from pocketcxr.export.intended_use import heatmap_limits, limits  # noqa: E402
from pocketcxr.models.backbones import Backbone  # noqa: E402
from pocketcxr.models.networks import Student  # noqa: E402

_CORE_GRAPH = onnx_export.core_graph
PLAIN_OPERATORS = (
    *("Add", "Cast", "Clip", "Conv", "Div", "Gemm", "MatMul", "Mul"),
    *("ReduceMean", "ReduceSum", "Relu", "Softmax", "Sqrt", "Sub"),
)


def _export(case, out, **changes):
    options = {
        "evaluation": EvaluationConfig(coverage=0.8),
        "name": "toy",
        "version": "1.2.3",
        "licence": "CC0-1.0",
        "records": {"metrics": {"auroc": 0.5}, "run": {"seed": 4}},
        "progress": False,
    }
    return export_student(case.network, case.spec, case.dataset, out=out, **(options | changes))


@pytest.fixture(scope="module")
def cached_core(case):
    """Return the exporter's answer for the tiny student, computed once: it takes seconds."""
    return onnx_export.core_graph(case.network, image_size=case.spec.image_size)


@pytest.fixture(autouse=True)
def _export_once(monkeypatch, cached_core):
    monkeypatch.setattr(onnx_export, "core_graph", lambda *_, **__: cached_core)


@pytest.fixture(scope="module")
def exported(case, cached_core, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "core_graph", lambda *_, **__: cached_core)
        return _export(case, tmp_path_factory.mktemp("export") / "toy.onnx")


@pytest.fixture(scope="module")
def bundle(exported):
    return load_bundle(exported, threads=1)


def _rounded(network):
    """Return a copy with batch norm folded, and every large weight rounded through half precision, as shipped."""
    network = onnx_export.cpu_copy(network)
    trunk = network.backbone.trunk
    trunk.first = torch.nn.utils.fuse_conv_bn_eval(trunk.first, trunk.norm)
    trunk.norm = torch.nn.Identity()
    for layer in (trunk.first, trunk.second):
        layer.weight.data = layer.weight.data.half().float()
    return network


def test_every_limit_is_one_line():
    assert not any("\n" in line for line in limits(TASKS["covid-3class"], licence="research"))


def test_a_heatmap_that_was_trained_to_lie_in_boxes_is_said_to_be():
    assert heatmap_limits({"boxes": 1.0}) == heatmap_limits({"evidence": 0.0}) == ()
    assert "no evidence of what the answer rests on" in heatmap_limits({"evidence": 1.0})[0]


def test_half_weights_bundle_equals_pytorch_with_its_weights_rounded(case, bundle):
    images = network_input(np.concatenate([drawn_inputs(32), case.dataset.pixels]))
    found = bundle(images)
    with torch.no_grad():
        network = _rounded(case.network)
        expected = network(torch.from_numpy(images))
        maps = network.saliency(expected.features)
        probabilities = torch.softmax(expected.logits / bundle.manifest.temperature, dim=1)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
    np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-4)
    np.testing.assert_allclose(found.saliency, maps, atol=1e-4)
    np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-5)


def test_full_weights_bundle_equals_pytorch_as_trained(case, tmp_path):
    bundle = load_bundle(_export(case, tmp_path / "full.onnx", storage="float32"), threads=1)
    images = network_input(drawn_inputs(32))
    with torch.no_grad():
        expected = onnx_export.cpu_copy(case.network)(torch.from_numpy(images))
    np.testing.assert_allclose(bundle(images).logits, expected.logits, atol=1e-4)
    assert list(bundle.manifest.run["parity_with_pytorch"]) == ["graph"]
    assert bundle.manifest.run["storage"] == {"stored": "float32"}


def test_half_weights_halve_the_bytes_of_the_weights(case, exported):
    import onnx

    model = onnx.load(exported)
    halves = [w for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT16]
    stored = sum(np.prod(weight.dims) for weight in halves)
    trunk = case.network.backbone.trunk
    large = sum(p.numel() for p in (trunk.first.weight, trunk.second.weight))
    assert stored >= large
    assert all(np.prod(w.dims) < 256 for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT)


def test_graph_is_plain_folded_and_tells_nothing_of_the_machine(exported):
    import onnx

    model = onnx.load(exported)
    assert {node.op_type for node in model.graph.node} <= set(PLAIN_OPERATORS)
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [18]
    assert [output.name for output in model.graph.output] == list(OUTPUT_NAMES)
    data = exported.read_bytes()
    assert b"site-packages" not in data
    assert b".py" not in data


def test_records_keep_names_of_files_and_lose_the_folders(case, tmp_path):
    records = {
        "run": {"weights": "/a/machine/best.safetensors", "strangers": ["C:\\x-rays\\knees", "runs/mine"], "rate": 0.1}
    }
    manifest = load_bundle(_export(case, tmp_path / "toy.onnx", records=records)).manifest
    assert manifest.run["weights"] == "best.safetensors"
    assert manifest.run["strangers"] == ["knees", "runs/mine"]
    assert manifest.run["rate"] == 0.1


def test_calibration_is_that_of_the_shipped_graph_on_the_calibration_split(case, bundle):
    positions = case.dataset.positions("calibration")
    outputs, labels = bundle(case.dataset.images(positions)), case.dataset.labels[positions]
    manifest = bundle.manifest
    assert manifest.temperature == pytest.approx(fit_temperature(outputs.logits, labels), rel=1e-3)
    expected = conformal_quantile(outputs.probabilities, labels, coverage=0.8)
    assert manifest.conformal_quantile == pytest.approx(expected, abs=1e-5)
    assert manifest.conformal_coverage == 0.8
    assert outputs.novelty.max() == pytest.approx(1.0, abs=1e-5)  # 15 images: the 99th percentile is the largest
    for point in manifest.operating_points:
        assert point.label == "covid19"
        assert point.chosen_on.startswith("calibration split, 15 images")


def test_one_source_can_be_calibrated_on(case, tmp_path):
    rows = tuple(dataclasses.replace(row, source=("toy", "own")[i % 2]) for i, row in enumerate(case.dataset.rows))
    mixed = dataclasses.replace(case, dataset=dataclasses.replace(case.dataset, rows=rows))
    evaluation = EvaluationConfig(coverage=0.8, calibration_source="own")
    bundle = load_bundle(_export(mixed, tmp_path / "own.onnx", evaluation=evaluation))
    positions = [i for i in mixed.dataset.positions("calibration") if rows[i].source == "own"]
    outputs, labels = bundle(mixed.dataset.images(np.array(positions))), mixed.dataset.labels[positions]
    assert len(positions) in {7, 8}
    assert bundle.manifest.temperature == pytest.approx(fit_temperature(outputs.logits, labels), rel=1e-3)
    expected = conformal_quantile(outputs.probabilities, labels, coverage=0.8)
    assert bundle.manifest.conformal_quantile == pytest.approx(expected, abs=1e-5)
    for point in bundle.manifest.operating_points:
        assert point.chosen_on.startswith(f"calibration split of own, {len(positions)} images")
    with pytest.raises(DataError, match="no labelled calibration image of 'elsewhere'; sources there: own, toy"):
        _export(mixed, tmp_path / "no.onnx", evaluation=EvaluationConfig(calibration_source="elsewhere"))


def test_manifest_holds_what_was_given_and_what_was_found(bundle):
    manifest = bundle.manifest
    assert (manifest.name, manifest.version, manifest.licence) == ("toy", "1.2.3", "CC0-1.0")
    assert manifest.labels == ("normal", "pneumonia", "covid19")
    assert manifest.metrics == {"auroc": 0.5}
    assert manifest.run["seed"] == 4
    assert manifest.data["fingerprint"] == "f00d"
    assert manifest.data["images"] == {"train": 12, "calibration": 15}
    assert "not a medical device" in manifest.intended_use
    assert any("children" in limit for limit in manifest.limits)
    assert any("CC0-1.0" in limit for limit in manifest.limits)
    assert set(manifest.run["parity_with_pytorch"]) == {"graph", "stored_weights"}
    assert manifest.run["storage"] == {"stored": "half"}  # small enough: nothing had to be rounded


def test_golden_vectors_fit_and_hold_no_patient_by_default(case, exported, bundle):
    golden = read_golden(golden_path(exported))
    assert golden.sha256 == bundle.sha256
    assert max(check_golden(bundle, golden).values()) < 1e-6
    np.testing.assert_array_equal(golden.inputs, drawn_inputs(32))


def test_golden_images_are_added_when_asked_for(case, tmp_path):
    golden = read_golden(golden_path(_export(case, tmp_path / "x.onnx", golden_images=2)))
    assert len(golden.inputs) == 8
    calibration = case.dataset.pixels[case.dataset.positions("calibration")]
    np.testing.assert_array_equal(golden.inputs[6:], calibration[[0, -1]])


def test_network_that_was_exported_stays_as_it_was(case, exported):
    assert case.network.training


def test_graph_that_differs_from_the_network_is_not_written(case, tmp_path):
    other = onnx_export.cpu_copy(case.network)
    other.classifier.weight.data += 0.1
    wrong = dataclasses.replace(case, network=other)
    with pytest.raises(BundleError, match=r"the exported graph is not the network: .* differs from PyTorch by"):
        _export(wrong, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_rounding_that_moves_a_probability_too_far_is_refused(case, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "STORED_PROBABILITY_TOLERANCE", 1e-9)
    with pytest.raises(BundleError, match="expected at most 1e-09: export with storage='float32'"):
        _export(case, tmp_path / "x.onnx")


@pytest.mark.parametrize(
    "spec, changes, message",
    [
        ({"kind": "teacher"}, {}, "expected a student"),
        ({"labels": ("a", "b", "c")}, {}, "student has labels"),
        ({"image_size": 64}, {}, "student takes 64 pixels"),
        ({}, {"records": {"metric": {}}}, "records: expected some of"),
        (
            {},
            {"storage": "int8"},
            "storage of the weights: expected one of .*, found 'int8'",
        ),
    ],
)
def test_contradictions_are_refused_before_any_work(case, tmp_path, spec, changes, message):
    other = dataclasses.replace(case, spec=dataclasses.replace(case.spec, **spec))
    with pytest.raises(ConfigError, match=message):
        _export(other, tmp_path / "x.onnx", **changes)


def test_name_without_onnx_is_refused(case, tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.onnx"):
        _export(case, tmp_path / "bundle")


@pytest.mark.parametrize("empty", ["train", "calibration"])
def test_empty_split_is_refused(case, tmp_path, empty):
    rows = tuple(dataclasses.replace(row, split="test") if row.split == empty else row for row in case.dataset.rows)
    other = dataclasses.replace(case, dataset=dataclasses.replace(case.dataset, rows=rows))
    with pytest.raises(DataError, match=f"the split {empty} has no labelled image"):
        _export(other, tmp_path / "x.onnx")


def test_test_split_takes_no_part(case, bundle, tmp_path):
    pixels = case.dataset.pixels.copy()
    pixels[case.dataset.positions("test")] = 0
    other = dataclasses.replace(case, dataset=dataclasses.replace(case.dataset, pixels=pixels))
    manifest = load_bundle(_export(other, tmp_path / "x.onnx"), threads=1).manifest
    same = dataclasses.replace(bundle.manifest, created=manifest.created)
    assert json.loads(manifest.to_json()) == json.loads(same.to_json())


def test_network_whose_logits_are_not_its_classifier_on_the_average_is_refused(case):
    network = onnx_export.cpu_copy(case.network)
    forward = network.forward
    network.forward = lambda image: forward(image)._replace(logits=forward(image).logits * 2)
    with pytest.raises(ConfigError, match="global average"):
        onnx_export.linear_classifier(network, 32)
    network.classifier = torch.nn.Identity()
    with pytest.raises(ConfigError, match="linear layer, found Identity"):
        onnx_export.linear_classifier(network, 32)


@pytest.mark.slow
def test_mobilenet_of_full_size_becomes_a_plain_graph_of_half_the_bytes():
    import onnx

    from pocketcxr.models.networks import NetworkSpec, build_network

    spec = NetworkSpec("student", ("mobilenetv2_100",), ("negative", "typical"), 224)
    network = build_network(spec)
    core = _CORE_GRAPH(network, image_size=224)
    operators = {node.op_type for node in core.graph.node}
    assert operators <= set(PLAIN_OPERATORS)
    halved = onnx_tail.halve_weights(core)
    assert len(halved.SerializeToString()) < 0.53 * len(core.SerializeToString())
    onnx.checker.check_model(halved, full_check=True)


class Wide(torch.nn.Module):
    """A small stem, then two layers of 0.9 million weights each: more than 3 MB in half precision."""

    pretrained_cfg: ClassVar[dict] = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    num_features = 950

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(1, 950, 8, stride=8)
        self.first, self.second = (torch.nn.Conv2d(950, 950, 1) for _ in range(2))
        generator = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter.data = torch.randn(parameter.shape, generator=generator) * (2 / fan) ** 0.5

    def forward_features(self, images):
        maps = self.stem(images)
        for layer in (self.first, self.second):
            maps = layer(torch.relu(maps))
        return torch.relu(maps)

    def forward_head(self, maps, pre_logits):
        return maps.mean((2, 3))


@pytest.fixture(scope="module")
def wide_case(case):
    torch.manual_seed(0)
    network = Student(Backbone("wide", Wide(), image_size=32), classes=3, dropout=0.0).eval()
    return dataclasses.replace(case, network=network, spec=dataclasses.replace(case.spec, backbones=("wide",)))


@pytest.fixture
def _wide_core(wide_case, monkeypatch, wide_graph):
    monkeypatch.setattr(onnx_export, "core_graph", lambda *_, **__: wide_graph)


@pytest.fixture(scope="module")
def wide_graph(wide_case):
    return _CORE_GRAPH(wide_case.network, image_size=32)


@pytest.mark.usefixtures("_wide_core")
def test_a_large_student_becomes_a_file_below_three_megabytes_that_says_how(wide_case, tmp_path):
    path = _export(wide_case, tmp_path / "wide.onnx")
    assert 1_700_000 < path.stat().st_size < 3_000_000
    run = load_bundle(path, threads=1).manifest.run
    assert run["storage"] == {"stored": "8-bit", "layers_in_8_bits": 1}
    moves = run["parity_with_pytorch"]["calibration_split"]
    assert 0 < moves["mean_move"] <= moves["percentile_99"] <= moves["largest_move"] <= 0.02
    assert moves["class_agreement"] >= 0.995


@pytest.mark.usefixtures("_wide_core")
def test_where_eight_bits_move_answers_too_far_half_precision_stays_and_one_line_says_so(
    wide_case, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(parity, "LEAST_CLASS_AGREEMENT", 1.1)
    with caplog.at_level("WARNING", logger="pocketcxr"):
        path = _export(wide_case, tmp_path / "half.onnx")
    (record,) = caplog.records
    assert "expected at least 110.0%; the weights stay in half precision" in record.getMessage()
    assert path.stat().st_size > 3_000_000
    assert load_bundle(path, threads=1).manifest.run["storage"] == {"stored": "half"}


def test_moves_and_limits_are_counted_by_hand():
    exact = np.log(np.array([[0.6, 0.4], [0.52, 0.48], [0.2, 0.8], [0.9, 0.1]]))
    found = np.log(np.array([[0.61, 0.39], [0.495, 0.505], [0.2, 0.8], [0.9, 0.1]]))
    moves = parity.moves(found, exact, 1.0)
    assert moves["largest_move"] == pytest.approx(0.025)
    assert moves["mean_move"] == pytest.approx(0.035 / 4)
    assert moves["class_agreement"] == 0.75
    assert parity.moves(2 * found, 2 * exact, 2.0) == pytest.approx(moves)
    assert parity.moved_too_far({"calibration_split": moves | {"percentile_99": 0.019, "class_agreement": 1.0}}) == ""
    many = parity.moved_too_far({"calibration_split": moves | {"percentile_99": 0.025}})
    assert "moves a probability by 0.025, expected at most 0.02" in many
    one = parity.moved_too_far({"calibration_split": moves | {"percentile_99": 0.0, "largest_move": 0.06}})
    assert "of one picture by 0.06, expected at most 0.05" in one
    few = {"calibration_split": moves | {"largest_move": 0.01, "percentile_99": 0.01}}
    assert "keeps the class of 75.00% of the calibration split" in parity.moved_too_far(few)
    assert parity.moved_too_far({"stored_weights": {"probabilities": 0.001, "input_kind": 0.03, "logits": 9.0}})
    assert parity.moved_too_far({"stored_weights": {"probabilities": 0.02, "logits": 9.0}}) == ""
    assert parity.moved_too_far({"graph": {"probabilities": 1.0}}) == ""


def test_the_figures_of_the_manifest_are_asked_of_the_finished_file(case, tmp_path):
    def measure(bundle):
        assert bundle.manifest.temperature > 0
        return {"images": len(bundle(case.dataset.images(np.arange(3))).logits)}

    path = _export(case, tmp_path / "measured.onnx", measure=measure)
    bundle = load_bundle(path, threads=1)
    assert bundle.manifest.metrics == {"images": 3}
    assert max(check_golden(bundle, read_golden(golden_path(path))).values()) < 1e-4
