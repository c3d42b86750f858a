"""Can the class be told without looking at the lungs: from the source, the file, the view, the patient's sex or age?"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.data.association import binned, cramers_v, lumped
from pocketcxr.audit.data.shortcut_features import bright_marks
from pocketcxr.report.plots import interval_chart
from pocketcxr.report.sheets import grid_sheet
from pocketcxr.report.types import Measure, Picture, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.data.file_properties import FileProperties
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.evaluation.intervals import Estimate

NEARLY_TOTAL, STRONG, MEDIUM, WEAK = 0.8, 0.5, 0.3, 0.1
"""Cramér's V in words (Cohen 1988, for tables with two classes)."""

_NOT_SAID = ""
_MARK_HEIGHT = 0.25
_FEWEST_FOR_MEAN = 5
_MOST_SOURCES = 8

_WORDS: Mapping[str, tuple[str, str, str]] = {
    "source": (
        "Source",
        "Where classes come from different sources, a network can learn the hospital instead of the disease.",
        "Add images of every class from every source, or train and judge within the sources that hold all classes.",
    ),
    "view": (
        "View (PA, AP)",
        "Sicker patients are filmed lying (AP): a network can learn the posture.",
        "Judge within one view; balance views between the classes.",
    ),
    "sex": ("Sex", "Classes that differ in sex can be told by anatomy.", "Balance, or report figures by sex."),
    "age": (
        "Age",
        "Classes that differ in age (children against adults at worst) can be told by anatomy.",
        "Match ages between the classes; leave children out of a set for adults.",
    ),
    "size": ("Image size", "Size is the publisher's choice, not the patient's.", "Resize alike before anything else."),
    "aspect": (
        "Aspect ratio",
        "The shape of a picture shows through resizing (squashed or padded).",
        "Crop all sources to one shape before resizing.",
    ),
    "bits": ("Bit depth", "Grey levels tell the path a picture has taken.", "Bring all sources to one bit depth."),
    "format": ("File format", "Format tells the publisher.", "Convert all sources through the same steps."),
    "quality": (
        "JPEG quality",
        "Compression leaves blocks that a network sees.",
        "Recompress all sources alike, or augment with compression.",
    ),
    "density": (
        "Bytes per pixel",
        "How far a file was compressed; partly the picture's own doing, for smooth lungs need fewer bytes.",
        "If it follows the class more than size and quality do, look at the files' history.",
    ),
    "frame": (
        "Black frame",
        "Width of the uniform border, in the picture.",
        "Crop borders off before training; then audit again.",
    ),
    "marks": (
        "Bright marks in the margin",
        "Letters and markers burnt in near the edge.",
        "Mask or crop the margin; look at the corners' cue below.",
    ),
}


