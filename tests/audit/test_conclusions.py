"""Headline and sections of an audit never contradict one another, whatever the criteria's outcomes."""

import itertools

import pytest

from pocketcxr.audit.conclusions import conclude
from pocketcxr.audit.criteria import FAILED, NOT_MEASURABLE, PASSED, Criterion
from pocketcxr.report.types import Measure, Section

FREE = "no criterion"
STATES = (PASSED, FAILED, NOT_MEASURABLE, FREE)
VALUES = {PASSED: 0.1, FAILED: 0.9, NOT_MEASURABLE: None, FREE: 0.9}
SECTIONS, MEASURES = 3, 2


def _concluded(states, *, with_model):
    """Conclusions on `SECTIONS` sections of `MEASURES` measures each, whose criteria come out as `states`."""
    keys = [f"{'abc'[i // MEASURES]}.{i % MEASURES}" for i in range(SECTIONS * MEASURES)]
    own = [
        Measure(key, key, VALUES[state], "means", f"mend {key}", why="" if VALUES[state] else "too few")
        for key, state in zip(keys, states, strict=True)
    ]
    sections = [
        Section(name, name, "Figures.", tuple(m for m in own if m.key.startswith(name))) for name in "abc"[:SECTIONS]
    ]
    criteria = [
        Criterion(
            key, key, "", "model" if with_model and key.startswith("c") else "data", at_most=0.5, fault=f"<{key}>"
        )
        for key, state in zip(keys, states, strict=True)
        if state != FREE
    ]
    return conclude(sections, criteria, with_model=with_model)


@pytest.mark.parametrize("with_model", [False, True])
def test_the_headline_agrees_with_every_section_in_all_combinations_of_outcomes(with_model):
    seen = set()
    for states in itertools.product(STATES, repeat=SECTIONS * MEASURES):
        found = _concluded(states, with_model=with_model)
        outcomes = [section.outcome for section in found.sections]
        expected = next((v for v in ("FAIL", "PASS") if any(o.startswith(v) for o in outcomes)), "NOT MEASURABLE")
        said = found.conclusions
        assert said.headline.startswith(expected), (states, said.headline, outcomes)
        assert said.outcome == {"FAIL": FAILED, "PASS": PASSED, "NOT MEASURABLE": NOT_MEASURABLE}[expected], states
        assert said.clinician.startswith("Do not rely on") == (expected == "FAIL"), states
        assert ("failed" not in said.clinician) == (expected == "FAIL"), states
        failed_here = sum(int(o.split()[1]) for o in outcomes if o.startswith("FAIL"))
        assert failed_here == states.count(FAILED) == said.engineer.count("mend"), states
        assert f"{states.count(PASSED)} criteri" in said.reviewer, states
        assert f"{failed_here} failed" in said.reviewer, states
        for result in found.results:
            section = next(s for s in found.sections if result.criterion.key.startswith(s.key))
            assert (result.criterion.fault in section.outcome) == (result.outcome == FAILED), states
        seen.add((expected, with_model))
    assert len(seen) == 3


def test_the_headline_counts_the_faults_that_it_does_not_name():
    found = _concluded([FAILED] * 6, with_model=False)
    assert found.conclusions.headline.startswith("FAIL: 6 of 6 measured criteria")
    assert "and 2 more" in found.conclusions.headline


def test_a_criterion_that_could_not_be_measured_is_counted_beside_those_that_passed():
    found = _concluded([PASSED, NOT_MEASURABLE, PASSED, PASSED, FREE, FREE], with_model=False)
    assert found.sections[0].outcome == (
        "PASS: none of 1 measured criterion of this section failed; 1 could not be measured."
    )
    assert found.sections[2].outcome == "No criterion is set on these figures."
    assert found.conclusions.headline.endswith("failed; 1 criterion could not be measured.")


def test_headline_and_section_name_what_the_figure_is_of():
    strongest = Measure("a.worst", "Strongest: grey levels used", 0.9, "means", "mend it", worst="grey levels used")
    section = Section("a", "a", "Figures.", (strongest, Measure("a.other", "Other", 0.9, "means", "mend that")))
    criteria = [Criterion(key, key, "", "data", at_most=0.5, fault=f"<{key}>") for key in ("a.worst", "a.other")]
    found = conclude([section], criteria, with_model=False)
    assert found.conclusions.headline.endswith("Do not rely on the data: <a.worst> (grey levels used) and <a.other>.")
    assert "<a.worst> (grey levels used): 90.0 %, limit at most 50.0 %; <a.other>: 90.0 %" in found.sections[0].outcome
