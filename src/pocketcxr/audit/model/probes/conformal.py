"""Prediction sets (split conformal): coverage overall, by class, and at sources left out of the calibration.

Sadinle, Lei and Wasserman (2019). Coverage is guaranteed for data exchangeable with the calibration split; another
hospital breaks it, by an amount that is measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import NotMeasurable, cells, interval_bars, lowest, measured, section
from pocketcxr.evaluation.calibration import conformal_quantile, conformal_sets
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.report.formatting import percent, with_interval
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Section

FEWEST = 30
"""Test images of a source, and calibration images of the others, below which its coverage is not told."""


@dataclass(frozen=True)
class PredictionSets:
    """Figures: ``coverage``, ``single``, ``class C``, and of a source S ``seen S``, ``unseen S``, ``single S``.

    `stated` is the coverage asked for; `images` in all, by class and by source those that figures rest on.
    """

    stated: float
    estimates: dict[str, Estimate]
    images: int
    classes: Mapping[str, int]
    sources: Mapping[str, int]


def measure(model: AuditedModel) -> PredictionSets:
    """Calibrate the sets on the calibration split, and take their coverage on the test split and on sources left out.

    Raises:
        NotMeasurable: too few calibration images.
    """
    config, test, fitted = model.config, model.test, model.calibration
    if len(fitted.truth) < FEWEST:
        raise NotMeasurable(f"only {len(fitted.truth)} calibration images, {FEWEST} are needed")
    quantile = conformal_quantile(fitted.probabilities, fitted.truth, coverage=config.coverage)
    here = conformal_sets(test.probabilities, quantile)
    origin = np.array([model.dataset.rows[i].source for i in fitted.positions])
    elsewhere = {}
    for source in model.sources_with(FEWEST):
        others = origin != source
        if others.sum() >= FEWEST:
            q = conformal_quantile(fitted.probabilities[others], fitted.truth[others], coverage=config.coverage)
            elsewhere[source] = (model.sources == source, conformal_sets(test.probabilities, q))
    hit = here[np.arange(len(test.truth)), test.truth]
    counts = {label: int((test.truth == i).sum()) for i, label in enumerate(model.task.labels)}
    classes = {label: count for label, count in counts.items() if count >= FEWEST}

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = {"coverage": _mean(weights, hit), "single": _mean(weights, here.sum(axis=1) == 1)}
        for label in classes:
            inside = test.truth == model.task.labels.index(label)
            found[f"class {label}"] = _mean(weights[:, inside], hit[inside])
        for source, (inside, sets) in elsewhere.items():
            own = weights[:, inside]
            found[f"seen {source}"] = _mean(own, hit[inside])
            found[f"unseen {source}"] = _mean(own, sets[inside, test.truth[inside]])
            found[f"single {source}"] = _mean(own, sets[inside].sum(axis=1) == 1)
        return found

    sources = {source: int(inside.sum()) for source, (inside, _) in elsewhere.items()}
    return PredictionSets(config.coverage, model.estimates(figures), len(test.truth), classes, sources)


def describe(found: PredictionSets) -> Section:
    """Coverage against the coverage asked for."""
    figures, stated = found.estimates, percent(found.stated, 0)
    own = [
        measured(f"conformal.{name}", figures[name], images=found.images, promised=stated)
        for name in ("coverage", "single")
    ]
    for name, prefix, groups, why in (
        ("worst_class_coverage", "class", found.classes, f"no class has {FEWEST} test images"),
        (
            "other_source_coverage",
            "unseen",
            found.sources,
            f"no source has {FEWEST} test images beside {FEWEST} calibration images of others",
        ),
    ):
        worst = lowest(figures, prefix, groups) if groups else ""
        figure = figures[f"{prefix} {worst}"] if groups else not_measurable(why)
        own.append(measured(f"conformal.{name}", figure, images=groups.get(worst), worst=worst))
    table = Table(
        "Coverage by source",
        ("source", "images", "calibrated on all", "calibrated without it", "one class left, without it"),
        tuple(
            (source, count, *cells(figures, (f"seen {source}", f"unseen {source}")), figures[f"single {source}"].value)
            for source, count in found.sources.items()
        ),
        note=f"Stated coverage: {stated}.",
    )
    drawn = [("all test images", figures["coverage"])]
    drawn += [(f"class {label}", figures[f"class {label}"]) for label in found.classes]
    drawn += [(f"{source}, left out", figures[f"unseen {source}"]) for source in found.sources]
    low = min(0.5, min(one.value for _, one in drawn if one.value is not None) - 0.05)
    pictures = interval_bars(
        "Coverage of the prediction sets", drawn, x=f"coverage (dotted: {stated} stated)", low=low, level=found.stated
    )
    summary = (
        f"Coverage {with_interval(figures['coverage'])} on the test split, {stated} stated"
        + (f"; {with_interval(own[-1])} at the worst source left out of calibration" if found.sources else "")
        + f". Sets with a single class: {percent(figures['single'].value, 0)}."
    )
    return section("conformal", summary, own, (table,), pictures)


def _mean(weights: NDArray[np.float64], values: NDArray[np.bool_]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return weights @ values / weights.sum(axis=1)
