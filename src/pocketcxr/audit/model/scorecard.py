"""Scorecard: how good, for whom, and how much of it is only the difference between hospitals.

The headline counts pairs of a positive and another image **of the same source**. Where each class has sources of its
own, the usual AUROC counts pairs that a network can tell apart by the hospital's look; those pairs get a figure of
their own, and the difference between the two is what the sources may be flattering.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.audited_model import figures_with_intervals
from pocketcxr.audit.model.pairwise_auroc import class_pairs, pair_counts, paired_auroc
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.evaluation.metrics import figures
from pocketcxr.evaluation.model_result import MIN_IMAGES, MIN_PER_CLASS
from pocketcxr.report.formatting import number, with_interval
from pocketcxr.report.panels import bars
from pocketcxr.report.types import Measure, Section, Table, measure, missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Picture

    Replicates = dict[str, NDArray[np.float64]]

_AGES = ((0, 18), (18, 40), (40, 60), (60, 75), (75, 200))
_KINDS = ("source", "view", "sex", "age")


def scorecard(subject: AuditedModel) -> Section:
    """Figures overall, within sources, and per source, view, sex and age group, with intervals by patient."""
    groups = _groups(subject.rows)
    found = figures_with_intervals(
        lambda weights: _all_figures(subject, groups, weights),
        subject.members,
        config=subject.config,
        seed=subject.seed,
    )
    test, positive = subject.test, subject.task.positive_index
    within = pair_counts(test.truth == positive, subject.sources)
    measures = _overall(subject, found, within)
    measures += [_gap(subject, kind, groups, found) for kind in _KINDS]
    same, every = found["same auroc"], found["all auroc"]
    summary = f"AUROC for “{subject.task.positive}” is {with_interval(every)} over all test images" + (
        f", and {with_interval(same)} among images of the same source, which is the figure to quote."
        if same.value is not None
        else "; no source holds both classes, so how much of it is the source cannot be told."
    )
    tables = (class_pairs(subject), *(_table(subject, kind, groups, found) for kind in _KINDS))
    return Section(
        "scorecard",
        "How good is it, and for whom?",
        summary,
        tuple(measures),
        tuple(table for table in tables if table.rows),
        _picture(subject, groups, found),
    )


def _groups(rows: Sequence[IndexRow]) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Kind to group to membership [n]; images of which the set says nothing are in no group but a source."""
    words = {
        "source": [row.source for row in rows],
        "view": [row.view.split()[0].upper() if row.view else "" for row in rows],
        "sex": [row.sex.upper()[:1] for row in rows],
        "age": [age_group(row.age) for row in rows],
    }
    return {
        kind: {name: np.array([word == name for word in table]) for name in sorted(set(table) - {""})}
        for kind, table in words.items()
    }


def age_group(age: str) -> str:
    """Age group of an age in years, such as ``40 to 59``; empty where it is not known."""
    try:
        years = float(age)
    except ValueError:
        return ""
    for low, high in _AGES:
        if low <= years < high:
            return f"{low} to {high - 1}" if high < 150 else f"{low} and older"  # noqa: PLR2004
    return ""


def _all_figures(
    subject: AuditedModel, groups: dict[str, dict[str, NDArray[np.bool_]]], weights: NDArray[np.float64]
) -> Replicates:
    everything = np.ones(len(subject.test.truth), dtype=bool)
    found = _figures(subject, "all", everything, weights)
    scores = subject.test.probabilities[:, subject.task.positive_index]
    is_positive = subject.test.truth == subject.task.positive_index
    same, across = paired_auroc(scores, is_positive, subject.sources, weights)
    found |= {"same auroc": same, "across auroc": across, "across less same": across - same}
    for kind, members in groups.items():
        for name, inside in members.items():
            if inside.sum() >= MIN_IMAGES:
                found |= _figures(subject, f"{kind}/{name}", inside, weights)
    return found


def _figures(subject: AuditedModel, group: str, inside: NDArray[np.bool_], weights: NDArray[np.float64]) -> Replicates:
    points = {point.name: point.threshold for point in subject.fitted.operating_points}
    table = figures(
        subject.test.probabilities[inside],
        subject.test.truth[inside],
        labels=subject.task.labels,
        positive=subject.task.positive,
        thresholds=points,
        weights=weights[:, inside],
    )
    wanted = ("auroc", "auroc_macro", "accuracy", "balanced_accuracy", "ece", "ece_positive", "brier")
    wanted += ("sensitivity@screening", "specificity@screening")
    return {f"{group} {name}": table[name] for name in wanted if name in table}


