"""Marks and looks: what the answer does when letters are burned in, or when a film gets another hospital's contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model import masking as probes
from pocketcxr.audit.model.audited_model import figures_with_intervals
from pocketcxr.report.types import Measure, Table, measure, missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.evaluation.intervals import Estimate

CHANGE_KEYS = {
    "shortcuts.marker_changed": "Answers changed by a marker in a corner",
    "shortcuts.look_changed": "Answers changed by another source's contrast and compression",
    "shortcuts.look_followed": "How far the answer follows the look of a source",
}
"""Keys and titles of the measures of `changes`."""

_SHARE = "Differences between answers to one class that the source explains"
_MARKERS = (("L", "top right"), ("R", "top left"), ("PORTABLE", "bottom left"), ("COVID", "bottom right"))
_LOOK_IMAGES = 200  # images that a source's look is taken from
_MAJORITY = 0.6  # share of a class in a source from which on the source stands for it
_FEWEST = 20


@dataclass(frozen=True)
class Probed:
    """Test images with trusted lungs, and what the model says of them untouched and under every probe."""

    subject: AuditedModel
    places: NDArray[np.int64]
    images: NDArray[np.float32]
    masks: NDArray[np.bool_]
    plain: NDArray[np.float64]

    @property
    def truth(self) -> NDArray[np.int64]:
        """Class of each image."""
        return self.subject.test.truth[self.places]

    def ask(self, images: NDArray[np.float32], what: str) -> NDArray[np.float64]:
        """Probabilities [n, classes] that the model gives to changed images."""
        return self.subject.ask(images, f"probe: {what}").probabilities.astype(np.float64)


@dataclass(frozen=True)
class Look:
    """Answers [n, classes] under the look of a source, which images [n] come from elsewhere, how it was made.

    `quality` is of the JPEG, None without; `common` the class that the source stands for, empty where it is mixed.
    """

    answers: NDArray[np.float64]
    away: NDArray[np.bool_]
    quality: int | None
    common: str


def changes(probed: Probed) -> tuple[list[Measure], tuple[Table, Table]]:
    """Measure how answers change under markers and looks; measures of `CHANGE_KEYS`, and a table of each."""
    looks, markers = _looks(probed), _markers(probed)
    before = probed.plain.argmax(axis=1)
    changed = {name: answer.argmax(axis=1) != before for name, answer in markers.items()}
    flips = {name: float(flip.mean()) for name, flip in changed.items()}
    worst = max(flips, key=lambda name: flips[name])
    measures = [
        measure(
            "shortcuts.marker_changed",
            CHANGE_KEYS["shortcuts.marker_changed"],
            _mean(probed, changed[worst], np.ones(len(before), dtype=bool)),
            f"Share of images whose class changes when letters are written into a corner; the worst is {worst}.",
            advice="Above 0.05: blank the corners in training at random, or mask them.",
            images=len(before),
        ),
        *_look_measures(probed, looks, before),
    ]
    pulls = {source: _pull(probed, look) for source, look in looks.items()}
    look_rows = tuple(
        (source, look.common or "mixed", look.quality, int(look.away.sum()), _moved(look, before), pulls[source])
        for source, look in looks.items()
    )
    return measures, (
        Table(
            "Looks given to images from elsewhere",
            ("look of", "its class", "JPEG quality", "images", "answers changed", "pull to its class"),
            look_rows,
            note="Grey levels matched to the source's mean histogram; JPEG at the quality whose files are as large as "
            "the source's.",
        ),
        Table("Markers", ("letters and corner", "answers changed"), tuple(flips.items())),
    )


def _looks(probed: Probed) -> dict[str, Look]:
    """Ask under the look of every source that has enough images."""
    subject, dataset = probed.subject, probed.subject.dataset
    train = dataset.positions("train")
    by_source: dict[str, list[int]] = {}
    for position in (train if len(train) else subject.test.positions).tolist():
        by_source.setdefault(dataset.rows[position].source, []).append(position)
    own = subject.sources[probed.places]
    found = {}
    for source, positions in sorted(by_source.items()):
        if len(positions) < _FEWEST or len(by_source) < 2:  # noqa: PLR2004
            continue
        rng = np.random.default_rng(subject.seed)
        chosen = rng.choice(np.array(positions), min(_LOOK_IMAGES, len(positions)), replace=False)
        images = dataset.images(np.sort(chosen))
        cost = [
            dataset.rows[i].bytes / (dataset.rows[i].width * dataset.rows[i].height)
            for i in chosen
            if dataset.rows[i].width
        ]
        quality = probes.quality_like(float(np.median(cost)), images[:10]) if cost and min(cost) > 0 else None
        counts = np.bincount(dataset.labels[positions], minlength=len(dataset.task.labels))
        common = dataset.task.labels[int(counts.argmax())] if counts.max() >= _MAJORITY * counts.sum() else ""
        answers = probed.ask(
            probes.with_look(probed.images, probes.look_of(images), quality=quality), f"look of {source}"
        )
        found[source] = Look(answers, own != source, quality, common)
    return found


def _markers(probed: Probed) -> dict[str, NDArray[np.float64]]:
    return {
        f"“{letters}”, {corner}": probed.ask(
            probes.with_marker(probed.images, letters=letters, corner=corner), f"marker {letters}"
        )
        for letters, corner in _MARKERS
    }


def _look_measures(probed: Probed, looks: dict[str, Look], before: NDArray[np.int64]) -> list[Measure]:
    moved = {source: share for source, look in looks.items() if (share := _moved(look, before)) is not None}
    if not moved:
        why = "all images come from one source, or no source has enough of them"
        return [missing(key, CHANGE_KEYS[key], why) for key in ("shortcuts.look_changed", "shortcuts.look_followed")]
    worst = max(moved, key=lambda name: moved[name])
    changed = measure(
        "shortcuts.look_changed",
        CHANGE_KEYS["shortcuts.look_changed"],
        _mean(probed, looks[worst].answers.argmax(axis=1) != before, looks[worst].away),
        "Share of images from elsewhere whose class changes when they are given a source's contrast and compression; "
        f"the worst look is that of {worst}.",
        advice="Above 0.2: train with stronger contrast and compression changes.",
        images=len(before),
    )
    key, title = "shortcuts.look_followed", CHANGE_KEYS["shortcuts.look_followed"]
    pulls = {source: pull for source, look in looks.items() if (pull := _pull(probed, look)) is not None}
    if not pulls:
        why = "no source stands for a class, or no image of another class comes from elsewhere"
        return [changed, missing(key, title, why, unit="probability")]
    strongest = max(pulls, key=lambda name: pulls[name])
    look = looks[strongest]
    place = probed.subject.task.labels.index(look.common)
    followed = measure(
        key,
        title,
        _mean(probed, (look.answers - probed.plain)[:, place], look.away & (probed.truth != place)),
        "Mean rise of the probability of a source's commonest class, in images of other classes and sources, when they "
        f"are given its look; strongest for {strongest} ({looks[strongest].common}).",
        advice="Above 0.1: the look of that source pulls answers to its class; balance or normalise it.",
        unit="probability",
        images=len(before),
    )
    return [changed, followed]


def _mean(probed: Probed, values: NDArray[np.generic], keep: NDArray[np.bool_]) -> Estimate:
    """Mean over the images kept, with its interval by patient."""
    subject, kept = probed.subject, values[keep].astype(np.float64)
    members = subject.members[probed.places][keep]
    return figures_with_intervals(
        lambda weights: {"mean": weights @ kept / weights.sum(axis=1)},
        members,
        config=subject.config,
        seed=subject.seed,
    )["mean"]


def _moved(look: Look, before: NDArray[np.int64]) -> float | None:
    """Share of the images from elsewhere whose class changes."""
    return float((look.answers.argmax(axis=1) != before)[look.away].mean()) if look.away.any() else None


def _pull(probed: Probed, look: Look) -> float | None:
    """Mean rise of the probability of the class that a source stands for, in others' images of other classes."""
    if not look.common:
        return None
    place = probed.subject.task.labels.index(look.common)
    others = look.away & (probed.truth != place)
    return float((look.answers - probed.plain)[others, place].mean()) if others.sum() >= _FEWEST // 2 else None


