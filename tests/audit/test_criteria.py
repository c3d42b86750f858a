"""Criteria: what passes, what fails, what cannot be measured, and files of criteria that are refused."""

import json
import math

import pytest

from pocketcxr.audit.conclusions import draw_conclusions
from pocketcxr.audit.criteria import FAILED, NOT_MEASURABLE, PASSED, Criterion, evaluate_criteria, failed, load_criteria
from pocketcxr.audit.record import read_outcome
from pocketcxr.audit.stored_record import read_audit
from pocketcxr.bundle.failures import MEANINGS
from pocketcxr.errors import ConfigError
from pocketcxr.report.types import Measure, Section
from pocketcxr.roles import canonical


def _sections(value, low=None, high=None, why=""):
    measure = Measure("a.b", "Estimate", value, "means", "do this", low=low, high=high, why=why)
    return (Section("a", "A?", "Yes.", (measure,)),)


def _outcome(criterion, *figure, **more):
    (result,) = evaluate_criteria(_sections(*figure, **more), [criterion])
    return result.outcome


def test_an_interval_that_reaches_the_limit_raises_no_alarm():
    criterion = Criterion("a.b", "Criterion", "", "data", at_most=0.3)
    assert _outcome(criterion, 0.5, 0.29, 0.7) == PASSED
    assert _outcome(criterion, 0.5, 0.31, 0.7) == FAILED
    assert _outcome(criterion, 0.31) == FAILED


def test_at_least_is_evaluated_on_the_upper_end():
    criterion = Criterion("a.b", "Criterion", "", "model", at_least=0.7)
    assert _outcome(criterion, 0.6, 0.5, 0.71) == PASSED
    assert _outcome(criterion, 0.6, 0.5, 0.69) == FAILED


@pytest.mark.parametrize("evaluated_on, outcome", [("favourable", PASSED), ("value", FAILED), ("unfavourable", FAILED)])
def test_a_criterion_may_be_evaluated_on_the_value_or_the_other_end(evaluated_on, outcome):
    assert (
        _outcome(Criterion("a.b", "Criterion", "", "data", at_most=0.3, evaluated_on=evaluated_on), 0.4, 0.2, 0.6)
        == outcome
    )


@pytest.mark.parametrize("limit", [0.0, 0.3, -0.5])
@pytest.mark.parametrize("end", ["favourable", "value", "unfavourable"])
def test_a_figure_at_the_limit_passes_and_one_beyond_it_fails(limit, end):
    """The other two figures lie far on the side that would fail, or pass."""
    above, below = math.nextafter(limit, math.inf), math.nextafter(limit, -math.inf)
    for sign, beyond, kind in ((1, above, "at_most"), (-1, below, "at_least")):
        criterion = Criterion("a.b", "Criterion", "", "data", evaluated_on=end, **{kind: limit})
        places = {"favourable": 1 if sign > 0 else 2, "value": 0, "unfavourable": 2 if sign > 0 else 1}
        for compared, outcome in ((limit, PASSED), (beyond, FAILED)):
            for others in (limit - 9, limit + 9):
                figure = [others] * 3
                figure[places[end]] = compared
                (result,) = evaluate_criteria(_sections(*figure), [criterion])
                assert (result.outcome, result.compared) == (outcome, compared)


def test_those_that_failed_are_given_by_scope():
    criteria = [
        Criterion(key, key, "", scope, at_most=limit)
        for key, scope, limit in (
            ("a.b", "data", 0), ("a.b", "data", 9), ("a.b", "model", 0), ("a.b", "model", 9), ("none", "data", 0)
        )
    ]  # fmt: skip
    results = evaluate_criteria(_sections(1.0), criteria)
    assert [results.index(one) for one in failed(results)] == [0, 2]
    assert [results.index(one) for one in failed(results, "data")] == [0]
    assert [results.index(one) for one in failed(results, "model")] == [2]


def test_a_criterion_that_is_refused_is_named_by_its_number(tmp_path):
    good = '[[criterion]]\nkey = "%s"\ntitle = "t"\nscope = "data"\nat_most = 1\n'
    (tmp_path / "c.toml").write_text(good % "a" + good % "b" + good % "c" + "at_least = 1\n")
    with pytest.raises(ConfigError, match=r"criterion 3 \(c\): expected one number, at_most or at_least"):
        load_criteria(tmp_path / "c.toml")
    (tmp_path / "c.toml").write_text(good % "a" + (good % "b").replace("= 1", "= true"))
    with pytest.raises(ConfigError, match=r"criterion 2 \(b\): expected one number, .* found \{'at_most': True\}"):
        load_criteria(tmp_path / "c.toml")


