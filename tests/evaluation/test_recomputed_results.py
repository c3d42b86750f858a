"""What an evaluation fits, and every figure it gives, worked out again from scores and truth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import recomputed

metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra evaluate")

from pocketcxr.evaluation.config import EvaluationConfig  # noqa: E402
from pocketcxr.evaluation.model_result import calibrate, model_results  # noqa: E402
from pocketcxr.evaluation.scoring import Predictions  # noqa: E402
from pocketcxr.labels import Task  # noqa: E402

NAMES = ("normal", "pneumonia", "covid19")
POSITIVE = 1
TASK = Task("toy", NAMES, NAMES[POSITIVE], dict(zip("abc", NAMES, strict=True)))
CONFIG = EvaluationConfig(bootstrap=20, screening_sensitivity=0.9, confirming_specificity=0.8, coverage=0.8)


def predicted(n, seed):
    """Over-confident logits (by a factor of 3) of classes that are not equally frequent."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.2, (n, 3)) + np.array([0.6, 0, -0.4])
    labels = np.array([rng.choice(3, p=p) for p in recomputed.probabilities(logits, 1)])
    logits = 3 * logits
    table = recomputed.probabilities(logits, 1)
    return Predictions("student", np.arange(n), labels, table, logits)


@pytest.fixture(scope="module")
def seen():
    return predicted(150, seed=1)


@pytest.fixture(scope="module")
def fitted(seen):
    return calibrate(seen, TASK, CONFIG, brings_temperature=False)


@pytest.fixture(scope="module")
def sources():
    return np.where(np.arange(240) % 3, "east", "west")


@pytest.fixture(scope="module")
def result(fitted, sources):
    (found,), _ = model_results(
        [predicted(240, seed=2)], {"student": fitted}, task=TASK, config=CONFIG, members=np.arange(240) // 2,
        sources=sources,
    )  # fmt: skip
    return found


def expected_points(logits, temperature, positive):
    scores = recomputed.probabilities(logits, temperature)[:, POSITIVE]
    return recomputed.points(scores, positive, sensitivity=0.9, specificity=0.8)


def test_temperature_quantile_and_points_are_fitted_in_this_order(seen, fitted):
    temperature = recomputed.temperature(seen.logits, seen.labels)
    assert fitted.temperature == pytest.approx(temperature, rel=1e-4)
    assert fitted.temperature > 1.5
    table = recomputed.probabilities(seen.logits, temperature)
    assert fitted.conformal_quantile == pytest.approx(recomputed.quantile(table, seen.labels, 0.8), abs=1e-5)
    expected = expected_points(seen.logits, temperature, seen.labels == POSITIVE)
    found = [(point.threshold, point.sensitivity, point.specificity) for point in fitted.operating_points]
    assert found == [pytest.approx(one, abs=1e-5) for one in expected]
    assert [(point.name, point.label) for point in fitted.operating_points] == [
        ("screening", "pneumonia"),
        ("confirming", "pneumonia"),
    ]
    assert fitted.images == 150
    assert fitted.notes == ()


@pytest.mark.parametrize("change", ["negated truth", "before the temperature", "another class"])
def test_points_of_another_truth_or_of_other_scores_are_others(seen, fitted, change):
    temperature = 1.0 if change == "before the temperature" else fitted.temperature
    positive = seen.labels == (2 if change == "another class" else POSITIVE)
    other = expected_points(seen.logits, temperature, ~positive if change == "negated truth" else positive)
    found = [point.threshold for point in fitted.operating_points]
    assert found != pytest.approx([threshold for threshold, *_ in other], abs=1e-3)


def test_a_model_that_brings_its_temperature_is_measured_as_it_is(seen):
    warm = dataclasses.replace(seen, probabilities=recomputed.probabilities(seen.logits, 2.0))
    found = calibrate(warm, TASK, CONFIG, brings_temperature=True)
    assert found.temperature is None
    assert found.conformal_quantile == pytest.approx(
        recomputed.quantile(warm.probabilities, seen.labels, 0.8), abs=1e-5
    )
    expected = expected_points(seen.logits, 2.0, seen.labels == POSITIVE)
    assert [point.threshold for point in found.operating_points] == pytest.approx(
        [threshold for threshold, *_ in expected]
    )


@pytest.mark.parametrize("brings_temperature", [False, True])
@pytest.mark.parametrize("absent", [True, False])
def test_without_calibration_images_nothing_is_fitted_and_a_note_says_so(seen, brings_temperature, absent):
    empty = Predictions(
        "student", *(array[:0] for array in (seen.positions, seen.labels, seen.probabilities, seen.logits))
    )
    found = calibrate(None if absent else empty, TASK, CONFIG, brings_temperature=brings_temperature)
    assert found.temperature == (None if brings_temperature else 1.0)
    assert (found.conformal_quantile, found.operating_points, found.images) == (None, (), 0)
    assert found.notes == ("no calibration images: no temperature, conformal sets or operating points were fitted",)


def of_classes(seen, *classes):
    keep = np.isin(seen.labels, classes)
    return Predictions(
        "student", *(array[keep] for array in (seen.positions, seen.labels, seen.probabilities, seen.logits))
    )


def test_of_one_class_neither_temperature_nor_points_are_fitted(seen):
    one = of_classes(seen, 0)
    found = calibrate(one, TASK, CONFIG, brings_temperature=False)
    assert (found.temperature, found.operating_points, found.images) == (1.0, (), len(one.labels))
    expected = recomputed.quantile(recomputed.probabilities(one.logits, 1.0), one.labels, 0.8)
    assert found.conformal_quantile == pytest.approx(expected, abs=1e-5)
    assert found.notes[0] == "temperature left at 1: no calibration image of pneumonia, covid19"
    assert "expected images with and without 'pneumonia'" in found.notes[1]
    assert len(found.notes) == 2


