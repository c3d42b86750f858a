"""How far storing weights may move what a bundle says: each limit at its value and just beyond it."""

from __future__ import annotations

import math

import numpy as np
import pytest

import recomputed

pytest.importorskip("torch", reason="needs the extra train")

from pocketcxr.errors import BundleError
from pocketcxr.export import parity

STILL = {"mean_move": 0.0, "percentile_99": 0.0, "largest_move": 0.0, "class_agreement": 1.0}


def beyond(limit, towards):
    return math.nextafter(limit, towards)


@pytest.mark.parametrize(
    "name, limit, towards, said",
    [
        ("percentile_99", 0.02, math.inf, "moves a probability by"),
        ("largest_move", 0.05, math.inf, "of one picture by"),
        ("class_agreement", 0.995, 0, "keeps the class of"),
    ],
)
def test_each_limit_on_the_calibration_split(name, limit, towards, said):
    assert parity.moved_too_far({"calibration_split": STILL | {name: limit}}) == ""
    assert said in parity.moved_too_far({"calibration_split": STILL | {name: beyond(limit, towards)}})
    assert said in parity.moved_too_far({"calibration_split": STILL | {name: math.nan}})


@pytest.mark.parametrize("name", ["probabilities", "input_kind"])
def test_the_limit_on_the_pictures_that_pytorch_is_asked_about(name):
    assert parity.moved_too_far({"stored_weights": {"logits": 9.0, name: 0.02}}) == ""
    assert "moves a probability by" in parity.moved_too_far({"stored_weights": {name: beyond(0.02, math.inf)}})


@pytest.mark.parametrize("name", ["probabilities", "logits", "embedding", "saliency", "novelty"])
def test_the_limit_on_the_float32_graph(name, monkeypatch):
    found = dict.fromkeys(("probabilities", "logits", "embedding", "saliency", "novelty"), 0.0)
    monkeypatch.setattr(parity, "differences", lambda *_: found | {name: 1e-3})
    assert parity.check_parity(None, None, None)[name] == 1e-3
    for worse in (beyond(1e-3, math.inf), math.nan):
        monkeypatch.setattr(parity, "differences", lambda *_, worse=worse: found | {name: worse})
        with pytest.raises(BundleError, match=f"{name} differs from PyTorch by .*, expected at most 0.001"):
            parity.check_parity(None, None, None)


def test_moves_are_those_of_the_probabilities_after_the_temperature():
    rng = np.random.default_rng(2)
    exact = rng.normal(0, 4, (300, 3)).astype(np.float32)
    found = exact + rng.normal(0, 0.3, exact.shape).astype(np.float32)
    ours, theirs = (recomputed.probabilities(one, 2.5) for one in (found, exact))
    largest = sorted(max(abs(a - b) for a, b in zip(*rows, strict=True)) for rows in zip(ours, theirs, strict=True))
    below = 0.99 * (len(largest) - 1)
    low, part = int(below), below - int(below)
    assert parity.moves(found, exact, 2.5) == pytest.approx(
        {
            "mean_move": sum(largest) / 300,
            "percentile_99": largest[low] + part * (largest[low + 1] - largest[low]),
            "largest_move": largest[-1],
            "class_agreement": sum(a.argmax() == b.argmax() for a, b in zip(ours, theirs, strict=True)) / 300,
        },
        abs=1e-6,
    )
