"""Confounding: association of the class with source, device, file, and the patient's position, sex and age."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.data.association import binned, binned_where_known, cramers_v, lumped
from pocketcxr.audit.data.shortcut_features import bright_marks
from pocketcxr.audit.describing import measured, section
from pocketcxr.data.rows import ACQUISITION
from pocketcxr.evaluation.intervals import not_measurable
from pocketcxr.imaging.dicom.acquisition import NUMBERS
from pocketcxr.report.formatting import with_interval
from pocketcxr.report.plots import interval_chart
from pocketcxr.report.sheets import grid_sheet
from pocketcxr.report.types import Picture, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.data.file_properties import FileProperties
    from pocketcxr.audit.data.pixel_statistics import PixelStatistics
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Measure, Section

WEAK = 0.1
"""A weak association in Cramér's V (Cohen 1988, for tables with two classes)."""

_NAMED = 5

_UNKNOWN = ""
_MARK_HEIGHT = 0.25
_FEWEST_FOR_MEAN = 5
_MOST_SOURCES = 8

_NAMES = {
    "source": "Source",
    "view": "Projection (PA, AP)",
    "sex": "Sex",
    "age": "Age",
    "size": "Image size",
    "aspect": "Aspect ratio",
    "bits": "Bit depth",
    "format": "File format",
    "quality": "JPEG quality",
    "density": "Bytes per pixel",
    "frame": "Black frame",
    "marks": "Bright marks",
    "levels": "Grey levels used",
    "sharpness": "Sharpness",
    "manufacturer": "Manufacturer",
    "device_model": "Device model",
    "station": "Station",
    "software": "Software",
    "detector": "Detector",
    "kvp": "Tube voltage (kV)",
    "exposure": "Exposure (mAs)",
    "pixel_spacing": "Pixel spacing (mm)",
}

GROUPS = {
    "patient": ("view", "sex", "age"),
    "file": ("size", "aspect", "bits", "format", "quality", "density", "frame", "marks", "levels", "sharpness"),
    "device": ACQUISITION,
}
"""Properties by what they tell of; the strongest association of each group has a criterion, and the source its own."""


def attributes(
    rows: Sequence[IndexRow],
    pixels: NDArray[np.uint8],
    properties: Sequence[FileProperties],
    full_size: PixelStatistics,
) -> dict[str, list[str]]:
    """Properties of every image as levels; an empty string where it is not known.

    Frames and marks are measured in the small images, grey levels and sharpness in those of full size, sizes and
    formats in the files, the rest comes from the table.
    """
    density = [row.bytes / max(row.width * row.height, 1) for row in rows]
    return {
        "source": [row.source for row in rows],
        "view": [row.view.upper().split(" ")[0] for row in rows],
        "sex": [row.sex.upper()[:1] for row in rows],
        "age": [_age_group(row.age) for row in rows],
        "size": binned([(row.width * row.height) ** 0.5 for row in rows]),
        "aspect": binned([round(row.width / max(row.height, 1), 2) for row in rows]),
        "bits": [str(one.bits or "") for one in properties],
        "format": [one.format for one in properties],
        "quality": _qualities(properties),
        "density": binned([round(value, 3) for value in density]),
        "frame": binned(frame_widths(pixels).tolist()),
        "marks": _binned_marks(pixels),
        "levels": binned_where_known([float(value) for value in full_size.levels]),
        "sharpness": binned_where_known([round(float(value), 1) for value in full_size.sharpness]),
        **{name: _acquisition(rows, name) for name in ACQUISITION},
    }


