"""The demonstration as a newcomer starts it."""

import json

import pytest

from pocketcxr import roles
from pocketcxr.pipeline.demo import GAINS, NOTE, gain_sentences, run_demo


@pytest.mark.slow
def test_teacher_and_distilled_student_beat_the_baseline_student_on_drawings_that_are_called_so(tmp_path):
    result = run_demo(tmp_path / "demo", progress=False)
    table = json.loads((tmp_path / "demo" / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    gains = {(one["first"], one["second"]): one["differences"]["auroc_macro"] for one in table["comparisons"]}
    for pair in GAINS:
        assert gains[pair]["low"] > 0, pair
    assert result.summary.count("is better than the baseline student: mean AUROC") == len(GAINS)
    assert table["data"]["patients_or_duplicates_in_train_and_test"] == 0
    assert NOTE in result.summary
    assert str(result.report) in result.summary
    assert "DRAWINGS" in result.report.read_text(encoding="utf-8")
    assert list((tmp_path / "demo" / "heatmaps").glob("*.png"))


def _evaluation(teacher, distilled):
    """Differences from the baseline student, each (value, low, high), as a run's evaluation.json has them."""
    comparisons = [
        {
            "first": first,
            "second": roles.BASELINE,
            "differences": {
                "auroc_macro": {"value": value, "low": low, "high": high, "shown": low > 0 or high < 0, "p": 0.1}
            },
        }
        for first, (value, low, high) in ((roles.TEACHER, teacher), (roles.DISTILLED, distilled))
    ]
    values = {roles.BASELINE: 0.8, roles.TEACHER: 0.8 + teacher[0], roles.DISTILLED: 0.8 + distilled[0]}
    models = {name: {"figures": {"auroc_macro": {"value": value}}} for name, value in values.items()}
    return {"models": models, "comparisons": comparisons}


def test_gains_are_said_in_plain_words_with_their_intervals():
    better, not_shown = gain_sentences(_evaluation((0.1, 0.06, 0.14), (0.02, -0.01, 0.05)))
    assert better == (
        "The teacher is better than the baseline student: mean AUROC 0.900 against 0.800, difference +0.100 "
        "(95 % interval +0.060 to +0.140)."
    )
    assert not_shown.startswith("The distilled student is not shown to differ from the baseline student: ")
    assert "(95 % interval −0.010 to +0.050)" in not_shown
    worse, _ = gain_sentences(_evaluation((-0.1, -0.14, -0.06), (0.02, -0.01, 0.05)))
    assert worse.startswith("The teacher is worse than the baseline student: ")


def test_a_difference_that_cannot_be_measured_gives_the_reason():
    evaluation = _evaluation((0.1, 0.06, 0.14), (0.02, -0.01, 0.05))
    evaluation["comparisons"][1]["differences"]["auroc_macro"] = {
        "value": None, "low": None, "high": None, "why": "1 image of class normal", "p": None, "shown": False,
    }  # fmt: skip
    assert gain_sentences(evaluation)[1] == (
        "The distilled student and the baseline student cannot be compared: 1 image of class normal."
    )
