"""What a small classifier tells from border, corners, greys and header; and whether it knows the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.audit.data.shortcut_features import (
    Told,
    border_features,
    corner_features,
    file_features,
    histogram_features,
    look_features,
    tell,
)
from pocketcxr.report.plots import interval_chart
from pocketcxr.report.types import Measure, Picture, Section, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pocketcxr.audit.data.file_properties import FileProperties
    from pocketcxr.data.rows import IndexRow

_LIMIT = 0.75

_WORDS = {
    "file": (
        "Class from the file's header alone",
        "Size, shape, format and compression, no pixel: whatever it tells is the source, never the lung.",
        "Bring all sources to one size, shape, format and compression before training.",
    ),
    "border": (
        "Class from the border alone",
        "A sixteenth of the picture along each edge, where there is no lung.",
        "Crop the border off, or cover it, in training and in use; then audit again.",
    ),
    "corners": (
        "Class from the four corners alone",
        "Markers, letters and name plates stand there.",
        "Cover the corners, or take the classes from hospitals that mark alike; then audit again.",
    ),
    "histogram": (
        "Class from the greys alone",
        "How often each grey occurs, no place, no shape. Disease whitens lungs, so some is honest: the bar to clear.",
        "Compare the network's figure with this one; augment brightness and contrast in training.",
    ),
    "look": (
        "Source from the picture in small",
        "Whether films betray where they come from. They nearly always do; it harms where source and class meet.",
        "Nothing, as long as the source does not give the class away; otherwise balance the sources.",
    ),
}


def cue_section(
    rows: Sequence[IndexRow],
    pixels: NDArray[np.uint8],
    facts: Sequence[FileProperties],
    groups: Sequence[int],
    *,
    seed: int,
    said: Callable[[str], object] = lambda _: None,
) -> Section:
    """Train and test the small classifiers; rows are the labelled ones, `groups` their patients and copies."""
    classes, sources = [row.label for row in rows], [row.source for row in rows]
    makers = {
        "file": lambda: file_features(rows, facts),
        "border": lambda: border_features(pixels),
        "corners": lambda: corner_features(pixels),
        "histogram": lambda: histogram_features(pixels),
        "look": lambda: look_features(pixels),
    }
    told: dict[str, Told] = {}
    for name, make in makers.items():
        said(name)
        if name == "look":
            told[name] = tell(make(), sources, groups, seed=seed)
        else:
            told[name] = tell(make(), classes, groups, sources=sources, seed=seed)
    measures = tuple(_measure(name, found) for name, found in told.items())
    shown = [
        _WORDS[name][0].removeprefix("Class from ")
        for name in ("file", "border", "corners")
        if (told[name].figure.low or 0) > _LIMIT
    ]
    summary = (
        f"Yes: a small classifier tells the class from {' and from '.join(shown)}, without any lung."
        if shown
        else "Not shown: from header, border and corners a small classifier does not tell the class reliably."
    )
    chart = [
        (
            _WORDS[name][0]
            .replace("Class from the ", "")
            .replace("Source from the picture in small", "source, from all"),
            f.value,
            f.low,
            f.high,
        )
        for name, found in told.items()
        if (f := found.figure).value is not None
    ]
    pictures = ()
    if chart:
        svg = interval_chart(chart, title="What a small classifier tells", axis="AUROC (0.5 is a guess)")
        pictures = (
            Picture(
                "What a small classifier tells",
                svg.encode(),
                "AUROC: " + ", ".join(f"{name} {value:.2f}" for name, value, *_ in chart),
                "image/svg+xml",
            ),
        )
    table = Table(
        "By class, and within sources",
        ("read from", "told best", "AUROC", "within one source", "every class"),
        tuple(
            (
                _WORDS[name][0],
                found.best or None,
                found.figure.value,
                found.within,
                "; ".join(f"{label} {value:.2f}" for label, value in found.each) or found.figure.why,
            )
            for name, found in told.items()
        ),
        "Within one source counts only pairs of images from the same source, whose look cannot help; a dash where no "
        "source holds ten images of both sides.",
    )
    return Section("cues", "What can be read without a lung?", summary, measures, (table,), pictures)


def _measure(name: str, found: Told) -> Measure:
    title, meaning, advice = _WORDS[name]
    figure = found.figure
    best = f" Told best: {found.best}." if found.best else ""
    return Measure(
        f"cues.{'source' if name == 'look' else name}",
        title,
        figure.value,
        f"{meaning}{best}",
        advice,
        "auroc",
        figure.low,
        figure.high,
        found.images or None,
        figure.why,
    )
