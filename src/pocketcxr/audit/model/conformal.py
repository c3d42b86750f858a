"""Sets that hold the truth: the coverage promised, the coverage here, and at sources it was not set for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.audited_model import figures_with_intervals
from pocketcxr.evaluation.calibration import conformal_quantile, conformal_sets
from pocketcxr.report.formatting import number, percent, with_interval
from pocketcxr.report.panels import bars
from pocketcxr.report.types import Section, Table, measure, missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.report.types import Measure

FEWEST = 30
"""Test images of a source, and calibration images of the others, below which its coverage is not told."""

_TITLE = "Do its sets hold the truth as often as promised?"
_KEYS = {
    "conformal.coverage": "Truth in the set",
    "conformal.single": "One class left in the set",
    "conformal.worst_class_coverage": "Truth in the set, worst class",
    "conformal.other_source_coverage": "Truth in the set at a source it was not calibrated on, worst",
}


def conformal(subject: AuditedModel) -> Section:
    """Set the sets on the calibration split and count the truth in them on the test split and on left-out sources."""
    config, test, fitted = subject.config, subject.test, subject.calibration
    if len(fitted.truth) < FEWEST:
        why = f"only {len(fitted.truth)} calibration images, {FEWEST} are needed"
        return Section(
            "conformal", _TITLE, f"Not measurable: {why}.", tuple(missing(k, t, why) for k, t in _KEYS.items())
        )
    quantile = conformal_quantile(fitted.probabilities, fitted.truth, coverage=config.coverage)
    here = conformal_sets(test.probabilities, quantile)
    origin = np.array([subject.dataset.rows[i].source for i in fitted.positions])
    elsewhere = {}
    for source in np.unique(subject.sources).tolist():
        others = origin != source
        inside = subject.sources == source
        if inside.sum() >= FEWEST and others.sum() >= FEWEST:
            q = conformal_quantile(fitted.probabilities[others], fitted.truth[others], coverage=config.coverage)
            elsewhere[source] = (inside, conformal_sets(test.probabilities, q))
    hit = here[np.arange(len(test.truth)), test.truth]
    labels = [i for i in range(len(subject.task.labels)) if (test.truth == i).sum() >= FEWEST]

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = {"coverage": _mean(weights, hit), "single": _mean(weights, here.sum(axis=1) == 1)}
        found |= {"empty": _mean(weights, here.sum(axis=1) == 0)}
        for i in labels:
            inside = test.truth == i
            found[f"class {subject.task.labels[i]}"] = _mean(weights[:, inside], hit[inside])
        for source, (inside, sets) in elsewhere.items():
            own = weights[:, inside]
            found[f"seen {source}"] = _mean(own, hit[inside])
            found[f"unseen {source}"] = _mean(own, sets[inside, test.truth[inside]])
            found[f"unseen single {source}"] = _mean(own, sets[inside].sum(axis=1) == 1)
        return found

    found = figures_with_intervals(figures, subject.members, config=config, seed=subject.seed)
    promised = percent(config.coverage, 0)
    measures: list[Measure] = [
        measure(
            "conformal.coverage",
            _KEYS["conformal.coverage"],
            found["coverage"],
            f"Share of test images whose set of classes holds the true one; promised {promised} on data "
            "like the calibration split.",
            advice="Below the promise by more than chance allows: test and calibration data differ; find out how.",
            images=len(test.truth),
        ),
        measure(
            "conformal.single",
            _KEYS["conformal.single"],
            found["single"],
            "Share of images with exactly one class in the set: those that get an answer. The rest are “uncertain”.",
            images=len(test.truth),
        ),
    ]
    key = "conformal.worst_class_coverage"
    if labels:
        worst = min((subject.task.labels[i] for i in labels), key=lambda name: found[f"class {name}"].value or 0)
        measures.append(
            measure(
                key,
                f"{_KEYS[key]}: {worst}",
                found[f"class {worst}"],
                "The promise is kept on average over images, not for each class.",
                advice="Far below the promise: use thresholds per class (Mondrian conformal sets).",
                images=int((test.truth == subject.task.labels.index(worst)).sum()),
            )
        )
    else:
        measures.append(missing(key, _KEYS[key], f"no class has {FEWEST} test images"))
    key = "conformal.other_source_coverage"
    if elsewhere:
        worst = min(elsewhere, key=lambda name: found[f"unseen {name}"].value or 0)
        measures.append(
            measure(
                key,
                f"{_KEYS[key]}: {worst}",
                found[f"unseen {worst}"],
                "The sets were set on all sources but this one, as they are for a hospital that sends no "
                "films for calibration. "
                "The network itself has seen the source, so a real stranger fares worse.",
                advice="Below the promise by 0.05: calibrate at each place of use; the promise does not travel.",
                images=int(elsewhere[worst][0].sum()),
            )
        )
    else:
        measures.append(
            missing(key, _KEYS[key], f"no source has {FEWEST} test images beside {FEWEST} calibration images of others")
        )
    rows = tuple(
        (
            source,
            int(inside.sum()),
            with_interval(found[f"seen {source}"]),
            with_interval(found[f"unseen {source}"]),
            found[f"unseen single {source}"].value,
        )
        for source, (inside, _) in elsewhere.items()
    )
    table = Table(
        "Coverage by source",
        ("source", "images", "sets set on all", "sets set without it", "one class left, without it"),
        rows,
        note=f"Promised: {promised}.",
    )
    drawn = [("all test images", found["coverage"])]
    drawn += [(f"class {subject.task.labels[i]}", found[f"class {subject.task.labels[i]}"]) for i in labels]
    drawn += [(f"{source}, not calibrated on", found[f"unseen {source}"]) for source in elsewhere]
    values = [(name, f.value, f.low, f.high) for name, f in drawn if f.value is not None]
    picture = bars(
        "How often the set holds the truth",
        values,
        x=f"coverage (dotted: the promise of {promised})",
        alt="; ".join(f"{name} {number(value, 2)}" for name, value, *_ in values),
        low=min(0.5, min(value for _, value, *_ in values) - 0.05),
        level=config.coverage,
    )
    summary = (
        f"Promised {promised}, measured {with_interval(found['coverage'])} on the test split"
        + (f"; {number(measures[-1].value, 2)} at the worst source it was not calibrated on" if elsewhere else "")
        + f". {percent(found['single'].value, 0)} of the images get a single class."
    )
    return Section("conformal", _TITLE, summary, tuple(measures), (table,), (picture,))


def _mean(weights: NDArray[np.float64], values: NDArray[np.bool_]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return weights @ values / weights.sum(axis=1)
