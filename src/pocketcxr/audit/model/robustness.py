"""How much does an everyday film's journey cost? Accuracy, AUROC and calibration against strength."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.audited_model import figures_with_intervals
from pocketcxr.audit.model.config import EVERYDAY, STRENGTHS
from pocketcxr.audit.model.distortions import distort
from pocketcxr.evaluation.metrics import figures, macro_auroc
from pocketcxr.report.formatting import number, with_interval
from pocketcxr.report.panels import Panel, panels, sheet
from pocketcxr.report.types import Measure, Section, Table, measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Picture

    Asked = dict[tuple[str, float], NDArray[np.float64]]

_UNITS = {
    "noise": "standard deviation",
    "blur": "pixels of 224",
    "jpeg": "quality",
    "gamma": "exponent",
    "rotation": "degrees",
    "crop": "share kept",
    "resolution": "of the pixels a side",
    "inversion": "",
}
_FIGURES = ("accuracy", "auroc", "ece")


def robustness(subject: AuditedModel) -> Section:
    """Distort a sample of the test images in every way and at every strength, and ask the model again."""
    places = subject.sample(subject.config.robust_images)
    images = subject.dataset.images(subject.test.positions[places])
    asked: Asked = {}
    for kind, strengths in STRENGTHS.items():
        for strength in _chosen(kind, strengths, subject.config.strengths):
            changed = distort(images, kind, strength, seed=subject.seed)
            asked[kind, strength] = subject.ask(changed, f"{kind} {strength:g}").probabilities.astype(np.float64)
    plain = subject.test.probabilities[places]
    truth = subject.test.truth[places]
    found = figures_with_intervals(
        lambda weights: _figures(plain, asked, truth, subject, weights),
        subject.members[places],
        config=subject.config,
        seed=subject.seed,
    )
    measures = [_drop(kind, strength, found, len(places)) for kind, strength in EVERYDAY.items()]
    measured = [one for one in measures if one.value is not None]
    worst = max(measured, key=lambda one: one.value or 0.0, default=None)
    inverted = _drop("inversion", 1, found, len(places))
    if worst is not None:
        measures.insert(
            0,
            Measure(
                "robustness.worst_drop",
                f"Most AUROC lost to an everyday distortion: {worst.title.rpartition(': ')[2]}",
                worst.value,
                "Greatest of the losses below; everyday strengths are those that nobody notices on a screen.",
                advice="Above 0.05: add this distortion to the augmentation of the training.",
                unit="difference of auroc",
                low=worst.low,
                high=worst.high,
                images=len(places),
            ),
        )
    words = (
        "Nothing could be measured."
        if worst is None
        else (
            f"The everyday distortion that costs most is {worst.title.rpartition(': ')[2]}: "
            f"{with_interval(worst)} of AUROC. "
            f"Inverted grey values cost {number(inverted.value, 2)}."
        )
    )
    return Section(
        "robustness",
        "How much does an everyday film's journey cost?",
        words,
        (*measures, inverted),
        (_table(asked, found),),
        _pictures(asked, found, images),
    )


def _chosen(kind: str, strengths: tuple[float, ...], count: int) -> list[float]:
    """The everyday strength and its neighbours, `count` in all, in the order of the table."""
    if len(strengths) <= count:
        return list(strengths)
    everyday = EVERYDAY[kind]
    others = [strength for strength in strengths if strength != everyday]
    wanted = {everyday, *(others[::-1][: count - 1])}
    return [strength for strength in strengths if strength in wanted]


def _figures(
    plain: NDArray[np.float64],
    asked: Asked,
    truth: NDArray[np.int64],
    subject: AuditedModel,
    weights: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    found = {}
    for key, probabilities in [(("", 0.0), plain), *asked.items()]:
        table = figures(
            probabilities,
            truth,
            labels=subject.task.labels,
            positive=subject.task.positive,
            thresholds={},
            weights=weights,
        )
        name = f"{key[0]} {key[1]:g}"
        found[f"{name} accuracy"], found[f"{name} ece"] = table["accuracy"], table["ece"]
        found[f"{name} auroc"] = macro_auroc(probabilities, truth, weights, skip_absent=True)
        found[f"{name} drop"] = found[" 0 auroc"] - found[f"{name} auroc"]
    return found


def _drop(kind: str, strength: float, found: dict[str, Estimate], images: int) -> Measure:
    words = f"{kind} {strength:g} {_UNITS[kind]}".strip() if kind != "inversion" else "inverted grey values"
    return measure(
        f"robustness.{kind}_drop",
        f"AUROC lost to {kind}: {words}",
        found[f"{kind} {strength:g} drop"],
        "AUROC (mean of the classes) on the same images untouched less that on the distorted ones.",
        unit="difference of auroc",
        images=images,
    )


def _table(asked: Asked, found: dict[str, Estimate]) -> Table:
    rows = [("untouched", None, *(with_interval(found[f" 0 {name}"]) for name in _FIGURES))]
    rows += [
        (
            kind,
            f"{strength:g} {_UNITS[kind]}",
            *(with_interval(found[f"{kind} {strength:g} {name}"]) for name in _FIGURES),
        )
        for kind, strength in asked
    ]
    return Table(
        "Distortions",
        ("distortion", "strength", "accuracy", "AUROC, mean of classes", "calibration error"),
        tuple(rows),
    )


def _pictures(asked: Asked, found: dict[str, Estimate], images: NDArray[np.float32]) -> tuple[Picture, ...]:
    drawn = []
    for kind in STRENGTHS:
        strengths = [strength for k, strength in asked if k == kind]
        ordered = sorted(strengths, key=lambda s: _severity(kind, s))
        names = [" 0", *(f"{kind} {strength:g}" for strength in ordered)]
        lines = {
            words: [
                (float(i), value)
                for i, name in enumerate(names)
                if (value := found[f"{name} {figure}"].value) is not None
            ]
            for words, figure in (("accuracy", "accuracy"), ("AUROC", "auroc"), ("calibration error", "ece"))
        }
        ticks = ["none", *(f"{strength:g}" for strength in ordered)]
        title = f"{kind} ({_UNITS[kind]})" if _UNITS[kind] else kind
        drawn.append(Panel(title, lines, ticks=ticks))
    alt = "; ".join(
        f"{kind} {strength:g}: AUROC {number(found[f'{kind} {strength:g} auroc'].value, 2)}" for kind, strength in asked
    )
    strongest = {kind: max((s for k, s in asked if k == kind), key=lambda s: _severity(kind, s)) for kind in STRENGTHS}
    first = images[:1]
    films = [first[0, 0], *(distort(first, kind, strength, seed=0)[0, 0] for kind, strength in strongest.items())]
    words = ["film", *(f"{kind} {strength:g}" for kind, strength in strongest.items())]
    return (
        panels("Accuracy, AUROC and calibration error against strength", drawn, columns=4, alt=alt),
        sheet(
            "Each distortion at its strongest",
            [films],
            columns=words,
            alt="One test film under each distortion at its strongest.",
        ),
    )


def _severity(kind: str, strength: float) -> float:
    """How far a strength is from doing nothing."""
    if kind in ("jpeg", "crop", "resolution"):
        return -strength
    return strength if kind != "gamma" else strength if strength > 1 else strength - 10
