"""Cramér's V against hand-computed tables, chance, and repeated patients."""

import numpy as np
import pytest

from pocketcxr.audit.data.association import binned, cramers_v, lumped


def test_a_property_that_is_the_class_has_an_association_of_nearly_one():
    classes = ["a", "b"] * 60
    figure = cramers_v(classes, classes, np.arange(120), seed=0)
    assert figure.value == pytest.approx(1, abs=0.01)
    assert figure.low > 0.95


def test_the_corrected_value_is_bergsmas():
    # 2 x 2 table 40 10 / 20 30: chi2 = 100 (40*30 - 10*20)^2 / (50*50*60*40) = 16.667, phi2 = 0.16667
    levels = ["x"] * 50 + ["y"] * 50
    classes = ["a"] * 40 + ["b"] * 10 + ["a"] * 20 + ["b"] * 30
    phi2 = 1 / 6 - 1 / 99
    expected = (phi2 / (2 - 1 / 99 - 1)) ** 0.5
    assert cramers_v(levels, classes, np.arange(100), seed=0).value == pytest.approx(expected, abs=1e-9)


def test_chance_is_not_shown_as_an_association():
    lows = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        levels, classes = rng.integers(0, 8, 120).astype(str), rng.integers(0, 3, 120).astype(str)
        lows.append(cramers_v(list(levels), list(classes), np.arange(120), seed=seed).low)
    assert max(lows) < 0.15


def test_many_films_of_few_patients_widen_the_interval():
    levels, classes = np.array(["x", "y"] * 15), np.array(["a", "b"] * 11 + ["b", "a"] * 4)
    many = cramers_v(list(np.repeat(levels, 20)), list(np.repeat(classes, 20)), np.repeat(np.arange(30), 20), seed=0)
    naive = cramers_v(list(np.repeat(levels, 20)), list(np.repeat(classes, 20)), np.arange(600), seed=0)
    assert many.low < naive.low
    assert many.value < naive.value


@pytest.mark.parametrize(
    "levels, classes, why",
    [(["x"] * 30, ["a", "b"] * 15, "alike"), (["x", "y"] * 15, ["a"] * 30, "one class"), (["x"], ["a"], "at least 20")],
)
def test_what_cannot_be_measured_says_why(levels, classes, why):
    figure = cramers_v(levels, classes, np.arange(len(levels)), seed=0)
    assert figure.value is None
    assert why in figure.why


def test_numbers_become_bins_and_rare_levels_are_lumped():
    assert binned([1, 1, 2]) == ["1", "1", "2"]
    assert len(set(binned(list(range(100))))) == 6
    assert lumped(["a"] * 9 + ["b"]) == ["a"] * 9 + ["others"]
