"""Saliency maps against the boxes that radiologists drew: of positive test images, for the positive class.

Pointing game (Zhang et al. 2016): the share of images whose greatest point lies in a box; the share of the evidence in
the boxes over their share of the image (after Wang et al., Score-CAM, 2020). To read them: the same for the image's
centre, for the network with random weights (Adebayo et al. 2018), and for the teacher and other rivals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import NotMeasurable, cells, measures, section
from pocketcxr.audit.model.probes.saliency import COARSEST
from pocketcxr.data.boxes import box_mask
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.imaging.resize import resize
from pocketcxr.inference.saliency import evidence_map
from pocketcxr.report.formatting import number, percent, with_interval
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.audit.model.probes.saliency import Randomised
    from pocketcxr.bundle.contract import Predict
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Section

RANDOM = "random weights"

_FEWEST = 10
_FIGURES = ("pointing", "inside", "area", "ratio")


@dataclass(frozen=True)
class BoxedSaliency:
    """Figures ``NAME F`` of each model, F of `_FIGURES`; ``centre``, ``beyond_centre`` and ``beyond_random``.

    `name` of the model under audit; `speaking` counts the images whose map has evidence, by model; `best_point` is the
    share of images with a box at the one point that lies in most of them, chosen on these very images.
    """

    name: str
    estimates: dict[str, Estimate]
    images: int
    speaking: dict[str, int]
    best_point: float
    without_maps: tuple[str, ...]


def measure(
    model: AuditedModel,
    boxes: Mapping[str, NDArray[np.float64]],
    rivals: Mapping[str, Predict],
    randomised: Randomised | None = None,
) -> BoxedSaliency:
    """Compare the maps of positive test images with their boxes.

    Args:
        model: the model under audit.
        boxes: path of an image to its boxes [k, 4], x0, y0, x1, y1 as shares of the network's square input.
        rivals: other models by name, which get the same images.
        randomised: as for the saliency sanity check; the last, with all layers randomised, is the control.

    Raises:
        NotMeasurable: too few positive test images have boxes, or the model gives no maps or too coarse ones.
    """
    has_box = np.array([len(boxes.get(row.path, ())) > 0 for row in model.rows])
    boxed = int((has_box & model.is_positive).sum())
    if boxed < _FEWEST:
        raise NotMeasurable(f"{boxed} positive test images have boxes that somebody drew, expected {_FEWEST} or more")
    places = model.sample(model.config.probe_images, has_box & model.is_positive)
    own = model.test.outputs.saliency
    if own is None or not _fine(own):
        raise NotMeasurable("this model gives no maps, or too coarse ones to lie in a box or beside it")
    maps: dict[str, NDArray[np.float32] | None] = {model.name: own[places]}
    others = {**rivals, **({RANDOM: list(randomised())[-1][1]} if randomised else {})}
    for name, predict in others.items():
        maps[name] = model.outputs_of(predict, model.test.positions[places], f"boxes: {name}").saliency
    rows, side = model.rows, model.dataset.pixels.shape[1]
    masks = np.stack([box_mask(boxes[rows[place].path], side) for place in places])
    found = {
        name: in_boxes(one, masks, positive=model.task.positive_index)
        for name, one in maps.items()
        if one is not None and _fine(one)
    }
    area, centre = masks.mean(axis=(1, 2)), masks[:, side // 2, side // 2].astype(np.float64)

    def figures(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        values, total = {}, weights.sum(axis=1)
        for name, (pointed, inside) in found.items():
            speaks = np.isfinite(inside)
            values[f"{name} pointing"] = weights @ pointed / total
            with np.errstate(divide="ignore", invalid="ignore"):
                spoken = weights[:, speaks].sum(axis=1)
                values[f"{name} inside"] = weights[:, speaks] @ inside[speaks] / spoken
                values[f"{name} area"] = weights[:, speaks] @ area[speaks] / spoken
                values[f"{name} ratio"] = values[f"{name} inside"] / values[f"{name} area"]
        values["centre"] = weights @ centre / total
        values["beyond_centre"] = values[f"{model.name} pointing"] - values["centre"]
        if RANDOM in found:
            values["beyond_random"] = values[f"{model.name} pointing"] - values[f"{RANDOM} pointing"]
        return values

    return BoxedSaliency(
        model.name,
        model.estimates(figures, places),
        len(places),
        {name: int(np.isfinite(inside).sum()) for name, (_, inside) in found.items()},
        float(masks.mean(axis=0).max()),
        tuple(name for name in maps if name not in found),
    )


def in_boxes(
    maps: NDArray[np.float32], masks: NDArray[np.bool_], *, positive: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much of each map lies in the boxes.

    Args:
        maps: class activation maps [n, classes, rows, columns].
        masks: boxes taken together [n, s, s].
        positive: the class whose evidence is meant.

    Returns:
        Share of the greatest points that lies inside [n], 0 or 1 unless several are equal; share of the positive
        evidence inside [n], NaN where there is none.
    """
    pointed, inside = np.zeros(len(maps)), np.full(len(maps), np.nan)
    for place, (one, mask) in enumerate(zip(maps, masks, strict=True)):
        evidence = evidence_map(one, positive, temperature=1.0)
        lowest, extent = evidence.min(), max(float(np.ptp(evidence)), 1e-12)
        large = resize(((evidence - lowest) / np.float32(extent)).astype(np.float32), size=len(mask))
        pointed[place] = mask[large >= large.max()].mean()
        if evidence.max() > 0:
            positive_part = resize(np.maximum(evidence, 0) / evidence.max(), size=len(mask)).astype(np.float64)
            inside[place] = positive_part[mask].sum() / positive_part.sum()
    return pointed, inside