def test_a_figure_without_an_interval_is_compared_by_its_value_whatever_the_end():
    for end in ("favourable", "value", "unfavourable"):
        at_most = Criterion("a.b", "Criterion", "", "data", at_most=0.3, evaluated_on=end)
        assert (_outcome(at_most, 0.3), _outcome(at_most, 0.31)) == (PASSED, FAILED)
        at_least = Criterion("a.b", "Criterion", "", "data", at_least=0.3, evaluated_on=end)
        assert (_outcome(at_least, 0.3), _outcome(at_least, 0.29)) == (PASSED, FAILED)


SHIPPED = {
    "leaks.patients": ("data", "at_most", 0),
    "leaks.same_file": ("data", "at_most", 0),
    "leaks.near_duplicates": ("data", "at_most", 0),
    "duplicates.contradictory": ("data", "at_most", 0.01),
    "confounding.source": ("data", "at_most", 0.3),
    "cues.file": ("data", "at_most", 0.7),
    "cues.border": ("data", "at_most", 0.75),
    "cues.corners": ("data", "at_most", 0.75),
    "scorecard.auroc_same_source": ("model", "at_least", 0.7),
    "shortcuts.kept_without_lungs": ("model", "at_most", 0.5),
    "shortcuts.border_only_auroc": ("model", "at_most", 0.75),
    "shortcuts.marker_changed": ("model", "at_most", 0.1),
    "shortcuts.look_followed": ("model", "at_most", 0.15),
    "saliency.randomised_similarity": ("model", "at_most", 0.5),
    "robustness.worst_drop": ("model", "at_most", 0.1),
    "calibration.ece_positive": ("model", "at_most", 0.1),
    "conformal.coverage": ("model", "at_least", 0.85),
    "gate.answered_confidently": ("model", "at_most", 0.01),
    "scorecard.source_flattery": ("model", "at_most", 0.05),
    "unseen.accuracy_drop": ("model", "at_most", 0.1),
    "sources.less_baseline_student": ("model", "at_most", 0.05),
    "conformal.other_source_coverage": ("model", "at_least", 0.85),
    "gate.least_refused": ("model", "at_least", 0.99),
    "gate.films_refused": ("model", "at_most", 0.01),
    "boxes.beyond_centre": ("model", "at_least", 0.1),
    "boxes.beyond_random": ("model", "at_least", 0.1),
    "gate.refusal_difference": ("model", "at_most", 0),
    "gate.largest_boxes_refused": ("model", "at_most", 0.01),
}


def test_no_limit_that_ships_moves_or_goes_unnoticed():
    """A limit is moved here too, on purpose, or not at all; a new criterion may come."""
    found = {one.key: one for one in load_criteria()}
    for key, (scope, kind, limit) in SHIPPED.items():
        one = found[canonical(key)]
        assert (one.scope, getattr(one, kind), one.at_most is None) == (scope, limit, kind == "at_least"), key


def test_what_was_not_measured_is_never_passed():
    criterion = Criterion("a.b", "Criterion", "", "data", at_most=0.3)
    (result,) = evaluate_criteria(_sections(None, why="one source only"), [criterion])
    assert (result.outcome, result.words) == (NOT_MEASURABLE, "one source only")
    assert evaluate_criteria((), [criterion])[0].outcome == NOT_MEASURABLE


def test_the_criteria_that_come_with_the_program_are_valid_and_say_why():
    criteria = load_criteria()
    assert {"leaks.patients", "leaks.near_duplicates", "confounding.source", "cues.corners"} <= {
        one.key for one in criteria
    }
    assert all(criterion.why and criterion.fault and criterion.meaning in MEANINGS for criterion in criteria)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "[[criterion]]"),
        ("[[criterion]\n", "TOML"),
        ('[[criterion]]\nkey = "a"\nscope = "data"\nat_most = 1', "title"),
        ('[[criterion]]\nkey = "a"\ntitle = "t"\nscope = "data"', "at_most or at_least"),
        ('[[criterion]]\nkey = "a"\ntitle = "t"\nscope = "data"\nat_most = "1"', "at_most or at_least"),
        ('[[criterion]]\nkey = "a"\ntitle = "t"\nscope = "people"\nat_most = 1', "scope"),
        ('[[criterion]]\nkey = "a"\ntitle = "t"\nscope = "data"\nat_most = 1\nat_best = 2', "at_best"),
        ('[[criterion]]\nkey = "a"\ntitle = "t"\nscope = "data"\nat_most = 1\nmeaning = "death"', "meaning"),
        ('[[criterion]]\nkey = "a"\ntitle = "t"\nscope = "data"\nat_most = 1\n' * 2, "two criteria for a"),
    ],
)
def test_a_file_of_criteria_that_cannot_be_meant_is_refused(text, said, tmp_path):
    path = tmp_path / "criteria.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"criteria\.toml") as error:
        load_criteria(path)
    assert said in str(error.value)


