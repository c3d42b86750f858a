import csv
import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from pocketcxr import roles
from pocketcxr.errors import DataError
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.costs import Costs, Latency
from pocketcxr.evaluation.scoring import score
from pocketcxr.report import conclusions
from pocketcxr.report.evaluate import evaluate_models, evaluate_predictors
from pocketcxr.report.evaluation_tables import source_rows
from pocketcxr.report.tables import present

QUICK = EvaluationConfig(bootstrap=80)


@pytest.fixture
def run(tmp_path, make_dataset, make_oracle):
    """Evaluate named models of given (signal, options) on a drawn data set."""

    def go(models, dataset=None, *, config=QUICK, calibration=True, costs=None, **more):
        dataset = dataset or make_dataset()
        oracles = {
            name: make_oracle(dataset, signal, seed, **options) for name, (signal, seed, options) in models.items()
        }
        known = dataset.positions("calibration") if calibration else np.array([], dtype=np.int64)
        return evaluate_models(
            [score(name, oracle, dataset, known) for name, oracle in oracles.items()],
            [
                score(name, oracle, dataset, dataset.positions("test"), keep_saliency=3)
                for name, oracle in oracles.items()
            ],
            dataset,
            config=config,
            costs=costs or {},
            out=tmp_path / "out",
            title="A trial",
            **more,
        )

    return go


FOUR = {
    roles.TEACHER: (3.0, 1, {"scale": 3.0}),
    roles.BASELINE: (0.4, 2, {}),
    roles.DISTILLED: (2.5, 3, {}),
    roles.EXPORTED: (2.5, 3, {"temperature": 1.01}),
}


