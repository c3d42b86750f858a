"""An int8 file answers as the float file does, on every processor; one that does not is not written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")
onnx = pytest.importorskip("onnx", reason="needs the extra train")

from pocketcxr.bundle.contract import INPUT_NAME  # noqa: E402
from pocketcxr.bundle.format import read_manifest  # noqa: E402
from pocketcxr.bundle.golden import check_golden, golden_path, read_golden  # noqa: E402
from pocketcxr.cli import main  # noqa: E402
from pocketcxr.data.pixels import open_dataset  # noqa: E402
from pocketcxr.data.rows import IndexRow, write_rows  # noqa: E402
from pocketcxr.errors import BundleError, ReleaseError  # noqa: E402
from pocketcxr.evaluation.calibration import conformal_quantile, fit_temperature  # noqa: E402
from pocketcxr.evaluation.config import EvaluationConfig  # noqa: E402
from pocketcxr.export.export import export_student  # noqa: E402
from pocketcxr.export.int8 import distil as quantise_distil  # noqa: E402
from pocketcxr.export.int8.bench import Bench  # noqa: E402
from pocketcxr.export.int8.candidate import Limits, misses  # noqa: E402
from pocketcxr.export.int8.core import (  # noqa: E402
    constants,
    equalised,
    float_core,
    session,
    trunk,
)
from pocketcxr.export.int8.recipe import Quantiser, Recipe, portable  # noqa: E402
from pocketcxr.export.int8.rounding import PAIR_SUM, is_portable, within_pairs  # noqa: E402
from pocketcxr.export.int8.search import search  # noqa: E402
from pocketcxr.inference.session import load_bundle  # noqa: E402
from pocketcxr.labels import load_task  # noqa: E402
from pocketcxr.models.backbones import Backbone  # noqa: E402
from pocketcxr.models.networks import NetworkSpec, Student  # noqa: E402
from pocketcxr.pipeline.quantise import run_quantise  # noqa: E402
from pocketcxr.training.config import Experiment  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from pocketcxr.data.dataset import Dataset

SIZE = 32
LOOSE = Limits(auroc_loss=0.1, ece_rise=0.2, agreement=0.7)


class InvertedResiduals(torch.nn.Module):
    """A MobileNetV2 in small: stem, expansion, depthwise convolution, projection, residual sum, head."""

    pretrained_cfg: ClassVar[dict] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    num_features = 40

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(16)
        self.expand = torch.nn.Conv2d(16, 48, 1)
        self.depthwise = torch.nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.project = torch.nn.Conv2d(48, 16, 1)
        self.head = torch.nn.Conv2d(16, 40, 1)

    def forward_features(self, images):
        relu6 = torch.nn.functional.relu6
        first = relu6(self.norm(self.stem(images)))
        inside = self.project(relu6(self.depthwise(relu6(self.expand(first)))))
        return relu6(self.head(first + inside))

    def forward_head(self, maps, pre_logits):
        return maps.mean((2, 3))


def _write_run(folder: Path) -> Dataset:
    """A run's folder with drawn pictures whose class is their texture, and its data set as `prepare` opens it."""
    from PIL import Image

    generator = np.random.default_rng(0)
    task, rows = load_task("covid-3class"), []
    (folder / "films").mkdir(parents=True)
    findings = ("no_finding", "pneumonia", "covid19")
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    for number in range(150):
        kind, split = number % 3, ("train", "train", "calibration", "calibration", "test")[number // 3 % 5]
        wave = np.sin(2 * np.pi * ((2 + 3 * kind) * x + generator.random()) + 3 * y * kind)
        pixels = 120 + 60 * wave + generator.normal(0, 30, (SIZE, SIZE))
        path = folder / "films" / f"{number}.png"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
        rows.append(
            IndexRow(
                path=str(path),
                source="drawn",
                finding=findings[kind],
                patient_id=str(number),
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                label=task.label_of(findings[kind]),
                split=split,
            )
        )
    write_rows(rows, folder / "splits.csv")
    experiment = Experiment()
    data = dataclasses.replace(experiment.data, task=task.name, image_size=SIZE)
    evaluation = dataclasses.replace(experiment.evaluation, bootstrap=50)
    saved = dataclasses.asdict(dataclasses.replace(experiment, data=data, evaluation=evaluation))
    (folder / "experiment.json").write_text(json.dumps(saved), encoding="utf-8")
    return open_dataset(rows, task, size=SIZE, aspect="squash", cache=folder / "cache", progress=False)


def _student(dataset: Dataset) -> Student:
    """Random features with a classifier fitted to them: it knows its classes, and knows them the better the cleaner."""
    student = Student(Backbone("small", InvertedResiduals(), image_size=SIZE), classes=3, dropout=0.0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in student.backbone.trunk.named_parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 25
        if "norm" not in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * (2 / fan) ** 0.5
    # a few channels far larger than the rest of their row: what rounding to the nearest level suffers from
    student.backbone.trunk.project.weight.data[:, :2] *= 6
    train = dataset.positions("train")
    with torch.no_grad():
        features = student.eval()(torch.from_numpy(dataset.images(train))).embedding.double().numpy()
    centred, targets = features - features.mean(axis=0), 6 * np.eye(3)[dataset.labels[train]] - 2
    spread = centred.T @ centred + 1e-3 * np.trace(centred.T @ centred) / 40 * np.eye(40)
    weight = np.linalg.solve(spread, centred.T @ targets).T
    student.classifier.weight.data = torch.from_numpy(weight).float()
    student.classifier.bias.data = torch.from_numpy(targets.mean(axis=0) - weight @ features.mean(axis=0)).float()
    return student


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run's folder with its float bundle."""
    folder = tmp_path_factory.mktemp("quantise") / "run"
    dataset = _write_run(folder)
    student = _student(dataset)
    spec = NetworkSpec("student", ("small",), dataset.task.labels, SIZE)
    options = {"name": "toy", "version": "1", "licence": "CC0-1.0", "records": {}, "progress": False}
    out = folder / "bundle" / "covid-3class.onnx"
    export_student(student, spec, dataset, out=out, evaluation=EvaluationConfig(), **options)
    return folder


@pytest.fixture(scope="module")
def float_bundle(run) -> Path:
    return run / "bundle" / "covid-3class.onnx"


@pytest.fixture(scope="module")
def dataset(run) -> Dataset:
    from pocketcxr.pipeline.prepare import prepare
    from pocketcxr.pipeline.run import Run
    from pocketcxr.training.config import load_experiment

    return prepare(Run(run, load_experiment(run / "experiment.json", ()), progress=False))


@pytest.fixture(scope="module")
def core(float_bundle):
    return float_core(onnx.load(float_bundle))


@pytest.fixture(scope="module")
def bench(float_bundle, dataset) -> Bench:
    data = float_bundle.read_bytes()
    return Bench(data, read_manifest(data, "toy"), dataset, EvaluationConfig(bootstrap=50))


@pytest.fixture(scope="module")
def quantised(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8") / "small-int8.onnx"
    result = run_quantise(run, out=out, limits=LOOSE, audit=False, quick=True, progress=False)
    return out, result


def test_core_is_the_bundle_without_tail_and_normalisation(core, float_bundle, dataset):
    assert {node.op_type for node in core.graph.node}.isdisjoint({"Cast", "Sub", "Div", "Softmax"})
    images = dataset.images(np.arange(10))
    names = ["logits", "embedding", "saliency"]
    expected = session(float_bundle.read_bytes()).run(names, {INPUT_NAME: images})
    for one, other in zip(session(core).run(names, {INPUT_NAME: images}), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_equalised_core_gives_the_same_answers_with_wider_channels(core, dataset):
    largest = {node.output[0]: np.full(48, 0.5, np.float32) for node in core.graph.node if node.op_type == "Clip"}
    changed = equalised(core, {name: peaks for name, peaks in largest.items() if name in _expanded(core)})
    weights, before = constants(changed), constants(core)
    moved = [name for name in before if not np.array_equal(before[name], weights[name])]
    assert len(moved) == 3  # expansion, its bias, depthwise weights
    image = np.full((1, 1, SIZE, SIZE), 0.5, np.float32)  # excites no channel beyond its clip
    one, other = (session(m).run(["logits"], {INPUT_NAME: image})[0] for m in (core, changed))
    np.testing.assert_allclose(one, other, atol=0.3)


def _expanded(core) -> set[str]:
    """Clipped tensors that a depthwise convolution reads."""
    stored = constants(core)
    return {n.input[0] for n in core.graph.node if n.op_type == "Conv" and stored[n.input[1]].shape[:2] == (48, 1)}


def quantiser_of(core, dataset, positions) -> Quantiser:
    return Quantiser(core, trunk(core), dataset.images(positions), lambda: np.array(dataset.pixels[positions]))


def test_trunk_is_everything_before_the_embedding(core):
    found = trunk(core)
    assert len(found.convolutions) == 5
    assert len(found.additions) == 1
    assert len(found.activations) == 4
    assert sorted(name for group in found.groups.values() for name in group) == sorted(found.convolutions)


def test_fitted_rounding_is_closer_to_float_than_the_nearest_level(core, dataset):
    train, test = dataset.positions("train"), dataset.images(dataset.positions("test"))
    quantiser = quantiser_of(core, dataset, train)
    expected = session(core).run(["logits"], {INPUT_NAME: test})[0]

    def error(recipe: Recipe) -> float:
        found = session(quantiser(recipe)).run(["logits"], {INPUT_NAME: test})[0]
        return float(np.sqrt(np.square(found - expected).mean()))

    plain, fitted = error(Recipe()), error(Recipe(rounding="fitted"))
    assert fitted < plain
    assert error(Recipe(rounding="fitted", portable=True)) < 0.5 * float(expected.std())


def test_distilled_rounding_is_closer_to_float_than_the_fitted_it_starts_from(core, dataset):
    train, test = dataset.positions("train"), dataset.images(dataset.positions("test"))
    quantiser = quantiser_of(core, dataset, train)
    expected = session(core).run(["logits", "embedding"], {INPUT_NAME: test})

    def errors(recipe: Recipe) -> list[float]:
        model = quantiser(recipe)
        assert portable(model)
        found = session(model).run(["logits", "embedding"], {INPUT_NAME: test})
        return [float(np.sqrt(np.square(a - b).mean())) for a, b in zip(found, expected, strict=True)]

    fitted = Recipe(rounding="fitted", portable=True)
    before, after = errors(fitted), errors(dataclasses.replace(fitted, rounding="distilled"))
    assert after[0] < 0.9 * before[0]
    assert after[1] < 0.9 * before[1]


def test_what_is_distilled_is_the_graph_that_ships(core, dataset):
    quantiser = quantiser_of(core, dataset, dataset.positions("train"))
    recipe = Recipe(rounding="fitted", portable=True)
    model = quantiser(recipe)
    convolutions = frozenset(trunk(core).convolutions)
    start = quantiser._rounded(recipe, convolutions)
    images = dataset.images(dataset.positions("test"))
    graph = quantise_distil._Graph(core, start, quantiser._quantised_ranges(recipe, convolutions), portable=True)
    with torch.no_grad():
        rounded = graph.run(torch.from_numpy(images), rounded=True)[0].numpy()
        exact = graph.run(torch.from_numpy(images), rounded=False)[0].numpy()
    shipped = session(model).run(["logits"], {INPUT_NAME: images})[0]
    assert np.abs(exact - session(core).run(["logits"], {INPUT_NAME: images})[0]).max() < 1e-4
    off = np.sqrt(np.square(rounded - exact).mean())
    # biases are rounded too, and a value on the edge of two levels falls either way; another graph would be 1.4 off
    assert np.sqrt(np.square(rounded - shipped).mean()) < 0.4 * off


def test_weights_that_are_distilled_stay_within_their_pairs():
    levels = np.array([[100.0, 90.0, -100.0, 20.0, -90.0]], dtype=np.float32)
    found = within_pairs(levels).ravel().tolist()
    assert found == [69.0, 59.0, -100.0, 20.0, -90.0]


def test_an_operator_that_distillation_does_not_know_is_named(core, dataset):
    quantiser = quantiser_of(core, dataset, dataset.positions("train")[:21])
    strange = onnx.ModelProto()
    strange.CopyFrom(core)
    next(node for node in strange.graph.node if node.op_type == "Clip").op_type = "HardSwish"
    convolutions = frozenset(trunk(core).convolutions)
    start = quantiser._rounded(Recipe(rounding="fitted"), convolutions)
    with pytest.raises(BundleError, match="HardSwish"):
        quantise_distil._Graph(strange, start, {}, portable=False)


def test_portable_weights_cannot_saturate_and_plain_ones_can(core, dataset):
    quantiser = quantiser_of(core, dataset, dataset.positions("train"))
    model = quantiser(Recipe(rounding="fitted", portable=True))
    assert portable(model)
    assert not portable(quantiser(Recipe()))
    dense = [w for name, w in constants(model).items() if w.dtype == np.int8 and w.ndim == 4 and w.shape[1] > 1]
    assert len(dense) == 3
    for weights in dense:
        pairs = weights.reshape(len(weights), -1, 2).astype(int)
        assert np.maximum(pairs, 0).sum(axis=-1).max() * 255 <= 32767
        assert np.minimum(pairs, 0).sum(axis=-1).min() * 255 >= -32768


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_every_way_to_find_ranges_takes_any_number_of_pictures(core, dataset, capsys, calibration):
    quantiser = quantiser_of(core, dataset, dataset.positions("train")[:21])
    model = quantiser(Recipe(calibration=calibration))
    assert session(model).run(["logits"], {INPUT_NAME: dataset.images(np.arange(3))})[0].shape == (3, 3)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "pair, group, expected",
    [((64, 64), 1, True), ((100, 29), 1, False), ((-127, -2), 1, False), ((127, -127), 1, True)],
)
def test_neighbours_of_one_sign_decide(pair, group, expected):
    assert PAIR_SUM * 255 <= 32767 < (PAIR_SUM + 1) * 255
    assert is_portable(np.array(pair, np.int8).reshape(1, 2, 1, 1), group=group) is expected


def test_depthwise_weights_are_always_portable():
    assert is_portable(np.full((4, 1, 3, 3), 127, np.int8), group=4)


def test_bundle_is_calibrated_on_its_own_outputs(quantised, dataset):
    out, _ = quantised
    bundle = load_bundle(out, threads=1)
    positions = dataset.positions("calibration")
    outputs, labels = bundle(dataset.images(positions)), dataset.labels[positions]
    manifest = bundle.manifest
    assert manifest.temperature == pytest.approx(fit_temperature(outputs.logits, labels), rel=1e-3)
    assert manifest.conformal_quantile == pytest.approx(
        conformal_quantile(outputs.probabilities, labels, coverage=0.9), abs=1e-4
    )
    assert outputs.novelty.max() == pytest.approx(1.0, abs=1e-3)
    assert manifest.name == "toy, int8"
    assert manifest.metrics["split"] == "test"
    assert manifest.run["quantisation"]["words"].endswith(", portable")
    golden = read_golden(golden_path(out))
    tolerance = manifest.run["quantisation"]["golden_tolerance"]
    for name, difference in check_golden(bundle, golden).items():
        assert difference <= tolerance[name] + 1e-6


def test_bundle_is_smaller_and_its_classifier_stays_in_float(quantised, float_bundle):
    model = onnx.load(quantised[0])
    assert quantised[0].stat().st_size < float_bundle.stat().st_size + 8000  # this small, the record outweighs weights
    made_by = {node.output[0]: node.op_type for node in model.graph.node}
    for node in model.graph.node:
        if "logits" in node.output or "saliency" in node.output:
            assert made_by.get(node.input[1]) in {None, "Cast"}
    entries = [one.key for one in model.metadata_props]
    assert len(entries) == len(set(entries))


def test_record_holds_every_candidate_and_the_plot_is_drawn(quantised, run):
    kept = json.loads((run / "quantise.json").read_text(encoding="utf-8"))
    assert len(kept["candidates"]) >= 2
    assert kept["candidates"][kept["chosen"]]["passes"]
    assert kept["test_split"]["images"] == 30
    assert (run / "quantise.png").stat().st_size > 10_000
    assert "chosen" in quantised[1].summary


def test_nothing_is_written_where_no_recipe_keeps_the_limits(run, tmp_path):
    out, record = tmp_path / "x.onnx", tmp_path / "x.json"
    with pytest.raises(
        ReleaseError, match=r"no int8 recipe of \d+ keeps all limits.*at most 1,000 allowed.*loosen the limit"
    ):
        run_quantise(run, out=out, record=record, limits=Limits(bytes=1000), audit=False, quick=True, progress=False)
    assert not out.exists()
    assert json.loads(record.read_text(encoding="utf-8"))["chosen"] is None


def test_search_says_which_layers_hurt_and_keeps_them_in_float(bench):
    found = search(bench, Limits(agreement=1.01), progress=False, quick=True)
    assert found.chosen is None
    assert set(found.sensitivity) == set(bench.trunk.groups)
    assert all("of decisions agree" in " ".join(one.misses) for one in found.candidates)


def test_each_limit_is_said_with_its_distance():
    figures = {"auroc_loss": 0.01, "ece_rise": 0.02, "agreement": 0.9}
    said = misses(figures, Limits(), size=4_000_000, can_travel=False)
    assert said == (
        "AUROC falls by 0.0100, at most 0.003 allowed",
        "calibration error rises by 0.0200, at most 0.01 allowed",
        "90.00% of decisions agree, at least 99% wanted",
        "4,000,000 bytes, at most 3,000,000 allowed",
        "saturates on x86 processors without VNNI",
    )
    kept = {"auroc_loss": 0.003, "ece_rise": -0.02, "agreement": 0.99}
    assert misses(kept, Limits(), size=3_000_000, can_travel=True) == ()


def test_int8_bundle_is_not_quantised_again(quantised):
    with pytest.raises(BundleError, match="quantised already"):
        float_core(onnx.load(quantised[0]))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["{run}", "-o", "{tmp}/x.bin"], "expected a name that ends in .onnx"),
        (["{run}", "-o", "{run}/bundle/covid-3class.onnx"], "is the float bundle itself"),
        (["{run}/bundle/covid-3class.onnx", "-o", "{tmp}/x.onnx"], "with --run RUN"),
        (["{run}/bundle/covid-3class.onnx", "--run", "{tmp}", "-o", "{tmp}/x.onnx"], "expected the folder of a run"),
        (["{tmp}", "-o", "{tmp}/x.onnx"], "found 0: export first"),
    ],
)
def test_bad_input_gets_one_line(run, tmp_path, capsys, arguments, message):
    words = [word.format(run=run, tmp=tmp_path) for word in arguments]
    assert main(["quantise", *words, "--quiet"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert message in said[0]
