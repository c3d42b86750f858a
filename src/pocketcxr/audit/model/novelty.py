"""Does it notice what it was not made for? Novelty of strangers against test images, source by source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.audited_model import figures_with_intervals
from pocketcxr.audit.model.distortions import rotated
from pocketcxr.evaluation.metrics import auroc
from pocketcxr.report.formatting import number, percent, slug, with_interval
from pocketcxr.report.panels import bars, sheet
from pocketcxr.report.types import Measure, Section, Table, measure, missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel

CUT_OFF = 1.0
"""Novelty above which a bundle refuses a picture."""

MADE = ("inverted X-ray", "X-ray on its side", "X-ray upside down")
"""Strangers that the audit makes of test images itself."""

_TITLE = "Does it notice what it was not made for?"
_KEYS = {
    "novelty.auroc": "Strangers told from test images by novelty",
    "novelty.refused": "Strangers refused",
    "novelty.least_refused": "Strangers refused, worst kind",
    "novelty.false_refusals": "Test images refused",
    "novelty.answered_confidently": "Strangers that get an answer of 0.9 or more",
}
_SURE = 0.9
_FEWEST = 10


def novelty(subject: AuditedModel, strangers: Mapping[str, NDArray[np.float32]]) -> Section:
    """Compare the novelty of strangers with that of the test images.

    Args:
        subject: the model under audit.
        strangers: kind to images [n, 1, size, size], from `model_strangers.load_strangers`; may be empty. Inverted and
            turned X-rays are made here.
    """
    own = subject.test.outputs.novelty
    if own is None:
        why = "this model gives no novelty; only an exported bundle does"
        return Section(
            "novelty", _TITLE, f"Not measurable: {why}.", tuple(missing(k, t, why) for k, t in _KEYS.items())
        )
    given = {kind: images[: subject.config.strangers] for kind, images in strangers.items() if len(images) >= _FEWEST}
    kinds = given | _made(subject)
    found = {}
    sure = {}
    for kind, images in kinds.items():
        outputs = subject.ask(images, f"novelty of {kind}")
        assert outputs.novelty is not None
        found[kind] = outputs.novelty.astype(np.float64)
        sure[kind] = (outputs.probabilities.max(axis=1) >= _SURE) & (outputs.novelty <= CUT_OFF)
    own = own.astype(np.float64)
    refused = {kind: float((values > CUT_OFF).mean()) for kind, values in found.items()}
    areas = {kind: _area(values, own) for kind, values in found.items()}
    figures = figures_with_intervals(
        lambda weights: _figures(subject, own, weights), subject.members, config=subject.config, seed=subject.seed
    )
    measures = _measures(given, found, own, refused, sure)
    measures.append(
        measure(
            "novelty.false_refusals",
            _KEYS["novelty.false_refusals"],
            figures["all"],
            "Share of test images above the cut-off; it was set to 1 % on the calibration split.",
            advice="Above 0.05: the test images differ from the training images; see which source.",
            images=len(own),
        )
    )
    rows = tuple(
        (kind, len(values), areas[kind], refused[kind], float(sure[kind].mean()), float(np.median(values)))
        for kind, values in found.items()
    )
    tables = (
        Table(
            "Strangers",
            ("kind", "images", "AUROC of novelty", "refused", "answered with 0.9 or more", "median novelty"),
            rows,
            note="Refused by novelty alone; header and colour refuse many of them before (not counted here).",
        ),
        Table(
            "Test images refused, by source",
            ("source", "images", "refused", "median novelty"),
            tuple(
                (
                    source,
                    int((subject.sources == source).sum()),
                    with_interval(figures[source]),
                    float(np.median(own[subject.sources == source])),
                )
                for source in np.unique(subject.sources).tolist()
            ),
        ),
    )
    by_key = {one.key: one for one in measures}
    summary = (
        f"{percent(by_key['novelty.refused'].value, 0)} of the strangers are refused and "
        f"{percent(figures['all'].value, 0)} of the "
        f"test images; novelty tells the two apart with AUROC {number(by_key['novelty.auroc'].value, 2)}. The kind "
        f"that is noticed least: {min(refused, key=lambda kind: refused[kind])}."
    )
    drawn: list[tuple[str, float, float | None, float | None]] = [
        (f"{kind} ({len(found[kind])})", refused[kind], None, None) for kind in found
    ]
    drawn.append(("test images", float((own > CUT_OFF).mean()), figures["all"].low, figures["all"].high))
    pictures = (
        bars(
            "Refused by novelty",
            drawn,
            x="share refused",
            alt="; ".join(f"{kind} {number(v, 2)}" for kind, v, *_ in drawn),
        ),
        sheet(
            "One of each kind",
            [[images[0, 0] for images in kinds.values()]],
            columns=[f"{kind}\n{found[kind][0]:.2f}" for kind in kinds],
            alt="One picture of each kind of stranger with its novelty.",
            note="Below each name: its novelty, 1.00 at the cut-off.",
        ),
    )
    return Section("novelty", _TITLE, summary, tuple(measures), tables, pictures)


def _made(subject: AuditedModel) -> dict[str, NDArray[np.float32]]:
    images = subject.dataset.images(subject.test.positions[subject.sample(subject.config.strangers)])
    turned = [np.stack([rotated(image[0], degrees)[None] for image in images]) for degrees in (90, 180)]
    made = (1 - images, *turned)
    return {kind: np.clip(pictures, 0, 1).astype(np.float32) for kind, pictures in zip(MADE, made, strict=True)}


def _area(strange: NDArray[np.float64], own: NDArray[np.float64]) -> float:
    return auroc(np.concatenate([strange, own]), np.repeat([True, False], [len(strange), len(own)]))


def _figures(
    subject: AuditedModel, own: NDArray[np.float64], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    over = own > CUT_OFF
    found = {"all": weights @ over / weights.sum(axis=1)}
    for source in np.unique(subject.sources).tolist():
        inside = subject.sources == source
        with np.errstate(divide="ignore", invalid="ignore"):
            found[source] = weights[:, inside] @ over[inside] / weights[:, inside].sum(axis=1)
    return found


def _measures(
    given: Mapping[str, NDArray[np.float32]],
    found: dict[str, NDArray[np.float64]],
    own: NDArray[np.float64],
    refused: dict[str, float],
    sure: dict[str, NDArray[np.bool_]],
) -> list[Measure]:
    spoken = list(given) or list(MADE)
    whose = "" if given else " Only pictures that the audit made of test images: no strangers were given."
    everything = np.concatenate([found[kind] for kind in spoken])
    worst = min(spoken, key=lambda kind: refused[kind])
    count = len(everything)
    measures = [
        Measure(
            "novelty.auroc",
            _KEYS["novelty.auroc"],
            _area(everything, own),
            f"Chance that a stranger is more novel than a test image; 0.5 is a guess.{whose}",
            unit="auroc",
            images=count,
        ),
        Measure(
            "novelty.refused",
            _KEYS["novelty.refused"],
            float((everything > CUT_OFF).mean()),
            f"Share of strangers above the cut-off of {CUT_OFF:g}; the rest gets an answer as if it were "
            f"a chest X-ray.{whose}",
            advice="Below 0.8: keep people from feeding it other pictures, or train it with them as negatives.",
            images=count,
        ),
        Measure(
            "novelty.least_refused",
            f"{_KEYS['novelty.least_refused']}: {worst}",
            refused[worst],
            "The kind of stranger that is noticed least.",
            images=len(found[worst]),
        ),
        Measure(
            "novelty.answered_confidently",
            _KEYS["novelty.answered_confidently"],
            float(np.concatenate([sure[kind] for kind in spoken]).mean()),
            f"Share of strangers that are not refused and get a class with a probability of {_SURE} or more.",
            advice="These are the dangerous ones: a confident diagnosis of something that is no chest X-ray.",
            images=count,
        ),
    ]
    measures += [
        Measure(
            f"novelty.refused.{slug(kind)}",
            f"Refused: {kind}",
            refused[kind],
            "Share above the cut-off.",
            images=len(found[kind]),
        )
        for kind in found
    ]
    return measures
