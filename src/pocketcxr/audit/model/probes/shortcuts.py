"""Reliance on the lungs: predictions with lungs, surroundings or order taken away, with markers and appearance shifts.

A network that still tells the classes apart without lungs uses something else: the border and markers of a hospital,
the body's outline, the contrast (Maguolo and Nanni 2021; DeGrave, Janizek and Lee 2021; Zech et al. 2018). Some of that
is medicine (very ill patients are imaged lying down), so a little skill without lungs is no proof of a fault; most of
the skill is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import cells, interval_bars, measured, measures, not_measured, section
from pocketcxr.audit.model import masking
from pocketcxr.audit.model.probes import appearance_shift
from pocketcxr.audit.model.probes.appearance_shift import AppearanceShift, ProbedImages, source_share
from pocketcxr.evaluation.intervals import Estimate, not_measurable
from pocketcxr.evaluation.metrics import macro_auroc
from pocketcxr.report.formatting import number, percent
from pocketcxr.report.panels import overlay, sheet
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.audit.model.lungs import Lungs
    from pocketcxr.report.types import Section

LEAST_SKILL = 0.6
"""AUROC on the untouched images below which there is no skill that could come from a shortcut."""

_FEWEST = 20
_AUROCS = {
    "untouched_auroc": "untouched",
    "lungs_out_auroc": "lungs masked",
    "box_out_auroc": "lungs' box masked",
    "border_only_auroc": "border only",
    "lungs_only_auroc": "lungs only",
    "shuffled_auroc": "shuffled, 8 x 8",
}
_KEPT = {"kept_without_lungs": "lungs masked", "kept_without_box": "lungs' box masked"}


@dataclass(frozen=True)
class MaskedFigures:
    """Figures ``auroc P``, ``accuracy P``, ``changed P``, ``kept P`` of every probe P; `moved` probability by probe.

    `examples`: names of the columns, and a class with its images [s, s] in each row.
    """

    estimates: dict[str, Estimate]
    moved: Mapping[str, float]
    columns: tuple[str, ...]
    examples: tuple[tuple[str, list[NDArray[np.float32]]], ...]


@dataclass(frozen=True)
class Shortcuts:
    """Lung masks found, figures of the probes that need them (or `why` there are none), share of the source."""

    masks: Mapping[str, int]
    share_trusted: float | None
    asked: int
    source_share: tuple[Estimate, int]
    positive: str
    masked: MaskedFigures | None = None
    appearance: AppearanceShift | None = None
    why: str = ""


def measure(model: AuditedModel, lungs: Lungs, places: NDArray[np.int64]) -> Shortcuts:
    """Take the probes on test images at `places`, whose lungs are `lungs`."""
    trusted = lungs.trusted
    kept = places[trusted]
    found = Counter(reason or "trusted" for reason in lungs.reasons)
    masks = {"trusted": int(trusted.sum())} | {reason: n for reason, n in found.items() if reason != "trusted"}
    share = float(trusted.mean()) if len(trusted) else None
    by_source = source_share(model)
    if len(kept) < _FEWEST:
        why = f"only {len(kept)} of {len(places)} test images have a lung mask to trust, {_FEWEST} are needed"
        return Shortcuts(masks, share, len(places), by_source, model.task.positive, why=why)
    images = model.dataset.images(model.test.positions[kept])
    probed = ProbedImages(model, kept, images, lungs.masks[trusted], model.test.probabilities[kept])
    shift, positive = appearance_shift.measure(probed), model.task.positive
    return Shortcuts(masks, share, len(places), by_source, positive, _masked(probed), shift)


def describe(found: Shortcuts) -> Section:
    """AUROC under each probe, the skill kept without lungs, and shifts of appearance."""
    first = measured("lungs.trusted", found.share_trusted, images=found.asked)
    share, images = found.source_share
    last = measured("shortcuts.source_share", share, images=images or None, positive=found.positive)
    if found.masked is None or found.appearance is None:
        rest = [one for one in not_measured("shortcuts", found.why) if one.key != last.key]
        return section("shortcuts", f"Not measurable: {found.why}.", (first, *rest, last))
    figures, kept = found.masked.estimates, found.masks["trusted"]
    untouched = figures["auroc untouched"]
    no_skill = not_measurable(
        f"untouched AUROC is {number(untouched.value, 2)}, below {LEAST_SKILL}: there is no skill"
    )
    named = {name: figures[f"auroc {probe}"] for name, probe in _AUROCS.items()}
    named |= {
        name: one if (one := figures[f"kept {probe}"]).value is not None else no_skill for name, probe in _KEPT.items()
    }
    changed, tables = appearance_shift.describe(found.appearance)
    masked = Table(
        "Predictions with a region taken away",
        ("probe", "AUROC, mean of classes", "accuracy", "predictions changed", "probability moved"),
        tuple(
            (probe, *cells(figures, (f"{name} {probe}" for name in ("auroc", "accuracy", "changed"))), moved)
            for probe, moved in found.masked.moved.items()
        ),
        note="Probability moved: mean total variation distance, 0 (same probabilities) to 1 (opposite certainty).",
    )
    pictures = (
        *interval_bars(
            "AUROC under each probe",
            [(probe, figures[f"auroc {probe}"]) for probe in found.masked.moved],
            x="AUROC, mean of classes, 95 % interval by patient (dotted: a guess)",
            low=0.2,
            level=0.5,
        ),
        sheet(
            "Images of the probes",
            [images for _, images in found.masked.examples],
            columns=found.masked.columns,
            names=[label for label, _ in found.masked.examples],
            alt="One test image of each class under every probe, with the lung mask that was found.",
        ),
    )
    skill = figures["kept lungs masked"].value
    summary = "AUROC " + ", ".join(
        f"{number(named[name].value, 2)} {words}"
        for name, words in (
            ("untouched_auroc", "untouched"),
            ("lungs_out_auroc", "with the lungs masked"),
            ("box_out_auroc", "with their bounding box masked"),
            ("lungs_only_auroc", "from the lungs alone"),
        )
    )
    if skill is None:
        summary += "; the untouched AUROC is too low for a shortcut to show."
    else:
        summary += f": {percent(min(max(skill, 0.0), 1.0), 0)} of the skill (AUROC − 0.5) is kept without the lungs."
    own = measures("shortcuts", named, images=kept, border=percent(masking.BORDER, 0))
    lung_table = Table("Lung masks", ("outcome", "images"), tuple(found.masks.items()))
    return section("shortcuts", summary, (first, *own, *changed, last), (masked, *tables, lung_table), pictures)


def _masked(probed: ProbedImages) -> MaskedFigures:
    images, masks, seed, truth = probed.images, probed.masks, probed.model.seed, probed.truth
    altered = {
        "lungs masked": lambda: masking.lungs_out(images, masks),
        "lungs' box masked": lambda: masking.box_out(images, masks),
        "lungs only": lambda: masking.lungs_only(images, masks),
        "border only": lambda: masking.border_only(images),
        "shuffled, 4 x 4": lambda: masking.shuffled(images, patches=4, seed=seed),
        "shuffled, 8 x 8": lambda: masking.shuffled(images, patches=8, seed=seed),
    }
    found = {"untouched": probed.plain}
    found |= {name: probed.probabilities(make(), name) for name, make in altered.items()}

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        total, values = weights.sum(axis=1), {}
        before = probed.plain.argmax(axis=1)
        for name, probabilities in found.items():
            predicted = probabilities.argmax(axis=1)
            values[f"auroc {name}"] = macro_auroc(probabilities, truth, weights, skip_absent=True)
            values[f"accuracy {name}"] = weights @ (predicted == truth) / total
            values[f"changed {name}"] = weights @ (predicted != before) / total
        skill = values["auroc untouched"] - 0.5
        for name in _KEPT.values():
            with np.errstate(divide="ignore", invalid="ignore"):
                kept = (values[f"auroc {name}"] - 0.5) / skill
            # a resample in which the model has no skill at all has no share of it either
            values[f"kept {name}"] = np.where(skill > LEAST_SKILL - 0.5, kept, np.nan)
        return values

    moved = {name: float(np.abs(one - probed.plain).sum(axis=1).mean() / 2) for name, one in found.items()}
    return MaskedFigures(probed.model.estimates(figures, probed.places), moved, *_examples(probed))


def _examples(probed: ProbedImages) -> tuple[tuple[str, ...], tuple[tuple[str, list[NDArray[np.float32]]], ...]]:
    """One image of each of the first classes under every probe."""
    take = np.array([int(np.flatnonzero(probed.truth == label)[0]) for label in np.unique(probed.truth)][:4])
    images, masks = probed.images[take], probed.masks[take]
    altered = {
        "image": images,
        "lungs found": np.stack(
            [overlay(i[0], m, colour=(1.0, 0.45, 0.1)) for i, m in zip(images, masks, strict=True)]
        )[:, None],
        "lungs masked": masking.lungs_out(images, masks),
        "box masked": masking.box_out(images, masks),
        "lungs only": masking.lungs_only(images, masks),
        "border only": masking.border_only(images),
        "shuffled": masking.shuffled(images, patches=8, seed=probed.model.seed),
        "marker": masking.with_marker(images, letters="L", corner="top right"),
    }
    labels = [probed.model.task.labels[int(probed.truth[i])] for i in take]
    return tuple(altered), tuple((label, [kind[i, 0] for kind in altered.values()]) for i, label in enumerate(labels))
