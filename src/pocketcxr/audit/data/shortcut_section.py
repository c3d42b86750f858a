"""Shortcut features: small classifiers on border, corners, grey levels and header, and on the source."""

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
from pocketcxr.audit.describing import measured, section
from pocketcxr.report.formatting import with_interval
from pocketcxr.report.plots import interval_chart
from pocketcxr.report.types import Picture, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pocketcxr.audit.data.file_properties import FileProperties
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.report.types import Section

_NAMES = {
    "file": "file header",
    "border": "border",
    "corners": "corners",
    "histogram": "grey-level histogram",
    "source": "thumbnail (source)",
}


def measure(
    rows: Sequence[IndexRow],
    pixels: NDArray[np.uint8],
    properties: Sequence[FileProperties],
    groups: Sequence[int],
    *,
    seed: int,
    started: Callable[[str], object] = lambda _: None,
) -> dict[str, Told]:
    """Train and test the small classifiers; rows are the labelled ones, `groups` their patients and copies."""
    classes, sources = [row.label for row in rows], [row.source for row in rows]
    makers = {
        "file": lambda: file_features(rows, properties),
        "border": lambda: border_features(pixels),
        "corners": lambda: corner_features(pixels),
        "histogram": lambda: histogram_features(pixels),
        "source": lambda: look_features(pixels),
    }
    told: dict[str, Told] = {}
    for name, make in makers.items():
        started(name)
        own = name != "source"
        told[name] = tell(make(), classes if own else sources, groups, sources=sources if own else (), seed=seed)
    return told


def describe(told: Mapping[str, Told]) -> Section:
    """AUROC from each kind of feature, by class and within sources."""
    own = [
        measured(f"cues.{name}", one.figure, images=one.images or None, best=f" Best: {one.best}." if one.best else "")
        for name, one in told.items()
    ]
    summary = "AUROC of the class from " + ", ".join(
        f"{_NAMES[name]} {with_interval(told[name].figure)}" for name in ("file", "border", "corners")
    )
    rows = [(_NAMES[name], f.value, f.low, f.high) for name, one in told.items() if (f := one.figure).value is not None]
    pictures = ()
    if rows:
        title = "AUROC of a small classifier without the lungs"
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
