"""Conclusions of an audit: of each section, and for a clinician, an engineer, a reviewer; from the criteria alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pocketcxr.audit.criteria import FAILED, NOT_MEASURABLE, PASSED, evaluate_criteria
from pocketcxr.report.formatting import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.audit.criteria import Criterion, CriterionResult
    from pocketcxr.report.types import Section

_NAMED = 4
_OPENING = (
    (
        "leaks. persons.",
        "its published accuracy is partly memory: it was tested on patients or images that it had learned",
    ),
    (
        "confounding. cues.",
        "it can score well without using the lungs, by recognising source, device, border, markers or tubes",
    ),
    ("duplicates.", "some images carry two different diagnoses"),
    ("splits.", "its test images come in part from other sources than those that it learned from"),
    ("labels.", "the images of one source agree less with their diagnoses than those of the others"),
)


@dataclass(frozen=True)
class Conclusions:
    """`headline` in a sentence; then what it means to each reader. `outcome` is passed, failed or not measurable."""

    outcome: str
    headline: str
    clinician: str
    engineer: str
    reviewer: str


@dataclass(frozen=True)
class Concluded:
    """Results of all criteria, with what follows from them: an outcome of every section, and the conclusions."""

    sections: tuple[Section, ...]
    results: tuple[CriterionResult, ...]
    conclusions: Conclusions


def conclude(sections: Sequence[Section], criteria: Sequence[Criterion], *, with_model: bool) -> Concluded:
    """Evaluate the criteria once; headline and every section's outcome are made from the same results."""
    results = evaluate_criteria(sections, criteria)
    stated = tuple(dataclasses.replace(section, outcome=_outcome_of(section, results)) for section in sections)
    return Concluded(stated, results, draw_conclusions(results, with_model=with_model))


def _outcome_of(section: Section, results: Sequence[CriterionResult]) -> str:
    keys = {measure.key for measure in section.measures}
    own = [r for r in results if r.criterion.key in keys]
    bad = [r for r in own if r.outcome == FAILED]
    if not own:
        return "No criterion is set on these figures." if keys else ""
    if bad:
        faults = "; ".join(f"{r.fault}: {r.words}" for r in bad)
        return f"FAIL: {len(bad)} of {_criteria(len(own))} of this section: {faults}."
    open_ = [r for r in own if r.outcome == NOT_MEASURABLE]
    rest = f"; {len(open_)} could not be measured" if open_ else ""
    if len(open_) == len(own):
        return f"NOT MEASURABLE: {_criteria(len(own))} of this section."
    return f"PASS: none of {_criteria(len(own) - len(open_), 'measured ')} of this section failed{rest}."


def draw_conclusions(results: Sequence[CriterionResult], *, with_model: bool) -> Conclusions:
    """Conclude from the outcomes of all criteria.

    Args:
        results: of all criteria.
        with_model: a model was audited too, not the data alone.
    """
    bad, open_, good = ([r for r in results if r.outcome == name] for name in (FAILED, NOT_MEASURABLE, PASSED))
    return Conclusions(
        FAILED if bad else PASSED if good else NOT_MEASURABLE,
        _headline(bad, open_, good, with_model=with_model),
        _clinician(bad, open_, with_model=with_model),
        _engineer(bad, open_, with_model=with_model),
        _reviewer(bad, open_, good),
    )


def _headline(
    bad: Sequence[CriterionResult],
    open_: Sequence[CriterionResult],
    good: Sequence[CriterionResult],
    *,
    with_model: bool,
) -> str:
    subject = "data and model" if with_model else "data"
    rest = f"; {_criteria(len(open_))} could not be measured" if open_ else ""
    if bad:
        what = " and ".join(dict.fromkeys(f"the {r.criterion.scope}" for r in bad))
        faults = [r.fault for r in bad[:_NAMED]]
        more = f", and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        of = _criteria(len(bad) + len(good), "measured ")
        return f"FAIL: {len(bad)} of {of}{rest}. Do not rely on {what}: {listed(faults)}{more}."
    if not good:
        return f"NOT MEASURABLE on these {subject}: {open_[0].words if open_ else 'there is no criterion'}."
    return f"PASS: none of {_criteria(len(good), 'measured ')} on {subject} failed{rest}."


def _clinician(bad: Sequence[CriterionResult], open_: Sequence[CriterionResult], *, with_model: bool) -> str:
    what = "this model" if with_model else "a model trained on these images"
    if not bad:
        rest = f" {_criteria(len(open_))} could not be measured on these data." if open_ else ""
        return (
            f"No criterion failed.{rest} That does not show that {what} is right for your patients: "
            "only a test on radiographs of your own hospital does."
        )
    keys = [r.criterion.key for r in bad]
    named = [words for prefixes, words in _OPENING if any(key.startswith(tuple(prefixes.split())) for key in keys)]
    known = tuple(prefix for prefixes, _ in _OPENING for prefix in prefixes.split())
    others = [r.criterion.broken for r in bad if not r.criterion.key.startswith(known)]
    parts = [*named, listed(others)] if others else named
    return f"Do not rely on {what}: {'; and '.join(parts)}. Expect worse results at any other hospital."


def _engineer(bad: Sequence[CriterionResult], open_: Sequence[CriterionResult], *, with_model: bool) -> str:
    steps = dict.fromkeys(r.measure.advice for r in bad if r.measure and r.measure.advice)
    if bad:
        return "Correct, in this order: " + " ".join(f"({i}) {step}" for i, step in enumerate(steps, 1))
    if not with_model:
        return "No criterion on the data failed: train, then audit the run, which adds the criteria on the model."
    return (
        "No criterion failed."
        + (f" Not measured: {'; '.join(r.criterion.title for r in open_)}." if open_ else "")
        + " Export again, so that the bundle carries this outcome."
    )


def _reviewer(bad: Sequence[CriterionResult], open_: Sequence[CriterionResult], good: Sequence[CriterionResult]) -> str:
    words = [f"{_criteria(len(good))} passed, {len(bad)} failed, {len(open_)} could not be measured."]
    if bad:
        words.append("Failed: " + "; ".join(f"{r.criterion.title}: {r.words}" for r in bad) + ".")
    if open_:
        reasons = listed(list(dict.fromkeys(r.words for r in open_))[:_NAMED])
        words.append(f"Not measurable because: {reasons}.")
    words.append(
        "A criterion on a figure with an interval fails only where the whole 95 % interval lies beyond the limit: "
        "passing means that the fault was not shown, not that it is absent."
    )
    return " ".join(words)


def _criteria(number: int, kind: str = "") -> str:
    return f"{number} {kind}{'criterion' if number == 1 else 'criteria'}"
