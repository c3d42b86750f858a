"""Every number that an export writes into a bundle, worked out again from the shipped graph's scores and the truth."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest

import recomputed

torch = pytest.importorskip("torch", reason="needs the extra train")
onnx = pytest.importorskip("onnx", reason="needs the extra train")

import onnxruntime  # noqa: E402

from pocketcxr.data.dataset import Dataset  # noqa: E402
from pocketcxr.data.rows import IndexRow  # noqa: E402
from pocketcxr.evaluation.config import EvaluationConfig  # noqa: E402
from pocketcxr.export.export import export_student  # noqa: E402
from pocketcxr.labels import Task  # noqa: E402

EVALUATION = EvaluationConfig(
    screening_sensitivity=0.85, confirming_specificity=0.75, coverage=0.8, calibration_source="own"
)
SIZE = 32
TRAIN, CALIBRATION, TEST = 90, 160, 30
POSITIVE = 1  # neither the first nor the last class


@pytest.fixture(scope="module")
def knowing(case):
    """A student that knows its three classes somewhat, on images of two sources; the classes are not of equal size."""
    generator = np.random.default_rng(7)
    names = ("normal", "pneumonia", "covid19")
    task = Task("toy", names, names[POSITIVE], dict(zip("abc", names, strict=True)))
    splits = ["train"] * TRAIN + ["calibration"] * CALIBRATION + ["test"] * TEST
    labels = generator.choice(3, len(splits), p=[0.5, 0.3, 0.2])
    top = np.linspace(1, 0, SIZE)[None, :, None]
    bottom = 1 - top
    side = np.linspace(0, 1, SIZE)[None, None, :]
    shade = np.stack([top + 0 * side, bottom + 0 * side, 0 * top + side])[:, 0]
    strength = generator.normal(30, 22, len(splits))[:, None, None]
    pixels = 70 + generator.integers(0, 60, (len(splits), SIZE, SIZE)) + strength * shade[labels]
    rows = tuple(
        IndexRow(path=f"{i}.png", source=("own", "other")[i % 3 == 0], finding="a", split=split)
        for i, split in enumerate(splits)
    )
    dataset = Dataset(task, rows, pixels.clip(0, 255).astype(np.uint8), labels, "beef")
    student = copy.deepcopy(case.network).eval()
    with torch.no_grad():
        embedding = student(torch.from_numpy(dataset.images(np.arange(TRAIN)))).embedding.double().numpy()
    centred = embedding - embedding.mean(axis=0)
    spread = centred.T @ centred / TRAIN + 0.05 * np.eye(embedding.shape[1])
    weight = np.linalg.solve(spread, centred.T @ (np.eye(3)[labels[:TRAIN]] - 1 / 3) / TRAIN).T * 9
    student.classifier.weight.data = torch.from_numpy(weight).float()
    student.classifier.bias.data = torch.from_numpy(-weight @ embedding.mean(axis=0)).float()
    return dataclasses.replace(case, network=student, dataset=dataset)


@pytest.fixture(scope="module")
def exported(knowing, tmp_path_factory):
    return export_student(
        knowing.network,
        knowing.spec,
        knowing.dataset,
        out=tmp_path_factory.mktemp("recomputed") / "toy.onnx",
        evaluation=EVALUATION,
        name="toy",
        version="1",
        licence="CC0-1.0",
        records={},
        progress=False,
    )


@pytest.fixture(scope="module")
def manifest(exported):
    """The manifest as it stands in the file, read as JSON and not by the package."""
    (entry,) = [one.value for one in onnx.load(exported).metadata_props if one.key == "pocketcxr.manifest"]
    return json.loads(entry)


@pytest.fixture(scope="module")
def scored(knowing, exported):
    """Logits of the shipped graph by ONNX Runtime itself, and the truth: calibration images of the own source."""
    rows = knowing.dataset.rows
    places = [i for i, row in enumerate(rows) if row.split == "calibration" and row.source == "own"]
    return _run(exported, knowing.dataset.pixels[places])["logits"], knowing.dataset.labels[places]


def _run(path, pixels):
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    images = (pixels.astype(np.float64) / 255).astype(np.float32)[:, None]
    (feed,) = [entry.name for entry in session.get_inputs()]
    return dict(zip(names, session.run(names, {feed: images}), strict=True))


def _points(logits, temperature, positive):
    scores = recomputed.probabilities(logits, temperature)[:, POSITIVE]
    return recomputed.points(scores, positive, sensitivity=0.85, specificity=0.75)


def test_the_temperature_is_that_of_the_least_cross_entropy(manifest, scored):
    logits, labels = scored
    assert manifest["temperature"] == pytest.approx(recomputed.temperature(logits, labels), rel=2e-3)
    assert abs(manifest["temperature"] - 1) > 0.05
    for other in ((labels + 1) % 3, labels[::-1]):
        assert manifest["temperature"] != pytest.approx(recomputed.temperature(logits, other), rel=0.05)


def test_the_prediction_sets_quantile_is_that_of_the_calibrated_probabilities(manifest, scored):
    logits, labels = scored
    expected = recomputed.quantile(recomputed.probabilities(logits, manifest["temperature"]), labels, 0.8)
    assert manifest["conformal_quantile"] == pytest.approx(expected, abs=1e-5)
    assert manifest["conformal_coverage"] == 0.8
    for other in (
        recomputed.quantile(recomputed.probabilities(logits, 1.0), labels, 0.8),
        recomputed.quantile(recomputed.probabilities(logits, manifest["temperature"]), (labels + 1) % 3, 0.8),
        recomputed.quantile(recomputed.probabilities(logits, manifest["temperature"]), labels, 0.85),
    ):
        assert manifest["conformal_quantile"] != pytest.approx(other, abs=1e-3)


def test_the_operating_points_are_those_of_the_calibrated_scores_and_the_truth(manifest, scored):
    logits, labels = scored
    expected = _points(logits, manifest["temperature"], labels == POSITIVE)
    found = manifest["operating_points"]
    assert [point["name"] for point in found] == ["screening", "confirming"]
    positives = int((labels == POSITIVE).sum())
    for point, (threshold, sensitivity, specificity) in zip(found, expected, strict=True):
        assert point["threshold"] == pytest.approx(threshold, abs=1e-5)
        assert (point["sensitivity"], point["specificity"]) == (pytest.approx(sensitivity), pytest.approx(specificity))
        assert point["label"] == "pneumonia"
        assert point["chosen_on"] == (
            f"calibration split of own, {len(labels)} images "
            f"({positives} positive, {len(labels) - positives} negative images)"
        )
    assert found[0]["threshold"] < found[1]["threshold"]


@pytest.mark.parametrize("what", ["negated", "before the temperature", "another class", "all sources"])
def test_another_truth_or_other_scores_would_give_other_points(manifest, scored, knowing, exported, what):
    logits, labels = scored
    temperature, positive = manifest["temperature"], labels == POSITIVE
    if what == "negated":
        positive = ~positive
    if what == "before the temperature":
        temperature = 1.0
    if what == "another class":
        positive = labels == 2
    if what == "all sources":
        places = knowing.dataset.positions("calibration")
        logits = _run(exported, knowing.dataset.pixels[places])["logits"]
        positive = knowing.dataset.labels[places] == POSITIVE
    try:
        other = [threshold for threshold, *_ in _points(logits, temperature, positive)]
    except ValueError:  # no cut reaches what is asked for
        return
    assert other != pytest.approx([point["threshold"] for point in manifest["operating_points"]], abs=1e-4)


def test_the_counts_are_those_of_the_splits(manifest, knowing, scored):
    rows = knowing.dataset.rows
    own = sum(row.split == "calibration" and row.source == "own" for row in rows)
    assert manifest["data"]["images"] == {"train": sum(row.split == "train" for row in rows), "calibration": own}
    assert own == len(scored[1]) < CALIBRATION


def test_novelty_is_the_distance_from_the_train_split_cut_off_at_the_99th_percentile(knowing, exported):
    dataset = knowing.dataset
    train, calibration, test = (
        _run(exported, dataset.pixels[dataset.positions(split)]) for split in ("train", "calibration", "test")
    )
    assert recomputed.percentile_above(calibration["novelty"], 99) == pytest.approx(1.0, abs=2e-3)
    # Mahalanobis distance by scikit-learn; the bundle keeps 95 % of the variance apart and levels the rest
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(train["embedding"].astype(float))
    whole = np.sqrt(fitted.mahalanobis(np.concatenate([calibration["embedding"], test["embedding"]]).astype(float)))
    found = np.concatenate([calibration["novelty"], test["novelty"]])
    assert np.corrcoef(whole, found)[0, 1] > 0.9


def test_the_graphs_probabilities_and_maps_follow_from_its_logits(manifest, knowing, exported):
    found = _run(exported, knowing.dataset.pixels[:20])
    expected = recomputed.probabilities(found["logits"], manifest["temperature"])
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    bias = found["logits"] - found["saliency"].mean(axis=(2, 3))
    np.testing.assert_allclose(bias, np.broadcast_to(bias[:1], bias.shape), atol=1e-3)


def test_golden_vectors_are_what_the_network_answers_to_them(knowing, exported, manifest):
    with np.load(exported.with_suffix(".golden.npz"), allow_pickle=False) as golden:
        held = {name: golden[name] for name in golden.files}
    inputs = held.pop("inputs")
    assert len(inputs) == 6
    assert str(held.pop("sha256")) == _sha256_in(exported)
    found = _run(exported, inputs)
    for name, values in held.items():
        np.testing.assert_allclose(values, found[name], atol=1e-5, err_msg=name)
    with torch.no_grad():
        logits = knowing.network(torch.from_numpy(inputs[:, None] / np.float32(255))).logits.numpy()
    np.testing.assert_allclose(held["logits"], logits, atol=0.02)  # its weights are stored in half precision
    expected = recomputed.probabilities(logits, manifest["temperature"])
    np.testing.assert_allclose(held["probabilities"], expected, atol=0.02)


def _sha256_in(path):
    """Hash that the file carries, from its metadata."""
    (entry,) = [one.value for one in onnx.load(path).metadata_props if "sha256" in one.key]
    return entry


def test_the_figures_of_a_source_change_nothing_outside_its_own_images(knowing, exported, tmp_path):
    """Calibration images of another source, and test images, take no part in what is fitted."""
    dataset = knowing.dataset
    pixels = dataset.pixels.copy()
    pixels[dataset.positions("test")] = 9
    labels = dataset.labels.copy()
    others = [i for i, row in enumerate(dataset.rows) if row.split == "calibration" and row.source == "other"]
    labels[others] = (labels[others] + 1) % 3
    other = dataclasses.replace(dataset, pixels=pixels, labels=labels)
    again = export_student(
        knowing.network, knowing.spec, other, out=tmp_path / "x.onnx", evaluation=EVALUATION, name="toy", version="1",
        licence="CC0-1.0", records={}, progress=False,
    )  # fmt: skip
    first, second = (onnx.load(path) for path in (exported, again))
    tables = [
        json.loads(next(one.value for one in model.metadata_props if one.key == "pocketcxr.manifest"))
        for model in (first, second)
    ]
    for name in ("temperature", "conformal_quantile", "operating_points"):
        assert tables[0][name] == tables[1][name], name
