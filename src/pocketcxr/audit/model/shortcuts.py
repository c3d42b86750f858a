"""Does it look at the lungs? Probes that take away what should matter, or change what should not.

A network that still tells the classes apart without lungs reads something else: the hospital's border and markers, the
body's outline, the contrast (Maguolo and Nanni 2021; DeGrave, Janizek and Lee 2021; Zech et al. 2018). Some of that is
medicine (a sick person's film is taken lying down), so a little skill without lungs is no proof of a fault; most of the
skill is.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model import masking as probes
from pocketcxr.audit.model.appearance_shift import CHANGE_KEYS, Probed, changes, source_share
from pocketcxr.audit.model.audited_model import figures_with_intervals
from pocketcxr.evaluation.metrics import macro_auroc
from pocketcxr.report.formatting import number, percent, with_interval
from pocketcxr.report.panels import bars, overlay, sheet
from pocketcxr.report.types import Measure, Section, Table, measure, missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.audit.model.lungs import Lungs
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Picture

LEAST_SKILL = 0.6
"""AUROC on the untouched images below which there is no skill that could come from a shortcut."""

_FEWEST = 20


def shortcuts(subject: AuditedModel, lungs: Lungs, places: NDArray[np.int64]) -> Section:
    """Ask the probes of test images at `places`, whose lungs are `lungs`."""
    title = "Does it look at the lungs, or at something else?"
    trusted = lungs.trusted
    found = Counter(lungs.reasons)
    coverage = Measure(
        "lungs.trusted",
        "Images whose lungs were found",
        float(trusted.mean()) if len(trusted) else None,
        "Share of the images asked whose lung mask is plausible (two lungs side by side, of likely "
        "size). The others are "
        "left out of all probes that need a mask.",
        advice="Below 0.8 the probes speak of the easy films only: look at the overlays.",
        images=len(trusted),
    )
    kept = places[trusted]
    if len(kept) < _FEWEST:
        why = f"only {len(kept)} of {len(places)} test images have a lung mask to trust, {_FEWEST} are needed"
        rest = [missing(key, name, why) for key, name in (_KEYS | CHANGE_KEYS).items()]
        return Section("shortcuts", title, f"Not measurable: {why}.", (coverage, *rest, source_share(subject)))
    probed = Probed(
        subject,
        kept,
        subject.dataset.images(subject.test.positions[kept]),
        lungs.masks[trusted],
        subject.test.probabilities[kept],
    )
    asked = _asked(probed)
    figures = figures_with_intervals(
        lambda weights: _figures(probed, asked, weights),
        subject.members[kept],
        config=subject.config,
        seed=subject.seed,
    )
    changed, tables = changes(probed)
    measures = [coverage, *_lung_measures(figures, len(kept)), *changed, source_share(subject)]
    reasons = Table(
        "Lung masks",
        ("what became of them", "images"),
        (("trusted", int(trusted.sum())), *((reason, count) for reason, count in found.items() if reason)),
    )
    rows = tuple(
        (
            name,
            with_interval(figures[f"auroc {name}"]),
            with_interval(figures[f"accuracy {name}"]),
            with_interval(figures[f"changed {name}"]),
            float(np.abs(asked[name] - probed.plain).sum(axis=1).mean() / 2),
        )
        for name in asked
    )
    table = Table(
        "What is left when a part is taken away",
        ("probe", "AUROC, mean of classes", "accuracy", "answers changed", "probability moved"),
        rows,
        note="Probability moved: mean total variation distance, 0 (same answer) to 1 (opposite certainty).",
    )
    return Section(
        "shortcuts",
        title,
        _summary(figures),
        tuple(measures),
        (table, *tables, reasons),
        _pictures(probed, figures, asked),
    )


_KEYS = {
    "shortcuts.untouched_auroc": "AUROC on the same images untouched",
    "shortcuts.lungs_out_auroc": "AUROC with the lungs blacked out",
    "shortcuts.box_out_auroc": "AUROC with the lungs' whole box blacked out",
    "shortcuts.border_only_auroc": "AUROC from the border alone",
    "shortcuts.lungs_only_auroc": "AUROC from the lungs alone",
    "shortcuts.shuffled_auroc": "AUROC with patches in another order",
    "shortcuts.kept_without_lungs": "Share of the skill that is kept without lungs",
    "shortcuts.kept_without_box": "Share of the skill that is kept without the lungs' whole box",
}


def _asked(probed: Probed) -> dict[str, NDArray[np.float64]]:
    images, masks, seed = probed.images, probed.masks, probed.subject.seed
    changed = {
        "lungs blacked out": lambda: probes.lungs_out(images, masks),
        "lungs' box blacked out": lambda: probes.box_out(images, masks),
        "lungs only": lambda: probes.lungs_only(images, masks),
        "border only": lambda: probes.border_only(images),
        "shuffled, 4 x 4": lambda: probes.shuffled(images, patches=4, seed=seed),
        "shuffled, 8 x 8": lambda: probes.shuffled(images, patches=8, seed=seed),
    }
    return {"untouched": probed.plain} | {name: probed.ask(make(), name) for name, make in changed.items()}


def _figures(
    probed: Probed, asked: dict[str, NDArray[np.float64]], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    truth, total, found = probed.truth, weights.sum(axis=1), {}
    before = probed.plain.argmax(axis=1)
    for name, probabilities in asked.items():
        predicted = probabilities.argmax(axis=1)
        found[f"auroc {name}"] = macro_auroc(probabilities, truth, weights, skip_absent=True)
        found[f"accuracy {name}"] = weights @ (predicted == truth) / total
        found[f"changed {name}"] = weights @ (predicted != before) / total
    skill = found["auroc untouched"] - 0.5
    for name in ("lungs blacked out", "lungs' box blacked out", "border only"):
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = (found[f"auroc {name}"] - 0.5) / skill
        # a resample in which the model has no skill at all has no share of it either
        found[f"kept {name}"] = np.where(skill > LEAST_SKILL - 0.5, kept, np.nan)
    return found


def _lung_measures(figures: dict[str, Estimate], images: int) -> list[Measure]:
    def auroc(key: str, probe: str, meaning: str, advice: str) -> Measure:
        name = f"auroc {probe}"
        return measure(key, _KEYS[key], figures[name], meaning, advice=advice, unit="auroc", images=images)

    untouched = figures["auroc untouched"]
    shares = [
        _kept(key, figures[f"kept {probe}"], untouched, words, images)
        for key, probe, words in (
            ("shortcuts.kept_without_lungs", "lungs blacked out", "the lungs, of which only the outline is left"),
            ("shortcuts.kept_without_box", "lungs' box blacked out", "the whole box around the lungs"),
        )
    ]
    return [
        measure(
            "shortcuts.untouched_auroc",
            _KEYS["shortcuts.untouched_auroc"],
            untouched,
            "What the probes are compared with; mean of the classes against the rest.",
            unit="auroc",
            images=images,
        ),
        auroc(
            "shortcuts.lungs_out_auroc",
            "lungs blacked out",
            "What the model still knows when it sees no lung, only its outline. 0.5 is a guess.",
            "Well above 0.5: a shortcut is likely; the border-only and look probes say where it lies.",
        ),
        auroc(
            "shortcuts.box_out_auroc",
            "lungs' box blacked out",
            "The same with the whole box around the lungs gone: heart and outline too. What is left is "
            "shoulders, belly, "
            "borders and markers.",
            "Well above 0.5: the class is told by what surrounds the chest; crop to the lungs and train again, or "
            "balance the sources.",
        ),
        auroc(
            "shortcuts.border_only_auroc",
            "border only",
            f"What the model knows from the outer {100 * probes.BORDER:.0f} % of each side: collimator, markers, tags.",
            "Well above 0.5: crop borders and blank markers, then train again.",
        ),
        auroc(
            "shortcuts.lungs_only_auroc",
            "lungs only",
            "What is left with everything but the lungs gone: a model that reads lungs should keep most of its skill.",
            "Near 0.5 although the untouched AUROC is high: the model needs something outside the lungs.",
        ),
        auroc(
            "shortcuts.shuffled_auroc",
            "shuffled, 8 x 8",
            "What is left when pieces lie in another order: grey values and texture without anatomy.",
            "Near the untouched AUROC: the model reads contrast or texture of the film, not where something is.",
        ),
        *shares,
    ]


def _kept(key: str, kept: Estimate, untouched: Estimate, words: str, images: int) -> Measure:
    """Share of the skill that is left when a part is gone, or why there is none to lose."""
    if kept.value is None:
        why = f"untouched AUROC is {number(untouched.value, 2)}, below {LEAST_SKILL}: there is no skill to lose"
        return missing(key, _KEYS[key], why)
    return measure(
        key,
        _KEYS[key],
        kept,
        f"(AUROC − 0.5) without {words}, over (AUROC − 0.5) untouched, where AUROC is {number(untouched.value, 2)}. "
        "0: nothing is left, 1: what was taken away is not needed.",
        advice="Above 0.5 the model is not reading lungs in the main: find what it reads before anything else.",
        images=images,
    )


def _summary(figures: dict[str, Estimate]) -> str:
    plain, box = figures["auroc untouched"].value, figures["auroc lungs' box blacked out"].value
    only, kept = figures["auroc lungs only"].value, figures["kept lungs blacked out"].value
    words = (
        f"AUROC {number(plain, 2)} untouched, {number(figures['auroc lungs blacked out'].value, 2)} with the "
        "lungs blacked out, "
        f"{number(box, 2)} with their whole box gone, {number(only, 2)} from the lungs alone"
    )
    if kept is None:
        return f"{words}; the model has too little skill for a shortcut to show."
    return f"{words}: {percent(min(max(kept, 0.0), 1.0), 0)} of the skill is kept without the lungs."


def _pictures(
    probed: Probed, figures: dict[str, Estimate], asked: dict[str, NDArray[np.float64]]
) -> tuple[Picture, ...]:
    drawn = [
        (name, figure.value, figure.low, figure.high)
        for name in asked
        if (figure := figures[f"auroc {name}"]).value is not None
    ]
    pictures = []
    if drawn:
        pictures.append(
            bars(
                "AUROC under each probe",
                drawn,
                x="AUROC, mean of classes, 95 % interval by patient (dotted: a guess)",
                alt="; ".join(f"{name} {number(value, 2)}" for name, value, *_ in drawn),
                low=0.2,
                level=0.5,
            )
        )
    shown_places = [int(np.flatnonzero(probed.truth == label)[0]) for label in np.unique(probed.truth)][:4]
    take = np.array(shown_places)
    images, masks = probed.images[take], probed.masks[take]
    changed = (
        probes.lungs_out(images, masks),
        probes.box_out(images, masks),
        probes.lungs_only(images, masks),
        probes.border_only(images),
        probes.shuffled(images, patches=8, seed=probed.subject.seed),
        probes.with_marker(images, letters="L", corner="top right"),
    )
    rows = [
        [images[i, 0], overlay(images[i, 0], masks[i], colour=(1.0, 0.45, 0.1)), *(kind[i, 0] for kind in changed)]
        for i in range(len(take))
    ]
    pictures.append(
        sheet(
            "What the model was shown",
            rows,
            columns=("film", "lungs found", "lungs out", "box out", "lungs only", "border only", "shuffled", "marker"),
            names=[probed.subject.task.labels[int(probed.truth[i])] for i in take],
            alt="One test image of each class under every probe, with the lung mask that was found.",
        )
    )
    return tuple(pictures)