def _overall(subject: AuditedModel, found: dict[str, Estimate], within: dict[str, float]) -> list[Measure]:
    positive, images = subject.task.positive, len(subject.test.truth)
    same_sources = ", ".join(sorted(within)) or "none"
    same = (
        found["same auroc"]
        if within
        else not_measurable(
            f"no source holds {MIN_PER_CLASS} images of “{positive}” and {MIN_PER_CLASS} others in the test split"
        )
    )
    across = found["across auroc"]
    measures = [
        measure(
            "scorecard.auroc_same_source",
            f"AUROC for “{positive}” among images of one source",
            same,
            "Chance that an image with it scores higher than one without it from the same source: no hospital's look "
            f"can help. Sources with both: {same_sources}.",
            advice="Quote this figure. Where it is far below the AUROC over all images, the difference is the sources.",
            unit="auroc",
            images=images,
        ),
        measure(
            "scorecard.auroc_across_sources",
            f"AUROC for “{positive}” among pairs of two sources",
            across,
            "The same over pairs whose images come from different sources, where the hospital's look may decide.",
            unit="auroc",
            images=images,
        ),
        measure(
            "scorecard.source_flattery",
            "How much better it looks across sources than within one",
            found["across less same"] if within else not_measurable(same.why),
            "AUROC across sources less AUROC within a source. Near 0: the sources do not help.",
            advice="Above 0.05: say so beside every figure that mixes sources, and look at the shortcut probes.",
            unit="difference of auroc",
            images=images,
        ),
    ]
    for name, title, unit in (
        ("auroc", f"AUROC for “{positive}”, all test images", "auroc"),
        ("auroc_macro", "AUROC, mean of the classes against the rest", "auroc"),
        ("accuracy", "Accuracy", "share"),
        ("balanced_accuracy", "Balanced accuracy", "share"),
    ):
        words = "Share of images whose most probable class is the true one."
        if name == "balanced_accuracy":
            words = "Mean over the classes of the share found; a class that is rare counts as much as a common one."
        if unit == "auroc":
            words = "0.5 is a guess, 1 is perfect. Includes pairs that the source alone may tell apart."
        measures.append(measure(f"scorecard.{name}", title, found[f"all {name}"], words, unit=unit, images=images))
    return measures


def _gap(
    subject: AuditedModel, kind: str, groups: dict[str, dict[str, NDArray[np.bool_]]], found: dict[str, Estimate]
) -> Measure:
    """Worst group of a kind: its AUROC where groups hold both classes, else nothing."""
    key, title = f"scorecard.worst_{kind}_auroc", f"Lowest AUROC of any {kind}"
    is_positive = subject.test.truth == subject.task.positive_index
    figures_: dict[str, Estimate] = {}
    for name, inside in groups[kind].items():
        enough = min((inside & is_positive).sum(), (inside & ~is_positive).sum()) >= MIN_PER_CLASS
        figure = found.get(f"{kind}/{name} auroc")
        if enough and figure is not None and figure.value is not None:
            figures_[name] = figure
    meaning = f"The {kind} for which the model tells “{subject.task.positive}” from the rest worst."
    if not figures_:
        known = sum(int(inside.sum()) for inside in groups[kind].values())
        why = f"no {kind} with {MIN_PER_CLASS} images of each side ({known} test images say their {kind})"
        return missing(key, title, why, meaning, unit="auroc")
    worst = min(figures_, key=lambda name: figures_[name].value or 0)
    return measure(
        key,
        f"{title}: {worst}",
        figures_[worst],
        f"{meaning} Here: {worst}, of {len(figures_)} that can be measured.",
        advice="If its interval lies below the others', collect more of that group or state the limit.",
        unit="auroc",
        images=int(groups[kind][worst].sum()),
    )


def _table(
    subject: AuditedModel, kind: str, groups: dict[str, dict[str, NDArray[np.bool_]]], found: dict[str, Estimate]
) -> Table:
    is_positive = subject.test.truth == subject.task.positive_index
    rows = []
    for name, inside in groups[kind].items():
        cells = [
            with_interval(found[f"{kind}/{name} {figure}"]) if f"{kind}/{name} {figure}" in found else None
            for figure in ("auroc", "accuracy", "sensitivity@screening", "specificity@screening", "ece")
        ]
        rows.append((name, int(inside.sum()), int((inside & is_positive).sum()), *cells))
    return Table(
        f"By {kind}",
        (kind, "images", subject.task.positive, "AUROC", "accuracy", "sensitivity", "specificity", "calibration error"),
        tuple(rows),
        note="95 % intervals by patient; sensitivity and specificity at the screening threshold. Fewer "
        f"than {MIN_IMAGES} "
        "images: no figures."
        if kind == "source"
        else "",
    )


def _picture(
    subject: AuditedModel, groups: dict[str, dict[str, NDArray[np.bool_]]], found: dict[str, Estimate]
) -> tuple[Picture, ...]:
    is_positive = subject.test.truth == subject.task.positive_index
    rows = [("all test images", found["all auroc"]), ("pairs of one source", found["same auroc"])]
    for kind, members in groups.items():
        for name, inside in members.items():
            figure = found.get(f"{kind}/{name} auroc")
            enough = min((inside & is_positive).sum(), (inside & ~is_positive).sum()) >= MIN_PER_CLASS
            if figure is not None and enough:
                rows.append((f"{kind}: {name} ({int(inside.sum())})", figure))
    drawn = [(name, f.value, f.low, f.high) for name, f in rows if f.value is not None]
    if not drawn:
        return ()
    said = "; ".join(f"{name} {number(value, 2)}" for name, value, *_ in drawn)
    return (
        bars(
            f"AUROC for “{subject.task.positive}” by group",
            drawn,
            x="AUROC, 95 % interval by patient (dotted: a guess)",
            alt=said,
            low=0.4,
            level=0.5,
        ),
    )