def test_a_missing_file_of_criteria_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no-criteria\.toml"):
        load_criteria(tmp_path / "no-criteria.toml")


def test_the_conclusion_names_the_fault_and_what_to_do():
    criterion = Criterion(
        "confounding.source", "The source does not", "", "data", at_most=0.3, fault="the source tells the class"
    )
    measure = Measure("confounding.source", "Source", 0.9, "means", "Add sources.", low=0.8, high=1.0)
    results = evaluate_criteria((Section("confounding", "?", "", (measure,)),), [criterion])
    conclusions = draw_conclusions(results, with_model=False)
    assert conclusions.outcome == FAILED
    assert "the source tells the class" in conclusions.headline
    assert "without using the lungs" in conclusions.clinician
    assert "Add sources." in conclusions.engineer
    assert "1 failed" in conclusions.reviewer


def test_the_conclusion_on_a_clean_set_does_not_promise_too_much():
    criterion = Criterion("a.b", "Criterion", "", "data", at_most=0.3)
    conclusions = draw_conclusions(evaluate_criteria(_sections(0.1), [criterion]), with_model=False)
    assert conclusions.outcome == PASSED
    assert "your own hospital" in conclusions.clinician


def test_nothing_measured_is_not_passed():
    criterion = Criterion("a.b", "Criterion", "", "data", at_most=0.3)
    assert draw_conclusions(evaluate_criteria((), [criterion]), with_model=False).outcome == NOT_MEASURABLE


def test_a_criteria_file_of_an_earlier_version_is_read(tmp_path):
    path = tmp_path / "gates.toml"
    path.write_text('[[gate]]\nkey = "a"\ntitle = "t"\nscope = "data"\nat_most = 1\njudged_on = "value"\n')
    assert load_criteria(path) == (Criterion("a", "t", "", "data", at_most=1, evaluated_on="value"),)
    path.write_text('[[gate]]\nkey = "sources.less_student_alone"\ntitle = "t"\nscope = "model"\nat_most = 1\n')
    assert load_criteria(path)[0].key == "sources.less_baseline_student"


def test_each_line_names_quantity_value_limit_and_outcome():
    criterion = Criterion("a.b", "Accuracy drop", "", "model", at_most=0.1)
    lines = [
        evaluate_criteria(_sections(*figure, why="one source only"), [criterion])[0].line
        for figure in ((0.225, 0.2, 0.25), (0.05,), (None,))
    ]
    assert lines == [
        "Accuracy drop: 22.5 % (20.0 % to 25.0 %), limit at most 10.0 %: FAIL",
        "Accuracy drop: 5.0 %, limit at most 10.0 %: PASS",
        "Accuracy drop: one source only: NOT MEASURABLE",
    ]


@pytest.mark.parametrize(
    "criteria, conclusions, compared", [("criteria", "conclusions", "compared"), ("gates", "verdicts", "judged")]
)
def test_records_of_this_and_of_earlier_versions_are_read(criteria, conclusions, compared, tmp_path):
    one = {
        "key": "a.b",
        "title": "Drop",
        "scope": "model",
        "outcome": "failed",
        "words": "3, limit at most 1",
        compared: 3,
    }
    table = {
        "subject": {"student_sha256": "0"},
        "created": "2026-01-01",
        criteria: [one],
        conclusions: {"headline": "One failed."},
        "sections": [],
    }
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(table))
    assert [one["title"] for one in read_outcome(path).failed("model")] == ["Drop"]
    (section,) = read_audit(path).sections
    assert section.summary == "One failed. Criteria: 0 passed, 1 failed, 0 not measurable."
    assert section.tables[0].rows == (("Drop", "failed", "3, limit at most 1"),)
