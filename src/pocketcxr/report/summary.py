"""Summary of an evaluation for the first screen: headline, key figures, what to do next, cautions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr import roles
from pocketcxr.report.conclusions import (
    DISTILLATION_GAIN,
    EXPORT_PARITY,
    NOT_MEASURABLE,
    NOT_SHOWN,
    OPPOSITE,
    TEACHER_GAIN,
    distance,
    find_pair,
    headline_metric,
    metric_name,
)
from pocketcxr.report.formatting import bracket, count, listed, number, p_value, percent, sentence_case

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pocketcxr.evaluation.comparisons import Comparison, Difference
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.evaluation.costs import Costs
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.evaluation.model_result import ModelResult
    from pocketcxr.labels import Task
    from pocketcxr.report.conclusions import Conclusion


@dataclass(frozen=True)
class KeyFigure:
    """One line of the summary: quantity, value with interval, the limit or aim, and the outcome against it."""

    quantity: str
    value: str
    limit: str = ""
    outcome: str = ""


def primary(models: Sequence[ModelResult]) -> ModelResult:
    """The model that users will get: the exported file, else the distilled student, else the last one."""
    by_name = {one.name: one for one in models}
    return next((by_name[name] for name in (roles.EXPORTED, roles.DISTILLED) if name in by_name), models[-1])


def headline(
    models: Sequence[ModelResult],
    comparisons: Sequence[Comparison],
    costs: Mapping[str, Costs],
    *,
    task: Task,
    patients: int | None,
) -> str:
    """One sentence that says how good the small model is, on how many images, against what, and at what cost.

    `patients` is None where the data set does not name the patient of every image: then none are counted.
    """
    metric, best = headline_metric(task), primary(models)
    figure = best.figures[metric]
    what = metric_name(metric, task)
    whose = " (not every patient is known)" if patients is None else f" of {count(patients, 'patient')}"
    where = f"on {count(len(best.predictions.labels), 'test image')}{whose}"
    if figure.value is None:
        return f"The {best.name} cannot be rated by {what} {where}: {figure.why}."
    text = f"The {best.name} reaches {what} of {number(figure.value)} {bracket(figure)} {where}."
    parts = []
    against = find_pair(comparisons, best.name, roles.TEACHER)
    if against is not None and against.difference(metric).figure.value is not None:
        difference = against.difference(metric)
        doubt = "" if difference.shown else " (a difference is not shown)"
        parts.append(f"{distance(difference.figure)} the teacher{doubt}")
    ratio = _cost_ratio(costs.get(roles.TEACHER), costs.get(best.name))
    if ratio:
        parts.append(f"at {ratio}" if parts else f"It needs {ratio}")
    return text + (f" That is {', '.join(parts)}." if against and parts else f" {parts[0]}." if parts else "")


def key_figures(
    models: Sequence[ModelResult], comparisons: Sequence[Comparison], *, task: Task, config: EvaluationConfig
) -> tuple[KeyFigure, ...]:
    """The few figures of the final model that decide whether it can be used, for the top of the page."""
    metric, best = headline_metric(task), primary(models)
    found = [KeyFigure(sentence_case(metric_name(metric, task)), _value(best.figures[metric]))]
    for name, point, aim in (
        ("sensitivity", "screening", config.screening_sensitivity),
        ("specificity", "confirming", config.confirming_specificity),
    ):
        figure = best.figures.get(f"{name}@{point}")
        if figure is not None:
            quantity = f"{name.capitalize()} at the {point} threshold"
            found.append(
                KeyFigure(quantity, _value(figure, as_share=True), f"at least {percent(aim, 0)}", _reached(figure, aim))
            )
    for other in (roles.BASELINE, roles.TEACHER):
        pair = find_pair(comparisons, best.name, other)
        if pair is not None:
            difference = pair.difference(metric)
            p = f", {p_value(difference.p)}" if difference.p is not None else ""
            value = f"{_value(difference.figure, sign=True)}{p}"
            found.append(KeyFigure(f"Difference to the {other}", value, "0", _shown(difference)))
    return tuple(found)


def next_steps(
    models: Sequence[ModelResult],
    conclusions: Sequence[Conclusion],
    *,
    task: Task,
    shared_patients: int | None,
) -> tuple[str, ...]:
    """What to do next, the most important first, derived from the figures."""
    best, outcomes = primary(models), {one.title: one.outcome for one in conclusions}
    steps = []
    if shared_patients:
        steps.append("Split the images again by patient (pocketcxr split) and train anew: the splits share patients.")
    if best.figures[headline_metric(task)].value is None:
        steps.append("Add test images of every class: without them the model cannot be rated.")
    if outcomes.get(DISTILLATION_GAIN) == OPPOSITE:
        steps.append("Use the baseline student, or distil from a better teacher: distillation made the student worse.")
    elif outcomes.get(DISTILLATION_GAIN) == NOT_SHOWN:
        steps.append("Claim no gain from distillation: repeat with more seeds or test patients to show one.")
    if outcomes.get(TEACHER_GAIN) in (OPPOSITE, NOT_SHOWN):
        steps.append("Train a better teacher: this one is not shown to be better than the baseline student.")
    if outcomes.get(EXPORT_PARITY) == NOT_SHOWN:
        steps.append("Look at the images for which the exported file and its network predict different classes.")
    if not best.calibration.operating_points:
        steps.append("Add calibration images with and without the positive class: there is no threshold to work with.")
    steps.append("Run pocketcxr audit for leaks, shortcuts and robustness, then test on images of your own hospital.")
    return tuple(steps)


def cautions(
    models: Sequence[ModelResult],
    *,
    task: Task,
    sources: Sequence[str],
    units: int,
    known_patients: int | None,
    without_patient: int,
    resamples: int,
) -> tuple[str, ...]:
    """What a careful reader should know before believing the figures, derived from the figures themselves.

    Args:
        models: all models.
        task: classes.
        sources: source of every test image.
        units: that were resampled; see `evaluation.intervals.clusters`.
        known_patients: in the test split; None where not every patient is known.
        without_patient: test images whose data set names no patient.
        resamples: bootstrap resamples asked for.
    """
    truth = models[0].predictions.labels
    found = []
    reader, commonest = source_reader(truth, sources), source_reader(truth, [""] * len(truth))
    if len(set(sources)) > 1:
        found.append(
            "Accuracy reached from the source of an image alone (its border, marks, compression): "
            f"{percent(reader)}; from always giving the commonest class: {percent(commonest)}. The gap is what "
            "shortcuts can win: see the figures by source."
        )
    single = sorted({s for s in sources if len({int(t) for t, x in zip(truth, sources, strict=True) if x == s}) == 1})
    if single:
        found.append(f"Only one class comes from: {', '.join(single)}. Within these no AUROC exists.")
    if units < 30:  # noqa: PLR2004
        few = count(units, "resampled unit") if known_patients is None else count(known_patients, "patient")
        found.append(f"{few} in the test split: intervals from so few are rough.")
    if without_patient:
        found.append(
            f"For {without_patient} of {count(len(truth), 'test image')} the data set names no patient: the study "
            "stands for one, then the group of near duplicates, then the image itself. How many patients there are is "
            "not known, and intervals may be too narrow."
        )
    skipped = max((figure.skipped for one in models for figure in one.figures.values()), default=0)
    if skipped:
        found.append(f"A figure did not exist in up to {skipped} of {resamples} resamples, which were skipped.")
    counted = min(np.bincount(truth, minlength=len(task.labels)))
    if 0 < counted < 20:  # noqa: PLR2004
        found.append(f"The smallest class has {count(int(counted), 'test image')}.")
    notes = dict.fromkeys(note for one in models for note in one.calibration.notes)
    return (*found, *(f"{sentence_case(note)}." for note in notes))


def source_reader(truth: np.ndarray, sources: Sequence[str]) -> float:
    """Accuracy of answering each image with the commonest class of its source: what shortcuts alone can reach."""
    names = np.asarray(sources)
    right = sum(int(np.bincount(truth[names == name]).max()) for name in set(sources))
    return right / len(truth)


def _value(figure: Estimate, *, as_share: bool = False, sign: bool = False) -> str:
    if figure.value is None:
        return f"not measurable: {figure.why}"
    show = percent if as_share else partial(number, sign=sign)
    return f"{show(figure.value)} {bracket(figure, show)}"


def _reached(figure: Estimate, aim: float) -> str:
    if figure.value is None:
        return NOT_MEASURABLE
    below = figure.value < aim if figure.high is None else figure.high < aim
    return "reached" if figure.value >= aim else "missed" if below else "within the interval"


def _shown(difference: Difference) -> str:
    value = difference.figure.value
    if value is None or difference.p is None:
        return NOT_MEASURABLE
    return "difference not shown" if not difference.shown else "better" if value > 0 else "worse"


def _cost_ratio(teacher: Costs | None, small: Costs | None) -> str:
    if teacher is None or small is None:
        return ""
    parts = []
    for name, of in (("macs", "of its arithmetic"), ("bytes", "of its size")):
        large, little = getattr(teacher, name), getattr(small, name)
        if large and little and large > little:
            parts.append(f"1/{round(large / little)} {of}")
    return listed(parts)
