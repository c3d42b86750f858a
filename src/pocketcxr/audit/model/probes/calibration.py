"""Calibration: expected calibration error overall, by source and at another prevalence.

Reliability after Guo et al. (2017); prior shift by Bayes' rule (Saerens, Latinne and Decaestecker 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import cells, measured, section
from pocketcxr.evaluation.calibration import reliability_bins
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.evaluation.metrics import figures as metric_figures
from pocketcxr.evaluation.model_result import MIN_PER_CLASS
from pocketcxr.evaluation.operating_points import predictive_values
from pocketcxr.report.formatting import number, percent, with_interval
from pocketcxr.report.panels import Panel, panels
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Section

    Weights = NDArray[np.float64]

FEWEST = 30
"""Images of a source below which its calibration error is mostly noise and is not told."""

_BINS = 8
_SHIFT = 0.05  # prevalence that the shift measure refers to: a clinic's, not a collection's
_SHOWN = ("ece", "ece_positive", "brier")


@dataclass(frozen=True)
class CalibrationErrors:
    """Figures ``G ece``, ``G ece_positive``, ``G brier`` with G = all, shifted, adjusted or a source.

    `sources` to their number of images; `predictive_values` are rows of operating point, prevalence, PPV and NPV;
    `curves` by group the reliability of the most probable and of the positive class.
    """

    positive: str
    images: int
    sources: Mapping[str, int]
    estimates: dict[str, Estimate]
    predictive_values: tuple[tuple[str, float, float | None, float | None], ...]
    curves: Mapping[str, Mapping[str, list[tuple[float, float]]]]


def measure(model: AuditedModel) -> CalibrationErrors:
    """Calibration errors overall, of each source, and weighted to another prevalence."""
    sources = {name: int((model.sources == name).sum()) for name in model.sources_with(FEWEST)}
    estimates = model.estimates(lambda weights: _figures(model, list(sources), weights))
    curves = {"all": _curves(model, np.ones(len(model.test.truth), dtype=bool))}
    if len(sources) > 1:
        curves |= {name: _curves(model, model.sources == name) for name in sources}
    return CalibrationErrors(
        model.task.positive, len(model.test.truth), sources, estimates, _predictive_values(model, estimates), curves
    )


def describe(found: CalibrationErrors) -> Section:
    """Calibration errors with what a positive call is worth at other prevalences."""
    figures, words = found.estimates, {"positive": found.positive, "prevalence": percent(_SHIFT, 0)}
    several = len(found.sources) > 1
    worst = max(found.sources, key=lambda name: figures[f"{name} ece"].value or 0) if several else ""
    own = [
        measured("calibration.ece", figures["all ece"], images=found.images),
        measured("calibration.ece_positive", figures["all ece_positive"], images=found.images, **words),
        measured(
            "calibration.worst_source_ece",
            figures.get(f"{worst} ece", not_measurable(f"fewer than two sources have {FEWEST} test images")),
            images=found.sources.get(worst),
            worst=worst,
        ),
        *(
            measured(f"calibration.{name}_ece", figures[f"{name} ece_positive"], images=found.images, **words)
            for name in ("shifted", "adjusted")
        ),
    ]
    groups = {"all": found.images, **found.sources}
    tables = (
        Table(
            "Calibration by source",
            ("source", "images", "error, top class", f"error, {found.positive}", "Brier score"),
            tuple((name, n, *cells(figures, (f"{name} {f}" for f in _SHOWN))) for name, n in groups.items()),
            note=f"Sources with fewer than {FEWEST} test images are left out.",
        ),
        Table(
            "Predictive values at other prevalences",
            ("threshold", "prevalence", "positive predictive value", "negative predictive value"),
            tuple((point, f"{100 * share:g} %", *values) for point, share, *values in found.predictive_values),
            note="From sensitivity and specificity on the test split by Bayes' rule; both may differ elsewhere too.",
        ),
    )
    picture = panels(
        "Reliability, over all and by source",
        [
            Panel(f"{name} ({groups[name]})", lines, "probability", "share true", low=-0.03, high=1.03, diagonal=True)
            for name, lines in found.curves.items()
        ],
        columns=4,
        alt=f"Calibration error over all: {number(figures['all ece'].value, 3)}",
        note="On the dotted line probability equals frequency. Each mark stands for the same number of images.",
    )
    summary = (
        f"Calibration error {with_interval(figures['all ece'])} overall"
        + (f", {number(own[2].value, 2)} in the worst source ({worst})" if several else "")
        + f". For “{found.positive}” at a prevalence of {words['prevalence']}: "
        f"{number(figures['shifted ece_positive'].value, 2)} uncorrected, "
        f"{number(figures['adjusted ece_positive'].value, 2)} after correction by Bayes' rule."
    )
    return section("calibration", summary, own, tables, (picture,))


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


def _figures(model: AuditedModel, sources: list[str], weights: Weights) -> dict[str, Weights]:
    test, task = model.test, model.task
    points = {point.name: point.threshold for point in model.fitted.operating_points}
    found: dict[str, Weights] = {}

    def take(name: str, probabilities: Weights, keep: NDArray[np.bool_], w: Weights) -> None:
        values = metric_figures(
            probabilities[keep],
            test.truth[keep],
            labels=task.labels,
            positive=task.positive,
            thresholds=points,
            weights=w,
        )
        more = [key for key in values if "@" in key] if name == "all" else []
        found.update({f"{name} {key}": values[key] for key in (*_SHOWN, *more)})

    everything = np.ones(len(test.truth), dtype=bool)
    take("all", test.probabilities, everything, weights)
    for source in sources:
        keep = model.sources == source
        take(source, test.probabilities, keep, weights[:, keep])
    if model.is_positive.any() and not model.is_positive.all():
        share = float(model.is_positive.mean())
        shifted = weights * np.where(model.is_positive, _SHIFT / share, (1 - _SHIFT) / (1 - share))
        here = _share_in_calibration(model)
        adjusted = at_prevalence(test.probabilities, task.positive_index, here=here, there=_SHIFT)
        take("shifted", test.probabilities, everything, shifted)
        take("adjusted", adjusted, everything, shifted)
    else:
        found |= {f"{name} ece_positive": np.full(len(weights), np.nan) for name in ("shifted", "adjusted")}
    return found


def _share_in_calibration(model: AuditedModel) -> float:
    """Share of the positive class where the probabilities were calibrated; the test split's where there is none."""
    for truth in (model.calibration.truth, model.test.truth):
        share = float((truth == model.task.positive_index).mean()) if len(truth) else 0.0
        if 0 < share < 1:
            return share
    return 0.5


