"""What local calibration gains is estimated on patients that nothing was fitted on."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the extra evaluate")

from pocketcxr.evaluation.calibration import conformal_quantile, fit_temperature, softmax
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.local_gain import cross_validated_gain, patient_folds
from pocketcxr.evaluation.model_result import Calibration, calibrate
from pocketcxr.evaluation.scoring import Predictions
from pocketcxr.labels import Task

TASK = Task("brightness", ("dark", "bright"), "bright", {"dark": "dark", "bright": "bright"})
CONFIG = EvaluationConfig(bootstrap=200)


def drawn(n: int, *, temperature: float, seed: int = 0) -> tuple[Predictions, np.ndarray]:
    """Logits whose right temperature is known, two images a patient."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 8, (n, 1)) * [-0.5, 0.5]
    labels = (rng.random(n) < softmax(logits, temperature)[:, 1]).astype(np.int64)
    members = np.arange(n) // 2
    return Predictions("student", np.arange(n), labels, softmax(logits), logits), members


def test_patients_stay_whole_and_classes_are_spread_over_the_folds():
    predictions, members = drawn(200, temperature=3)
    fold = patient_folds(predictions.labels, members, folds=5, seed=0)
    assert all(len(set(fold[members == patient])) == 1 for patient in members)
    first = predictions.labels[::2]
    for label in (0, 1):
        counts = np.bincount(fold[::2][first == label], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_figures_after_are_those_of_a_plain_loop_over_folds():
    predictions, members = drawn(150, temperature=3)
    before = Calibration(1.0, 0.4, (), 150)
    found = {one.name: one for one in cross_validated_gain(predictions, members, before, task=TASK, config=CONFIG)}
    fold = patient_folds(predictions.labels, members, folds=5, seed=0)
    held = 0
    for number in range(5):
        inside, outside = fold == number, fold != number
        temperature = fit_temperature(predictions.logits[outside], predictions.labels[outside])
        truth = predictions.labels[outside]
        quantile = conformal_quantile(softmax(predictions.logits[outside], temperature), truth, coverage=0.9)
        probabilities = softmax(predictions.logits[inside], temperature)
        held += sum(p[t] >= 1 - quantile for p, t in zip(probabilities, predictions.labels[inside], strict=True))
    assert found["coverage"].after.value == pytest.approx(held / 150)
    likely = softmax(predictions.logits)[np.arange(150), predictions.labels]
    assert found["coverage"].before.value == pytest.approx((likely >= 0.6).mean())
    assert found["sensitivity@screening"].before.value is None  # the bundle had no such point
    assert found["specificity@screening"].target is None


def test_a_gain_is_shown_where_the_old_temperature_was_wrong_and_not_where_it_was_right():
    predictions, members = drawn(200, temperature=4)
    config = EvaluationConfig(bootstrap=500)
    shown = {}
    for old in (1.0, 4.0):
        before = Calibration(
            old, conformal_quantile(softmax(predictions.logits, old), predictions.labels, coverage=0.9), (), 200
        )
        (ece, *_) = cross_validated_gain(predictions, members, before, task=TASK, config=config)
        shown[old] = ece.gained
    assert shown == {1.0: True, 4.0: False}


def test_nothing_is_gained_by_what_is_the_same():
    from pocketcxr.evaluation.local_gain import apply_calibration, compared

    predictions, members = drawn(80, temperature=2)
    applied = apply_calibration(calibrate(predictions, TASK, CONFIG, brings_temperature=False), predictions, TASK)
    gains = compared(applied, applied, predictions.labels, members, task=TASK, config=CONFIG)
    measured = [one.gain for one in gains if one.target is not None]
    assert len(measured) == 5
    assert all((gain.value, gain.low, gain.high) == (0, 0, 0) for gain in measured)
