"""Colours of reports and charts, each for light and for dark paper: pages, SVG charts and PNG charts share them."""

from __future__ import annotations

COLOURS = {
    "paper": ("#fbfbf9", "#14171a"),
    "card": ("#ffffff", "#1c2024"),
    "ink": ("#1d2227", "#e9ecee"),
    "soft": ("#59626b", "#a5afb8"),
    "line": ("#dcdfe2", "#363c42"),
    "grid": ("#e7e9eb", "#2b3035"),
    "accent": ("#0b5fa5", "#7cc0f5"),
    "warn": ("#8a4b00", "#f5c777"),
    "warn-paper": ("#fff5e3", "#2d2413"),
    "good": ("#0d6b45", "#62d3a2"),
    "bad": ("#a52a1a", "#ff9c8c"),
    "plain": ("#4d5660", "#b5bec6"),
    # Series of a chart: distinct for colour-blind readers and in grey.
    "s0": ("#0072b2", "#5fb4ea"),
    "s1": ("#b8450a", "#ff9d63"),
    "s2": ("#00785a", "#4fd0a5"),
    "s3": ("#9a4f83", "#e39cc8"),
    "s4": ("#7a5c00", "#e6bf4d"),
    "s5": ("#4d5660", "#b5bec6"),
}
"""Name to the colour on light and on dark paper; the names are CSS variables of the pages."""

SERIES = tuple(name for name in COLOURS if name[0] == "s" and name[1:].isdigit())
"""Names of the colours of a chart's series."""


def light(name: str) -> str:
    """A colour on light paper, for pictures that cannot follow the page."""
    return COLOURS[name][0]