def _predictive_values(
    model: AuditedModel, found: dict[str, Estimate]
) -> tuple[tuple[str, float, float | None, float | None], ...]:
    """Predictive values of each operating point at each prevalence, from sensitivity and specificity."""
    if min(model.is_positive.sum(), (~model.is_positive).sum()) < MIN_PER_CLASS:
        return ()
    rows = []
    for point in model.fitted.operating_points:
        sensitivity, specificity = (found[f"all {name}@{point.name}"].value for name in ("sensitivity", "specificity"))
        if sensitivity is not None and specificity is not None:
            rows += [
                (point.name, prevalence, *predictive_values(sensitivity, specificity, prevalence))
                for prevalence in model.config.prevalences
            ]
    return tuple(rows)


def _curves(model: AuditedModel, keep: NDArray[np.bool_]) -> dict[str, list[tuple[float, float]]]:
    test, place = model.test, model.task.positive_index
    lines = {}
    for name, predicted, happened in (
        ("most probable class", test.probabilities[keep].max(axis=1), test.predicted[keep] == test.truth[keep]),
        (model.task.positive, test.probabilities[keep, place], test.truth[keep] == place),
    ):
        bins = reliability_bins(predicted, happened, bins=_BINS, binning="equal-mass")
        lines[name] = list(zip(bins.confidence.tolist(), bins.frequency.tolist(), strict=True))
    return lines
