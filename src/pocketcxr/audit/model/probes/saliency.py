"""Saliency maps: the share of the evidence in the lungs, and the similarity of the maps once weights are random.

Share of the evidence inside the lungs against the lungs' share of the image (energy-based pointing game, Wang et al.,
Score-CAM, 2020); the classical pointing game (Zhang et al. 2016); and the sanity check of Adebayo et al. (2018): when
the weights are randomised from the last layer down, a map that stays the same explains the image, not the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import NotMeasurable, cells, measured, measures, section
from pocketcxr.audit.model.masking import widened
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.imaging.resize import resize
from pocketcxr.inference.saliency import evidence_map
from pocketcxr.report.formatting import number, with_interval
from pocketcxr.report.panels import Panel, panels, sheet
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.audit.model.lungs import Lungs
    from pocketcxr.bundle.contract import Predict
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Picture, Section

    Randomised = Callable[[], Iterable[tuple[str, Predict]]]
    Steps = tuple[tuple[str, float, float], ...]

COARSEST = 4
"""Rows and columns below which a map is too coarse to lie in or out of a lung."""

_FEWEST = 10
_RANDOMISED_IMAGES = 60
_FIGURES = ("inside", "area", "focus", "pointing")


@dataclass(frozen=True)
class SaliencyMaps:
    """Figures of `_FIGURES` over all images and ``F LABEL`` by true class; `area`, `pointed_area` of the lungs.

    `steps` of the sanity check: what was randomised, rank correlation and structural similarity. `truth` [n] of the
    images whose map has evidence; `examples` are overlays [s, s, 3] with their classes.
    """

    estimates: dict[str, Estimate]
    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    area: float
    pointed_area: float
    steps: Steps
    examples: tuple[tuple[str, NDArray[np.float32]], ...]


def measure(
    model: AuditedModel, lungs: Lungs, places: NDArray[np.int64], randomised: Randomised | None = None
) -> SaliencyMaps:
    """Compare the maps of test images with their lungs, and with maps of the network with random weights.

    Args:
        model: the model under audit.
        lungs: masks of these images.
        places: among the test images.
        randomised: gives pairs of what was randomised, from the last layer down, and the model with those weights.

    Raises:
        NotMeasurable: the model gives no maps, too coarse ones, or too few of them have evidence beside trusted lungs.
    """
    maps = _maps(model)
    kept = np.flatnonzero(lungs.trusted)
    all_evidence = [_evidence(maps[places[i]], int(model.test.predicted[places[i]])) for i in kept]
    speaking = [i for i, one in enumerate(all_evidence) if one.sum() > 0]
    if len(speaking) < _FEWEST:
        raise NotMeasurable(
            f"{len(kept)} of {len(places)} images have a lung mask to trust, {len(speaking)} a map with evidence"
        )
    kept, evidence = kept[speaking], np.stack([all_evidence[i] for i in speaking])
    masks, own, truth = lungs.masks[kept], places[kept], model.test.truth[places[kept]]
    inside, area, pointed, pointed_area = in_lungs(evidence, masks)
    values = dict(zip(_FIGURES, (inside, area, inside / area, pointed), strict=True))

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = {}
        for label in (None, *np.unique(truth).tolist()):
            keep = np.ones(len(truth), dtype=bool) if label is None else truth == label
            with np.errstate(divide="ignore", invalid="ignore"):
                total = weights[:, keep].sum(axis=1)
                for name, value in values.items():
                    key = name if label is None else f"{name} {model.task.labels[label]}"
                    found[key] = weights[:, keep] @ value[keep] / total
        return found

    shown_ones = [int(np.flatnonzero(truth == label)[i]) for label in np.unique(truth) for i in (0, -1)][:8]
    images = model.dataset.images(model.test.positions[own[shown_ones]])[:, 0]
    examples = [
        (model.task.labels[truth[i]], _overlay(image, evidence[i], masks[i]))
        for image, i in zip(images, shown_ones, strict=True)
    ]
    return SaliencyMaps(
        model.estimates(figures, own),
        model.task.labels,
        truth,
        float(area.mean()),
        float(pointed_area.mean()),
        randomised_steps(model, randomised, own),
        tuple(examples),
    )


def describe(found: SaliencyMaps) -> Section:
    """Share of the evidence in the lungs, and similarity after randomising."""
    figures, area = found.estimates, number(found.area, 2)
    named = {"in_lungs": figures["inside"], "focus": figures["focus"], "pointing": figures["pointing"]}
    own = measures("saliency", named, images=len(found.truth), area=area, pointed=number(found.pointed_area, 2))
    missing = "no models with randomised weights were given (a bundle's can be made where the extra train is installed)"
    last = abs(found.steps[-1][1]) if found.steps else not_measurable(missing)
    own.append(measured("saliency.randomised_similarity", last))
    tables = [
        Table(
            "Where the evidence lies, by true class",
            ("class", "images", "evidence in lungs", "lungs' share of image", "focus", "maximum in lung"),
            tuple(
                (
                    found.labels[label],
                    int((found.truth == label).sum()),
                    *cells(figures, (f"{name} {found.labels[label]}" for name in _FIGURES)),
                )
                for label in np.unique(found.truth).tolist()
            ),
            note="Evidence for the predicted class against the others, positive part. Focus 1: as by chance.",
        )
    ]
    summary = (
        f"Share of the evidence in the lungs: {with_interval(figures['inside'])}, which take {area} of the image; "
        f"ratio {with_interval(figures['focus'])}, 1 by chance."
    )
    if found.steps:
        summary += f" Rank correlation with maps of random weights: {number(found.steps[-1][1], 2)}."
        columns = ("randomised", "rank correlation", "structural similarity")
        note = "With the map of the untouched model; 1 is the same map."
        tables.append(Table("Maps after randomising weights, from the last layer down", columns, found.steps, note))
    return section("saliency", summary, own, tables, _pictures(found))


def in_lungs(
    evidence: NDArray[np.float32], masks: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """How much of each map lies in the lungs.

    Args:
        evidence: not negative, [n, rows, columns], each with something above 0.
        masks: bool [n, s, s].

    Returns:
        Share of the evidence inside [n]; share of the image inside [n]; whether the greatest point lies inside, with
        the probes' margin for a tolerance [n]; share of the image inside with that margin [n].
    """
    side = masks.shape[1]
    large = np.stack([_enlarged(one, side) for one in evidence])
    total = large.sum(axis=(1, 2), dtype=np.float64)
    inside = (large * masks).sum(axis=(1, 2), dtype=np.float64) / total
    wide = widened(masks)
    top = large.reshape(len(large), -1).argmax(axis=1)
    pointed = wide.reshape(len(wide), -1)[np.arange(len(wide)), top]
    return inside, masks.mean(axis=(1, 2)), pointed, wide.mean(axis=(1, 2))


def map_likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Spearman's rank correlation and structural similarity (Wang et al. 2004, one window) of two maps.

    Both maps are brought to [0, 1] first, for the similarity; a map without any structure is like nothing (0).
    """
    from scipy.stats import rankdata

    if np.ptp(one) <= 0 or np.ptp(other) <= 0:
        return 0.0, 0.0
    ranks = [rankdata(table.ravel()) for table in (one, other)]
    correlation = float(np.corrcoef(*ranks)[0, 1])
    a, b = ((table - table.min()) / np.ptp(table) for table in (one.astype(np.float64), other.astype(np.float64)))
    c1, c2 = 0.01**2, 0.03**2
    covariance = float(((a - a.mean()) * (b - b.mean())).mean())
    light = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
    structure = (2 * covariance + c2) / (a.var() + b.var() + c2)
    return correlation, float(light * structure)


