"""Robustness: accuracy, AUROC and calibration error under distortions of rising strength.

After Hendrycks and Dietterich (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import cells, measured, section
from pocketcxr.audit.model.config import EVERYDAY, STRENGTHS
from pocketcxr.audit.model.distortions import UNITS, distort
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.evaluation.metrics import figures as metric_figures
from pocketcxr.evaluation.metrics import macro_auroc
from pocketcxr.report.formatting import number, with_interval
from pocketcxr.report.panels import Panel, panels, sheet
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Picture, Section

    Strengths = tuple[tuple[str, float], ...]

_FIGURES = {"accuracy": "accuracy", "AUROC": "auroc", "calibration error": "ece"}


@dataclass(frozen=True)
class Robustness:
    """Figures ``K S accuracy``, ``auroc``, ``ece`` and ``drop`` of distortion K at strength S; K S = `` 0``: untouched.

    `tried` lists them; `example` is one image [s, s]; `images` is how many were distorted.
    """

    estimates: dict[str, Estimate]
    tried: Strengths
    images: int
    example: NDArray[np.float32]


def measure(model: AuditedModel) -> Robustness:
    """Distort a sample of the test images in every way and at every strength, and run the model again."""
    places = model.sample(model.config.robust_images)
    images = model.dataset.images(model.test.positions[places])
    probabilities = {("", 0.0): model.test.probabilities[places]}
    for kind, strengths in STRENGTHS.items():
        for strength in _chosen(kind, strengths, model.config.strengths):
            changed = distort(images, kind, strength, seed=model.seed)
            outputs = model.outputs_for(changed, f"{kind} {strength:g}")
            probabilities[kind, strength] = outputs.probabilities.astype(np.float64)
    truth, task = model.test.truth[places], model.task

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = {}
        for (kind, strength), table in probabilities.items():
            values = metric_figures(
                table, truth, labels=task.labels, positive=task.positive, thresholds={}, weights=weights
            )
            name = f"{kind} {strength:g}"
            found[f"{name} accuracy"], found[f"{name} ece"] = values["accuracy"], values["ece"]
            found[f"{name} auroc"] = macro_auroc(table, truth, weights, skip_absent=True)
            found[f"{name} drop"] = found[" 0 auroc"] - found[f"{name} auroc"]
        return found

    return Robustness(model.estimates(figures, places), tuple(probabilities)[1:], len(places), images[0, 0])


def describe(found: Robustness) -> Section:
    """AUROC drops at everyday strengths, the worst first, and curves over all strengths."""
    figures = found.estimates
    drops = {kind: figures[f"{kind} {strength:g} drop"] for kind, strength in EVERYDAY.items()}
    names = {kind: f"{kind} {strength:g} {UNITS[kind]}" for kind, strength in EVERYDAY.items()}
    exist = [kind for kind, one in drops.items() if one.value is not None]
    worst = max(exist, key=lambda kind: drops[kind].value or 0.0, default="")
    own = [
        measured(f"robustness.{kind}_drop", one, images=found.images, kind=kind, distortion=names[kind])
        for kind, one in drops.items()
    ]
    greatest = drops.get(worst, not_measurable("no AUROC could be measured"))
    own.insert(0, measured("robustness.worst_drop", greatest, images=found.images, distortion=names.get(worst, "")))
    inverted = figures["inversion 1 drop"]
    words = {"kind": "inversion", "distortion": "inverted grey values"}
    own.append(measured("robustness.inversion_drop", inverted, images=found.images, **words))
    summary = (
        f"Largest AUROC drop under an everyday distortion: {with_interval(greatest)} ({names[worst]}). Inverted grey "
        f"values: {number(inverted.value, 2)}."
        if worst
        else "Not measurable: no AUROC could be measured."
    )
    rows = [("untouched", None, *cells(figures, (f" 0 {name}" for name in _FIGURES.values())))]
    rows += [
        (
            kind,
            f"{strength:g} {UNITS[kind]}",
            *cells(figures, (f"{kind} {strength:g} {name}" for name in _FIGURES.values())),
        )
        for kind, strength in found.tried
    ]
    columns = ("distortion", "strength", "accuracy", "AUROC, mean of classes", "calibration error")
    return section("robustness", summary, own, (Table("Distortions", columns, tuple(rows)),), _pictures(found))


def _chosen(kind: str, strengths: Sequence[float], count: int) -> list[float]:
    """The everyday strength and its neighbours, `count` in all, in the order of the table."""
    if len(strengths) <= count:
        return list(strengths)
    everyday = EVERYDAY[kind]
    others = [strength for strength in strengths if strength != everyday]
    wanted = {everyday, *(others[::-1][: count - 1])}
    return [strength for strength in strengths if strength in wanted]


def _pictures(found: Robustness) -> tuple[Picture, ...]:
    figures, drawn, examples = found.estimates, [], {"image": found.example}
    for kind in STRENGTHS:
        ordered = sorted((s for k, s in found.tried if k == kind), key=lambda s: _severity(kind, s))
        names = [" 0", *(f"{kind} {strength:g}" for strength in ordered)]
        lines = {
            words: [
                (float(i), value)
                for i, name in enumerate(names)
                if (value := figures[f"{name} {key}"].value) is not None
            ]
            for words, key in _FIGURES.items()
        }
        ticks = ["none", *(f"{strength:g}" for strength in ordered)]
        drawn.append(Panel(f"{kind} ({UNITS[kind]})" if UNITS[kind] else kind, lines, ticks=ticks))
        examples[names[-1]] = distort(found.example[None, None], kind, ordered[-1], seed=0)[0, 0]
    alt = "; ".join(f"{kind} {s:g}: AUROC {number(figures[f'{kind} {s:g} auroc'].value, 2)}" for kind, s in found.tried)
    return (
        panels("Accuracy, AUROC and calibration error against strength", drawn, columns=4, alt=alt),
        sheet(
            "Each distortion at its strongest",
            [list(examples.values())],
            columns=list(examples),
            alt="One test image under each distortion at its strongest.",
        ),
    )


def _severity(kind: str, strength: float) -> float:
    """How far a strength is from doing nothing."""
    if kind in ("jpeg", "crop", "resolution"):
        return -strength
    return strength if kind != "gamma" else strength if strength > 1 else strength - 10