def describe(found: BoxedSaliency) -> Section:
    """Pointing game and share of the evidence, with what they must be compared with."""
    figures = found.estimates
    control = not_measurable(
        f"{RANDOM}: no maps to compare with (a bundle's can be made where the extra train is installed)"
    )
    named = {
        "pointing": figures[f"{found.name} pointing"],
        "centre": figures["centre"],
        "random": figures.get(f"{RANDOM} pointing", control),
        "beyond_centre": figures["beyond_centre"],
        "beyond_random": figures.get("beyond_random", control),
        "inside": figures[f"{found.name} inside"],
        "ratio": figures[f"{found.name} ratio"],
    }
    own = measures("boxes", named, images=found.images, area=percent(figures[f"{found.name} area"].value, 0))
    rows: list[tuple[str | int | None, ...]] = [
        (name, speaking, *cells(figures, (f"{name} {figure}" for figure in _FIGURES)))
        for name, speaking in found.speaking.items()
    ]
    rows.append(("centre of the image", None, with_interval(figures["centre"]), None, None, None))
    rows.append(("best fixed point", None, number(found.best_point, 2), None, None, None))
    note = (
        f"{found.images} positive images with boxes; evidence for the positive class. Ratio of the means, 1 as by "
        "chance. Best fixed point: the one in most boxes, chosen on these very images."
        + (f" Without maps: {', '.join(found.without_maps)}." if found.without_maps else "")
    )
    columns = ("map", "images with evidence", "maximum in a box", "evidence in boxes", "boxes' share of image", "ratio")
    summary = (
        f"Maximum of the map in a radiologist's box: {with_interval(named['pointing'])} of {found.images} positive "
        f"images; the image's centre: {with_interval(named['centre'])}; {RANDOM}: "
        + (with_interval(named["random"]) if named["random"].value is not None else "not measured")
        + f". Share of the evidence in the boxes over their share of the image: {with_interval(named['ratio'])}."
    )
    return section("boxes", summary, own, [Table("Maps against boxes", columns, tuple(rows), note)])


def _fine(maps: NDArray[np.float32]) -> bool:
    return min(maps.shape[2:]) >= COARSEST
