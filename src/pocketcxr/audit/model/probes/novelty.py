"""Out-of-distribution detection: novelty of foreign images against test images, by kind and by source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import NotMeasurable, cells, interval_bars, measured, measures, section
from pocketcxr.audit.model.distortions import rotated
from pocketcxr.evaluation.intervals import Estimate
from pocketcxr.evaluation.metrics import auroc
from pocketcxr.report.formatting import number, percent, slug
from pocketcxr.report.panels import sheet
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.report.types import Section

CUT_OFF = 1.0
"""Novelty above which a bundle refuses an image."""

ALTERED = ("inverted X-ray", "X-ray on its side", "X-ray upside down")
"""Out-of-distribution images that the audit makes of test images itself."""

_SURE = 0.9
_FEWEST = 10


@dataclass(frozen=True)
class Kind:
    """Images of one kind: `novelty` [n], `confident` [n] where accepted with 0.9 or more, AUROC, one image [s, s]."""

    novelty: NDArray[np.float64]
    confident: NDArray[np.bool_]
    auroc: float
    example: NDArray[np.float32]

    @property
    def refused(self) -> float:
        """Share above the cut-off."""
        return float((self.novelty > CUT_OFF).mean())


@dataclass(frozen=True)
class Novelty:
    """All kinds by name, those `given` by the caller; AUROC of the counted kinds together.

    Of the test images: share refused over ``all`` and by source (`refused`), novelty and source of each [n].
    """

    kinds: Mapping[str, Kind]
    given: tuple[str, ...]
    auroc: float
    refused: dict[str, Estimate]
    novelty: NDArray[np.float64]
    sources: NDArray[np.str_]

    @property
    def counted(self) -> tuple[str, ...]:
        """Kinds that the overall figures rest on: those given, else those made of test images."""
        return self.given or ALTERED


def measure(model: AuditedModel, ood: Mapping[str, NDArray[np.float32]] | None = None) -> Novelty:
    """Compare the novelty of out-of-distribution images with that of the test images.

    Args:
        model: the model under audit.
        ood: kind to images [n, 1, size, size], from `ood_images.load_ood`; inverted and turned X-rays are made here.

    Raises:
        NotMeasurable: the model gives no novelty.
    """
    if model.test.outputs.novelty is None:
        raise NotMeasurable("this model gives no novelty; only an exported bundle does")
    own = model.test.outputs.novelty.astype(np.float64)
    most = model.config.ood_images
    given = {kind: images[:most] for kind, images in (ood or {}).items() if len(images) >= _FEWEST}
    kinds = {}
    for kind, images in (given | _altered(model)).items():
        outputs = model.outputs_for(images, f"novelty of {kind}")
        assert outputs.novelty is not None
        values = outputs.novelty.astype(np.float64)
        confident = (outputs.probabilities.max(axis=1) >= _SURE) & (outputs.novelty <= CUT_OFF)
        kinds[kind] = Kind(values, confident, _area(values, own), images[0, 0])
    everything = np.concatenate([kinds[kind].novelty for kind in given or ALTERED])
    over = own > CUT_OFF

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = {"all": weights @ over / weights.sum(axis=1)}
        for source in np.unique(model.sources).tolist():
            inside = model.sources == source
            with np.errstate(divide="ignore", invalid="ignore"):
                found[source] = weights[:, inside] @ over[inside] / weights[:, inside].sum(axis=1)
        return found

    return Novelty(kinds, tuple(given), _area(everything, own), model.estimates(figures), own, model.sources)


def describe(found: Novelty) -> Section:
    """AUROC of novelty, and shares refused by kind and by source."""
    kinds, counted = found.kinds, found.counted
    values = np.concatenate([kinds[kind].novelty for kind in counted])
    confident = np.concatenate([kinds[kind].confident for kind in counted])
    worst = min(counted, key=lambda kind: kinds[kind].refused)
    note = "" if found.given else " Only images that the audit made of test images: no others were given."
    overall = {"auroc": found.auroc, "refused": float((values > CUT_OFF).mean())}
    own = measures("novelty", overall, images=len(values), note=note, cut_off=f"{CUT_OFF:g}")
    own += [
        measured("novelty.least_refused", kinds[worst].refused, images=len(kinds[worst].novelty), worst=worst),
        measured("novelty.answered_confidently", float(confident.mean()), images=len(values), sure=_SURE),
        *(
            measured(f"novelty.refused.{slug(kind)}", one.refused, images=len(one.novelty), name=kind)
            for kind, one in kinds.items()
        ),
        measured("novelty.false_refusals", found.refused["all"], images=len(found.novelty)),
    ]
    tables = (
        Table(
            "Out-of-distribution images",
            ("kind", "images", "AUROC of novelty", "refused", "answered with 0.9 or more", "median novelty"),
            tuple(
                (
                    kind,
                    len(one.novelty),
                    one.auroc,
                    one.refused,
                    float(one.confident.mean()),
                    float(np.median(one.novelty)),
                )
                for kind, one in kinds.items()
            ),
            note="Refused by novelty alone; header and colour refuse many of them before (not counted here).",
        ),
        Table(
            "Test images refused, by source",
            ("source", "images", "refused", "median novelty"),
            tuple(
                (source, int(inside.sum()), *cells(found.refused, (source,)), float(np.median(found.novelty[inside])))
                for source in np.unique(found.sources).tolist()
                for inside in (found.sources == source,)
            ),
        ),
    )
    pictures = (
        *interval_bars(
            "Refused by novelty",
            [
                *((f"{kind} ({len(one.novelty)})", Estimate(one.refused)) for kind, one in kinds.items()),
                ("test images", found.refused["all"]),
            ],
            x="share refused",
        ),
        sheet(
            "One of each kind",
            [[one.example for one in kinds.values()]],
            columns=[f"{kind}\n{one.novelty[0]:.2f}" for kind, one in kinds.items()],
            alt="One image of each out-of-distribution kind with its novelty.",
            note="Below each name: its novelty, 1.00 at the cut-off.",
        ),
    )
    summary = (
        f"AUROC of novelty {number(found.auroc, 2)}. Refused: {percent(overall['refused'], 0)} of the "
        f"out-of-distribution images, {percent(found.refused['all'].value, 0)} of the test images; least: {worst} "
        f"({percent(kinds[worst].refused, 0)})."
    )
    return section("novelty", summary, own, tables, pictures)


def _altered(model: AuditedModel) -> dict[str, NDArray[np.float32]]:
    images = model.dataset.images(model.test.positions[model.sample(model.config.ood_images)])
    turned = [np.stack([rotated(image[0], degrees)[None] for image in images]) for degrees in (90, 180)]
    made = (1 - images, *turned)
    return {kind: np.clip(changed, 0, 1).astype(np.float32) for kind, changed in zip(ALTERED, made, strict=True)}


def _area(foreign: NDArray[np.float64], own: NDArray[np.float64]) -> float:
    return auroc(np.concatenate([foreign, own]), np.repeat([True, False], [len(foreign), len(own)]))
