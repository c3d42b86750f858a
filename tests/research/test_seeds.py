"""Figures of students over seeds, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

pytest.importorskip("scipy", reason="needs the extra evaluate")


@pytest.fixture
def module(script):
    return script("seeds")


@pytest.fixture
def made(module):
    """Three seeds of three variants on 240 images: ``e`` sees more than ``b``, ``c`` is its very equal."""
    generator = np.random.default_rng(0)
    truth = np.arange(240) % 2
    split = module.Split(
        name="calibration",
        truth=truth,
        sources=np.where(np.arange(240) < 160, "siim", "other"),
        members=np.arange(240),
        labels=("negative", "typical"),
        positive=1,
    )
    scores = []
    for seed in range(3):
        noise = generator.normal(0, 1, 240)
        for variant, strength in (("b", 1.0), ("e", 2.0), ("c", 1.0)):
            logit = strength * (2 * truth - 1) + noise
            scores.append(module.Scores(variant, seed, np.stack([-logit, logit], axis=1) / 2, 1.0))
    return module.table(scores, split, references=["b", "a"], bootstrap=200)


def test_a_better_student_is_shown_and_an_equal_one_is_not(made):
    taught, equal = made["differences"]["b"]["e"], made["differences"]["b"]["c"]
    assert set(made["differences"]) == {"b"}  # there is no "a"
    assert taught["auroc_same_source"]["mean"] > 0.05
    assert taught["auroc_same_source"]["patients"][0] > 0
    assert taught["auroc_same_source"]["p_holm"] == pytest.approx(2 * 2 / 201)
    assert equal["auroc_same_source"]["mean"] == 0
    assert equal["auroc_same_source"]["p_holm"] == 1


def test_means_and_intervals_over_seeds_are_those_of_the_figures(made):
    row = made["variants"]["b"]["accuracy"]
    assert row["mean"] == pytest.approx(np.mean(row["each"]))
    half = 4.302653 * np.std(row["each"], ddof=1) / 3**0.5  # t, two degrees of freedom
    assert row["seeds"] == pytest.approx((row["mean"] - half, row["mean"] + half), abs=1e-6)
    assert row["patients"][0] < row["mean"] < row["patients"][1]


def test_variants_stand_in_the_order_of_the_comparison(made):
    assert list(made["variants"]) == ["b", "c", "e"]


def test_holm_corrects_step_by_step(script):
    assert script("seeds").holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_without_a_source_that_has_both_classes_the_mean_over_classes_leads(module, script):
    truth = np.arange(40) % 2
    split = module.Split("calibration", truth, np.array(["other"] * 40), np.arange(40), ("a", "b"), 1)
    logit = (2 * truth - 1) + np.linspace(-1, 1, 40)
    found = module.table(
        [module.Scores("b", 0, np.stack([-logit, logit], 1), 1.0)], split, references=["b", "a"], bootstrap=50
    )
    assert next(iter(found["metrics"])) == "auroc_macro"
    assert found["variants"]["b"]["auroc_macro"]["seeds"] is None
    assert "| b |" in script("tables").students_of(found)


def test_a_table_is_made_of_it(script, made):
    text = script("tables").students_of(made)
    assert text.count("\n") == 4
    assert "| e |" in text


def test_two_classes_within_one_source_are_told_apart_by_their_odds(module):
    generator = np.random.default_rng(3)
    truth = np.concatenate([np.arange(80) % 2, 1 + np.arange(80) % 2])
    sources = np.repeat(["rsna", "ieee8023"], 80)
    split = module.Split("calibration", truth, sources, np.arange(160), ("normal", "pneumonia", "covid19"), 2)
    logits = generator.normal(0, 1, (160, 3)) + 1.5 * np.eye(3)[truth]
    found = module.table([module.Scores("b", 0, logits, 1.0)], split, references=["b"], bootstrap=50)["variants"]["b"]
    for name, (source, positive, negative) in module.CONTRASTS.items():
        first, second = (split.labels.index(label) for label in (positive, negative))
        within = sources == source
        expected = roc_auc_score(truth[within] == first, (logits[:, first] - logits[:, second])[within])
        assert found[name]["mean"] == pytest.approx(expected)
