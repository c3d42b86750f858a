"""Appearance shift: predictions under burned-in markers, and under the contrast and compression of another source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import measured, not_measured
from pocketcxr.audit.model import masking
from pocketcxr.evaluation.intervals import Estimate, not_measurable
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pocketcxr.audit.model.audited_model import AuditedModel
    from pocketcxr.report.types import Measure

NAMES = ("marker_changed", "look_changed", "look_followed")
"""Names of the measures in section ``shortcuts``."""

_MARKERS = (("L", "top right"), ("R", "top left"), ("PORTABLE", "bottom left"), ("COVID", "bottom right"))
_REFERENCE_IMAGES = 200  # images that a source's appearance is taken from
_MAJORITY = 0.6  # share of a class in a source from which on the source stands for it
_FEWEST = 20


@dataclass(frozen=True)
class ProbedImages:
    """Test images with trusted lungs, and the model's probabilities for them untouched (`plain`)."""

    model: AuditedModel
    places: NDArray[np.int64]
    images: NDArray[np.float32]
    masks: NDArray[np.bool_]
    plain: NDArray[np.float64]

    @property
    def truth(self) -> NDArray[np.int64]:
        """Class of each image."""
        return self.model.test.truth[self.places]

    def probabilities(self, images: NDArray[np.float32], what: str) -> NDArray[np.float64]:
        """Probabilities [n, classes] of altered images."""
        return self.model.outputs_for(images, f"probe: {what}").probabilities.astype(np.float64)

    def mean(self, values: NDArray[np.generic], keep: NDArray[np.bool_]) -> Estimate:
        """Mean over the images kept, with its interval by patient."""
        kept = values[keep].astype(np.float64)
        mean = lambda weights: {"mean": weights @ kept / weights.sum(axis=1)}  # noqa: E731
        return self.model.estimates(mean, self.places[keep])["mean"]


@dataclass(frozen=True)
class Appearance:
    """Predictions under the appearance of a source, for the images from elsewhere.

    `quality` is of the JPEG, None without; `common` the class that the source stands for, empty where it is mixed;
    `changed` the share of predictions changed and `followed` the mean rise of the probability of `common` in images of
    other classes, None where there are none.
    """

    quality: int | None
    common: str
    images: int
    changed: Estimate | None
    followed: Estimate | None


@dataclass(frozen=True)
class AppearanceShift:
    """Share of predictions changed by each marker, and predictions under the appearance of each source."""

    markers: Mapping[str, Estimate]
    sources: Mapping[str, Appearance]
    images: int


def measure(probed: ProbedImages) -> AppearanceShift:
    """Predict again with markers burned in and under the appearance of every source that has enough images."""
    before = probed.plain.argmax(axis=1)
    everything = np.ones(len(before), dtype=bool)
    markers = {}
    for letters, corner in _MARKERS:
        altered = masking.with_marker(probed.images, letters=letters, corner=corner)
        after = probed.probabilities(altered, f"marker {letters}").argmax(axis=1)
        markers[f"“{letters}”, {corner}"] = probed.mean(after != before, everything)
    model, dataset = probed.model, probed.model.dataset
    train = dataset.positions("train")
    by_source: dict[str, list[int]] = {}
    for position in (train if len(train) else model.test.positions).tolist():
        by_source.setdefault(dataset.rows[position].source, []).append(position)
    found = {
        source: _appearance(probed, source, np.array(positions), before)
        for source, positions in sorted(by_source.items())
        if len(positions) >= _FEWEST and len(by_source) > 1
    }
    return AppearanceShift(markers, found, len(before))


