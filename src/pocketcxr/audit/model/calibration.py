"""Do the probabilities mean what they say: here, per source, at another prevalence; and what do sets and silence buy?

Reliability (Guo et al. 2017); prior shift by Bayes' rule (Saerens, Latinne and Decaestecker 2002); split conformal sets
(Sadinle, Lei and Wasserman 2019), whose promise holds for data exchangeable with the calibration split and is broken by
another hospital by an amount that is measured here; risk against coverage (Geifman and El-Yaniv 2017).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.audited_model import figures_with_intervals
from pocketcxr.audit.model.conformal import conformal
from pocketcxr.audit.model.selective_prediction import selective
from pocketcxr.evaluation.calibration import expected_calibration_error, reliability_bins
from pocketcxr.evaluation.metrics import figures
from pocketcxr.evaluation.model_result import MIN_PER_CLASS
from pocketcxr.report.formatting import number, with_interval
from pocketcxr.report.panels import Panel, panels
from pocketcxr.report.types import Section, Table, measure, missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Measure, Picture

    Weights = NDArray[np.float64]

FEWEST = 30
"""Images of a source below which its calibration error is mostly noise and is not told."""

_BINS = 8
_SHIFT = 0.05  # prevalence that the shift measure speaks of: a clinic's, not a collection's

__all__ = ["at_prevalence", "calibration", "conformal", "selective"]


def calibration(subject: AuditedModel) -> Section:
    """Calibration overall, per source, and at other prevalences."""
    sources = [name for name in np.unique(subject.sources).tolist() if (subject.sources == name).sum() >= FEWEST]
    found = figures_with_intervals(
        lambda weights: _figures(subject, sources, weights),
        subject.members,
        config=subject.config,
        seed=subject.seed,
    )
    measures = _measures(subject, sources, found)
    positive = subject.task.positive
    rows = [
        ("all", len(subject.test.truth), *(with_interval(found[f"all {f}"]) for f in ("ece", "ece_positive", "brier")))
    ]
    rows += [
        (
            name,
            int((subject.sources == name).sum()),
            *(with_interval(found[f"{name} {f}"]) for f in ("ece", "ece_positive", "brier")),
        )
        for name in sources
    ]
    table = Table(
        "Calibration by source",
        ("source", "images", "error, top class", f"error, {positive}", "Brier score"),
        tuple(rows),
        note=f"Sources with fewer than {FEWEST} test images are left out.",
    )
    summary = (
        f"Probabilities are off by {with_interval(found['all ece'])} on average"
        + (
            f", by {number(max(found[f'{s} ece'].value or 0 for s in sources), 2)} in the worst source"
            if len(sources) > 1
            else ""
        )
        + f". At a prevalence of {100 * _SHIFT:.0f} % of “{positive}” the error is "
        f"{number(found['shifted ece_positive'].value, 2)} as it is, "
        f"and {number(found['adjusted ece_positive'].value, 2)} after correcting the prevalence by Bayes' rule."
    )
    return Section(
        "calibration",
        "Do the probabilities mean what they say?",
        summary,
        tuple(measures),
        (table, _predictive_values(subject, found)),
        _pictures(subject, sources),
    )


def at_prevalence(
    probabilities: NDArray[np.float64], positive: int, *, here: float, there: float
) -> NDArray[np.float64]:
    """Probabilities for a place where the positive class has another prevalence, by Bayes' rule.

    The other classes keep their proportions among one another. Valid where only the mix of classes changes and each
    class looks the same (prior shift).

    Args:
        probabilities: [n, classes], calibrated where the positive's share is `here`.
        positive: its position.
        here: share of the positive class where they are calibrated, in (0, 1).
        there: share at the other place, in (0, 1).
    """
    ratio = np.full(probabilities.shape[1], (1 - there) / (1 - here))
    ratio[positive] = there / here
    moved = probabilities * ratio
    return moved / moved.sum(axis=1, keepdims=True)


def _figures(subject: AuditedModel, sources: list[str], weights: Weights) -> dict[str, NDArray[np.float64]]:
    test, task = subject.test, subject.task
    points = {point.name: point.threshold for point in subject.fitted.operating_points}
    wanted = ("ece", "ece_positive", "brier")

    def table(name: str, probabilities: NDArray[np.float64], keep: NDArray[np.bool_], w: Weights) -> None:
        values = figures(
            probabilities[keep],
            test.truth[keep],
            labels=task.labels,
            positive=task.positive,
            thresholds=points,
            weights=w,
        )
        more = [key for key in values if "@" in key] if name == "all" else []
        found.update({f"{name} {key}": values[key] for key in (*wanted, *more)})

    found: dict[str, NDArray[np.float64]] = {}
    everything = np.ones(len(test.truth), dtype=bool)
    table("all", test.probabilities, everything, weights)
    for source in sources:
        keep = subject.sources == source
        table(source, test.probabilities, keep, weights[:, keep])
    is_positive = test.truth == task.positive_index
    if is_positive.any() and not is_positive.all():
        share = float(is_positive.mean())
        factor = np.where(is_positive, _SHIFT / share, (1 - _SHIFT) / (1 - share))
        adjusted = at_prevalence(
            test.probabilities, task.positive_index, here=_share_in_calibration(subject), there=_SHIFT
        )
        table("shifted", test.probabilities, everything, weights * factor)
        table("adjusted", adjusted, everything, weights * factor)
    else:
        for name in ("shifted", "adjusted"):
            found[f"{name} ece_positive"] = np.full(len(weights), np.nan)
    return found


def _share_in_calibration(subject: AuditedModel) -> float:
    """Share of the positive class where the probabilities were calibrated; the test split's where there is none."""
    for truth in (subject.calibration.truth, subject.test.truth):
        share = float((truth == subject.task.positive_index).mean()) if len(truth) else 0.0
        if 0 < share < 1:
            return share
    return 0.5


