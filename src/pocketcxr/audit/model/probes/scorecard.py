"""Scorecard: performance overall, within one source, and by source, projection, sex and age.

The headline counts pairs of a positive and another image **of the same source**. Where each class has sources of its
own, the usual AUROC counts pairs that a network can tell apart by the appearance of the source; those pairs get a
figure of their own, and the difference of the two is what the sources may add.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import cells, interval_bars, lowest, measured, measures, section
from pocketcxr.audit.model.pairwise_auroc import class_pairs, pair_counts, paired_auroc
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.evaluation.metrics import figures as metric_figures
from pocketcxr.evaluation.model_result import MIN_IMAGES, MIN_PER_CLASS
from pocketcxr.report.formatting import with_interval
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.audit.model.pairwise_auroc import ClassPair
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Measure, Section

    Members = Mapping[str, Mapping[str, NDArray[np.bool_]]]

_AGES = ((0, 18), (18, 40), (40, 60), (60, 75), (75, 200))
_NAMES = {"source": "source", "view": "projection", "sex": "sex", "age": "age"}
_WANTED = ("auroc", "auroc_macro", "accuracy", "balanced_accuracy", "ece", "ece_positive", "brier")
_AT_SCREENING = ("sensitivity@screening", "specificity@screening")


@dataclass(frozen=True)
class Group:
    """Test images of one source, projection, sex or age: how many, and how many of them are positive."""

    images: int
    positives: int

    @property
    def has_both(self) -> bool:
        """Whether an AUROC can be told."""
        return min(self.positives, self.images - self.positives) >= MIN_PER_CLASS


@dataclass(frozen=True)
class Scorecard:
    """Figures ``all F``, ``same auroc``, ``across auroc``, ``across less same`` and ``KIND/NAME F``.

    `groups` by kind and name; `same_sources` hold enough images of both sides; `pairs` of classes.
    """

    positive: str
    images: int
    estimates: dict[str, Estimate]
    groups: Mapping[str, Mapping[str, Group]]
    same_sources: tuple[str, ...]
    pairs: tuple[ClassPair, ...]


def measure(model: AuditedModel) -> Scorecard:
    """Figures overall, within sources, and per source, projection, sex and age group, with intervals by patient."""
    members = _members(model.rows)
    groups = {
        kind: {
            name: Group(int(inside.sum()), int((inside & model.is_positive).sum())) for name, inside in table.items()
        }
        for kind, table in members.items()
    }
    within = tuple(sorted(pair_counts(model.is_positive, model.sources)))
    estimates = model.estimates(lambda weights: _figures(model, members, weights))
    return Scorecard(model.task.positive, len(model.test.truth), estimates, groups, within, class_pairs(model))


def describe(found: Scorecard) -> Section:
    """AUROC over all images, within one source, and of each group."""
    figures, same, every = found.estimates, found.estimates["same auroc"], found.estimates["all auroc"]
    summary = f"AUROC for “{found.positive}”: {with_interval(every)} over all test images, " + (
        f"{with_interval(same)} among images of the same source, which is the figure to quote."
        if same.value is not None
        else "not measurable within a source, for no source holds both classes; how much the source adds is unknown."
    )
    tables = (_pair_table(found.pairs), *(_table(found, kind) for kind in _NAMES))
    drawn = [("all test images", every), ("pairs of one source", same)]
    drawn += [
        (f"{_NAMES[kind]}: {name} ({group.images})", figures[f"{kind}/{name} auroc"])
        for kind, table in found.groups.items()
        for name, group in table.items()
        if group.has_both and f"{kind}/{name} auroc" in figures
    ]
    pictures = interval_bars(
        f"AUROC for “{found.positive}” by group",
        drawn,
        x="AUROC, 95 % interval by patient (dotted: a guess)",
        low=0.4,
        level=0.5,
    )
    own = [*_overall(found), *(_worst(found, kind) for kind in _NAMES)]
    return section("scorecard", summary, own, [table for table in tables if table.rows], pictures)


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


def _members(rows: Sequence[IndexRow]) -> Members:
    """Kind to group to membership [n]; images of which the set says nothing are in no group but a source."""
    groups = {
        "source": [row.source for row in rows],
        "view": [row.view.split()[0].upper() if row.view else "" for row in rows],
        "sex": [row.sex.upper()[:1] for row in rows],
        "age": [age_group(row.age) for row in rows],
    }
    return {
        kind: {name: np.array([one == name for one in table]) for name in sorted(set(table) - {""})}
        for kind, table in groups.items()
    }


def _figures(model: AuditedModel, members: Members, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    test, task = model.test, model.task
    points = {point.name: point.threshold for point in model.fitted.operating_points}

    def take(group: str, inside: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
        values = metric_figures(
            test.probabilities[inside],
            test.truth[inside],
            labels=task.labels,
            positive=task.positive,
            thresholds=points,
            weights=weights[:, inside],
        )
        return {f"{group} {name}": values[name] for name in (*_WANTED, *_AT_SCREENING) if name in values}

    found = take("all", np.ones(len(test.truth), dtype=bool))
    scores = test.probabilities[:, task.positive_index]
    same, across = paired_auroc(scores, model.is_positive, model.sources, weights)
    found |= {"same auroc": same, "across auroc": across, "across less same": across - same}
    for kind, table in members.items():
        for name, inside in table.items():
            if inside.sum() >= MIN_IMAGES:
                found |= take(f"{kind}/{name}", inside)
    return found


def _overall(found: Scorecard) -> list[Measure]:
    figures, same, gap = found.estimates, found.estimates["same auroc"], found.estimates["across less same"]
    if not found.same_sources:
        same = gap = not_measurable(
            f"no source holds {MIN_PER_CLASS} images of “{found.positive}” and {MIN_PER_CLASS} others in the test split"
        )
    named = {"auroc_same_source": same, "auroc_across_sources": figures["across auroc"], "source_flattery": gap}
    named |= {name: figures[f"all {name}"] for name in _WANTED[:4]}
    same_sources = ", ".join(found.same_sources) or "none"
    return measures("scorecard", named, images=found.images, positive=found.positive, same_sources=same_sources)


def _worst(found: Scorecard, kind: str) -> Measure:
    """The group of a kind with the lowest AUROC, among those that hold both classes."""
    figures, groups = found.estimates, found.groups[kind]
    key = f"scorecard.worst_{kind}_auroc"
    both = [
        name
        for name, group in groups.items()
        if group.has_both and f"{kind}/{name} auroc" in figures and figures[f"{kind}/{name} auroc"].value is not None
    ]
    if not both:
        known = sum(group.images for group in groups.values())
        why = f"no {_NAMES[kind]} with {MIN_PER_CLASS} images of each side ({known} test images have a {_NAMES[kind]})"
        return measured(key, not_measurable(why), kind=_NAMES[kind], positive=found.positive, group="", of="")
    worst = lowest({f"at {name}": figures[f"{kind}/{name} auroc"] for name in both}, "at", both)
    of = f"; here {worst}, of {len(both)} that can be measured"
    return measured(
        key,
        figures[f"{kind}/{worst} auroc"],
        images=groups[worst].images,
        kind=_NAMES[kind],
        positive=found.positive,
        group=f": {worst}",
        of=of,
    )


def _table(found: Scorecard, kind: str) -> Table:
    columns = ("AUROC", "accuracy", "sensitivity", "specificity", "calibration error")
    wanted = ("auroc", "accuracy", *_AT_SCREENING, "ece")
    rows = tuple(
        (name, group.images, group.positives, *cells(found.estimates, (f"{kind}/{name} {f}" for f in wanted)))
        for name, group in found.groups[kind].items()
    )
    note = (
        f"95 % intervals by patient; sensitivity and specificity at the screening threshold. Fewer than {MIN_IMAGES} "
        "images: no figures."
    )
    head = (_NAMES[kind], "images", found.positive, *columns)
    return Table(f"By {_NAMES[kind]}", head, rows, note if kind == "source" else "")


def _pair_table(pairs: Sequence[ClassPair]) -> Table:
    rows = tuple(
        (
            f"{one.first} / {one.second}",
            "SOURCES DIFFER" if not one.shared else "shared" if one.all_shared else "some shared",
            one.auroc,
            one.same_source,
            one.across_sources,
            ", ".join(one.shared) or "none",
        )
        for one in pairs
    )
    return Table(
        "Pairs of classes",
        ("classes", "sources", "AUROC", "same source", "different sources", "sources with both"),
        rows,
        note="Where the sources of two classes differ, the AUROC may come from the source alone. The score of a pair "
        "is the difference of the two probabilities.",
    )
