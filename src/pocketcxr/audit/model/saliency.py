"""Do the maps fall in the lungs, and are they maps of this network at all?

Share of the evidence inside the lungs against the lungs' share of the picture (energy-based pointing game, Wang et al.,
Score-CAM, 2020); the classical pointing game (Zhang et al. 2016); and the sanity check of Adebayo et al. (2018): when
the weights are randomised from the last layer down, a map that stays the same explains the picture, not the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.audited_model import figures_with_intervals
from pocketcxr.audit.model.masking import widened
from pocketcxr.audit.model.saliency_sanity import SANITY_KEY, SANITY_TITLE, randomised_steps, sanity
from pocketcxr.imaging.resize import resize
from pocketcxr.inference.saliency import evidence_map
from pocketcxr.report.formatting import number, with_interval
from pocketcxr.report.panels import Panel, panels, sheet
from pocketcxr.report.types import Measure, Section, Table, measure, missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.audit.model.lungs import Lungs
    from pocketcxr.audit.model.saliency_sanity import Randomised
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Picture


COARSEST = 4
"""Rows and columns below which a map is too coarse to lie in or out of a lung."""

_TITLE = "Does it look at the lungs, and do its maps say so honestly?"
_KEYS = {
    "saliency.in_lungs": "Evidence that lies in the lungs",
    "saliency.focus": "Evidence in the lungs over the lungs' share of the picture",
    "saliency.pointing": "Strongest point lies in a lung",
    SANITY_KEY: SANITY_TITLE,
}
_FEWEST = 10


def saliency(
    subject: AuditedModel, lungs: Lungs, places: NDArray[np.int64], randomised: Randomised | None = None
) -> Section:
    """Judge the maps of test images at `places`, whose lungs are `lungs`.

    Args:
        subject: the model under audit.
        lungs: masks of these images.
        places: among the test images.
        randomised: gives pairs of what was randomised, from the last layer down, and the model so spoilt.
    """
    maps = subject.test.outputs.saliency
    why = _why_not(maps)
    if why or maps is None:
        return Section(
            "saliency", _TITLE, f"Not measurable: {why}.", tuple(missing(key, t, why) for key, t in _KEYS.items())
        )
    kept = np.flatnonzero(lungs.trusted)
    evidence = (
        np.stack([_evidence(maps[places[i]], int(subject.test.predicted[places[i]])) for i in kept])
        if len(kept)
        else None
    )
    speaking = np.flatnonzero(evidence.sum(axis=(1, 2)) > 0) if evidence is not None else np.zeros(0, dtype=np.int64)
    if evidence is None or len(speaking) < _FEWEST:
        why = f"{len(kept)} of {len(places)} images have a lung mask to trust, {len(speaking)} a map with evidence"
        measures = [missing(key, t, why) for key, t in _KEYS.items()]
        return Section("saliency", _TITLE, f"Not measurable: {why}.", tuple(measures))
    kept, evidence = kept[speaking], evidence[speaking]
    masks, truth = lungs.masks[kept], subject.test.truth[places[kept]]
    inside, area, pointed, pointed_area = in_lungs(evidence, masks)
    figures = figures_with_intervals(
        lambda weights: _figures(inside, area, pointed, truth, weights),
        subject.members[places[kept]],
        config=subject.config,
        seed=subject.seed,
    )
    steps = randomised_steps(subject, randomised, places[kept])
    measures = _measures(figures, len(kept), float(area.mean()), float(pointed_area.mean()))
    measures.append(sanity(steps))
    labels = subject.task.labels
    rows = tuple(
        (
            labels[label],
            int((truth == label).sum()),
            with_interval(figures[f"inside {label}"]),
            with_interval(figures[f"area {label}"]),
            with_interval(figures[f"focus {label}"]),
            with_interval(figures[f"pointing {label}"]),
        )
        for label in np.unique(truth).tolist()
    )
    tables = [
        Table(
            "Where the evidence lies, by true class",
            ("class", "images", "evidence in lungs", "lungs' share of picture", "focus", "strongest point in lung"),
            rows,
            note="Evidence for the predicted class against the others, positive part. Focus 1: no better "
            "than anywhere.",
        )
    ]
    if steps:
        tables.append(
            Table(
                "Maps after randomising weights, from the last layer down",
                ("randomised", "rank correlation", "structural similarity"),
                tuple(steps),
                note="With the map of the untouched model; 1 is the same map.",
            )
        )
    return Section(
        "saliency",
        _TITLE,
        _summary(figures, area, steps),
        tuple(measures),
        tuple(tables),
        _pictures(subject, places[kept], evidence, masks, steps),
    )


def in_lungs(
    evidence: NDArray[np.float32], masks: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """How much of each map lies in the lungs.

    Args:
        evidence: not negative, [n, rows, columns], each with something above 0.
        masks: bool [n, s, s].

    Returns:
        Share of the evidence inside [n]; share of the picture inside [n]; whether the greatest point lies inside, with
        the probes' margin for a tolerance [n]; share of the picture inside with that margin [n].
    """
    side = masks.shape[1]
    large = np.stack([_enlarged(one, side) for one in evidence])
    total = large.sum(axis=(1, 2), dtype=np.float64)
    inside = (large * masks).sum(axis=(1, 2), dtype=np.float64) / total
    wide = widened(masks)
    top = large.reshape(len(large), -1).argmax(axis=1)
    pointed = wide.reshape(len(wide), -1)[np.arange(len(wide)), top]
    return inside, masks.mean(axis=(1, 2)), pointed, wide.mean(axis=(1, 2))


def _why_not(maps: NDArray[np.float32] | None) -> str:
    if maps is None:
        return "this model gives no maps"
    if min(maps.shape[2:]) < COARSEST:
        return f"its maps have {maps.shape[2]} x {maps.shape[3]} cells, too coarse to lie in a lung or beside it"
    return ""


def _evidence(maps: NDArray[np.float32], position: int) -> NDArray[np.float32]:
    """What speaks for one class against the others, not negative [rows, columns]."""
    return np.maximum(evidence_map(maps, position, temperature=1.0), 0)


def _enlarged(evidence: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    top = float(evidence.max())
    return resize((evidence / top).astype(np.float32), size=side)


def _figures(
    inside: NDArray[np.float64],
    area: NDArray[np.float64],
    pointed: NDArray[np.bool_],
    truth: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    found = {}
    for label in (None, *np.unique(truth).tolist()):
        own = weights if label is None else weights[:, truth == label]
        keep = slice(None) if label is None else truth == label
        with np.errstate(divide="ignore", invalid="ignore"):
            total = own.sum(axis=1)
            values = {
                "inside": own @ inside[keep] / total,
                "area": own @ area[keep] / total,
                "focus": own @ (inside[keep] / area[keep]) / total,
                "pointing": own @ pointed[keep] / total,
            }
        found |= {name if label is None else f"{name} {label}": value for name, value in values.items()}
    return found


def _measures(figures: dict[str, Estimate], images: int, area: float, pointed_area: float) -> list[Measure]:
    return [
        measure(
            "saliency.in_lungs",
            _KEYS["saliency.in_lungs"],
            figures["inside"],
            "Mean share of the evidence for the predicted class inside the lungs, which take "
            f"{number(area, 2)} of the picture.",
            images=images,
        ),
        measure(
            "saliency.focus",
            _KEYS["saliency.focus"],
            figures["focus"],
            "1: the map falls on the lungs no more than anywhere else; maps of 7 x 7 cells reach 1.5 to 2 at best.",
            advice="At or below 1: do not show these maps to anybody as an explanation, and look at the "
            "shortcut probes.",
            unit="ratio",
            images=images,
        ),
        measure(
            "saliency.pointing",
            _KEYS["saliency.pointing"],
            figures["pointing"],
            f"Share of images whose strongest point lies in a lung; a random point would in {number(pointed_area, 2)}.",
            images=images,
        ),
    ]


def _summary(figures: dict[str, Estimate], area: NDArray[np.float64], steps: list[tuple[str, float, float]]) -> str:
    words = (
        f"{with_interval(figures['inside'])} of the evidence lies in the lungs, which take "
        f"{number(float(area.mean()), 2)} of "
        f"the picture: {with_interval(figures['focus'])} times as much as by chance."
    )
    if steps:
        words += f" With random weights the maps correlate with the real ones by {number(steps[-1][1], 2)}."
    return words


def _pictures(
    subject: AuditedModel,
    places: NDArray[np.int64],
    evidence: NDArray[np.float32],
    masks: NDArray[np.bool_],
    steps: list[tuple[str, float, float]],
) -> tuple[Picture, ...]:
    chosen = [int(np.flatnonzero(subject.test.truth[places] == label)[i])
              for label in np.unique(subject.test.truth[places]) for i in (0, -1)][:8]  # fmt: skip
    films = subject.dataset.images(subject.test.positions[places[chosen]])[:, 0]
    heat = [_heat(film, evidence[i], masks[i]) for film, i in zip(films, chosen, strict=True)]
    names = [subject.task.labels[subject.test.truth[places[i]]] for i in chosen]
    found = [
        sheet(
            "Where the evidence lies",
            [heat],
            columns=names,
            alt="Test films with the evidence for the predicted class in red and the outline of the lungs in blue.",
            note="Red: evidence for the predicted class. Blue: outline of the lungs that were found. "
            "Words: the true class.",
        )
    ]
    if len(steps) > 1:
        words = [what for what, *_ in steps]
        lines = {
            "rank correlation": [(float(i), step[1]) for i, step in enumerate(steps)],
            "structural similarity": [(float(i), step[2]) for i, step in enumerate(steps)],
        }
        panel = Panel(
            "",
            lines,
            "weights randomised, from the last layer down",
            "likeness to the map",
            words,
            -0.5,
            1.0,
            level=0.0,
        )
        alt = "; ".join(f"{what}: rank correlation {number(value, 2)}" for what, value, _ in steps)
        found.append(panels("Maps after randomising weights", [panel], columns=1, alt=alt))
    return tuple(found)


def _heat(film: NDArray[np.float32], evidence: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    from scipy import ndimage

    strength = np.clip(_enlarged(evidence, len(film)), 0, 1)[..., None] * 0.6
    rgb = np.repeat(film[..., None], 3, axis=2) * (1 - strength) + strength * np.array([1.0, 0.15, 0.1], np.float32)
    inner = np.asarray(ndimage.binary_erosion(mask, iterations=max(1, len(film) // 112)), dtype=bool)
    rim = mask & ~inner
    rgb[rim] = (0.2, 0.6, 1.0)
    return rgb.astype(np.float32)
