import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from pocketcxr.evaluation.comparisons import delong, mcnemar, paired_difference
from pocketcxr.evaluation.intervals import Estimate, bootstrap
from pocketcxr.evaluation.metrics import auroc


def brute_force(first, second, truth):
    """DeLong 1988 by its definition: placements from all pairs."""

    def kernel(x, y):
        return 1.0 if x > y else 0.5 if x == y else 0.0

    positive, negative = np.flatnonzero(truth), np.flatnonzero(~truth)
    v10 = np.array([[np.mean([kernel(s[i], s[j]) for j in negative]) for i in positive] for s in (first, second)])
    v01 = np.array([[np.mean([kernel(s[i], s[j]) for i in positive]) for j in negative] for s in (first, second)])
    covariance = np.cov(v10) / len(positive) + np.cov(v01) / len(negative)
    areas = v10.mean(axis=1)
    return areas[0] - areas[1], covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 100_000), st.integers(6, 24), st.sampled_from([1, 6]))
def test_fast_delong_equals_its_definition(seed, n, decimals):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(n) % 3 == 0)
    first, second = rng.normal(truth).round(decimals), rng.normal(truth).round(decimals)
    found = delong(first, second, truth)
    difference, variance = brute_force(first, second, truth)
    assert found.difference == pytest.approx(difference)
    assert found.difference == pytest.approx(auroc(first, truth) - auroc(second, truth))
    assert found.standard_error == pytest.approx(math.sqrt(max(0, variance)), abs=1e-7)
    if found.p is not None and found.standard_error > 0:
        assert found.p == pytest.approx(2 * norm.sf(abs(difference) / found.standard_error))


def test_delong_by_hand():
    # First ranks both positives above both negatives; the second loses one pair of four (positive 0.3 below 0.5).
    found = delong([4, 3, 2, 1], [0.9, 0.3, 0.5, 0.1], [True, True, False, False])
    assert found.difference == pytest.approx(0.25)
    # V10 = (1, 0.5), V01 = (0.5, 1): each variance 0.125, divided by two images each: 0.125 in all.
    assert found.standard_error == pytest.approx(math.sqrt(0.125))


def test_a_model_does_not_differ_from_itself():
    scores = np.random.default_rng(0).random(40)
    truth = np.arange(40) % 2 == 0
    assert (delong(scores, scores, truth).difference, delong(scores, scores, truth).p) == (0.0, 1.0)
    assert mcnemar(scores > 0.5, scores > 0.5).p == 1.0


def test_delong_needs_two_images_of_each_class():
    found = delong([1, 2, 3], [3, 2, 1], [True, False, False])
    assert found.p is None
    assert "found 1 and 2" in found.why


def test_perfect_models_against_useless_ones_have_no_variance_to_test_with():
    found = delong([1, 1, 0, 0], [0, 0, 1, 1], [True, True, False, False])
    assert found.difference == 1.0
    assert found.p is None
    assert "variance is 0" in found.why


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (1, 6, 2 * (1 + 7) / 2**7),  # sum of binomial(7, 0) and (7, 1) over 2^7, both tails
        (0, 5, 2 / 2**5),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_exact_mcnemar_by_hand(only_first, only_second, p):
    first = [True] * only_first + [False] * only_second + [True, False]
    second = [False] * only_first + [True] * only_second + [True, False]
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p == pytest.approx(p)


def replicates_of(right, count=2000):
    measure = {name: (lambda w, r=r: {"accuracy": (w @ r) / w.sum(axis=1)}) for name, r in right.items()}
    return {k: v["accuracy"] for k, v in bootstrap(measure, np.arange(200), count=count, seed=0).items()}


def test_paired_difference_is_much_narrower_than_the_models_own_intervals():
    rng = np.random.default_rng(1)
    first = rng.random(200) < 0.7
    second = first.copy()
    second[np.flatnonzero(first)[:10]] = False  # worse on ten images, equal on all others
    replicates = replicates_of({"a": first, "b": second})
    found = paired_difference(
        "accuracy",
        (Estimate(first.mean()), Estimate(second.mean())),
        (replicates["a"], replicates["b"]),
        patients=200,
    )
    assert found.figure.value == pytest.approx(0.05)
    # Ten of 200 differ: standard error sqrt(0.05 * 0.95 / 200) = 0.0154.
    assert found.figure.low == pytest.approx(0.05 - 1.96 * 0.0154, abs=0.006)
    assert found.shown
    assert found.p < 0.01


def test_equal_models_show_no_difference():
    rng = np.random.default_rng(2)
    first = rng.random(200) < 0.7
    replicates = replicates_of({"a": first, "b": first})
    same = (Estimate(first.mean()), Estimate(first.mean()))
    found = paired_difference("accuracy", same, (replicates["a"], replicates["b"]), patients=200)
    assert (found.figure.value, found.p, found.shown) == (0.0, 1.0, False)


def test_difference_to_an_unmeasurable_figure_says_why():
    found = paired_difference(
        "auroc", (Estimate(0.5), Estimate(None, why="one class only")), (np.ones(3), np.ones(3)), patients=3
    )
    assert (found.figure.value, found.figure.why, found.p, found.shown) == (None, "one class only", None, False)


def test_bootstrap_p_is_rarely_small_when_there_is_no_difference():
    seeds = range(300)
    small = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        first, second = rng.random(60) < 0.7, rng.random(60) < 0.7
        measure = {
            name: (lambda w, r=r: {"accuracy": (w @ r) / w.sum(axis=1)}) for name, r in (("a", first), ("b", second))
        }
        found = bootstrap(measure, np.arange(60), count=200, seed=seed)
        values = Estimate(first.mean()), Estimate(second.mean())
        difference = paired_difference(
            "accuracy", values, (found["a"]["accuracy"], found["b"]["accuracy"]), patients=60
        )
        small += difference.p < 0.05
    assert small / len(seeds) <= 0.09


def test_antisymmetry_of_every_test():
    rng = np.random.default_rng(4)
    truth = rng.random(50) < 0.4
    scores = [rng.normal(truth) for _ in range(2)]
    forward, backward = (delong(a, b, truth) for a, b in itertools.permutations(scores, 2))
    assert forward.difference == pytest.approx(-backward.difference)
    assert forward.p == pytest.approx(backward.p)
