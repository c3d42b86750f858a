"""A student of several findings becomes a bundle whose findings are calibrated, decided and written by themselves."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pocketcxr.bundle.manifest import Manifest
from pocketcxr.errors import BundleError
from pocketcxr.evaluation.calibration import conformal_quantile, fit_temperature
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.inference.deciding import combined, decide_findings
from pocketcxr.inference.prediction import Prediction
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle
from pocketcxr.inference.writers.formats import writer_for
from pocketcxr.inference.writers.scores_file import open_scores
from pocketcxr.labels import load_task

torch = pytest.importorskip("torch", reason="needs the extra train")

from pocketcxr.export.export import export_student  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

TASK = load_task("edema+fracture+mass")


@pytest.fixture(scope="module")
def findings(case):
    """The tiny student's pictures with three findings, of which some are not known."""
    generator = np.random.default_rng(1)
    brightness = case.dataset.labels
    labels = np.stack([brightness >= 1, brightness == 2, generator.integers(0, 2, len(brightness))], axis=1).astype(int)
    labels[::7] = -1
    labels[1::5, 1] = -2
    return dataclasses.replace(case.dataset, task=TASK, labels=labels)


@pytest.fixture(scope="module")
def path(case, findings, tmp_path_factory) -> Path:
    spec = dataclasses.replace(case.spec, labels=TASK.labels, multilabel=True)
    return export_student(
        case.network,
        spec,
        findings,
        out=tmp_path_factory.mktemp("findings") / "findings.onnx",
        evaluation=EvaluationConfig(coverage=0.8),
        name="findings",
        version="1",
        licence="none",
        records={},
        storage="float32",
        progress=False,
    )


@pytest.fixture(scope="module")
def bundle(path):
    return load_bundle(path)


def logits_of(case, images):
    with torch.no_grad():
        return copy.deepcopy(case.network).eval()(torch.from_numpy(images)).logits.numpy()  # the fixture is shared


def test_each_finding_has_a_temperature_a_quantile_and_points_of_its_known_images(case, findings, bundle):
    manifest = bundle.manifest
    assert (manifest.format_version, manifest.multilabel, manifest.positive) == (3, True, "")
    assert [one.label for one in manifest.findings] == list(TASK.labels)
    positions = findings.positions("calibration")
    logits, truth = logits_of(case, findings.images(positions)), findings.labels[positions]
    for i, one in enumerate(manifest.findings):
        known = truth[:, i] >= 0
        pairs = np.stack([np.zeros(known.sum()), logits[known, i]], axis=1)
        assert one.temperature == pytest.approx(fit_temperature(pairs, truth[known, i]), rel=1e-3)
        present = 1 / (1 + np.exp(-logits[known, i] / one.temperature))
        quantile = conformal_quantile(np.stack([1 - present, present], axis=1), truth[known, i], coverage=0.8)
        assert one.conformal_quantile == pytest.approx(quantile, abs=1e-4)
        for point in manifest.operating_points:
            assert point.label != one.label or f"calibration split, {known.sum()} images" in point.chosen_on
    assert manifest.operating_points
    assert "each of edema, fracture, mass" in manifest.intended_use
    assert any("3 findings" in limit for limit in manifest.limits)


def test_the_graph_gives_a_sigmoid_at_the_temperature_of_each_finding(case, findings, bundle):
    images = findings.images(np.arange(6))
    found = bundle(images)
    temperatures = np.array([one.temperature for one in bundle.manifest.findings])
    expected = 1 / (1 + np.exp(-logits_of(case, images) / temperatures))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    assert (np.abs(found.probabilities.sum(axis=1) - 1) > 0.01).any()


def test_a_finding_is_present_or_absent_where_its_own_set_leaves_one_answer(bundle):
    quantiles = {"edema": 0.3, "fracture": 0.7, "mass": 0.3}
    manifest = dataclasses.replace(
        bundle.manifest,
        findings=tuple(
            dataclasses.replace(one, conformal_quantile=quantiles[one.label]) for one in bundle.manifest.findings
        ),
    )
    found = decide_findings({"edema": 0.8, "fracture": 0.5, "mass": 0.1}, manifest)
    assert found == {"edema": "present", "fracture": "uncertain", "mass": "absent"}
    decision, reasons = combined(found)
    assert (decision, reasons[0].code) == ("edema", "uncertain-findings")
    assert "fracture" in reasons[0].words
    assert combined({"edema": "absent", "mass": "uncertain"})[0] == "uncertain"
    assert combined({"edema": "absent", "mass": "absent"}) == ("none", ())
    assert combined({"edema": "present", "mass": "present"}) == ("edema|mass", ())
    # Neither answer is probable enough: as uncertain as both.
    assert decide_findings({"edema": 0.5, "fracture": 0.9, "mass": 0.9}, manifest)["edema"] == "uncertain"


def test_a_prediction_and_what_is_written_of_it_name_every_finding(findings, bundle, tmp_path):
    predictor = Predictor(bundle)
    images = [np.kron(picture, np.ones((8, 8), np.uint8)) for picture in findings.pixels]  # 32 pixels are too few
    predictions = [predictor.predict(image) for image in images]
    scored = next(one for one in predictions if one.probabilities)
    assert set(scored.findings) == set(TASK.labels)
    assert set(scored.findings.values()) <= {"present", "absent", "uncertain"}
    assert scored.heatmap("mass").shape == images[0].shape
    record = json.loads(json.dumps(scored.record()))
    assert record["findings"] == scored.findings
    assert Prediction.from_record(record).findings == scored.findings
    stream = io.StringIO()
    writer = writer_for("csv", stream, bundle.manifest.labels, multilabel=True)
    writer.begin()
    writer.write(scored)
    head, line = (text.split(",") for text in stream.getvalue().splitlines()[:2])
    cells = dict(zip(head, line, strict=False))
    assert [cells[f"finding_{label}"] for label in TASK.labels] == [scored.findings[label] for label in TASK.labels]
    (tmp_path / "scores.csv").write_text(stream.getvalue())
    opened, finished = open_scores(
        tmp_path / "scores.csv", identity=bundle.identity, labels=bundle.manifest.labels, multilabel=True
    )
    opened.close()
    assert len(finished) == 1


@pytest.mark.parametrize(
    "change, field",
    [
        ({"format_version": 2}, "findings belong to format version 3"),
        ({"findings": None}, "findings: expected a list"),
        ({"findings": []}, "findings: expected the labels in their order"),
        ({"positive": "edema"}, "positive"),
        ({"temperature": 2.0}, "temperature"),
        ({"conformal_quantile": 0.5}, "conformal_quantile"),
        ({"labels": ["edema", "mass", "fracture"]}, "findings: expected the labels in their order"),
    ],
)
def test_a_manifest_that_contradicts_itself_on_findings_is_refused(bundle, change, field):
    table = json.loads(bundle.manifest.to_json())
    assert Manifest.from_json(json.dumps(table)) == bundle.manifest
    with pytest.raises(BundleError, match=field):
        Manifest.from_json(json.dumps({**table, **change}))
    table["findings"][1]["temperature"] = 0
    with pytest.raises(BundleError, match=r"findings\[1\]\.temperature: expected a number from 0\.001"):
        Manifest.from_json(json.dumps(table))