def randomised_steps(model: AuditedModel, randomised: Randomised | None, places: NDArray[np.int64]) -> Steps:
    """What was randomised, and rank correlation and structural similarity with the real maps, means over images.

    Empty where no randomised models were given or they give no maps.
    """
    if randomised is None:
        return ()
    places, maps = places[:_RANDOMISED_IMAGES], _maps(model)
    steps = []
    for what, predict in randomised():
        spoilt = model.outputs_of(predict, model.test.positions[places], f"randomised: {what}").saliency
        if spoilt is None:
            return ()
        pairs = zip(maps[places], spoilt, model.test.predicted[places].tolist(), strict=True)
        likeness = [
            map_likeness(evidence_map(a, label, temperature=1.0), evidence_map(b, label, temperature=1.0))
            for a, b, label in pairs
        ]
        correlation, similarity = np.mean(likeness, axis=0).tolist()
        steps.append((what, correlation, similarity))
    return tuple(steps)


def _maps(model: AuditedModel) -> NDArray[np.float32]:
    maps = model.test.outputs.saliency
    if maps is None:
        raise NotMeasurable("this model gives no maps")
    if min(maps.shape[2:]) < COARSEST:
        size = f"{maps.shape[2]} x {maps.shape[3]}"
        raise NotMeasurable(f"its maps have {size} cells, too coarse to lie in a lung or beside it")
    return maps


def _evidence(maps: NDArray[np.float32], position: int) -> NDArray[np.float32]:
    """What speaks for one class against the others, not negative [rows, columns]."""
    return np.maximum(evidence_map(maps, position, temperature=1.0), 0)


def _enlarged(evidence: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    return resize((evidence / float(evidence.max())).astype(np.float32), size=side)


def _pictures(found: SaliencyMaps) -> tuple[Picture, ...]:
    pictures = [
        sheet(
            "Where the evidence lies",
            [[one for _, one in found.examples]],
            columns=[label for label, _ in found.examples],
            alt="Test images with the evidence for the predicted class in red and the outline of the lungs in blue.",
            note="Red: evidence for the predicted class. Blue: outline of the lungs found. Above: the true class.",
        )
    ]
    if len(found.steps) > 1:
        lines = {
            name: [(float(i), float(step[column])) for i, step in enumerate(found.steps)]
            for column, name in ((1, "rank correlation"), (2, "structural similarity"))
        }
        axis, names = "weights randomised, from the last layer down", [what for what, *_ in found.steps]
        panel = Panel("", lines, axis, "similarity to the map", names, -0.5, 1.0, level=0.0)
        alt = "; ".join(f"{what}: rank correlation {number(value, 2)}" for what, value, _ in found.steps)
        pictures.append(panels("Maps after randomising weights", [panel], columns=1, alt=alt))
    return tuple(pictures)


def _overlay(image: NDArray[np.float32], evidence: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    from scipy import ndimage

    strength = np.clip(_enlarged(evidence, len(image)), 0, 1)[..., None] * 0.6
    rgb = np.repeat(image[..., None], 3, axis=2) * (1 - strength) + strength * np.array([1.0, 0.15, 0.1], np.float32)
    inner = np.asarray(ndimage.binary_erosion(mask, iterations=max(1, len(image) // 112)), dtype=bool)
    rgb[mask & ~inner] = (0.2, 0.6, 1.0)
    return rgb.astype(np.float32)
