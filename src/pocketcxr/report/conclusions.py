"""Conclusions from an evaluation: the roles that models play in a run, compared in pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr import roles
from pocketcxr.report.formatting import bracket, count, number, p_value, sentence_case

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pocketcxr.evaluation.comparisons import Comparison
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.evaluation.model_result import ModelResult
    from pocketcxr.labels import Task

SHOWN, OPPOSITE, NOT_SHOWN, NOT_MEASURABLE = "shown", "the opposite is shown", "not shown", "not measurable"

TEACHER_GAIN = "Teacher against baseline student"
DISTILLATION_GAIN = "Distilled student against baseline student"
DISTANCE_TO_TEACHER = "Distilled student against teacher"
EXPORT_PARITY = "Exported file against the network it was made from"

FORMER_TITLES = {
    "Is the teacher better than the student trained alone?": TEACHER_GAIN,
    "Did distillation help the student?": DISTILLATION_GAIN,
    "How close does the student come to its teacher?": DISTANCE_TO_TEACHER,
    "Does the exported file answer like the network it was made from?": EXPORT_PARITY,
}
"""Titles in records of earlier versions."""

_PAIRS = {
    TEACHER_GAIN: (roles.TEACHER, roles.BASELINE),
    DISTILLATION_GAIN: (roles.DISTILLED, roles.BASELINE),
    DISTANCE_TO_TEACHER: (roles.DISTILLED, roles.TEACHER),
}
_signed = partial(number, sign=True)


@dataclass(frozen=True)
class Conclusion:
    """One comparison: its `title`, the `outcome` as a constant and in `short`, the deciding `figure`, the full `text`.

    The outcome is about "the first model is better than the second": `SHOWN` only where the 95 % interval of the
    difference lies above 0.
    """

    title: str
    outcome: str
    short: str
    text: str
    figure: str = ""


def headline_metric(task: Task) -> str:
    """The figure that models are compared by: AUROC of the positive class, with more than two classes the mean."""
    return "auroc" if len(task.labels) == 2 else "auroc_macro"  # noqa: PLR2004


def metric_name(metric: str, task: Task) -> str:
    """Name of the headline figure."""
    return f"AUROC for “{task.positive}”" if metric == "auroc" else f"mean AUROC over {len(task.labels)} classes"


def draw_conclusions(
    models: Sequence[ModelResult], comparisons: Sequence[Comparison], task: Task
) -> tuple[Conclusion, ...]:
    """Compare the roles that are among the models."""
    by_name = {one.name: one for one in models}
    found = [
        _compared(title, pair, by_name, task)
        for title, (first, second) in _PAIRS.items()
        if (pair := find_pair(comparisons, first, second)) is not None
    ]
    if roles.EXPORTED in by_name and roles.DISTILLED in by_name:
        found.append(_parity(by_name[roles.EXPORTED], by_name[roles.DISTILLED]))
    return tuple(found)


def _compared(title: str, pair: Comparison, by_name: Mapping[str, ModelResult], task: Task) -> Conclusion:
    metric = headline_metric(task)
    difference = pair.difference(metric)
    figure = difference.figure
    if figure.value is None or figure.low is None or difference.p is None:
        text = f"{sentence_case(pair.first)} against {pair.second}: {figure.why}."
        return Conclusion(title, NOT_MEASURABLE, sentence_case(NOT_MEASURABLE), text)
    outcome = NOT_SHOWN if not difference.shown else SHOWN if figure.value > 0 else OPPOSITE
    values = [number(by_name[name].figures[metric].value) for name in (pair.first, pair.second)]
    gap = f"{_signed(figure.value)} {bracket(figure, _signed)}"
    text = (
        f"{sentence_case(metric_name(metric, task))}: {values[0]} ({pair.first}) against {values[1]} ({pair.second}); "
        f"difference {gap}, bootstrap {p_value(difference.p)}"
    )
    if pair.delong.p is not None:
        of_class = "" if metric == "auroc" else f" for “{task.positive}” only"
        text += f", DeLong{of_class} {p_value(pair.delong.p)}"
    accuracy = pair.difference("accuracy").figure
    if accuracy.value is not None:
        text += (
            f". Accuracy: {_points(accuracy.value)} percentage points {bracket(accuracy, _points)}, "
            f"McNemar {p_value(pair.mcnemar.p)} "
            f"({pair.mcnemar.only_first} images right only with the {pair.first}, {pair.mcnemar.only_second} only with "
            f"the {pair.second})"
        )
    if not difference.shown:
        text += ". The interval includes 0: a difference is not shown, which is no proof that the two are equal"
    return Conclusion(title, outcome, _short(outcome, pair, figure), text + ".", gap)


def _short(outcome: str, pair: Comparison, figure: Estimate) -> str:
    """The outcome in a few words; a student below its teacher has not failed, so it gets a distance."""
    if outcome == NOT_SHOWN:
        return "Difference not shown"
    if pair.second == roles.TEACHER:
        return f"{distance(figure).capitalize()} the teacher"
    return "Better: shown" if outcome == SHOWN else "Worse: shown"


def _parity(exported: ModelResult, network: ModelResult) -> Conclusion:
    images = len(network.predicted)
    same = int((exported.predicted == network.predicted).sum())
    apart = float(np.abs(exported.probabilities - network.probabilities).max())
    text = f"Same class for {same:,} of {count(images, 'image')}; probabilities differ by {apart:.2g} at most."
    if exported.calibration.temperature is None:
        ours = exported.predictions.implied_temperature
        theirs = network.calibration.temperature or network.predictions.implied_temperature
        text += f" Temperatures: {ours:.3f} in the file, {theirs:.3f} fitted here."
    outcome, short = (SHOWN, "Same classes") if same == images else (NOT_SHOWN, "Classes differ")
    return Conclusion(EXPORT_PARITY, outcome, short, text, f"{same:,} of {count(images, 'image')} alike")


def _points(share: float | None) -> str:
    return number(None if share is None else 100 * share, 1, sign=True)


def find_pair(comparisons: Sequence[Comparison], first: str, second: str) -> Comparison | None:
    """The comparison of two models, None where they were not compared in this order."""
    return next((pair for pair in comparisons if (pair.first, pair.second) == (first, second)), None)


def distance(figure: Estimate) -> str:
    """Where the first model of a difference stands: ``0.012 below``."""
    value = figure.value or 0.0
    if abs(value) < 0.0005:  # noqa: PLR2004  # rounds to 0.000
        return "level with"
    return f"{number(abs(value))} {'above' if value > 0 else 'below'}"
