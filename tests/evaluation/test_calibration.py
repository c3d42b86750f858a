import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

import recomputed
from pocketcxr.errors import DataError
from pocketcxr.evaluation.calibration import (
    TEMPERATURE_BOUNDS,
    brier_score,
    conformal_quantile,
    conformal_sets,
    expected_calibration_error,
    fit_temperature,
    positive_calibration_error,
    reliability_bins,
    softmax,
)


def draw(n, classes, scale, seed):
    """Labels drawn from softmax(logits), and the logits multiplied by `scale`: the true temperature is `scale`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, classes))
    labels = np.array([rng.choice(classes, p=p) for p in softmax(logits)])
    return logits * scale, labels


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_temperature_recovers_the_scale_that_was_applied(scale, classes):
    logits, labels = draw(4000, classes, scale, seed=1)
    assert fit_temperature(logits, labels) == pytest.approx(scale, rel=0.1)


def test_temperature_is_close_to_the_minimum_of_scikit_learns_log_loss():
    logits, labels = draw(3000, 3, 2.0, seed=2)
    grid = np.exp(np.linspace(np.log(1), np.log(4), 100))
    losses = [log_loss(labels, softmax(logits, t), labels=[0, 1, 2]) for t in grid]
    assert fit_temperature(logits, labels) == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)


def test_perfectly_separated_calibration_does_not_promise_certainty():
    labels = np.array([0] * 10 + [1] * 10)
    logits = np.where(np.eye(2)[labels] > 0, 3.0, -3.0)
    temperature = fit_temperature(logits, labels)
    assert TEMPERATURE_BOUNDS[0] < temperature < TEMPERATURE_BOUNDS[1]
    # Laplace's rule: 20 of 20 right means 21/22 by hand, not 1.
    assert softmax(logits, temperature).max(axis=1) == pytest.approx(21 / 22, abs=1e-4)


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e9])
def test_temperature_stays_within_its_bounds_for_extreme_logits(spread):
    labels = np.array([0, 1, 0, 1])
    logits = np.array([[1.0, -1], [-1, 1], [-1, 1], [1, -1]]) * spread
    temperature = fit_temperature(logits, labels)
    assert TEMPERATURE_BOUNDS[0] <= temperature <= TEMPERATURE_BOUNDS[1]


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (np.zeros((0, 2)), [], "calibration split empty"),
        ([[0.0, np.nan]], [0], "NaN or infinity for 1 of 1"),
        ([[0.0, 1.0]], [-1], "leave unlabelled"),
        ([[0.0, 1.0]], [2], "labels: expected 0 to 1, found 2 to 2"),
        ([[0.0, 1.0]], [0, 1], r"\(1, 2\)"),
        ([[0.0], [1.0]], [0, 0], r"\(2, 1\)"),
    ],
)
def test_bad_calibration_input_is_refused_in_words(logits, labels, words):
    with pytest.raises(DataError, match=words):
        fit_temperature(logits, labels)


def test_conformal_quantile_is_the_corrected_order_statistic():
    truth = np.array([0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])  # scores 0.05 ... 0.7, n = 9
    table = np.stack([truth, 1 - truth], axis=1)
    zeros = np.zeros(9, dtype=int)
    # ceil(10 * 0.8) = 8th smallest score = 0.6; ceil(10 * 0.7) = 7th = 0.5; ceil(10 * 0.9) = 9th = 0.7
    assert conformal_quantile(table, zeros, coverage=0.8) == pytest.approx(0.6, abs=2e-6)
    assert conformal_quantile(table, zeros, coverage=0.7) == pytest.approx(0.5, abs=2e-6)
    assert conformal_quantile(table, zeros, coverage=0.9) == pytest.approx(0.7, abs=2e-6)


def test_too_few_images_give_sets_of_all_classes():
    table = np.array([[0.99, 0.01]] * 8)
    quantile = conformal_quantile(table, np.zeros(8, dtype=int), coverage=0.9)  # ceil(9 * 0.9) = 9 > 8
    assert quantile == 1.0
    assert conformal_sets([[1.0, 0.0]], quantile).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_conformal_sets_cover_the_calibration_truth_itself(seed, n, coverage):
    rng = np.random.default_rng(seed)
    table = softmax(np.round(rng.normal(0, 2, (n, 3)), 1)).astype(np.float32)
    labels = rng.integers(0, 3, n)
    covered = conformal_sets(table, conformal_quantile(table, labels, coverage=coverage))[np.arange(n), labels]
    assert covered.mean() >= coverage


def test_conformal_sets_cover_unseen_images_on_average():
    rates = []
    for seed in range(200):
        logits, labels = draw(120, 3, 1.0, seed=seed)
        table = softmax(logits)
        quantile = conformal_quantile(table[:60], labels[:60], coverage=0.8)
        rates.append(conformal_sets(table[60:], quantile)[np.arange(60), labels[60:]].mean())
    assert 0.785 <= np.mean(rates) <= 0.835  # between 0.8 and 0.8 + 1/61, with Monte-Carlo room


@pytest.mark.parametrize("coverage", [0.0, 1.0, 90.0])
def test_impossible_coverage_is_refused(coverage):
    with pytest.raises(DataError, match="coverage"):
        conformal_quantile([[0.5, 0.5]], [0], coverage=coverage)


@pytest.mark.parametrize("bins", [1, 2, 7, 15])
def test_equal_width_bins_are_those_of_counting(bins):
    rng = np.random.default_rng(4)
    predicted = np.concatenate([rng.random(300), np.arange(bins + 1) / bins, [0.0, 1.0]])  # edges too
    happened = rng.random(len(predicted)) < predicted**2
    expected = recomputed.calibration_error(predicted, happened, bins)
    assert positive_calibration_error(predicted, happened, bins=bins) == pytest.approx(expected, abs=1e-12)
    table = np.stack([1 - predicted, predicted], axis=1)
    likely = table.argmax(axis=1)
    labels = np.where(happened, likely, 1 - likely)
    expected = recomputed.calibration_error(table.max(axis=1), happened, bins)
    assert expected_calibration_error(table, labels, bins=bins) == pytest.approx(expected, abs=1e-12)
    found = reliability_bins(predicted, happened, bins=bins)
    assert len(found.count) <= bins
    assert found.error == pytest.approx(recomputed.calibration_error(predicted, happened, bins), abs=1e-12)


def test_fifteen_bins_of_equal_width_are_the_rule():
    rng = np.random.default_rng(5)
    predicted, happened = rng.random(200), rng.random(200) < 0.5
    expected = recomputed.calibration_error(predicted, happened, 15)
    assert positive_calibration_error(predicted, happened) == pytest.approx(expected)
    assert reliability_bins(predicted, happened).error == pytest.approx(expected)
    assert expected != pytest.approx(recomputed.calibration_error(predicted, happened, 14))
    assert expected != pytest.approx(recomputed.calibration_error(predicted, happened, 16))


@pytest.mark.parametrize(
    "predicted, happened", [([0.1, 0.2], [True]), ([[0.1, 0.2]], [[True, False]]), ([], []), (0.5, True)]
)
def test_lists_that_do_not_fit_have_no_calibration_error(predicted, happened):
    with pytest.raises(DataError, match="two lists of equal length"):
        reliability_bins(predicted, happened)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99]))
def test_the_quantile_is_that_of_exact_fractions(seed, n, coverage):
    rng = np.random.default_rng(seed)
    table = softmax(rng.normal(0, 2, (n, 3)))
    labels = rng.integers(0, 3, n)
    expected = recomputed.quantile(table, labels, coverage)
    assert conformal_quantile(table, labels, coverage=coverage) == pytest.approx(min(1.0, expected + 1e-6), abs=1e-12)


def test_a_quantile_never_exceeds_one():
    assert conformal_quantile([[0.0, 1.0]] * 9, [0] * 9, coverage=0.5) == 1.0


def test_a_class_at_the_limit_of_a_set_is_in_it():
    assert conformal_sets([[0.25, 0.75], [0.2499, 0.7501]], 0.75).tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("n", [3, 40])
def test_the_temperature_is_that_of_another_minimiser(scale, n):
    logits, labels = draw(n, 3, scale, seed=6)
    expected = min(max(recomputed.temperature(logits, labels), 0.05), 20)
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=2e-3)


def test_temperatures_stop_at_a_twentieth_and_at_twenty():
    right = np.array([0, 1] * 30)
    sure = np.where(np.eye(2)[right] > 0, 1e-3, -1e-3)
    assert fit_temperature(sure, right) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(-1e6 * sure, right) == pytest.approx(20, rel=1e-3)


def test_calibration_error_by_hand():
    # Two images at 0.8, one right: |0.8 - 0.5| = 0.3. Two at 0.9, both right: |0.9 - 1| = 0.1.
    table = [[0.8, 0.2], [0.2, 0.8], [0.9, 0.1], [0.1, 0.9]]
    assert expected_calibration_error(table, [0, 0, 0, 1]) == pytest.approx((2 * 0.3 + 2 * 0.1) / 4)


def test_positive_class_error_sees_what_the_top_label_error_hides():
    # Two classes at 0.3 / 0.7: half of the "0.3" are positive and half of the "0.7" are negative ...
    scores = [0.3, 0.3, 0.7, 0.7]
    assert positive_calibration_error(scores, [True, False, True, False]) == pytest.approx(0.2)
    # ... and errors of opposite sign cancel in one top-label bin: always right at 0.7, never right at 0.7.
    table = np.stack([1 - np.array(scores), scores], axis=1)
    assert expected_calibration_error(table, [0, 0, 0, 0]) == pytest.approx(0.2)
    assert positive_calibration_error(scores, [False] * 4) == pytest.approx(0.5)


def test_equal_mass_bins_hold_equal_numbers():
    rng = np.random.default_rng(0)
    found = reliability_bins(rng.beta(0.2, 5, 1500), rng.random(1500) < 0.1, binning="equal-mass")
    assert len(found.count) == 15
    assert found.count.min() >= 99
    assert found.count.sum() == 1500


def test_equal_probabilities_share_one_bin_and_compare_the_mean():
    for binning in ("equal-width", "equal-mass"):
        found = reliability_bins([0.4] * 10, [True] * 3 + [False] * 7, binning=binning)
        assert found.count.tolist() == [10]
        assert found.error == pytest.approx(0.1)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_is_bounded_and_bins_lose_no_image(pairs):
    predicted, happened = zip(*pairs, strict=True)
    for binning in ("equal-width", "equal-mass"):
        found = reliability_bins(predicted, happened, binning=binning)
        assert found.count.sum() == len(pairs)
        # No binning can be smaller than the gap of the overall means.
        assert abs(np.mean(predicted) - np.mean(happened)) - 1e-9 <= found.error <= 1 + 1e-9


def test_brier_score_equals_scikit_learn_for_two_and_three_classes():
    rng = np.random.default_rng(3)
    for classes in (2, 3):
        table = softmax(rng.normal(size=(50, classes)))
        labels = rng.integers(0, classes, 50)
        truth = labels if classes == 2 else np.eye(3)[labels]
        expected = brier_score_loss(truth, table[:, 1] if classes == 2 else table)
        assert brier_score(table, labels) == pytest.approx(expected)
