"""What silence buys: the risk that is left when the least certain answers are withheld."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.audited_model import figures_with_intervals
from pocketcxr.report.formatting import number, percent, with_interval
from pocketcxr.report.panels import Panel, panels
from pocketcxr.report.types import Measure, Section, measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel

_SILENT = 0.2  # share of answers withheld that the measures speak of


def risk_coverage(
    confidence: NDArray[np.floating], wrong: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coverage k/n and share wrong among the k most confident answers, for k = 1 .. n.

    Equal confidences keep the order of the images, so shuffle them where order means something.
    """
    order = np.argsort(-confidence, kind="stable")
    counts = np.arange(1, len(wrong) + 1)
    return counts / len(wrong), np.cumsum(wrong[order]) / counts


def aurc(confidence: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    """Area under the risk-coverage curve: mean of the risks at all n coverages (Geifman, Uziel and El-Yaniv 2019)."""
    return float(risk_coverage(confidence, wrong)[1].mean())


def selective(subject: AuditedModel) -> Section:
    """Withhold the least certain answers, by probability and by novelty, and see how the risk falls."""
    test = subject.test
    wrong, confidence = test.predicted != test.truth, test.probabilities.max(axis=1)
    order = np.random.default_rng(subject.seed).permutation(len(wrong))
    order = order[np.argsort(-confidence[order], kind="stable")]  # the most certain first, ties by lot

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        rows = weights[:, order]
        errors = np.cumsum(rows * wrong[order], axis=1)
        total = np.cumsum(rows, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            risk = np.where(total > 0, errors / total, 0.0)
        everything = total[:, -1:]
        answered = rows / everything
        place = np.argmax(total >= (1 - _SILENT) * everything, axis=1)
        at = risk[np.arange(len(risk)), place]
        return {"aurc": (risk * answered).sum(axis=1), "risk": risk[:, -1], "at": at, "gain": risk[:, -1] - at}

    found = figures_with_intervals(figures, subject.members, config=subject.config, seed=subject.seed)
    best = aurc(-wrong.astype(np.float64), wrong)
    share = percent(1 - _SILENT, 0)
    measures = (
        measure(
            "selective.aurc",
            "Area under risk against coverage",
            found["aurc"],
            "Mean share of wrong answers over all shares of images answered, the most certain first. "
            "Smaller is better; "
            f"an order that knew the truth would reach {number(best, 3)}, no order at all "
            f"{number(found['risk'].value, 3)}.",
            unit="risk",
            images=len(wrong),
        ),
        measure(
            "selective.risk_at_80",
            f"Wrong answers among the {share} most certain",
            found["at"],
            f"With one in five withheld; all answered: {number(found['risk'].value, 3)}.",
            unit="share",
            images=len(wrong),
        ),
        measure(
            "selective.gain_at_80",
            "Wrong answers avoided by withholding one in five",
            found["gain"],
            "Share wrong among all less share wrong among the 80 % most certain. 0: its certainty says nothing.",
            advice="An interval that holds 0: do not offer “uncertain” as a safeguard.",
            unit="difference of shares",
            images=len(wrong),
        ),
        Measure(
            "selective.aurc_excess",
            "Area above the best order",
            (found["aurc"].value or 0.0) - best,
            "What a perfect knowledge of its own errors would still save (E-AURC).",
            unit="risk",
            images=len(wrong),
        ),
    )
    lines = {"by probability": _points(*risk_coverage(confidence[order], wrong[order]))}
    novelty = test.outputs.novelty
    if novelty is not None:
        lines["by novelty"] = _points(*risk_coverage(-novelty.astype(np.float64)[order], wrong[order]))
    lines["best possible"] = _points(*risk_coverage(-wrong.astype(np.float64), wrong))
    top = max(0.05, 1.15 * max(y for points in lines.values() for x, y in points if x > 0.1))  # noqa: PLR2004
    panel = Panel("", lines, "share of images answered", "share wrong among them", high=top)
    picture = panels(
        "Risk against coverage",
        [panel],
        columns=1,
        alt=f"Risk {number(found['at'].value, 3)} at 80 % answered, {number(found['risk'].value, 3)} at 100 %.",
    )
    summary = (
        f"Answering only the {share} most certain images takes the wrong answers from "
        f"{number(found['risk'].value, 3)} to "
        f"{with_interval(found['at'], 3)}."
    )
    return Section("selective", "Does it know when it does not know?", summary, measures, (), (picture,))


def _points(coverage: NDArray[np.float64], risk: NDArray[np.float64]) -> list[tuple[float, float]]:
    """At most 200 points, from where at least ten images are answered."""
    first = min(9, len(coverage) - 1)
    keep = np.unique(np.linspace(first, len(coverage) - 1, 200).round().astype(int))
    return list(zip(coverage[keep].tolist(), risk[keep].tolist(), strict=True))
