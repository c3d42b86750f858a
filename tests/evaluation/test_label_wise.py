"""Figures of several findings per image: those of two classes, over the images of which each finding is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.errors import DataError
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.label_wise import mean_auroc, predictions_of_label, score_labels, task_of_label
from pocketcxr.evaluation.metrics import label_wise_auroc
from pocketcxr.labels import load_task
from pocketcxr.report.label_wise import evaluate_labels

TASK = load_task("edema+fracture")
IMAGES = 240


@pytest.fixture(scope="module")
def dataset():
    """Pictures whose first two pixels tell the findings, roughly; some labels are uncertain or not known."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (IMAGES, 2))
    pixels = generator.integers(0, 256, (IMAGES, 8, 8))
    pixels[:, 0, :2] = np.clip(90 + 60 * labels + generator.normal(0, 60, labels.shape), 0, 255)
    labels[generator.random(labels.shape) < 0.15] = -2
    labels[generator.random(labels.shape) < 0.1] = -1
    rows = tuple(
        IndexRow(f"{i}.png", "ab"[i % 2], "", patient_id=f"p{i // 2}", split=("calibration", "test")[i // 2 % 2])
        for i in range(IMAGES)
    )
    return Dataset(TASK, rows, pixels.astype(np.uint8), labels, "drawn")


def predict(images):
    logits = 12 * (images[:, 0, 0, :2] - 0.45)
    return ModelOutputs((1 / (1 + np.exp(-logits))).astype(np.float32), logits, logits)


def sharper(images):
    logits = 40 * (images[:, 0, 0, :2] - 0.45)
    return ModelOutputs((1 / (1 + np.exp(-logits))).astype(np.float32), logits, logits)


def test_a_finding_is_measured_on_the_images_of_which_it_is_known(dataset):
    positions = dataset.positions("test")
    scores = score_labels("model", predict, dataset, positions)
    for i in range(2):
        found = predictions_of_label(scores, dataset, i)
        truth = dataset.labels[positions, i]
        assert found.positions.tolist() == positions[truth >= 0].tolist()
        assert found.labels.tolist() == truth[truth >= 0].tolist()
        np.testing.assert_allclose(found.probabilities[:, 1], scores.probabilities[truth >= 0, i])
        np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
        assert not found.brings_temperature
    assert task_of_label(TASK, 1).labels == ("no fracture", "fracture")


def test_the_mean_auroc_is_that_of_scikit_learn_with_an_interval_by_patient(dataset):
    positions = dataset.positions("test")
    scores = score_labels("model", predict, dataset, positions)
    truth = dataset.labels[positions]
    areas = [roc_auc_score(truth[truth[:, i] >= 0, i], scores.logits[truth[:, i] >= 0, i]) for i in range(2)]
    members = np.unique([dataset.rows[i].patient_id for i in positions], return_inverse=True)[1]
    found = mean_auroc(scores, dataset, EvaluationConfig(bootstrap=200), members)
    assert found.value == pytest.approx(np.mean(areas), abs=1e-12)
    assert found.low < found.value < found.high
    assert label_wise_auroc(scores.logits, truth) == pytest.approx(np.mean(areas), abs=1e-12)


def test_outputs_that_are_no_probabilities_of_these_findings_are_refused(dataset):
    positions = dataset.positions("test")
    with pytest.raises(DataError, match="expected 2 finite numbers per image"):
        score_labels("wide", lambda x: ModelOutputs(x[:, 0, 0, :3], x[:, 0, 0, :3], x), dataset, positions)
    with pytest.raises(DataError, match="probabilities from 0 to 1"):
        score_labels("odd", lambda x: ModelOutputs(x[:, 0, 0, :2] - 1, x[:, 0, 0, :2], x), dataset, positions)


def test_the_report_has_every_finding_with_figures_of_its_own(dataset, tmp_path):
    config = EvaluationConfig(bootstrap=50)
    models = {"teacher": sharper, "distilled student": predict}
    result = evaluate_labels(models, dataset, config=config, out=tmp_path, title="drawn")
    table = json.loads((tmp_path / "evaluation.json").read_text())
    assert table["task"]["labels"] == ["edema", "fracture"]
    truth = dataset.labels[dataset.positions("test")]
    for i, label in enumerate(TASK.labels):
        counts = {"present": 1, "absent": 0, "uncertain": -2, "unknown": -1}
        expected = {name: int((truth[:, i] == code).sum()) for name, code in counts.items()}
        assert table["findings"][label]["test_images"] == expected
        figure = table["findings"][label]["models"]["distilled student"]["auroc"]
        scores = score_labels("model", predict, dataset, dataset.positions("test"))
        known = truth[:, i] >= 0
        assert figure["value"] == pytest.approx(roc_auc_score(truth[known, i], scores.logits[known, i]), abs=1e-12)
        assert (tmp_path / label / "report.html").is_file()
        points = result.findings[label].models[1].calibration.operating_points
        assert {point.label for point in points} == {label}
    temperatures = [one.calibration.temperature for one in result.findings["edema"].models]
    assert temperatures[0] == pytest.approx(temperatures[1] * 40 / 12, rel=1e-3)
    page = (tmp_path / "report.html").read_text()
    assert "edema/report.html" in page
    assert result.headline.startswith("Mean AUROC over 2 findings, distilled student: 0.")