def source_share(subject: AuditedModel) -> Measure:
    """Share of the variance of the positive's probability, among images of one class, that their source explains.

    Omega squared (Hays 1963), which is 0 on average where sources do not matter; within classes, so that the class
    itself explains nothing. Classes of one source are left out.
    """
    key, title = "shortcuts.source_share", _SHARE
    chance = subject.test.probabilities[:, subject.task.positive_index]
    between = within = error = 0.0
    images = 0
    for label in range(len(subject.task.labels)):
        inside = subject.test.truth == label
        sources = subject.sources[inside]
        names, place, counts = np.unique(sources, return_inverse=True, return_counts=True)
        keep = counts[place] >= 5  # noqa: PLR2004
        if len(names[counts >= 5]) < 2:  # noqa: PLR2004
            continue
        values, groups = chance[inside][keep], place[keep]
        means = np.bincount(groups, values)[groups]
        sizes = np.bincount(groups)[groups]
        fitted = means / sizes
        degrees, rest = len(np.unique(groups)) - 1, len(values) - len(np.unique(groups))
        noise = float(((values - fitted) ** 2).sum()) / max(rest, 1)
        between += float(((fitted - values.mean()) ** 2).sum()) - degrees * noise
        within += float(((values - values.mean()) ** 2).sum())
        error += noise
        images += len(values)
    if images == 0 or within <= 0:
        return missing(key, title, "no class has images of two sources in the test split")
    return Measure(
        key,
        title,
        max(0.0, between / (within + error)),
        f"Of the variance of the probability of “{subject.task.positive}” among images of one class, the "
        "share that goes "
        "with their source. 0: the source says nothing beyond the class.",
        advice="Above 0.2: answers differ by hospital more than they should; compare calibration and "
        "recall per source.",
        images=images,
    )