def frame_widths(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean width of the uniform dark border over the four sides, in per cent of the side [n]."""
    size = pixels.shape[1]
    dark = 13  # of 255; a collimator's shadow after compression
    found = []
    for lines in (pixels.mean(axis=2), pixels.mean(axis=2)[:, ::-1], pixels.mean(axis=1), pixels.mean(axis=1)[:, ::-1]):
        bright = lines > dark
        found.append(np.where(bright.any(axis=1), bright.argmax(axis=1), size // 2))
    return np.round(100 * np.mean(found, axis=0) / size, 0)


@dataclass(frozen=True)
class Confounding:
    """Cramér's V with the class by property, the images of which it is known, and the level of every image."""

    estimates: Mapping[str, Estimate]
    known: Mapping[str, int]
    levels: Mapping[str, Sequence[str]]


def measure(
    rows: Sequence[IndexRow],
    pixels: NDArray[np.uint8],
    properties: Sequence[FileProperties],
    members: NDArray[np.int64],
    full_size: PixelStatistics,
    *,
    seed: int,
) -> Confounding:
    """Association of each property with the class; rows are the labelled ones, `members` their patients."""
    levels = attributes(rows, pixels, properties, full_size)
    estimates, known = {}, {}
    for name, values in levels.items():
        told = [i for i, value in enumerate(values) if value != _UNKNOWN]
        classes = [rows[i].label for i in told]
        estimates[name] = cramers_v(lumped([values[i] for i in told]), classes, members[told], seed=seed)
        known[name] = len(told)
    return Confounding(estimates, known, levels)


def describe(found: Confounding, rows: Sequence[IndexRow], pixels: NDArray[np.uint8]) -> Section:
    """Associations, the strongest first, with tables by class and average images."""
    own = [measured(f"confounding.{name}", one, images=found.known[name]) for name, one in found.estimates.items()]
    own += [_strongest(group, found) for group in GROUPS]
    exist = {name: one for name, one in found.estimates.items() if one.value is not None}
    first = sorted(exist, key=lambda name: -(exist[name].low or 0))[:_NAMED]
    listed = ", ".join(f"{_NAMES[name].lower()} {with_interval(exist[name])}" for name in first)
    summary = (
        f"Cramér's V with the class of {len(exist)} properties, the strongest first: {listed}."
        if exist
        else "Cramér's V with the class could not be measured for any property."
    )
    chart = [
        (_NAMES[name], one.value, one.low, one.high)
        for name, one in sorted(exist.items(), key=lambda item: -(item[1].value or -1))
        if one.value is not None
    ]
    pictures = [_mean_images(rows, pixels)]
    if chart:
        title = "Association of each property with the class"
        svg = interval_chart(chart, title=title, axis="Cramér's V (0 none, 1 total)")
        alt = "Cramér's V of each property with its 95 % interval: " + ", ".join(f"{n} {v:.2f}" for n, v, *_ in chart)
        note = "0: no association with the class; 0.3: medium; 0.5: strong; 1: it is the class."
        pictures.insert(0, Picture(title, svg.encode(), alt, "image/svg+xml", note))
    return section("confounding", summary, own, (_source_table(rows), _level_table(rows, found)), pictures)


def _strongest(group: str, found: Confounding) -> Measure:
    """The property of a group whose association is shown best: the highest lower end of the interval."""
    own = {name: one for name in GROUPS[group] if (one := found.estimates[name]).value is not None}
    if not own:
        reasons = dict.fromkeys(found.estimates[name].why for name in GROUPS[group])
        return measured(f"confounding.worst_{group}", not_measurable("; ".join(reasons)))
    name = max(own, key=lambda name: own[name].low or 0)
    return measured(f"confounding.worst_{group}", own[name], images=found.known[name], worst=_NAMES[name].lower())


def _source_table(rows: Sequence[IndexRow]) -> Table:
    classes = sorted({row.label for row in rows})
    counts = Counter((row.source, row.label) for row in rows)
    sources = sorted({row.source for row in rows})
    single = [source for source in sources if sum(counts[source, label] > 0 for label in classes) == 1]
    lonely = sum(counts[source, label] for source in single for label in classes)
    body = tuple((source, *(counts[source, label] for label in classes)) for source in sources)
    share = 100 * lonely / max(len(rows), 1)
    note = f"{lonely:,} of {len(rows):,} images ({share:.0f} %) come from sources that hold one class only."
    return Table("Images by source and class", ("source", *classes), body, note)


def _level_table(rows: Sequence[IndexRow], confounding: Confounding) -> Table:
    """For the properties tied to the class, the commonest level in each class and its share."""
    found, levels = confounding.estimates, confounding.levels
    classes = sorted({row.label for row in rows})
    body = []
    for name in sorted(found, key=lambda name: -(found[name].value or 0)):
        if (found[name].value or 0) < WEAK:
            continue
        cells = []
        for label in classes:
            mine = Counter(value for value, row in zip(levels[name], rows, strict=True) if row.label == label and value)
            common = mine.most_common(1)
            cells.append(f"{common[0][0]} ({100 * common[0][1] / mine.total():.0f} %)" if common else None)
        body.append((_NAMES[name], *cells))
    return Table(
        "What is commonest in each class",
        ("property", *classes),
        tuple(body),
        "The commonest value and its share, for properties with an association of at least 0.1.",
    )


def _mean_images(rows: Sequence[IndexRow], pixels: NDArray[np.uint8]) -> Picture:
    """The average image of every class in every source: borders, markers and brightness stand out, lungs blur."""
    classes = sorted({row.label for row in rows})
    sources = [name for name, _ in Counter(row.source for row in rows).most_common(_MOST_SOURCES)]
    grid = []
    for source in sources:
        line = []
        for label in classes:
            mine = [i for i, row in enumerate(rows) if row.source == source and row.label == label][:400]
            line.append(pixels[mine].mean(axis=0).round().astype(np.uint8) if len(mine) >= _FEWEST_FOR_MEAN else None)
        grid.append(line)
    return Picture(
        "The average image of each class in each source",
        grid_sheet(grid, rows=sources, columns=classes),
        f"Average images of {len(classes)} classes in {len(sources)} sources",
        note="What is sharp in an average is the same in every image: frames, letters, posture. Compare along a row.",
    )


def _acquisition(rows: Sequence[IndexRow], name: str) -> list[str]:
    """A field of device and exposure as levels, numbers in bins; where some images say it, silence is a level too."""
    values = [str(getattr(row, name)).strip() for row in rows]
    levels = binned_where_known([_float(value) for value in values]) if name in NUMBERS else values
    return [level or "not said" for level in levels] if any(levels) else levels


def _float(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan


def _qualities(properties: Sequence[FileProperties]) -> list[str]:
    if not any(one.quality for one in properties):
        return ["" for _ in properties]
    return [level or "no JPEG" for level in binned_where_known([one.quality or math.nan for one in properties])]


def _binned_marks(pixels: NDArray[np.uint8]) -> list[str]:
    """Share of the outer sixth of the picture that is a small bright mark, in bins."""
    size = pixels.shape[1]
    rim = np.ones((size, size), dtype=bool)
    inner = slice(size // 6, size - size // 6)
    rim[inner, inner] = False
    return binned([round(100 * float((mark[rim] > _MARK_HEIGHT).mean()), 1) for mark in bright_marks(pixels)])


def _age_group(age: str) -> str:
    try:
        years = float(age)
    except ValueError:
        return _UNKNOWN
    for limit, name in ((18, "under 18"), (40, "18 to 39"), (60, "40 to 59"), (75, "60 to 74")):
        if years < limit:
            return name
    return "75 or more"