def describe(found: AppearanceShift) -> tuple[list[Measure], tuple[Table, Table]]:
    """Measures `NAMES`, each of the worst marker or source, and a table of sources and of markers."""
    marker = _worst(found.markers)
    own = [measured("shortcuts.marker_changed", found.markers[marker], images=found.images, marker=marker)]
    changed = {source: one.changed for source, one in found.sources.items() if one.changed}
    followed = {source: one.followed for source, one in found.sources.items() if one.followed}
    worst, strongest = _worst(changed), _worst(followed)
    nothing = not_measurable("all images come from one source, or no source has enough of them")
    changed_most = changed.get(worst, nothing)
    own.append(measured("shortcuts.look_changed", changed_most, images=found.images, look=worst))
    if changed:
        nothing = not_measurable("no source stands for a class, or no image of another class comes from elsewhere")
    named = f"{strongest} ({found.sources[strongest].common})" if followed else ""
    most = followed.get(strongest, nothing)
    own.append(measured("shortcuts.look_followed", most, images=found.images, strongest=named))
    rows = tuple(
        (
            source,
            one.common or "mixed",
            one.quality,
            one.images,
            one.changed.value if one.changed else None,
            one.followed.value if one.followed else None,
        )
        for source, one in found.sources.items()
    )
    columns = ("appearance of", "its class", "JPEG quality", "images", "predictions changed", "shift to its class")
    note = (
        "Grey levels matched to the source's mean histogram; JPEG at the quality whose files are as large as the "
        "source's."
    )
    markers = tuple((name, one.value) for name, one in found.markers.items())
    return own, (
        Table("Appearance of a source given to images from elsewhere", columns, rows, note),
        Table("Markers", ("letters and corner", "predictions changed"), markers),
    )


def missing(why: str) -> list[Measure]:
    """The measures `NAMES`, none of them measurable."""
    return [one for one in not_measured("shortcuts", why) if one.key.split(".")[1] in NAMES]


def _worst(figures: Mapping[str, Estimate]) -> str:
    return max(figures, key=lambda name: figures[name].value or 0.0, default="")


def _appearance(
    probed: ProbedImages, source: str, positions: NDArray[np.int64], before: NDArray[np.int64]
) -> Appearance:
    model, dataset = probed.model, probed.model.dataset
    rng = np.random.default_rng(model.seed)
    chosen = rng.choice(positions, min(_REFERENCE_IMAGES, len(positions)), replace=False)
    images = dataset.images(np.sort(chosen))
    rows = [dataset.rows[i] for i in chosen if dataset.rows[i].width]
    cost = [row.bytes / (row.width * row.height) for row in rows]
    quality = masking.quality_like(float(np.median(cost)), images[:10]) if cost and min(cost) > 0 else None
    counts = np.bincount(dataset.labels[positions], minlength=len(dataset.task.labels))
    place = int(counts.argmax())
    stands = counts.max() >= _MAJORITY * counts.sum()
    altered = masking.with_appearance(probed.images, masking.appearance_of(images), quality=quality)
    after = probed.probabilities(altered, f"appearance of {source}")
    away = model.sources[probed.places] != source
    others = away & (probed.truth != place)
    changed = probed.mean(after.argmax(axis=1) != before, away) if away.any() else None
    shows = stands and others.sum() >= _FEWEST // 2
    followed = probed.mean((after - probed.plain)[:, place], others) if shows else None
    return Appearance(quality, dataset.task.labels[place] if stands else "", int(away.sum()), changed, followed)


def source_share(model: AuditedModel) -> tuple[Estimate, int]:
    """Share of the variance of the positive's probability, among images of one class, that their source explains.

    Omega squared (Hays 1963), which is 0 on average where sources do not matter; within classes, so that the class
    itself explains nothing. Classes of one source are left out. Also the number of images.
    """
    chance = model.test.probabilities[:, model.task.positive_index]
    between = within = error = 0.0
    images = 0
    for label in range(len(model.task.labels)):
        inside = model.test.truth == label
        names, place, counts = np.unique(model.sources[inside], return_inverse=True, return_counts=True)
        keep = counts[place] >= 5  # noqa: PLR2004
        if len(names[counts >= 5]) < 2:  # noqa: PLR2004
            continue
        values, groups = chance[inside][keep], place[keep]
        fitted = np.bincount(groups, values)[groups] / np.bincount(groups)[groups]
        degrees = len(np.unique(groups)) - 1
        noise = float(((values - fitted) ** 2).sum()) / max(len(values) - degrees - 1, 1)
        between += float(((fitted - values.mean()) ** 2).sum()) - degrees * noise
        within += float(((values - values.mean()) ** 2).sum())
        error += noise
        images += len(values)
    if images == 0 or within <= 0:
        return not_measurable("no class has images of two sources in the test split"), 0
    return Estimate(max(0.0, between / (within + error))), images