def _measures(subject: AuditedModel, sources: list[str], found: dict[str, Estimate]) -> list[Measure]:
    images, positive = len(subject.test.truth), subject.task.positive
    measures = [
        measure(
            "calibration.ece",
            "Calibration error, most probable class",
            found["all ece"],
            "Mean gap between the probability of the most probable class and how often it is right (15 bins).",
            advice="Above 0.05: fit the temperature again on data like those of use.",
            images=images,
        ),
        measure(
            "calibration.ece_positive",
            f"Calibration error of “{positive}”",
            found["all ece_positive"],
            f"Mean gap between the probability of “{positive}” and how often it is there.",
            images=images,
        ),
    ]
    key, title = "calibration.worst_source_ece", "Calibration error in the worst source"
    if len(sources) > 1:
        worst = max(sources, key=lambda name: found[f"{name} ece"].value or 0)
        measures.append(
            measure(
                key,
                f"{title}: {worst}",
                found[f"{worst} ece"],
                "One temperature fits all sources together; each of them may be off, in opposite directions.",
                advice="Above 0.1: calibrate at each place of use, on some 100 films of its own.",
                images=int((subject.sources == worst).sum()),
            )
        )
    else:
        measures.append(missing(key, title, f"fewer than two sources have {FEWEST} test images"))
    for name, words in (("shifted", "as it is"), ("adjusted", "after correcting the prevalence by Bayes' rule")):
        measures.append(
            measure(
                f"calibration.{name}_ece",
                f"Calibration error of “{positive}” at a prevalence of {100 * _SHIFT:.0f} %, {words}",
                found[f"{name} ece_positive"],
                f"The test images weighted so that {100 * _SHIFT:.0f} % have it; collections hold many "
                "more than clinics do.",
                advice="Set the prevalence of the place of use before reading a probability."
                if name == "shifted"
                else "",
                images=images,
            )
        )
    return measures


def _predictive_values(subject: AuditedModel, found: dict[str, Estimate]) -> Table:
    """Predictive values of each operating point at each prevalence, from sensitivity and specificity."""
    rows = []
    is_positive = subject.test.truth == subject.task.positive_index
    if min(is_positive.sum(), (~is_positive).sum()) >= MIN_PER_CLASS:
        for point in subject.fitted.operating_points:
            sensitivity, specificity = (
                found[f"all {name}@{point.name}"].value for name in ("sensitivity", "specificity")
            )
            if sensitivity is None or specificity is None:
                continue
            for prevalence in subject.config.prevalences:
                ppv, npv = predictive_values(sensitivity, specificity, prevalence)
                rows.append((point.name, f"{100 * prevalence:g} %", ppv, npv))
    return Table(
        "What a call is worth at other prevalences",
        ("threshold", "prevalence", "positive predictive value", "negative predictive value"),
        tuple(rows),
        note="From sensitivity and specificity on the test split by Bayes' rule; both may differ elsewhere too.",
    )


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float | None, float | None]:
    """Positive and negative predictive value; None where nothing is called so."""
    hit, alarm = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    miss, clear = (1 - sensitivity) * prevalence, specificity * (1 - prevalence)
    return hit / (hit + alarm) if hit + alarm > 0 else None, clear / (clear + miss) if clear + miss > 0 else None


def _pictures(subject: AuditedModel, sources: list[str]) -> tuple[Picture, ...]:
    test, place = subject.test, subject.task.positive_index
    drawn = []
    for name in ("all", *sources) if len(sources) > 1 else ("all",):
        keep = np.ones(len(test.truth), dtype=bool) if name == "all" else subject.sources == name
        right = test.predicted[keep] == test.truth[keep]
        lines = {}
        for words, predicted, happened in (
            ("most probable class", test.probabilities[keep].max(axis=1), right),
            (subject.task.positive, test.probabilities[keep, place], test.truth[keep] == place),
        ):
            bins = reliability_bins(predicted, happened, bins=_BINS, binning="equal-mass")
            lines[words] = list(zip(bins.confidence.tolist(), bins.frequency.tolist(), strict=True))
        drawn.append(
            Panel(
                f"{name} ({int(keep.sum())})", lines, "probability", "share true", low=-0.03, high=1.03, diagonal=True
            )
        )
    alt = f"Calibration error over all: {number(expected_calibration_error(test.probabilities, test.truth), 3)}"
    return (
        panels(
            "Reliability, over all and by source",
            drawn,
            columns=4,
            alt=alt,
            note="On the dotted line a probability means what it says. Each mark stands for the same number of images.",
        ),
    )
