"""Shortcut features: small classifiers on border, corners, greys, header, frequencies and lines, and on the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.data.shortcut_features import (
    Told,
    border_features,
    corner_features,
    file_features,
    histogram_features,
    less_source,
    look_features,
    tell,
)
from pocketcxr.audit.describing import measured, section
from pocketcxr.report.formatting import with_interval
from pocketcxr.report.plots import interval_chart
from pocketcxr.report.types import Picture, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.data.file_properties import FileProperties
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.report.types import Section

_NAMES = {
    "file": "file header",
    "border": "border",
    "corners": "corners",
    "spectrum": "frequency spectrum",
    "lines": "lines in the lungs",
    "histogram": "grey-level histogram",
    "source": "thumbnail (source)",
}


@dataclass(frozen=True)
class Seen:
    """What the classifiers are given of n images: rows, small pixels, file properties, spectra, lines in the lungs."""

    rows: Sequence[IndexRow]
    pixels: NDArray[np.uint8]
    properties: Sequence[FileProperties]
    spectrum: NDArray[np.float32]
    lines: NDArray[np.float32]


def measure(seen: Seen, groups: Sequence[int], *, seed: int) -> dict[str, Told]:
    """Train and test the small classifiers; rows are the labelled ones, `groups` their patients and copies."""
    classes, sources = [row.label for row in seen.rows], [row.source for row in seen.rows]
    makers = {
        "file": lambda: file_features(seen.rows, seen.properties),
        "border": lambda: border_features(seen.pixels),
        "corners": lambda: corner_features(seen.pixels),
        "spectrum": lambda: less_source(seen.spectrum, sources),
        "lines": lambda: less_source(seen.lines, sources),
        "histogram": lambda: histogram_features(seen.pixels),
        "source": lambda: look_features(seen.pixels),
    }
    told: dict[str, Told] = {}
    for name, make in makers.items():
        features = make()
        known = np.atleast_1d(np.isfinite(features).all(axis=1))
        target = [one if ok else "" for one, ok in zip(sources if name == "source" else classes, known, strict=True)]
        told[name] = tell(features, target, groups, sources=() if name == "source" else sources, seed=seed)
    return told


def describe(told: Mapping[str, Told]) -> Section:
    """AUROC from each kind of feature, by class and within sources."""
    own = [
        measured(f"cues.{name}", one.figure, images=one.images or None, best=f" Best: {one.best}." if one.best else "")
        for name, one in told.items()
    ]
    summary = "AUROC of the class from " + ", ".join(
        f"{_NAMES[name]} {with_interval(told[name].figure)}"
        for name in ("file", "border", "corners", "spectrum", "lines")
    )
    rows = [(_NAMES[name], f.value, f.low, f.high) for name, one in told.items() if (f := one.figure).value is not None]
    pictures = ()
    if rows:
        title = "AUROC of small classifiers on features that are no disease"
        svg = interval_chart(rows, title=title, axis="AUROC (0.5 is a guess)")
        alt = "AUROC: " + ", ".join(f"{name} {value:.2f}" for name, value, *_ in rows)
        pictures = (Picture(title, svg.encode(), alt, "image/svg+xml"),)
    table = Table(
        "By class, and within sources",
        ("features", "best class", "AUROC", "within one source", "every class"),
        tuple(
            (
                _NAMES[name],
                one.best or None,
                one.figure.value,
                one.within,
                "; ".join(f"{label} {value:.2f}" for label, value in one.each) or one.figure.why,
            )
            for name, one in told.items()
        ),
        "Within one source counts only pairs of images from the same source, whose appearance cannot help; a dash "
        "where no source holds ten images of both sides.",
    )
    return section("cues", f"{summary}.", own, (table,), pictures)
