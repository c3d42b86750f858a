"""Refusals of test radiographs by class: shares, their difference, and accuracy with and without the refused images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest

from pocketcxr.audit.describing import measured
from pocketcxr.evaluation.intervals import Estimate, bootstrap, interval, not_measurable
from pocketcxr.evaluation.metrics import ranking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.report.types import Measure

_FEWEST = 10
_LARGEST = 0.25  # of the positive images with boxes: those whose boxes take most of the image
_RESAMPLES = 1000


@dataclass(frozen=True)
class Decision:
    """One decision: kind and source of the image, whether it was refused and with which codes, else if confident.

    Of a test radiograph also its class, the share of it that boxes take which somebody drew (None: not known), and
    the network's probability of the positive class, refused or not (None: no network saw the image).
    """

    kind: str
    source: str
    refused: bool
    codes: tuple[str, ...] = ()
    confident: bool = False
    label: str = ""
    box_area: float | None = None
    probability: float | None = None


def refusal_rate(group: Sequence[Decision]) -> Estimate:
    """Share refused with its 95 % interval (Wilson 1927)."""
    if not group:
        return not_measurable("no such images were given")
    refused = sum(one.refused for one in group)
    bounds = binomtest(refused, len(group)).proportion_ci(method="wilson")
    return Estimate(refused / len(group), float(bounds.low), float(bounds.high))


def refusal_difference(one: Sequence[Decision], other: Sequence[Decision]) -> Estimate:
    """Difference of two shares refused, sign ignored, with its 95 % interval from the two Wilson ones (Newcombe 1998).

    The lower end is 0 where the interval of the signed difference holds 0.
    """
    a, b = refusal_rate(one), refusal_rate(other)
    if a.value is None or b.value is None:
        return not_measurable("expected test radiographs of the positive class and of another")
    assert a.low is not None
    assert a.high is not None
    assert b.low is not None
    assert b.high is not None
    difference = a.value - b.value
    low = difference - float(np.hypot(a.value - a.low, b.high - b.value))
    high = difference + float(np.hypot(a.high - a.value, b.value - b.low))
    return Estimate(abs(difference), max(0.0, low, -high), max(high, -low))


def class_measures(frontal: Sequence[Decision], positive_class: str) -> list[Measure]:
    """What refusals do to the classes of test radiographs; `positive_class` "" compares none.

    Refusals of the positive class and of the others, and of the positive images with the largest boxes; AUROC of the
    network on all images and on those that get an answer.
    """
    positive = [one for one in frontal if positive_class and one.label == positive_class]
    other = [one for one in frontal if positive_class and one.label and one.label != positive_class]
    areas = [one.box_area for one in positive if one.box_area is not None]
    limit = float(np.quantile(areas, 1 - _LARGEST)) if areas else 0.0
    largest = [one for one in positive if one.box_area is not None and one.box_area >= limit]
    too_few = not_measurable(
        f"{len(areas)} positive test radiographs have boxes that somebody drew, expected {round(_FEWEST / _LARGEST)} "
        "or more"
    )
    groups = {"positive_refused": positive, "negative_refused": other}
    return [
        *(measured(f"gate.{name}", refusal_rate(group), images=len(group) or None) for name, group in groups.items()),
        measured("gate.refusal_difference", refusal_difference(positive, other), images=len(positive) + len(other)),
        measured(
            "gate.largest_boxes_refused",
            refusal_rate(largest) if len(areas) * _LARGEST >= _FEWEST else too_few,
            images=len(largest) or None,
        ),
        *(
            measured(f"gate.{name}", auroc(one, another), images=len(one) + len(another) or None)
            for name, one, another in (
                ("auroc_without_filter", positive, other),
                ("auroc_answered", _answered(positive), _answered(other)),
            )
        ),
    ]


def auroc(positive: Sequence[Decision], other: Sequence[Decision]) -> Estimate:
    """AUROC of the network's probabilities with its 95 % bootstrap interval over images."""
    scores = np.array([one.probability for one in (*positive, *other) if one.probability is not None])
    seen = sum(one.probability is not None for one in positive)
    if not 0 < seen < len(scores):
        return not_measurable("expected test radiographs of the positive class and of another")
    is_positive = np.arange(len(scores)) < seen
    members = np.arange(len(scores))
    drawn = bootstrap(
        {"model": lambda weights: {"auroc": ranking(scores, is_positive, weights)[0]}},
        members,
        count=_RESAMPLES,
        seed=0,
    )
    value = float(ranking(scores, is_positive)[0][0])
    return interval("auroc", value, drawn["model"]["auroc"], patients=len(scores))


def _answered(group: Sequence[Decision]) -> list[Decision]:
    return [one for one in group if not one.refused]
