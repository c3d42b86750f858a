"""The verdict on an int8 graph, worked out again from scores and truth, and each of its limits on both sides."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import recomputed

metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra train")

from pocketcxr.export.int8.candidate import (  # noqa: E402
    Candidate,
    GraphOutputs,
    Limits,
    Search,
    compared,
    misses,
    summary_line,
)

MANIFEST = SimpleNamespace(labels=("normal", "pneumonia", "covid19"), positive="pneumonia")
POSITIVE = 1


def outputs(seed, labels, *, sharpness=1.0):
    rng = np.random.default_rng(seed)
    table = recomputed.probabilities(sharpness * (np.eye(3)[labels] * 1.5 + rng.normal(size=(len(labels), 3))), 1)
    return GraphOutputs(table, rng.integers(-2, 3, len(labels)), labels)


LABELS = np.random.default_rng(0).choice(3, 200, p=[0.5, 0.3, 0.2])


def areas(table):
    return [metrics.roc_auc_score(i == LABELS, table[:, i]) for i in range(3)]


def test_every_figure_of_a_candidate_is_that_of_scikit_learn():
    before, after = outputs(1, LABELS), outputs(2, LABELS, sharpness=2)
    found = compared(before, after, MANIFEST)
    old, new = areas(before.probabilities), areas(after.probabilities)
    ece = [
        recomputed.calibration_error(
            one.probabilities.max(axis=1), one.probabilities.argmax(axis=1) == LABELS
        )
        for one in (before, after)
    ]  # fmt: skip
    wanted = {
        "auroc": new[POSITIVE],
        "auroc_macro": np.mean(new),
        "ece": ece[1],
        "auroc_loss": max(old[POSITIVE] - new[POSITIVE], np.mean(old) - np.mean(new)),
        "ece_rise": ece[1] - ece[0],
        "agreement": sum(a == b for a, b in zip(before.decisions, after.decisions, strict=True)) / 200,
        "class_agreement": np.mean(before.probabilities.argmax(axis=1) == after.probabilities.argmax(axis=1)),
        "mean_move": metrics.mean_absolute_error(before.probabilities, after.probabilities),
    }  # fmt: skip
    assert found == pytest.approx(wanted)
    assert before.figures(POSITIVE) == pytest.approx({"auroc": old[1], "auroc_macro": np.mean(old), "ece": ece[0]})
    assert len({round(value, 6) for value in (*old, np.mean(old))}) == 4


def spoiled(one, places, seed=3):
    """The same outputs, the probabilities of two classes mixed up among the images that are neither of them much."""
    table = one.probabilities.copy()
    rng = np.random.default_rng(seed)
    first, second = places
    both = table[:, first] + table[:, second]
    share = rng.random(len(table))
    table[:, first], table[:, second] = both * share, both * (1 - share)
    return dataclasses.replace(one, probabilities=table)


def test_a_loss_of_the_other_classes_alone_is_seen():
    """The positive class keeps its AUROC to the last digit; normal and covid19 are told apart worse."""
    before = outputs(1, LABELS)
    after = spoiled(before, (0, 2))
    old, new = areas(before.probabilities), areas(after.probabilities)
    assert new[POSITIVE] == pytest.approx(old[POSITIVE])
    found = compared(before, after, MANIFEST)
    assert found["auroc_loss"] == pytest.approx(np.mean(old) - np.mean(new))
    assert found["auroc_loss"] > 0.05
    said = misses(found | {"ece_rise": 0, "agreement": 1}, Limits(), size=1, can_travel=True)
    assert said == (f"AUROC falls by {found['auroc_loss']:.4f}, at most 0.003 allowed",)


def test_a_loss_of_the_positive_class_alone_is_seen():
    """The mean over classes rises, that of the positive class falls."""
    before = spoiled(outputs(1, LABELS), (0, 2))
    after = outputs(1, LABELS)
    table = after.probabilities.copy()
    table[:, POSITIVE] = recomputed.probabilities(np.random.default_rng(5).normal(size=(200, 3)), 1)[:, 1] * 0.2 + (
        table[:, POSITIVE] * 0.7
    )
    after = dataclasses.replace(after, probabilities=table)
    old, new = areas(before.probabilities), areas(after.probabilities)
    assert np.mean(new) > np.mean(old)
    assert new[POSITIVE] < old[POSITIVE]
    assert compared(before, after, MANIFEST)["auroc_loss"] == pytest.approx(old[POSITIVE] - new[POSITIVE])


KEPT = {"auroc_loss": 0.003, "ece_rise": 0.01, "agreement": 0.99}


@pytest.mark.parametrize(
    "name, beyond", [("auroc_loss", 0.0031), ("ece_rise", 0.0101), ("agreement", 0.9899), ("auroc_loss", np.nan),
                     ("ece_rise", np.nan), ("agreement", np.nan)]
)  # fmt: skip
def test_a_figure_at_its_limit_passes_and_one_beyond_it_does_not(name, beyond):
    assert misses(KEPT, Limits(), size=3_000_000, can_travel=True) == ()
    (said,) = misses(KEPT | {name: beyond}, Limits(), size=3_000_000, can_travel=True)
    assert said.startswith(
        {"auroc_loss": "AUROC falls", "ece_rise": "calibration error rises", "agreement": f"{beyond:.2%}"}[name]
    )


def candidate(*said, agreement=0.9, size=2_500_000):
    recipe = SimpleNamespace(summary="a recipe")
    return Candidate(recipe, {"agreement": agreement}, 1.5, 4.0, 6.0, size, True, said)


def test_the_closest_is_the_chosen_one_else_the_one_that_misses_fewest_and_agrees_most():
    tried = (candidate("a", "b", agreement=0.99), candidate("a", agreement=0.8), candidate("b", agreement=0.85))
    assert Search(tried, None, {}, {}, 9).closest is tried[2]
    assert Search(tried, tried[0], {}, {}, 9).closest is tried[0]
    assert [one.passes for one in (*tried, candidate())] == [False, False, False, True]


def test_a_candidate_in_a_line():
    line = "a recipe: 1.50 times as fast, 90.00% of decisions agree, {} MB: {}"
    assert summary_line(candidate()) == line.format("2.50", "passes")
    assert summary_line(candidate("one", "other", size=5_005_002)) == line.format("5.01", "one; other")


def test_size_and_portability_have_limits_of_their_own():
    assert misses(KEPT, Limits(), size=3_000_001, can_travel=True) == ("3,000,001 bytes, at most 3,000,000 allowed",)
    assert misses(KEPT, Limits(), size=1, can_travel=False) == ("saturates on x86 processors without VNNI",)
    assert misses(KEPT, Limits(portable_only=False), size=1, can_travel=False) == ()
