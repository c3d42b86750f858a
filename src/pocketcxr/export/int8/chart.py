"""The search as people read it: a table for the terminal, a plot of speed against agreement."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pocketcxr.export.int8.candidate import Candidate, Limits, Search

_HEAD = ("recipe", "speed", "decisions", "AUROC", "ECE", "MB", "x86 safe", "")

_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def table(search: Search) -> str:
    """All candidates as a Markdown table, in the order tried; differences are against the float graph."""
    rows = [_row(one, chosen=one is search.chosen) for one in search.candidates]
    lines = [f"| {' | '.join(_HEAD)} |", f"|{' --- |' * len(_HEAD)}", *(f"| {' | '.join(row)} |" for row in rows)]
    if search.sensitivity:
        gains = ", ".join(f"{group} {gain:+.4f}" for group, gain in search.sensitivity.items())
        lines += ["", f"Change of the logits saved by keeping a part in float: {gains}."]
    return "\n".join(lines)


def _row(one: Candidate, *, chosen: bool) -> tuple[str, ...]:
    figures = one.figures
    return (
        one.recipe.summary,
        f"{one.speed:.2f}×",
        f"{figures['agreement']:.2%}",
        f"{-figures['auroc_loss']:+.4f}".replace("-", "−"),
        f"{figures['ece_rise']:+.4f}".replace("-", "−"),
        f"{one.bytes / 1e6:.2f}",
        "yes" if one.portable else "no",
        "chosen" if chosen else "passes" if one.passes else "misses",
    )


def plot(search: Search, limits: Limits, path: Path) -> None:
    """Draw speed against the share of decisions that differ, on a logarithmic axis, with the limit as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    smallest = 5e-4  # none differ: the lower edge
    for number, one in enumerate(search.candidates, start=1):
        differ = max(1 - one.figures["agreement"], smallest)
        colour = "#1b7837" if one is search.chosen else "#5aae61" if one.passes else "#9a9a9a"
        axes.scatter(one.speed, differ, s=60, color=colour, zorder=3)
        axes.annotate(
            str(number),
            (one.speed, differ),
            xytext=(6, 5 if number % 2 else -12),
            textcoords="offset points",
            fontsize=8,
        )
    limit = 1 - limits.agreement
    axes.axhline(limit, color="#b2182b", linewidth=1)
    axes.set_yscale("log")
    axes.minorticks_off()
    worst = max([limit, *(1 - one.figures["agreement"] for one in search.candidates)])
    axes.set_ylim(worst * 1.6, smallest / 1.4)  # upwards is better
    shown = [tick for tick in _TICKS if smallest <= tick <= worst * 1.6]
    axes.set_yticks(shown, [f"{tick:.1%}" if tick < 0.01 else f"{tick:.0%}" for tick in shown])  # noqa: PLR2004
    axes.margins(x=0.12)
    axes.set_xlabel("times as fast as the float file (one thread, one picture)")
    axes.set_ylabel("decisions that differ from the float file")
    axes.grid(alpha=0.3)
    words = [f"{number} {one.recipe.summary}" for number, one in enumerate(search.candidates, start=1)]
    axes.set_title(
        f"int8 recipes on the calibration split; line: the limit, {limits.agreement:.0%} of decisions as in float",
        loc="left",
        fontsize=11,
    )
    figure.text(1.01, 0.95, "\n".join(words), fontsize=7.5, va="top", transform=axes.transAxes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, bbox_inches="tight")