def test_figures_are_those_of_the_saved_predictions(run, tmp_path):
    run(FOUR)
    table = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    for name, file in ((roles.TEACHER, "teacher"), (roles.EXPORTED, "exported_file")):
        with (tmp_path / "out" / "predictions" / f"{file}.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        figures = table["models"][name]["figures"]
        truth = [row["label"] for row in rows]
        assert figures["accuracy"]["value"] == pytest.approx(accuracy_score(truth, [row["predicted"] for row in rows]))
        area = roc_auc_score([label == "typical" for label in truth], [float(row["p_typical"]) for row in rows])
        assert figures["auroc"]["value"] == pytest.approx(area)
        assert figures["auroc"]["low"] <= area <= figures["auroc"]["high"]
        # The two images of a patient carry the same number, so that anybody can resample patients.
        assert len(rows) == table["data"]["test_images"]
        assert len({row["patient"] for row in rows}) == table["data"]["test_patients"] < len(rows)


def test_no_file_names_a_patient(run, tmp_path):
    run(FOUR)
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or "secret" not in path.read_text(encoding="utf-8"), path


def test_conclusions_tell_gain_from_no_gain(run):
    found = {one.title: one for one in run(FOUR).conclusions}
    teacher = found["Teacher against baseline student"]
    assert (teacher.outcome, teacher.short) == (conclusions.SHOWN, "Better: shown")
    assert teacher.figure.startswith("+0.")
    assert found["Distilled student against baseline student"].outcome == conclusions.SHOWN
    assert found["Distilled student against teacher"].outcome in (conclusions.NOT_SHOWN, conclusions.OPPOSITE)
    parity = found["Exported file against the network it was made from"]
    assert parity.outcome == conclusions.SHOWN
    assert "1.010 in the file" in parity.text


def test_summary_says_which_model_how_good_and_what_to_do(run):
    evaluation = run(FOUR)
    lines = {one.quantity: one for one in evaluation.key_figures}
    assert lines["AUROC for “typical”"].value.startswith("0.9")
    assert lines["Difference to the baseline student"].outcome == "better"
    assert ", p " in lines["Difference to the teacher"].value
    assert lines["Sensitivity at the screening threshold"].limit == "at least 95 %"
    assert evaluation.next_steps[-1].startswith("Run pocketcxr audit")
    assert not any("better teacher" in step for step in evaluation.next_steps)


def test_next_steps_name_a_useless_teacher_and_a_harmful_distillation(run):
    steps = run({roles.TEACHER: (0.2, 1, {}), roles.BASELINE: (3.0, 2, {}), roles.DISTILLED: (0.2, 3, {})}).next_steps
    assert steps[0].startswith("Use the baseline student, or distil from a better teacher")
    assert steps[1].startswith("Train a better teacher")


def test_a_gain_that_could_be_chance_is_not_shown(run):
    models = {roles.BASELINE: (1.2, 2, {}), roles.DISTILLED: (1.2, 3, {})}
    (found,) = run(models).conclusions
    assert (found.outcome, found.short) == (conclusions.NOT_SHOWN, "Difference not shown")
    assert "no proof that the two are equal" in found.text


def test_a_worse_teacher_is_called_worse(run):
    (found,) = run({roles.TEACHER: (0.0, 1, {}), roles.BASELINE: (3.0, 2, {})}).conclusions
    assert (found.outcome, found.short) == (conclusions.OPPOSITE, "Worse: shown")


def test_comparisons_are_of_distilled_minus_others(run):
    pairs = {(pair.first, pair.second) for pair in run(FOUR).comparisons}
    assert len(pairs) == 6
    assert (roles.DISTILLED, roles.BASELINE) in pairs
    assert (roles.DISTILLED, roles.TEACHER) in pairs
    assert (roles.TEACHER, roles.BASELINE) in pairs


def test_headline_names_figure_images_patients_and_costs(run):
    costs = {
        roles.TEACHER: Costs(macs=23_600_000_000, bytes=174_000_000),
        roles.EXPORTED: Costs(macs=292_000_000, bytes=4_700_000, latency=Latency(4.0, 3.9, 4.4, 30)),
    }
    evaluation = run(FOUR, costs=costs)
    assert evaluation.headline.startswith("The exported file reaches AUROC for “typical” of 0.9")
    assert f"on 60 test images of {evaluation.known_patients} patients" in evaluation.headline
    assert "1/81 of its arithmetic and 1/37 of its size" in evaluation.headline


@pytest.mark.parametrize("unnamed", ["all", "one"])
def test_patients_are_counted_only_where_every_one_is_known(run, tmp_path, unnamed, make_dataset):
    dataset = make_dataset()
    rows = tuple(
        dataclasses.replace(row, patient_id="") if unnamed == "all" or number == len(dataset.rows) - 1 else row
        for number, row in enumerate(dataset.rows)
    )
    evaluation = run(FOUR, dataset=dataclasses.replace(dataset, rows=rows))
    assert "on 60 test images (not every patient is known)" in evaluation.headline
    assert evaluation.known_patients is None
    table = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert table["data"]["test_patients"] is None
    assert table["data"]["test_units"] == evaluation.units > 1
    without = 60 if unnamed == "all" else 1
    assert any(f"For {without} of 60 test images the data set names no patient" in one for one in evaluation.cautions)
    html = (tmp_path / "out" / "report.html").read_text()
    assert not re.search(r"\d patients? in the test split|test images? of \d+ patient|\d images of \d+ patient", html)


def test_temperature_is_fitted_only_where_the_model_brings_none(run):
    result = {one.name: one for one in run(FOUR | {roles.EXPORTED: (2.5, 3, {"temperature": 2.0})}).models}
    assert result[roles.EXPORTED].calibration.temperature is None
    assert result[roles.TEACHER].calibration.temperature > 1.5  # its logits were stretched threefold


def test_operating_points_come_from_the_calibration_split(run, make_dataset):
    dataset = make_dataset()
    (result,) = run({"m": (1.0, 2, {})}, dataset).models
    screening = result.calibration.operating_points[0]
    negatives, positives = np.bincount(dataset.labels[dataset.positions("calibration")])
    assert screening.chosen_on == f"calibration split ({positives} positive, {negatives} negative images)"
    assert screening.sensitivity >= 0.95
    truth = result.predictions.labels == 1
    called = result.probabilities[:, 1] >= screening.threshold
    assert result.figures["sensitivity@screening"].value == pytest.approx(called[truth].mean())


def test_sources_have_figures_of_their_own(run, make_dataset):
    dataset = make_dataset()
    (result,) = run({"m": (1.0, 2, {})}, dataset).models
    sources = np.array([dataset.rows[i].source for i in result.predictions.positions])
    for source in ("north", "south"):
        keep = sources == source
        expected = (result.predicted == result.predictions.labels)[keep].mean()
        assert result.per_source[source]["accuracy"].value == pytest.approx(expected)


def with_sources(dataset, source_of):
    rows = tuple(dataclasses.replace(row, source=source_of(i)) for i, row in enumerate(dataset.rows))
    return dataclasses.replace(dataset, rows=rows)


def test_sources_with_too_little_say_why(run, make_dataset):
    dataset = with_sources(make_dataset(), lambda i: "tiny" if i in (6, 7, 8) else ("even", "odd")[i % 2])
    evaluation = run({"m": (1.0, 2, {})}, dataset)
    (result,) = evaluation.models
    assert result.per_source["tiny"]["accuracy"].why == "only 3 images, fewer than 10"
    assert result.per_source["even"]["auroc"].why == "no images of class typical"
    assert result.per_source["odd"]["specificity@screening"].why == "no images of a class other than typical"
    assert result.per_source["even"]["accuracy"].value is not None
    assert result.figures["auroc"].value is not None
    # Even numbers are negative and odd ones typical, so the source gives every class away (but for the tiny one).
    assert any("source of an image alone" in caution and ": 98.3 %" in caution for caution in evaluation.cautions)
    assert any("Only one class comes from: even, odd" in caution for caution in evaluation.cautions)


def test_a_source_without_the_positive_class_still_shows_the_others(run, make_dataset):
    dataset = make_dataset("covid-3class", 240)
    evaluation = run({"m": (1.0, 2, {})}, with_sources(dataset, lambda i: "hospital" if i % 3 == 2 else "children"))
    rows = {source: {row.name: row.cells[0] for row in rows} for source, _, rows in source_rows(evaluation)}
    assert rows["children"]["AUROC, covid19"].missing
    assert not rows["children"]["AUROC, pneumonia"].missing
    assert "AUROC, pneumonia" not in rows["hospital"]  # one class only: nothing to say of any class


def assert_readable(evaluation):
    table = json.loads((evaluation.report.parent / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert table["headline"]
    assert "<h1>" in evaluation.report.read_text()
    for model in table["models"].values():
        for figure in model["figures"].values():
            assert figure["value"] is not None or figure["why"]
    return table


def test_one_class_only_in_the_test_split(run, make_dataset):
    dataset = make_dataset(classes=np.where(np.arange(120) // 3 % 4 >= 2, 0, np.arange(120) % 2))
    evaluation = run(FOUR, dataset)
    table = assert_readable(evaluation)
    assert table["models"]["teacher"]["figures"]["auroc"]["why"] == "no images of class typical"
    assert table["models"]["teacher"]["figures"]["accuracy"]["value"] is not None
    assert evaluation.headline.startswith("The exported file cannot be rated by AUROC")
    assert evaluation.conclusions[0].outcome == conclusions.NOT_MEASURABLE


def test_a_single_patient_has_figures_without_intervals(run, make_dataset):
    evaluation = run(FOUR, make_dataset(patients=1))
    table = assert_readable(evaluation)
    assert table["models"]["teacher"]["figures"]["accuracy"]["low"] is None
    assert "1 is too few patients" in table["models"]["teacher"]["figures"]["accuracy"]["why"]
    assert {one.outcome for one in evaluation.conclusions[:3]} == {conclusions.NOT_MEASURABLE}
    assert evaluation.shared_patients == 1
    assert "stand in both the training and the test split" in evaluation.report.read_text()


def test_all_probabilities_equal(run):
    evaluation = run({"constant": (0.0, 0, {"scale": 0.0})})
    table = assert_readable(evaluation)
    figures = table["models"]["constant"]["figures"]
    assert figures["auroc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert table["models"]["constant"]["calibration"]["operating_points"] == []


def test_three_classes(run, make_dataset):
    evaluation = run(FOUR, make_dataset("covid-3class", 240))
    table = assert_readable(evaluation)
    assert "mean AUROC over 3 classes" in evaluation.headline
    assert {"auroc/normal", "auroc/pneumonia", "auroc/covid19"} <= set(table["models"]["teacher"]["figures"])
    assert np.array(table["models"]["teacher"]["confusion"]).sum() == 120


def test_empty_calibration_leaves_thresholds_out_and_says_so(run):
    evaluation = run({"m": (2.0, 0, {})}, calibration=False)
    table = assert_readable(evaluation)
    assert table["models"]["m"]["calibration"]["operating_points"] == []
    assert not any("@" in name for name in table["models"]["m"]["figures"])
    assert any(caution.startswith("No calibration images") for caution in evaluation.cautions)


def test_one_class_in_the_calibration_split_is_not_calibrated_on(run, make_dataset):
    dataset = make_dataset(classes=np.where(np.arange(120) // 3 % 4 == 1, 0, np.arange(120) % 2))
    (result,) = run({"m": (2.0, 0, {})}, dataset).models
    assert result.calibration.temperature == 1.0
    assert any("no calibration image of typical" in note for note in result.calibration.notes)
    assert result.calibration.operating_points == ()


def test_bad_calls_are_refused_in_words(make_dataset, make_oracle, tmp_path):
    dataset = make_dataset()
    test = dataset.positions("test")
    first, second = (score(name, make_oracle(dataset, 1, 0), dataset, test) for name in ("a b", "a_b"))
    nothing = score("m", make_oracle(dataset, 1, 0), dataset, test[:0])
    fewer = score("c", make_oracle(dataset, 1, 0), dataset, test[:5])
    for scored, words in (
        ([], "at least one"),
        ([nothing], "no labelled image"),
        ([first, second], "different names"),
        ([first, fewer], "c and a b were scored on different images"),
    ):
        with pytest.raises(DataError, match=words):
            evaluate_models([], scored, dataset, config=QUICK, costs={}, out=tmp_path / "x", title="t")
    assert not (tmp_path / "x").exists()


def test_equal_seeds_give_equal_files(run, tmp_path):
    run(FOUR)
    names = ("tables/figures.csv", "tables/comparisons.csv", "report.html", "evaluation.json")
    before = [(tmp_path / "out" / name).read_bytes() for name in names]
    run(FOUR)
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == before


def test_evaluating_needs_no_training_framework():
    code = (
        "import sys, pocketcxr.report.evaluate; sys.exit(', '.join({'torch', 'timm', 'onnx'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_evaluation_of_an_earlier_version_is_read_under_present_names(run, tmp_path):
    run(FOUR)
    now = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    questions = {title: question for question, title in conclusions.FORMER_TITLES.items()}
    former = json.loads(json.dumps(now).replace("baseline student", "student alone"))
    former["verdicts"] = [
        {
            "question": questions[one["title"].replace("student alone", "baseline student")],
            "answer": one["outcome"],
            "short": one["short"],
            "words": one["text"],
        }
        for one in former.pop("conclusions")
    ]
    read = present(former)
    assert read["models"] == now["models"]
    assert read["comparisons"] == now["comparisons"]
    assert [one | {"figure": ""} for one in read["conclusions"]] == [one | {"figure": ""} for one in now["conclusions"]]
    assert present(now) == now


def test_a_model_that_gives_probabilities_only_is_measured_as_it_is(make_dataset, make_oracle, tmp_path):
    dataset = make_dataset()
    oracle = make_oracle(dataset, 2.0, 1, scale=3.0)

    def probabilities(images):
        return oracle(images).probabilities

    evaluation = evaluate_predictors(
        {"mine": probabilities, "full": oracle}, dataset, config=QUICK, out=tmp_path / "out", title="t"
    )
    mine, full = evaluation.models
    assert mine.calibration.temperature is None
    assert mine.predictions.implied_temperature == pytest.approx(1.0, abs=1e-3)
    assert mine.probabilities == pytest.approx(oracle(dataset.images(mine.predictions.positions)).probabilities)
    assert mine.figures["auroc"].value == pytest.approx(full.figures["auroc"].value)
    assert mine.calibration.operating_points
    assert full.calibration.temperature > 1.5


def test_probabilities_that_do_not_sum_to_one_are_refused(make_dataset):
    dataset = make_dataset()
    with pytest.raises(DataError, match="sum to 1"):
        score("m", lambda images: np.full((len(images), 2), 0.9), dataset, dataset.positions("test"))
