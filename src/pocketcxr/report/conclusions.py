"""The results in plain words: what a reader may conclude from the figures, and what not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr import roles
from pocketcxr.report.formatting import bracket, count, number, p_value, percent, sentence_case

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pocketcxr.evaluation.comparisons import Comparison
    from pocketcxr.evaluation.costs import Costs
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.evaluation.model_result import ModelResult
    from pocketcxr.labels import Task

SHOWN, OPPOSITE, NOT_SHOWN, NOT_MEASURABLE = "shown", "the opposite is shown", "not shown", "not measurable"


@dataclass(frozen=True)
class Conclusion:
    """One question, its answer as a constant and in short words, and the figures behind it.

    The answer is about "the first model is better than the second": `SHOWN` only where the 95 % interval of the
    difference lies above 0.
    """

    question: str
    answer: str
    short: str
    words: str


def headline_metric(task: Task) -> str:
    """The figure that models are compared by: AUROC of the positive class, with more than two classes the mean."""
    return "auroc" if len(task.labels) == 2 else "auroc_macro"  # noqa: PLR2004


def metric_words(metric: str, task: Task) -> str:
    """Name of the headline figure in words."""
    return f"AUROC for “{task.positive}”" if metric == "auroc" else f"mean AUROC over {len(task.labels)} classes"


def primary(judged: Sequence[ModelResult]) -> ModelResult:
    """The model that users will get: the exported file, else the distilled student, else the last one."""
    by_name = {one.name: one for one in judged}
    return next((by_name[name] for name in (roles.EXPORTED, roles.DISTILLED) if name in by_name), judged[-1])


def headline(
    judged: Sequence[ModelResult],
    comparisons: Sequence[Comparison],
    costs: Mapping[str, Costs],
    *,
    task: Task,
    patients: int,
) -> str:
    """One sentence that says how good the small model is, on how many images, against what, and at what cost."""
    metric, best = headline_metric(task), primary(judged)
    figure = best.figures[metric]
    images = len(best.scored.labels)
    what = metric_words(metric, task)
    where = f"on {count(images, 'test image')} of {count(patients, 'patient')}"
    if figure.value is None:
        return f"The {best.name} cannot be rated by {what} {where}: {figure.why}."
    text = f"The {best.name} reaches {what} of {number(figure.value)} {bracket(figure)} {where}."
    parts = []
    against = _find(comparisons, best.name, roles.TEACHER)
    if against is not None and against.difference(metric).figure.value is not None:
        difference = against.difference(metric)
        doubt = "" if difference.shown else " (too little to be sure of a difference)"
        parts.append(f"{_distance(difference.figure)} the teacher{doubt}")
    ratio = _ratio_words(costs.get(roles.TEACHER), costs.get(best.name))
    if ratio:
        parts.append(f"at {ratio}" if parts else f"It needs {ratio}")
    return text + (f" That is {', '.join(parts)}." if against and parts else f" {parts[0]}." if parts else "")


def verdicts(judged: Sequence[ModelResult], comparisons: Sequence[Comparison], task: Task) -> tuple[Conclusion, ...]:
    """Answer the questions that the models at hand allow."""
    questions = (
        (roles.TEACHER, roles.BASELINE, "Is the teacher better than the student trained alone?"),
        (roles.DISTILLED, roles.BASELINE, "Did distillation help the student?"),
        (roles.DISTILLED, roles.TEACHER, "How close does the student come to its teacher?"),
    )
    found = []
    for first, second, question in questions:
        pair = _find(comparisons, first, second)
        if pair is not None:
            found.append(_verdict(question, pair, {one.name: one for one in judged}, task))
    by_name = {one.name: one for one in judged}
    if roles.EXPORTED in by_name and roles.DISTILLED in by_name:
        found.append(_parity(by_name[roles.EXPORTED], by_name[roles.DISTILLED]))
    return tuple(found)


def _verdict(question: str, pair: Comparison, by_name: Mapping[str, ModelResult], task: Task) -> Conclusion:
    metric = headline_metric(task)
    difference = pair.difference(metric)
    figure = difference.figure
    if figure.value is None or figure.low is None or difference.p is None:
        return Conclusion(
            question, NOT_MEASURABLE, "Not measurable", f"{pair.first} against {pair.second}: {figure.why}."
        )
    answer = NOT_SHOWN if not difference.shown else SHOWN if figure.value > 0 else OPPOSITE
    values = [number(by_name[name].figures[metric].value) for name in (pair.first, pair.second)]
    words = (
        f"{sentence_case(metric_words(metric, task))}: {values[0]} ({pair.first}) against {values[1]} ({pair.second}); "
        f"difference {number(figure.value, sign=True)} {bracket(figure, partial(number, sign=True))}, "
        f"bootstrap {p_value(difference.p)}"
    )
    if pair.delong.p is not None:
        of_class = "" if metric == "auroc" else f" for “{task.positive}” alone"
        words += f", DeLong{of_class} {p_value(pair.delong.p)}"
    accuracy = pair.difference("accuracy").figure
    if accuracy.value is not None:
        words += (
            f". Accuracy: {percent(accuracy.value, sign=True)} {bracket(accuracy, partial(percent, sign=True))}, "
            f"McNemar {p_value(pair.mcnemar.p)} ({pair.mcnemar.only_first} images right only with the {pair.first}, "
            f"{pair.mcnemar.only_second} only with the {pair.second})"
        )
    if not difference.shown:
        words += (
            ". The interval includes 0: these data do not tell the two apart, which is no proof that they are equal"
        )
    return Conclusion(question, answer, _short(answer, pair, figure), words + ".")


def _short(answer: str, pair: Comparison, figure: Estimate) -> str:
    """The answer in a few words; a student that stays below its teacher has not failed, so it gets a distance."""
    if pair.second == roles.TEACHER:
        return "No difference shown" if answer == NOT_SHOWN else f"{_distance(figure).capitalize()} the teacher"
    return {SHOWN: "Yes", OPPOSITE: "No, the opposite", NOT_SHOWN: "Not shown"}[answer]


def _parity(exported: ModelResult, network: ModelResult) -> Conclusion:
    question = "Does the exported file answer like the network it was made from?"
    images = len(network.predicted)
    same = int((exported.predicted == network.predicted).sum())
    apart = float(np.abs(exported.probabilities - network.probabilities).max())
    words = f"Same class for {same:,} of {count(images, 'image')}; probabilities differ by {apart:.2g} at most."
    if exported.calibration.temperature is None:
        ours = exported.scored.implied_temperature
        theirs = network.calibration.temperature or network.scored.implied_temperature
        words += f" Temperatures: {ours:.3f} in the file, {theirs:.3f} fitted here."
    return Conclusion(question, *((SHOWN, "Yes") if same == images else (NOT_SHOWN, "Not always")), words)


def cautions(
    judged: Sequence[ModelResult],
    *,
    task: Task,
    sources: Sequence[str],
    patients: int,
    anonymous: int,
    config_bootstrap: int,
) -> tuple[str, ...]:
    """What a careful reader should know before believing the figures, derived from the figures themselves.

    Args:
        judged: all models.
        task: classes.
        sources: source of every test image.
        patients: number of clusters in the test split.
        anonymous: test images whose data set names neither patient nor study.
        config_bootstrap: resamples asked for.
    """
    truth = judged[0].scored.labels
    found = []
    reader, commonest = source_reader(truth, sources), source_reader(truth, [""] * len(truth))
    if len(set(sources)) > 1:
        found.append(
            "A network that read nothing but the source of an image (its border, marks, compression) would be right "
            f"for {percent(reader)} of these images; one that always gave the commonest class, for "
            f"{percent(commonest)}. What lies between is what shortcuts can win: look at each source."
        )
    single = sorted({s for s in sources if len({int(t) for t, x in zip(truth, sources, strict=True) if x == s}) == 1})
    if single:
        found.append(f"Only one class comes from: {', '.join(single)}. Within these no AUROC exists.")
    if patients < 30:  # noqa: PLR2004
        found.append(f"{count(patients, 'patient')} in the test split: intervals from so few are rough.")
    if anonymous:
        found.append(
            f"For {anonymous} of {count(len(truth), 'test image')} the data set names no patient; each counts as a "
            "patient of its own, so that intervals may be too narrow."
        )
    skipped = max((figure.skipped for one in judged for figure in one.figures.values()), default=0)
    if skipped:
        found.append(f"A figure did not exist in up to {skipped} of {config_bootstrap} resamples, which were skipped.")
    counted = min(np.bincount(truth, minlength=len(task.labels)))
    if 0 < counted < 20:  # noqa: PLR2004
        found.append(f"The smallest class has {count(int(counted), 'test image')}.")
    notes = dict.fromkeys(note for one in judged for note in one.calibration.notes)
    return (*found, *(f"{sentence_case(note)}." for note in notes))


def source_reader(truth: np.ndarray, sources: Sequence[str]) -> float:
    """Accuracy of answering each image with the commonest class of its source: what shortcuts alone can reach."""
    names = np.asarray(sources)
    right = sum(int(np.bincount(truth[names == name]).max()) for name in set(sources))
    return right / len(truth)


def _find(comparisons: Sequence[Comparison], first: str, second: str) -> Comparison | None:
    return next((pair for pair in comparisons if (pair.first, pair.second) == (first, second)), None)


def _distance(figure: Estimate) -> str:
    value = figure.value or 0.0
    if abs(value) < 0.0005:  # noqa: PLR2004  # rounds to 0.000
        return "level with"
    return f"{number(abs(value))} {'above' if value > 0 else 'below'}"


def _ratio_words(teacher: Costs | None, small: Costs | None) -> str:
    if teacher is None or small is None:
        return ""
    parts = []
    for name, words in (("macs", "of its arithmetic"), ("bytes", "of its size")):
        large, little = getattr(teacher, name), getattr(small, name)
        if large and little and large > little:
            parts.append(f"1/{round(large / little)} {words}")
    return " and ".join(parts)
