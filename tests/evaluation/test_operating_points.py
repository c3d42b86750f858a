from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketcxr.errors import DataError
from pocketcxr.evaluation.operating_points import choose_operating_points, predictive_values


def choose(scores, truth, sensitivity=0.95, specificity=0.95):
    return choose_operating_points(
        scores, truth, label="covid19", sensitivity=sensitivity, specificity=specificity, chosen_on="calibration split"
    )


def test_points_by_hand():
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    truth = [True, True, False, True, False, True, False, False]
    screening, confirming = choose(scores, truth, sensitivity=0.75, specificity=0.75)
    # Three of four positives lie at or above 0.6; the halfway mark to 0.5 is 0.55, where one of four negatives alarms.
    assert (screening.name, screening.threshold) == ("screening", pytest.approx(0.55))
    assert (screening.sensitivity, screening.specificity) == (0.75, 0.75)
    # One false alarm of four allowed: the same cut, since the next negative (0.5) would make it two.
    assert (confirming.name, confirming.threshold) == ("confirming", pytest.approx(0.55))
    assert screening.label == "covid19"
    assert screening.chosen_on == "calibration split (4 positive, 4 negative images)"


def test_stricter_targets_move_the_points_apart():
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    truth = [True, True, False, True, False, True, False, False]
    screening, confirming = choose(scores, truth, sensitivity=1.0, specificity=1.0)
    assert (screening.threshold, screening.sensitivity, screening.specificity) == (pytest.approx(0.35), 1.0, 0.5)
    assert (confirming.threshold, confirming.sensitivity, confirming.specificity) == (pytest.approx(0.75), 0.5, 1.0)


def test_separated_classes_put_both_thresholds_in_the_gap():
    points = choose([0.1, 0.2, 0.8, 0.9], [False, False, True, True])
    assert [point.threshold for point in points] == [0.5, 0.5]


def test_all_scores_equal_leave_no_point():
    assert choose([0.5] * 6, [True, False] * 3) == ()


def test_reversed_scores_leave_no_point_that_calls_everything_the_same():
    assert choose([0.1, 0.2, 0.8, 0.9], [True, True, False, False]) == ()


def test_neighbouring_floats_keep_the_promised_figures():
    high = np.nextafter(0.5, 1)
    (screening, _) = choose([0.5, high], [False, True])
    assert screening.threshold == high


@pytest.mark.parametrize("truth", [[True, True], [False, False], []])
def test_one_class_only_is_refused(truth):
    with pytest.raises(DataError, match="give the split more patients"):
        choose([0.5] * len(truth), truth)


def test_bad_scores_and_targets_are_refused():
    with pytest.raises(DataError, match="NaN"):
        choose([0.5, np.nan], [True, False])
    with pytest.raises(DataError, match=r"\(2,\) and \(1,\)"):
        choose([0.5, 0.2], [True])


@pytest.mark.parametrize("target", [95, 1.0000001, 0, -0.5, -1e-9, np.nan])
def test_targets_outside_zero_to_one_are_refused_and_one_is_taken(target):
    with pytest.raises(DataError, match="sensitivity in"):
        choose([0.5, 0.2], [True, False], sensitivity=target)
    with pytest.raises(DataError, match="specificity in"):
        choose([0.5, 0.2], [True, False], specificity=target)
    assert len(choose([0.5, 0.2], [True, False], sensitivity=1, specificity=1)) == 2
    assert len(choose([0.5, 0.2], [True, False], sensitivity=1e-9, specificity=1e-9)) == 2


def test_scores_below_zero_have_thresholds_halfway_too():
    points = choose([-0.9, -0.8, -0.2, -0.1], [False, False, True, True])
    assert [point.threshold for point in points] == [-0.5, -0.5]


def test_a_target_is_met_whatever_binary_fractions_say():
    # 9 of 10 positives are a sensitivity of 0.9, and 1 - 1/10 is a specificity of 0.9
    scores = np.append(np.linspace(0.5, 0.95, 10), np.linspace(0.05, 0.5, 10) + 0.001)
    truth = np.arange(20) < 10
    screening, confirming = choose(scores, truth, sensitivity=0.9, specificity=0.9)
    assert (screening.sensitivity, confirming.specificity) == (pytest.approx(0.9), pytest.approx(0.9))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=40).filter(
        lambda pairs: len({positive for _, positive in pairs}) == 2
    ),
    st.sampled_from([0.5, 0.8, 0.95, 1.0]),
)
def test_points_keep_their_promise_and_no_threshold_does_better(pairs, target):
    scores = np.array([score / 12 for score, _ in pairs])
    truth = np.array([positive for _, positive in pairs])

    def reached(threshold):
        called = scores >= threshold
        return called[truth].mean(), (~called)[~truth].mean()

    points = {point.name: point for point in choose(scores, truth, sensitivity=target, specificity=target)}
    everywhere = [reached(threshold) for threshold in np.append(np.unique(scores), 2.0)]
    best_specificity = max(spec for sens, spec in everywhere if sens >= target)
    best_sensitivity = max(sens for sens, spec in everywhere if spec >= target)
    for name, best, order in (("screening", best_specificity, 1), ("confirming", best_sensitivity, 0)):
        if name not in points:
            assert best == 0
            continue
        point = points[name]
        assert reached(point.threshold) == (pytest.approx(point.sensitivity), pytest.approx(point.specificity))
        assert reached(point.threshold)[order] == pytest.approx(best)
        equals = [pair[1 - order] for pair in everywhere if pair[order] == best and pair[1 - order] >= target]
        assert reached(point.threshold)[1 - order] == pytest.approx(max(equals))
        steps = np.unique(scores)
        assert any(point.threshold == pytest.approx((low + high) / 2) for low, high in pairwise(steps))


def test_predictive_values_follow_bayes():
    # 1000 people, 100 ill: 90 found, 10 missed; of 900 healthy 180 alarmed, 720 spared.
    assert predictive_values(0.9, 0.8, 0.1) == (pytest.approx(90 / 270), pytest.approx(720 / 730))
    assert predictive_values(0.0, 1.0, 0.1) == (None, pytest.approx(0.9))
    assert predictive_values(1.0, 0.0, 0.1) == (pytest.approx(0.1), None)
