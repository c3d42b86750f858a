"""Several findings per image through every command: a run, its evaluation, other protocols, and what is made of it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from pocketcxr.api import evaluate
from pocketcxr.bundle.format import read_manifest
from pocketcxr.cli import main
from pocketcxr.data.rows import read_rows
from pocketcxr.data.synthetic.generate import TABLE, draw_synthetic_xrays
from pocketcxr.errors import ConfigError
from pocketcxr.inference.session import load_bundle
from pocketcxr.pipeline.calibrate import run_calibrate
from pocketcxr.pipeline.crossval import run_crossval
from pocketcxr.pipeline.distill import run_distill
from pocketcxr.pipeline.stages import run_export
from pocketcxr.training.config import load_experiment

COLUMNS = {"finding": "pneumonia,covid19"}
TINY = (
    'data.task="pneumonia+covid19"',
    "data.image_size=32",
    'teacher.backbones=["mobilenetv2_035"]',
    'teacher.weights=["scratch"]',
    "teacher.epochs=1",
    "teacher.fusion_epochs=1",
    "teacher.folds=2",
    "views.count=1",
    'student.backbone="mobilenetv2_035"',
    'student.weights="scratch"',
    "student.epochs=1",
    "student.unlabelled=true",
    "student.losses={ce=0.5, kd=1.0}",
    "evaluation.bootstrap=50",
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Drawings with a column per finding: some uncertain, some not told, some images without a label."""
    folder = tmp_path_factory.mktemp("drawn") / "films"
    draw_synthetic_xrays(folder, patients=48, seed=4, size=128, progress=False)
    generator = np.random.default_rng(0)
    with (folder / TABLE).open(newline="") as stream:
        drawn = list(csv.DictReader(stream))
    with (folder / "own.csv").open("w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["path", "source", "patient_id", "pneumonia", "covid19"])
        for one in drawn:
            cells = [int(one["finding"] == name or generator.random() < 0.2) for name in ("pneumonia", "covid19")]
            told = [
                str(cell) if (chance := generator.random()) > 0.15 else "-1" if chance > 0.05 else "" for cell in cells
            ]
            told = ["", ""] if generator.random() < 0.1 else told
            lines.writerow([one["path"], one["source"], one["patient_id"], *told])
    return folder / "own.csv"


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory):
    """The folder of a tiny run with a cross-fitted teacher and unlabelled images."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    run_distill(folder, load_experiment(None, TINY), sources=[table], columns=COLUMNS, progress=False)
    return folder


def test_a_cross_fitted_teacher_and_unlabelled_images_lead_to_a_report_of_every_finding(finished):
    record = json.loads((finished / "evaluation" / "evaluation.json").read_text())
    assert list(record["findings"]) == ["pneumonia", "covid19"]
    assert {"teacher", "distilled student", "exported file"} <= set(record["mean_auroc"])
    assert (finished / "teacher" / "fold-2" / "teacher.safetensors").is_file()
    assert any(row.split == "train" and not row.label for row in read_rows(finished / "splits.csv"))


def test_folds_are_pooled_over_the_images_of_which_a_finding_is_known(table, tmp_path):
    experiment = load_experiment(None, [*TINY, "teacher.folds=0"])
    result = run_crossval(
        tmp_path / "folds", experiment, sources=[table], columns=COLUMNS, folds=2, models=["student"], progress=False
    )
    rows = {row.path: row for row in read_rows(tmp_path / "folds" / "folds.csv") if row.fold}
    evaluation = tmp_path / "folds" / "evaluation"
    for finding in ("pneumonia", "covid19"):
        known = {path for path, row in rows.items() if f"{finding}=1" in row.label or f"{finding}=0" in row.label}
        (predictions,) = (evaluation / finding / "predictions").glob("*.csv")
        with predictions.open(newline="") as stream:
            lines = {line["path"]: line for line in csv.DictReader(stream)}
        assert set(lines) == known
        for path, line in lines.items():
            assert (line["label"] == finding) == (f"{finding}=1" in rows[path].label)
            assert line["source"] == rows[path].source
    with (evaluation / "crossval.csv").open(newline="") as stream:
        folds = list(csv.DictReader(stream))
    assert [line["fold"] for line in folds] == ["0", "1"]
    for line in folds:
        areas = [float(line[f"auroc/{finding}"]) for finding in ("pneumonia", "covid19")]
        assert float(line["auroc_mean"]) == pytest.approx(np.mean(areas))
    assert "AUROC covid19" in result.summary
    with pytest.raises(ConfigError, match="--index holds findings already"):
        run_crossval(tmp_path / "other", experiment, index=tmp_path / "i.csv", columns=COLUMNS, progress=False)


def test_models_of_several_findings_are_compared_on_a_table(finished, tmp_path):
    models = [str(finished / "teacher" / "teacher.safetensors"), *map(str, (finished / "bundle").glob("*.onnx"))]
    splits = str(finished / "splits.csv")
    assert main(["evaluate", "-o", str(tmp_path / "out"), "--splits", splits, "--quiet", "--model", *models]) == 0
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert len(record["mean_auroc"]) == 2
    of_the_run = json.loads((finished / "evaluation" / "evaluation.json").read_text())["mean_auroc"]["teacher"]
    assert record["mean_auroc"]["teacher"]["value"] == pytest.approx(of_the_run["value"], abs=1e-6)


def test_a_function_gives_each_finding_a_probability_and_a_model_of_the_other_kind_is_refused(finished, tmp_path):
    def half_and_rising(images):
        return np.stack([np.full(len(images), 0.5), images.mean(axis=(1, 2, 3))], axis=1)

    options = {"labels": ("pneumonia", "covid19"), "image_size": 32, "splits": finished / "splits.csv"}
    found = evaluate(tmp_path, model=half_and_rising, task="pneumonia+covid19", progress=False, **options)
    record = json.loads(found.record.read_text())
    assert record["findings"]["pneumonia"]["models"]["half_and_rising"]["auroc"]["value"] == 0.5
    bundle = next((finished / "bundle").glob("*.onnx"))
    with pytest.raises(ConfigError, match=r"gives an image any number of findings, the task .* one class per image"):
        evaluate(tmp_path, model=bundle, task="pneumonia,covid19", splits=options["splits"], progress=False)


def test_each_finding_is_audited_by_itself_and_the_export_reads_the_outcome_of_all(finished):
    assert main(["audit", str(finished), "--quick", "--quiet"]) in (0, 1)
    record = json.loads((finished / "audit" / "audit.json").read_text())
    assert record["task"]["folders"] == {"pneumonia": "pneumonia", "covid19": "covid19"}
    outcomes = {one["key"]: (one["outcome"], one["words"]) for one in record["criteria"]}
    for finding in ("pneumonia", "covid19"):
        own = json.loads((finished / "audit" / finding / "audit.json").read_text())
        assert own["task"]["labels"] == [f"no {finding}", finding]
        assert (finished / "audit" / finding / "report.html").is_file()
        for one in own["criteria"]:  # under its own key, or once for both where data have one value for both
            key = f"{one['key']}/{finding}"
            assert outcomes.get(key, outcomes.get(one["key"])) == (one["outcome"], one["words"])
        of_class = next(one for one in own["sections"] if one["key"] == "composition")
        rows = [
            row
            for row in read_rows(finished / "splits.csv")
            if f"{finding}=1" in row.label or f"{finding}=0" in row.label
        ]
        images = next(one["value"] for one in of_class["measures"] if one["key"] == "composition.images")
        assert images == len(rows)
    assert {key.partition("/")[2] for key in outcomes} == {"", "pneumonia", "covid19"}
    failed = [one for one in record["criteria"] if one["outcome"] == "failed" and one["scope"] == "model"]
    experiment = load_experiment(finished / "experiment.json")
    bundle = run_export(finished, experiment, force=True, progress=False)
    kept = read_manifest(bundle.read_bytes(), "x").run["audit"]["failures"]
    assert [one["key"] for one in kept if one["scope"] == "model"] == [one["key"] for one in failed]
    page = (finished / "audit" / "report.html").read_text()
    assert "pneumonia: " in page
    assert '<a href="covid19/report.html">covid19</a>' in page


def test_local_images_calibrate_each_finding_by_itself(finished, table, tmp_path):
    bundle = next((finished / "bundle").glob("*.onnx"))
    before = read_manifest(bundle.read_bytes(), "x")
    result = run_calibrate(
        table, out=tmp_path / "local.onnx", site="here", bundle=bundle, columns=COLUMNS, progress=False
    )
    manifest = read_manifest(result.bundle.read_bytes(), "x")
    assert manifest.format_version == before.format_version
    images = np.random.default_rng(0).random((3, 1, 32, 32), np.float32)
    old, new = (load_bundle(path)(images) for path in (bundle, result.bundle))
    np.testing.assert_array_equal(old.logits, new.logits)
    temperatures = np.array([one.temperature for one in manifest.findings])
    np.testing.assert_allclose(new.probabilities, 1 / (1 + np.exp(-new.logits / temperatures)), atol=1e-4)
    record = manifest.data["local_calibration"]
    for number, finding in enumerate(("pneumonia", "covid19")):
        assert record["images"][finding] + record["images"][f"no {finding}"] >= 50
        assert record["before"][finding]["temperature"] == before.findings[number].temperature
        assert f"{finding}: temperature" in result.summary
        assert {point.label for point in manifest.operating_points} <= {"pneumonia", "covid19"}
