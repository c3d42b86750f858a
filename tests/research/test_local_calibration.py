"""Calibration on a few images of a source, measured on the patients that were not drawn."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the extra evaluate")

from pocketcxr.evaluation.calibration import softmax
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.model_result import Calibration
from pocketcxr.evaluation.scoring import Predictions
from pocketcxr.labels import Task

TASK = Task("brightness", ("dark", "bright"), "bright", {"dark": "dark", "bright": "bright"})


@pytest.fixture
def module(script):
    return script("local_calibration")


def test_patients_are_drawn_whole_until_there_are_enough_images(module):
    members = np.repeat(np.arange(60), np.tile([1, 2, 4], 20))
    for seed in range(5):
        mask = module.draw(members, 50, seed=seed)
        assert 50 <= mask.sum() <= 53
        assert not set(members[mask]) & set(members[~mask])
    assert (module.draw(members, 50, seed=0) != module.draw(members, 50, seed=1)).any()


def test_a_wrong_temperature_is_put_right_on_patients_that_were_not_drawn(module):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 8, (400, 1)) * [-0.5, 0.5]
    labels = (rng.random(400) < softmax(logits, 4)[:, 1]).astype(np.int64)
    predictions = Predictions("student", np.arange(400), labels, softmax(logits), logits)
    before = Calibration(1.0, 0.3, (), 0)
    found = module.measure_source(predictions, np.arange(400), before, task=TASK, config=EvaluationConfig())
    assert list(found) == ["50", "100", "200"]
    for figures in found.values():
        assert figures["ece"]["after"]["mean"] < figures["ece"]["before"]["mean"]
        assert figures["coverage"]["after"]["mean"] == pytest.approx(0.9, abs=0.05)
        assert figures["coverage"]["before"]["mean"] < 0.8
        assert figures["sensitivity@screening"]["before"]["mean"] is None
        assert figures["ece"]["after"]["least"] <= figures["ece"]["after"]["mean"] <= figures["ece"]["after"]["most"]


def test_what_is_no_run_is_one_line(module, tmp_path, capsys):
    assert module.main([str(tmp_path), "-o", str(tmp_path / "o.json")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "expected the folder of a run" in said
    assert not (tmp_path / "o.json").exists()
