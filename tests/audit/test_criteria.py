"""Gates: what passes, what fails, what cannot be measured, and files of gates that are refused."""

import pytest

from pocketcxr.audit.conclusions import draw_conclusions
from pocketcxr.audit.criteria import FAILED, NOT_MEASURABLE, PASSED, Criterion, evaluate_criteria, load_criteria
from pocketcxr.errors import ConfigError
from pocketcxr.report.types import Measure, Section


def _sections(value, low=None, high=None, why=""):
    measure = Measure("a.b", "Estimate", value, "means", "do this", low=low, high=high, why=why)
    return (Section("a", "A?", "Yes.", (measure,)),)


def _outcome(gate, *figure, **more):
    (result,) = evaluate_criteria(_sections(*figure, **more), [gate])
    return result.outcome


def test_an_interval_that_reaches_the_limit_raises_no_alarm():
    gate = Criterion("a.b", "Criterion", "", "data", at_most=0.3)
    assert _outcome(gate, 0.5, 0.29, 0.7) == PASSED
    assert _outcome(gate, 0.5, 0.31, 0.7) == FAILED
    assert _outcome(gate, 0.31) == FAILED


def test_at_least_is_judged_on_the_upper_end():
    gate = Criterion("a.b", "Criterion", "", "model", at_least=0.7)
    assert _outcome(gate, 0.6, 0.5, 0.71) == PASSED
    assert _outcome(gate, 0.6, 0.5, 0.69) == FAILED


@pytest.mark.parametrize("judged_on, outcome", [("favourable", PASSED), ("value", FAILED), ("unfavourable", FAILED)])
def test_a_gate_may_be_judged_on_the_value_or_the_other_end(judged_on, outcome):
    assert (
        _outcome(Criterion("a.b", "Criterion", "", "data", at_most=0.3, judged_on=judged_on), 0.4, 0.2, 0.6) == outcome
    )


def test_what_was_not_measured_is_never_passed():
    gate = Criterion("a.b", "Criterion", "", "data", at_most=0.3)
    (result,) = evaluate_criteria(_sections(None, why="one source only"), [gate])
    assert (result.outcome, result.words) == (NOT_MEASURABLE, "one source only")
    assert evaluate_criteria((), [gate])[0].outcome == NOT_MEASURABLE


def test_the_gates_that_come_with_the_program_are_valid_and_say_why():
    gates = load_criteria()
    assert {"leaks.patients", "leaks.near_duplicates", "confounding.source", "cues.corners"} <= {g.key for g in gates}
    assert all(gate.why and gate.fault for gate in gates)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "[[gate]]"),
        ("[[gate]\n", "TOML"),
        ('[[gate]]\nkey = "a"\nscope = "data"\nat_most = 1', "title"),
        ('[[gate]]\nkey = "a"\ntitle = "t"\nscope = "data"', "at_most or at_least"),
        ('[[gate]]\nkey = "a"\ntitle = "t"\nscope = "data"\nat_most = "1"', "at_most or at_least"),
        ('[[gate]]\nkey = "a"\ntitle = "t"\nscope = "people"\nat_most = 1', "scope"),
        ('[[gate]]\nkey = "a"\ntitle = "t"\nscope = "data"\nat_most = 1\nat_best = 2', "at_best"),
        ('[[gate]]\nkey = "a"\ntitle = "t"\nscope = "data"\nat_most = 1\n' * 2, "two gates for a"),
    ],
)
def test_a_file_of_gates_that_cannot_be_meant_is_refused(text, said, tmp_path):
    path = tmp_path / "gates.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"gates\.toml") as error:
        load_criteria(path)
    assert said in str(error.value)


def test_a_missing_file_of_gates_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no-gates\.toml"):
        load_criteria(tmp_path / "no-gates.toml")


def test_the_verdict_names_the_fault_and_what_to_do():
    gate = Criterion(
        "confounding.source", "The source does not", "", "data", at_most=0.3, fault="the source tells the class"
    )
    measure = Measure("confounding.source", "Source", 0.9, "means", "Add sources.", low=0.8, high=1.0)
    results = evaluate_criteria((Section("confounding", "?", "", (measure,)),), [gate])
    verdicts = draw_conclusions(results, with_model=False)
    assert verdicts.outcome == FAILED
    assert "the source tells the class" in verdicts.headline
    assert "without looking at the lungs" in verdicts.clinician
    assert "Add sources." in verdicts.engineer
    assert "1 failed" in verdicts.reviewer


def test_the_verdict_on_a_clean_set_does_not_promise_too_much():
    gate = Criterion("a.b", "Criterion", "", "data", at_most=0.3)
    verdicts = draw_conclusions(evaluate_criteria(_sections(0.1), [gate]), with_model=False)
    assert verdicts.outcome == PASSED
    assert "your own hospital" in verdicts.clinician


def test_nothing_measured_is_not_passed():
    gate = Criterion("a.b", "Criterion", "", "data", at_most=0.3)
    assert draw_conclusions(evaluate_criteria((), [gate]), with_model=False).outcome == NOT_MEASURABLE