def test_of_two_classes_of_three_a_temperature_is_fitted_and_points_where_the_positive_is_one_of_them(seen):
    for classes, points in (((0, 2), 0), ((0, 1), 2)):
        some = of_classes(seen, *classes)
        found = calibrate(some, TASK, CONFIG, brings_temperature=False)
        assert found.temperature == pytest.approx(recomputed.temperature(some.logits, some.labels), rel=1e-4)
        assert len(found.operating_points) == points
        assert len(found.notes) == (0 if points else 1)


def figures_by_hand(test, fitted, keep):
    """Every figure of `model_results`, from scikit-learn and from counting."""
    truth = test.labels[keep]
    table = recomputed.probabilities(test.logits, fitted.temperature)[keep]
    likely, positive = table.argmax(axis=1), truth == POSITIVE
    areas = [metrics.roc_auc_score(truth == i, table[:, i]) for i in range(3)]
    precisions = [metrics.average_precision_score(truth == i, table[:, i]) for i in range(3)]
    recalls = metrics.recall_score(truth, likely, average=None, labels=[0, 1, 2])
    wanted = {
        "accuracy": metrics.accuracy_score(truth, likely),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, likely),
        "brier": np.mean(((table - np.eye(3)[truth]) ** 2).sum(axis=1)),
        "log_loss": metrics.log_loss(truth, table, labels=[0, 1, 2]),
        "ece": recomputed.calibration_error(table.max(axis=1), likely == truth),
        "ece_positive": recomputed.calibration_error(table[:, POSITIVE], positive),
        "auroc": areas[POSITIVE],
        "auroc_macro": np.mean(areas),
        "average_precision": precisions[POSITIVE],
        "average_precision_macro": np.mean(precisions),
    }
    for i, name in enumerate(NAMES):
        wanted |= {f"auroc/{name}": areas[i], f"average_precision/{name}": precisions[i], f"recall/{name}": recalls[i]}
    for point in fitted.operating_points:
        called = table[:, POSITIVE] >= point.threshold
        (spared, alarms), (missed, hits) = metrics.confusion_matrix(positive, called)
        wanted |= {
            f"sensitivity@{point.name}": hits / (hits + missed),
            f"specificity@{point.name}": spared / (spared + alarms),
            f"ppv@{point.name}": hits / (hits + alarms),
            f"npv@{point.name}": spared / (spared + missed),
        }
    sets = [[p >= 1 - fitted.conformal_quantile for p in row] for row in table]
    wanted["conformal_coverage"] = np.mean([one[label] for one, label in zip(sets, truth, strict=True)])
    wanted["conformal_single"] = np.mean([sum(one) == 1 for one in sets])
    return wanted


def test_every_figure_on_the_test_images_is_that_of_scikit_learn(result, fitted):
    test = predicted(240, seed=2)
    wanted = figures_by_hand(test, fitted, np.ones(240, dtype=bool))
    assert {name: figure.value for name, figure in result.figures.items()} == pytest.approx(wanted)
    table = recomputed.probabilities(test.logits, fitted.temperature)
    np.testing.assert_allclose(result.probabilities, table, atol=1e-9)
    np.testing.assert_array_equal(result.confusion, metrics.confusion_matrix(test.labels, table.argmax(axis=1)))
    np.testing.assert_array_equal(result.predicted, table.argmax(axis=1))


@pytest.mark.parametrize("source", ["east", "west"])
def test_every_figure_of_a_source_is_that_of_its_own_images(result, fitted, sources, source):
    wanted = figures_by_hand(predicted(240, seed=2), fitted, sources == source)
    found = {name: figure.value for name, figure in result.per_source[source].items()}
    assert found == pytest.approx(wanted)


def of_source(images, positives):
    """Figures of one source with so many images, so many of them positive, the rest in halves of the other classes."""
    labels = np.array([POSITIVE] * positives + [0, 2] * ((images - positives) // 2))
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(len(labels), 3)) + 2 * np.eye(3)[labels]
    test = Predictions("student", np.arange(len(labels)), labels, recomputed.probabilities(logits, 1), logits)
    fitted = calibrate(test, TASK, CONFIG, brings_temperature=False)
    (found,), _ = model_results(
        [test], {"student": fitted}, task=TASK, config=CONFIG, members=np.arange(len(labels)),
        sources=np.full(len(labels), "east"),
    )  # fmt: skip
    return found.per_source["east"]


def test_a_source_has_figures_from_ten_images_on():
    assert of_source(9, 5)["accuracy"].value is None
    assert of_source(9, 5)["accuracy"].why == "only 9 images, fewer than 10"
    assert of_source(10, 6)["accuracy"].value is not None


def test_figures_of_a_class_need_five_of_its_images_and_five_of_the_others():
    few, enough = of_source(30, 4), of_source(31, 5)
    assert few["auroc"].value is None
    assert few["auroc"].why == "4 images of class pneumonia"
    assert few["accuracy"].value is not None
    assert few["auroc/normal"].value is not None
    assert few["auroc_macro"].value is few["sensitivity@screening"].value is few["recall/pneumonia"].value is None
    assert few["specificity@screening"].value is not None
    for name in ("auroc", "auroc_macro", "ppv@screening", "npv@screening", "ece_positive", "recall/pneumonia"):
        assert enough[name].value is not None, name
    many, four = of_source(25, 21), of_source(26, 20)
    assert (many["specificity@screening"].value, many["auroc"].value) == (None, None)
    assert many["specificity@screening"].why == "4 images of a class other than pneumonia"
    assert many["sensitivity@screening"].value is not None
    assert four["specificity@screening"].value is not None
