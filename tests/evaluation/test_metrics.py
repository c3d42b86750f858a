import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pocketcxr.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    positive_calibration_error,
    softmax,
)
from pocketcxr.evaluation.metrics import auroc, average_precision, figures, ranking

LABELS = ("normal", "pneumonia", "covid19")


def measure(table, truth, *, labels=LABELS, weights=None, thresholds=None):
    rows = np.ones((1, len(truth))) if weights is None else weights
    return figures(
        np.asarray(table, dtype=float),
        np.asarray(truth),
        labels=labels,
        positive=labels[-1],
        thresholds=thresholds or {},
        weights=rows,
    )


def draw(n=300, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    return softmax(np.eye(classes)[truth] + rng.normal(size=(n, classes))), truth


def test_auroc_by_hand_with_a_tie():
    # Pairs (positive, negative): .8>.3, .8>.5, .5>.3 right, .5=.5 half: 3.5 of 4.
    assert auroc([0.8, 0.5, 0.5, 0.3], [True, True, False, False]) == 3.5 / 4


def test_average_precision_by_hand():
    # Positives at ranks 1 and 3: precision 1 and 2/3, each half of the recall.
    assert average_precision([0.9, 0.8, 0.7, 0.1], [True, False, True, False]) == pytest.approx((1 + 2 / 3) / 2)


def test_figures_without_a_class_do_not_exist():
    assert np.isnan(auroc([0.1, 0.2], [True, True]))
    assert np.isnan(auroc([0.1, 0.2], [False, False]))
    assert np.isnan(average_precision([0.1, 0.2], [False, False]))
    assert average_precision([0.1, 0.2], [True, True]) == 1.0


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 3)), min_size=2, max_size=50),
)
def test_weighted_ranking_equals_scikit_learn_on_the_repeated_images(rows):
    scores, positive, times = (np.array(column) for column in zip(*rows, strict=True))
    area, average = ranking(scores / 9, positive.astype(bool), times[None].astype(float))
    repeated, truth = np.repeat(scores / 9, times), np.repeat(positive, times)
    if 0 < truth.sum() < len(truth):
        assert area[0] == pytest.approx(sk.roc_auc_score(truth, repeated))
        assert average[0] == pytest.approx(sk.average_precision_score(truth, repeated))
    else:
        assert np.isnan(area[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 60))
def test_auroc_is_bounded_mirrored_and_blind_to_monotone_changes(seed, n):
    rng = np.random.default_rng(seed)
    scores, truth = rng.random(n).round(1), rng.permutation(np.arange(n) % 2 == 0)
    area = auroc(scores, truth)
    assert 0 <= area <= 1
    assert auroc(-scores, truth) == pytest.approx(1 - area)
    assert auroc(np.exp(3 * scores), truth) == pytest.approx(area)


def test_every_figure_equals_scikit_learn_for_three_classes():
    table, truth = draw()
    found = {name: values[0] for name, values in measure(table, truth, thresholds={"screening": 0.3}).items()}
    predicted = table.argmax(axis=1)
    onehot = np.eye(3)[truth]
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    assert found["auroc_macro"] == pytest.approx(sk.roc_auc_score(truth, table, multi_class="ovr"))
    assert found["auroc"] == found["auroc/covid19"] == pytest.approx(sk.roc_auc_score(truth == 2, table[:, 2]))
    assert found["average_precision_macro"] == pytest.approx(sk.average_precision_score(onehot, table))
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(truth == 2, table[:, 2]))
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, table))
    assert found["brier"] == pytest.approx(brier_score(table, truth))
    assert found["ece"] == pytest.approx(expected_calibration_error(table, truth))
    assert found["ece_positive"] == pytest.approx(positive_calibration_error(table[:, 2], truth == 2))
    for i, label in enumerate(LABELS):
        assert found[f"recall/{label}"] == pytest.approx(sk.recall_score(truth == i, predicted == i))
    called = table[:, 2] >= 0.3
    assert found["sensitivity@screening"] == pytest.approx(sk.recall_score(truth == 2, called))
    assert found["specificity@screening"] == pytest.approx(sk.recall_score(truth != 2, ~called))
    assert found["ppv@screening"] == pytest.approx(sk.precision_score(truth == 2, called))
    assert found["npv@screening"] == pytest.approx(sk.precision_score(truth != 2, ~called))


def test_weights_count_images_as_often_as_repeating_them_would():
    table, truth = draw(60, seed=4)
    times = np.random.default_rng(5).integers(0, 4, (3, 60))
    weighted = measure(table, truth, weights=times.astype(float), thresholds={"confirming": 0.6})
    for row, counts in enumerate(times):
        repeated = measure(np.repeat(table, counts, axis=0), np.repeat(truth, counts), thresholds={"confirming": 0.6})
        for name, values in repeated.items():
            assert weighted[name][row] == pytest.approx(values[0], nan_ok=True), name


def test_two_classes_mirror_each_other():
    table, truth = draw(classes=2)
    found = measure(table, truth, labels=("negative", "typical"))
    assert found["auroc/negative"][0] == pytest.approx(found["auroc/typical"][0])
    assert found["auroc_macro"][0] == pytest.approx(found["auroc"][0])


def test_an_absent_class_leaves_only_what_can_be_said():
    table, _ = draw(20)
    found = measure(table, np.zeros(20, dtype=int), thresholds={"screening": 0.3})
    assert np.isfinite(found["accuracy"][0])
    assert found["recall/normal"][0] == found["accuracy"][0]
    for name in (
        "balanced_accuracy",
        "auroc",
        "auroc_macro",
        "auroc/normal",
        "recall/covid19",
        "sensitivity@screening",
    ):
        assert np.isnan(found[name][0]), name


def test_nothing_called_positive_leaves_no_positive_predictive_value():
    table, truth = draw(30)
    found = measure(table, truth, thresholds={"confirming": 1.1})
    assert np.isnan(found["ppv@confirming"][0])
    assert found["sensitivity@confirming"][0] == 0
    assert found["specificity@confirming"][0] == 1


def test_all_probabilities_equal_score_as_chance():
    truth = np.array([0, 1, 2, 0, 1, 2])
    found = measure(np.full((6, 3), 1 / 3), truth)
    assert found["auroc_macro"][0] == 0.5
    assert found["average_precision"][0] == pytest.approx(1 / 3)
    assert found["ece"][0] == pytest.approx(0)
