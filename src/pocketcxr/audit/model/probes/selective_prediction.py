"""Selective prediction: the risk that remains when the least certain predictions are withheld.

Risk against coverage and AURC after Geifman and El-Yaniv (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import measures, section
from pocketcxr.report.formatting import number, percent, with_interval
from pocketcxr.report.panels import Panel, panels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Section

_WITHHELD = 0.2  # share of predictions withheld that the measures refer to


@dataclass(frozen=True)
class SelectivePrediction:
    """Figures by name, risk of all predictions, AURC of the best order, and curves of (coverage, risk) by name."""

    estimates: dict[str, Estimate]
    risk: Estimate
    best: float
    images: int
    curves: dict[str, list[tuple[float, float]]]


def risk_coverage(
    confidence: NDArray[np.floating], wrong: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coverage k/n and share wrong among the k most confident predictions, for k = 1 .. n.

    Equal confidences keep the order of the images, so shuffle them where order means something.
    """
    order = np.argsort(-confidence, kind="stable")
    counts = np.arange(1, len(wrong) + 1)
    return counts / len(wrong), np.cumsum(wrong[order]) / counts


def aurc(confidence: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    """Area under the risk-coverage curve: mean of the risks at all n coverages (Geifman, Uziel and El-Yaniv 2019)."""
    return float(risk_coverage(confidence, wrong)[1].mean())


def measure(model: AuditedModel) -> SelectivePrediction:
    """Withhold the least certain predictions, by probability and by novelty, and take the risk of the rest."""
    test = model.test
    wrong, confidence = test.predicted != test.truth, test.probabilities.max(axis=1)
    order = np.random.default_rng(model.seed).permutation(len(wrong))
    order = order[np.argsort(-confidence[order], kind="stable")]  # the most certain first, ties in random order

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        rows = weights[:, order]
        errors = np.cumsum(rows * wrong[order], axis=1)
        total = np.cumsum(rows, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            risk = np.where(total > 0, errors / total, 0.0)
        everything = total[:, -1:]
        answered = rows / everything
        place = np.argmax(total >= (1 - _WITHHELD) * everything, axis=1)
        at = risk[np.arange(len(risk)), place]
        area = (risk * answered).sum(axis=1)
        return {"aurc": area, "risk_at_80": at, "gain_at_80": risk[:, -1] - at, "risk": risk[:, -1]}

    found = model.estimates(figures)
    curves = {"by probability": _points(*risk_coverage(confidence[order], wrong[order]))}
    if test.outputs.novelty is not None:
        curves["by novelty"] = _points(*risk_coverage(-test.outputs.novelty.astype(np.float64)[order], wrong[order]))
    known = -wrong.astype(np.float64)
    curves["best possible"] = _points(*risk_coverage(known, wrong))
    return SelectivePrediction(found, found.pop("risk"), aurc(known, wrong), len(wrong), curves)


def describe(found: SelectivePrediction) -> Section:
    """Curve, AURC, and what withholding one in five avoids."""
    risk, at, share = number(found.risk.value, 3), found.estimates["risk_at_80"], percent(1 - _WITHHELD, 0)
    figures = {**found.estimates, "aurc_excess": (found.estimates["aurc"].value or 0.0) - found.best}
    own = measures("selective", figures, images=found.images, best=number(found.best, 3), risk=risk, share=share)
    top = max(0.05, 1.15 * max(y for points in found.curves.values() for x, y in points if x > 0.1))  # noqa: PLR2004
    panel = Panel("", found.curves, "share of images answered", "share wrong among them", high=top)
    alt = f"Risk {number(at.value, 3)} at 80 % answered, {risk} at 100 %."
    picture = panels("Risk against coverage", [panel], columns=1, alt=alt)
    summary = (
        f"AURC {with_interval(found.estimates['aurc'], 3)}. Share of wrong predictions: {risk} with all images "
        f"answered, {with_interval(at, 3)} with the {share} most certain."
    )
    return section("selective", summary, own, (), (picture,))


def _points(coverage: NDArray[np.float64], risk: NDArray[np.float64]) -> list[tuple[float, float]]:
    """At most 200 points, from where at least ten images are answered."""
    first = min(9, len(coverage) - 1)
    keep = np.unique(np.linspace(first, len(coverage) - 1, 200).round().astype(int))
    return list(zip(coverage[keep].tolist(), risk[keep].tolist(), strict=True))
