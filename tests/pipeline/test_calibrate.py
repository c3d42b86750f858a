"""A bundle calibrated on local images: another temperature, other thresholds, the same weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import recomputed

pytest.importorskip("scipy", reason="needs the extra evaluate")
pytest.importorskip("onnx", reason="the tiny bundle needs it")

from pocketcxr.bundle.format import read_manifest, sha256_of
from pocketcxr.bundle.golden import check_golden, golden_path, read_golden
from pocketcxr.cli import main
from pocketcxr.data.rows import IndexRow, write_rows
from pocketcxr.errors import ConfigError, DataError
from pocketcxr.evaluation.calibration import fit_temperature
from pocketcxr.inference.predictor import load
from pocketcxr.inference.session import load_bundle
from pocketcxr.pipeline.calibrate import run_calibrate
from pocketcxr.pipeline.local_images import check_enough

TRUE_TEMPERATURE = 6.0  # the tiny bundle's own is 2: it is too sure of itself here


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[IndexRow]:
    """140 noisy pictures of known brightness, bright or dark by chance as at `TRUE_TEMPERATURE`; two a patient."""
    folder, rng = tmp_path_factory.mktemp("local"), np.random.default_rng(3)
    rows = []
    for number, mean in enumerate(rng.uniform(0.2, 0.8, 140)):
        values = np.clip(mean + rng.uniform(-0.19, 0.19, (224, 224)), 0, 1)
        path = folder / f"{number}.png"
        Image.fromarray(np.round(values * 255).astype(np.uint8)).save(path)
        bright = rng.random() < 1 / (1 + np.exp(-20 * (mean - 0.5) / TRUE_TEMPERATURE))
        label = "bright" if bright else "dark"
        rows.append(IndexRow(str(path), "here", "other", patient_id=f"here:{number // 2}", label=label))
    return rows


@pytest.fixture(scope="module")
def table(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "index.csv"
    write_rows(images, path)
    return path


@pytest.fixture(scope="module")
def result(table, tiny_bundle_path, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "local.onnx"
    return run_calibrate(table, bundle=tiny_bundle_path, out=out, site="St. Elsewhere", progress=False)


def calibrated(rows, tiny_bundle_path, tmp_path, **options):
    write_rows(rows, tmp_path / "index.csv")
    options = {"bundle": tiny_bundle_path, "out": tmp_path / "b.onnx", "site": "here", "progress": False} | options
    return run_calibrate(tmp_path / "index.csv", **options)


def test_the_temperature_is_that_of_the_logits_and_predictions_use_it(result, images, tiny_bundle_path):
    means = [np.asarray(Image.open(row.path)).mean() / 255 for row in images]
    logits = np.array([[-10 * (mean - 0.5), 10 * (mean - 0.5)] for mean in means])  # what the tiny bundle answers
    expected = fit_temperature(logits, [row.label == "bright" for row in images])
    manifest = read_manifest(result.bundle.read_bytes(), "x")
    assert manifest.temperature == pytest.approx(expected, rel=0.01)
    assert 3 < manifest.temperature < 12
    prediction = load(result.bundle).predict(images[0].path)
    assert prediction.probabilities["bright"] == pytest.approx(
        1 / (1 + np.exp(-20 * (means[0] - 0.5) / manifest.temperature)), abs=1e-3
    )
    assert prediction.bundle == load(result.bundle).bundle.identity != load(tiny_bundle_path).bundle.identity
    assert main(["predict", "--bundle", str(result.bundle), images[0].path]) == 0


def test_every_number_is_that_of_the_logits_and_the_truth(result, images):
    """What the tiny bundle answers is known beforehand: logits of 10 times the distance of the mean from one half."""
    means = np.array([np.asarray(Image.open(row.path)).mean() / 255 for row in images])
    logits = np.stack([-10 * (means - 0.5), 10 * (means - 0.5)], axis=1)
    bright = np.array([row.label == "bright" for row in images])
    manifest = read_manifest(result.bundle.read_bytes(), "x")
    temperature = recomputed.temperature(logits, bright.astype(int))
    assert manifest.temperature == pytest.approx(temperature, rel=1e-2)
    table = recomputed.probabilities(logits, manifest.temperature)
    expected = recomputed.quantile(table, bright.astype(int), 0.9)
    assert manifest.conformal_quantile == pytest.approx(expected, abs=2e-3)
    points = recomputed.points(table[:, 1], bright, sensitivity=0.95, specificity=0.95)
    for found, (threshold, sensitivity, specificity) in zip(manifest.operating_points, points, strict=True):
        assert found.threshold == pytest.approx(threshold, abs=2e-3)
        assert (found.sensitivity, found.specificity) == (pytest.approx(sensitivity), pytest.approx(specificity))
        assert found.label == "bright"
    for other in (~bright, bright[::-1]):  # a truth that is negated, or in another order, has other points
        threshold = [one[0] for one in recomputed.points(table[:, 1], other, sensitivity=0.5, specificity=0.5)]
        assert [point.threshold for point in manifest.operating_points] != pytest.approx(threshold, abs=1e-3)
    record = manifest.data["local_calibration"]
    assert record["prevalence"] == pytest.approx({"dark": 1 - bright.mean(), "bright": bright.mean()})


def rows_of(images, bright, dark, *, a_patient=1):
    """So many images of each class; so many of each patient."""
    labels = ["bright"] * bright + ["dark"] * dark
    return [
        IndexRow(f"{i}.png", "here", "other", patient_id=f"here:{label}{i // a_patient}", label=label)
        for i, label in enumerate(labels)
    ][:images]


@pytest.mark.parametrize("bright, dark, a_patient, enough", [
    (10, 40, 1, True), (10, 39, 1, False), (9, 41, 1, False), (40, 10, 1, True), (41, 9, 1, False),
    (20, 30, 2, True), (18, 32, 2, False),
])  # fmt: skip
def test_fifty_images_and_ten_patients_with_and_without_are_enough(tiny_manifest, bright, dark, a_patient, enough):
    rows = rows_of(99, bright, dark, a_patient=a_patient)
    if enough:
        check_enough(rows, tiny_manifest, {})
    else:
        with pytest.raises(DataError, match="calibration needs at least"):
            check_enough(rows, tiny_manifest, {})


def test_the_manifest_says_where_on_how_many_and_from_which_bundle(result, images, tiny_bundle_path):
    data = result.bundle.read_bytes()
    manifest, before = read_manifest(data, "x"), tiny_bundle_path.read_bytes()
    record = manifest.data["local_calibration"]
    assert record["site"] == "St. Elsewhere"
    assert record["date"] == manifest.created
    assert record["from_sha256"] == sha256_of(before, "x") != sha256_of(data, "x")
    count = {label: sum(row.label == label for row in images) for label in ("dark", "bright")}
    people = {label: len({r.patient_id for r in images if r.label == label}) for label in ("dark", "bright")}
    assert record["images"] == count
    assert record["patients"] == people
    assert record["prevalence"]["bright"] == pytest.approx(count["bright"] / 140)
    assert record["before"]["temperature"] == 2.0
    assert manifest.format_version == read_manifest(before, "x").format_version
    assert [point.name for point in manifest.operating_points] == ["screening", "confirming"]
    assert "140 of St. Elsewhere" in manifest.limits[-1]
    assert json.loads(result.record.read_text())["estimate"]["figures"]["ece"]["gained"] is True
    assert manifest.metrics["overall"]["ece"]["value"] < 0.15
    assert str(tiny_bundle_path.parent) not in manifest.to_json()


def test_golden_vectors_are_those_of_the_new_bundle(result):
    golden, bundle = read_golden(golden_path(result.bundle)), load_bundle(result.bundle)
    assert golden.sha256 == bundle.sha256
    assert max(check_golden(bundle, golden).values()) < 1e-5


def test_calibrating_again_replaces_the_temperature_and_never_stacks(result, table, tiny_bundle_path, tmp_path):
    again = run_calibrate(table, bundle=result.bundle, out=tmp_path / "b.onnx", site="St. Elsewhere", progress=False)
    first, second = (read_manifest(one.bundle.read_bytes(), "x") for one in (result, again))
    assert second.temperature == first.temperature
    assert second.conformal_quantile == first.conformal_quantile
    assert second.operating_points == first.operating_points
    assert second.limits == (*first.limits[:-1], second.limits[-1])
    record = second.data["local_calibration"]
    assert record["from_sha256"] == sha256_of(result.bundle.read_bytes(), "x")
    assert record["first_sha256"] == sha256_of(tiny_bundle_path.read_bytes(), "x")
    assert "warning: no interval shows that anything was gained" in again.summary
    assert "warning: no interval" not in result.summary


def test_too_few_images_one_class_and_few_patients_are_refused_with_the_reason(images, tiny_bundle_path, tmp_path):

    with pytest.raises(DataError, match="at least 50 labelled images, found 40"):
        calibrated(images[:40], tiny_bundle_path, tmp_path)
    with pytest.raises(DataError, match="two classes at least, found dark only"):
        calibrated([replace(row, label="dark") for row in images], tiny_bundle_path, tmp_path)
    few = [replace(row, label="bright" if place < 18 else "dark") for place, row in enumerate(images)]
    with pytest.raises(DataError, match="10 patients with bright and 10 without, found 9 and 61"):
        calibrated(few, tiny_bundle_path, tmp_path)
    assert not (tmp_path / "b.onnx").exists()


def test_labels_of_another_task_and_names_that_do_not_fit_are_refused(images, tiny_bundle_path, tmp_path):

    with pytest.raises(DataError, match="among the bundle's dark, bright, found covid19"):
        calibrated([replace(row, label="covid19") for row in images], tiny_bundle_path, tmp_path)
    unlabelled = [replace(row, label="") for row in images]
    with pytest.raises(ConfigError, match="the bundle's classes are dark, bright: give --task"):
        calibrated(unlabelled, tiny_bundle_path, tmp_path)
    with pytest.raises(ConfigError, match="task covid-binary has classes other, covid19"):
        calibrated(unlabelled, tiny_bundle_path, tmp_path, task="covid-binary")
    with pytest.raises(DataError, match="expected images in the split calibration, found 140 in others"):
        calibrated([replace(row, split="train") for row in images], tiny_bundle_path, tmp_path)
    with pytest.raises(ConfigError, match="choose another name"):
        calibrated(images, tiny_bundle_path, tmp_path, out=tiny_bundle_path)
    with pytest.raises(ConfigError, match="name of the place"):
        calibrated(images, tiny_bundle_path, tmp_path, site=" ")


def test_refused_and_unreadable_images_are_counted_and_left_out(images, tiny_filter_path, tmp_path):

    dark = tmp_path / "dark.png"  # the tiny input filter takes it for a lateral view
    values = np.random.default_rng(0).uniform(0, 0.3, (224, 224))
    Image.fromarray(np.round(values * 255).astype(np.uint8)).save(dark)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"none")
    extra = [replace(images[0], path=str(path), label="dark") for path in (dark, broken)]
    inner = [row for row in images if 0.25 < np.asarray(Image.open(row.path)).mean() / 255 < 0.75]
    found = calibrated([*inner, *extra], tiny_filter_path, tmp_path)
    record = json.loads(found.record.read_text())
    assert sum(record["images"].values()) == len(inner)
    assert record["left_out"]["refused (lateral)"] == 1
    assert record["refused_by_class"] == {"dark": 1}
    assert sum(n for why, n in record["left_out"].items() if why.startswith("unreadable")) == 1


def test_of_a_split_table_only_the_calibration_split_is_taken(images, tiny_bundle_path, tmp_path):

    rows = [replace(row, split="train" if place < 40 else "calibration") for place, row in enumerate(images)]
    record = json.loads(calibrated(rows, tiny_bundle_path, tmp_path).record.read_text())
    assert sum(record["images"].values()) == 100
    assert record["left_out"] == {"in another split than calibration": 40}


def test_the_command_takes_a_folder_per_class_with_a_task_of_ones_own(images, tiny_bundle_path, tmp_path, capsys):
    for row in images:
        path = tmp_path / "local" / row.label / row.path.rpartition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path(row.path).read_bytes())
    task = tmp_path / "task.toml"
    task.write_text(
        'name = "t"\nlabels = ["dark", "bright"]\npositive = "bright"\n'
        '[findings]\nno_finding = "dark"\nother = "bright"\n'
    )
    command = ["calibrate", "--data", str(tmp_path / "local"), "--alias", "dark=no_finding", "--alias", "bright=other"]
    command += ["--bundle", str(tiny_bundle_path), "--task", str(task), "--site", "here", "--quiet"]
    assert main([*command, "-o", str(tmp_path / "b.onnx")]) == 0
    shown = capsys.readouterr().out
    assert "sensitivity when screening (target 0.95)" in shown
    assert "140 images name no patient" in shown
    assert main([*command, "-o", str(tmp_path / "b.txt")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