def attributes(
    rows: Sequence[IndexRow], pixels: NDArray[np.uint8], facts: Sequence[FileProperties]
) -> dict[str, list[str]]:
    """Properties of every image as levels; an empty string where nobody says.

    Frames and marks are measured in the pixels, sizes and formats in the files, the rest comes from the table.
    """
    density = [row.bytes / max(row.width * row.height, 1) for row in rows]
    return {
        "source": [row.source for row in rows],
        "view": [row.view.upper().split(" ")[0] for row in rows],
        "sex": [row.sex.upper()[:1] for row in rows],
        "age": [_age_group(row.age) for row in rows],
        "size": binned([(row.width * row.height) ** 0.5 for row in rows]),
        "aspect": binned([round(row.width / max(row.height, 1), 2) for row in rows]),
        "bits": [str(fact.bits or "") for fact in facts],
        "format": [fact.format for fact in facts],
        "quality": _qualities(facts),
        "density": binned([round(value, 3) for value in density]),
        "frame": binned(frame_widths(pixels).tolist()),
        "marks": _binned_marks(pixels),
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


def confounding_section(
    rows: Sequence[IndexRow],
    pixels: NDArray[np.uint8],
    facts: Sequence[FileProperties],
    members: NDArray[np.int64],
    *,
    seed: int,
) -> Section:
    """How strongly each property goes with the class; rows are the labelled ones."""
    found: dict[str, Estimate] = {}
    said: dict[str, int] = {}
    levels = attributes(rows, pixels, facts)
    for name, values in levels.items():
        told = [i for i, value in enumerate(values) if value != _NOT_SAID]
        said[name] = len(told)
        found[name] = cramers_v(
            lumped([values[i] for i in told]), [rows[i].label for i in told], members[told], seed=seed
        )
    measures = tuple(
        Measure(
            f"confounding.{name}",
            f"{_WORDS[name][0]} against class",
            figure.value,
            f"{_strength(figure)} {_WORDS[name][1]}",
            _WORDS[name][2],
            "Cramér's V",
            figure.low,
            figure.high,
            said[name],
            figure.why,
        )
        for name, figure in found.items()
    )
    strong = [name for name, figure in found.items() if (figure.low or 0) > MEDIUM]
    measured = [name for name, figure in found.items() if figure.value is not None]
    if strong:
        listed = ", ".join(_WORDS[name][0].lower() for name in strong)
        verb = "go" if len(strong) > 1 else "goes"
        summary = f"Yes: {listed} {verb} with the class beyond doubt (Cramér's V above {MEDIUM})."
    else:
        summary = (
            f"Not shown: none of the {len(measured)} properties that could be measured is clearly tied to the class."
        )
    chart = [
        (_WORDS[name][0].removesuffix(" in the margin"), figure.value, figure.low, figure.high)
        for name, figure in sorted(found.items(), key=lambda item: -(item[1].value or -1))
        if figure.value is not None
    ]
    pictures = []
    if chart:
        svg = interval_chart(
            chart, title="Association of each property with the class", axis="Cramér's V (0 none, 1 total)"
        )
        pictures.append(
            Picture(
                "How strongly each property goes with the class",
                svg.encode(),
                "Cramér's V of each property with its 95 % interval: "
                + ", ".join(f"{name} {value:.2f}" for name, value, *_ in chart),
                "image/svg+xml",
                "0: the property tells nothing of the class; 0.3: medium; 0.5: strong; 1: it is the class.",
            )
        )
    pictures.append(_mean_pictures(rows, pixels))
    tables = (_source_table(rows), _level_table(rows, levels, found))
    return Section(
        "confounding",
        "Can the class be told from where and how a film was made?",
        summary,
        measures,
        tables,
        tuple(pictures),
    )


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


def _level_table(rows: Sequence[IndexRow], levels: Mapping[str, Sequence[str]], found: Mapping[str, Estimate]) -> Table:
    """For the properties tied to the class, the commonest level in each class and its share."""
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
        body.append((_WORDS[name][0], *cells))
    return Table(
        "What is commonest in each class",
        ("property", *classes),
        tuple(body),
        "The commonest value and its share, for properties with an association of at least 0.1.",
    )


def _mean_pictures(rows: Sequence[IndexRow], pixels: NDArray[np.uint8]) -> Picture:
    """The average picture of every class in every source: borders, markers and brightness stand out, lungs blur."""
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
        "The average picture of each class in each source",
        grid_sheet(grid, rows=sources, columns=classes),
        f"Average pictures of {len(classes)} classes in {len(sources)} sources",
        note="What is sharp in an average is the same in every film: frames, letters, posture. Compare along a row.",
    )


def _strength(figure: Estimate) -> str:
    if figure.value is None:
        return ""
    shown = figure.low or 0.0
    words = (
        (NEARLY_TOTAL, "Tells the class almost by itself."),
        (STRONG, "Strongly tied to the class."),
        (MEDIUM, "Clearly tied to the class."),
        (WEAK, "Weakly tied to the class."),
    )
    return next((word for limit, word in words if shown > limit), "No tie to the class is shown.")


def _qualities(facts: Sequence[FileProperties]) -> list[str]:
    if not any(fact.quality for fact in facts):
        return ["" for _ in facts]
    named = binned([fact.quality for fact in facts if fact.quality])
    known = iter(named)
    return [next(known) if fact.quality else "no JPEG" for fact in facts]


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
        return _NOT_SAID
    for limit, name in ((18, "under 18"), (40, "18 to 39"), (60, "40 to 59"), (75, "60 to 74")):
        if years < limit:
            return name
    return "75 or more"
