"""What an audit comes to, in plain words, for three readers: a clinician, an engineer, a reviewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pocketcxr.audit.criteria import FAILED, NOT_MEASURABLE, PASSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.audit.criteria import CriterionResult

_NAMED = 4
_SCOPE_WORDS = {"data": "the data", "model": "the model"}
_IT = {
    "the data": "they are",
    "the model": "it is",
    "the data and the model": "they are",
    "the model and the data": "they are",
}


@dataclass(frozen=True)
class Conclusions:
    """`headline` in a sentence; then what it means to each reader. `outcome` is passed, failed or not measurable."""

    outcome: str
    headline: str
    clinician: str
    engineer: str
    reviewer: str


def draw_conclusions(results: Sequence[CriterionResult], *, with_model: bool) -> Conclusions:
    """Put the gates into words.

    Args:
        results: of all gates.
        with_model: a model was audited too, not the data alone.
    """
    bad = [r for r in results if r.outcome == FAILED]
    open_ = [r for r in results if r.outcome == NOT_MEASURABLE]
    good = [r for r in results if r.outcome == PASSED]
    outcome = FAILED if bad else PASSED if good else NOT_MEASURABLE
    return Conclusions(
        outcome,
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
    if bad:
        what = " and ".join(dict.fromkeys(_SCOPE_WORDS[r.gate.scope] for r in bad))
        faults = [r.gate.broken for r in bad[:_NAMED]]
        more = f", and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        return f"Do not trust {what} as {_IT[what]}: {_listed(faults)}{more}."
    if not good:
        return f"Nothing could be measured on these {subject}: {open_[0].words if open_ else 'there is no gate'}."
    rest = f"; {_count(len(open_), 'gate')} could not be measured" if open_ else ""
    return f"No fault was found in {subject}: {_count(len(good), 'gate')} passed{rest}."


def _clinician(bad: Sequence[CriterionResult], open_: Sequence[CriterionResult], *, with_model: bool) -> str:
    what = "this model" if with_model else "a model trained on these images"
    if not bad:
        rest = f" {_count(len(open_), 'question')} stayed open for want of data." if open_ else ""
        return (
            f"None of the known traps was found.{rest} That does not show that {what} is right for your patients: "
            "only a test on films of your own hospital does."
        )
    groups = _kinds(bad)
    parts = []
    if "leaks" in groups:
        parts.append("its published accuracy is partly memory: it was tested on people or pictures it had learnt")
    if "confounding" in groups or "cues" in groups:
        parts.append(
            "it can score well without looking at the lungs, by recognising where a film comes from, its border or "
            "its markers"
        )
    if "duplicates" in groups:
        parts.append("some pictures carry two different diagnoses")
    others = [r for r in bad if r.gate.key.split(".")[0] not in {"leaks", "confounding", "cues", "duplicates"}]
    if others:
        parts.append(_listed([r.gate.broken for r in others]))
    return f"Do not rely on {what}. As things stand, {'; and '.join(parts)}. Expect worse at any other hospital."


def _engineer(bad: Sequence[CriterionResult], open_: Sequence[CriterionResult], *, with_model: bool) -> str:
    steps = [advice for r in bad if (advice := (r.measure.advice if r.measure else ""))]
    if bad:
        return "Mend, in this order: " + " ".join(f"({i}) {step}" for i, step in enumerate(dict.fromkeys(steps), 1))
    if not with_model:
        return "The data are fit to train on by these gates. After training, audit the run: the model has gates too."
    return (
        "Nothing to mend by these gates."
        + (f" Not measured: {'; '.join(r.gate.title.lower() for r in open_)}." if open_ else "")
        + " Export again, so that the bundle carries this outcome."
    )


def _reviewer(bad: Sequence[CriterionResult], open_: Sequence[CriterionResult], good: Sequence[CriterionResult]) -> str:
    words = [f"{_count(len(good), 'gate')} passed, {len(bad)} failed, {len(open_)} could not be measured."]
    if bad:
        words.append("Failed: " + "; ".join(f"{r.gate.broken} ({r.words})" for r in bad) + ".")
    if open_:
        reasons = _listed(list(dict.fromkeys(r.words for r in open_))[:_NAMED])
        words.append(f"Not measurable because: {reasons}.")
    words.append(
        "A gate on a figure with an interval fails only where the whole 95 % interval lies beyond the limit: passing "
        "means that the fault was not shown, not that it is absent."
    )
    return " ".join(words)


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _kinds(results: Sequence[CriterionResult]) -> set[str]:
    return {r.gate.key.split(".")[0] for r in results}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
