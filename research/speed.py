"""Every ratio that a benchmark printed, in one table and one plot, and how much of the processor the network uses.

Made of docs/results/*.json; see results.py.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from tables import NOT_MEASURED, table

from network_runtimes import peak_lines
from predict_growth import table as growth_table
from predict_table import BARS, NAMES, ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PLOT, GROWTH_PLOT = "benchmarks.png", "growth.png"
_MET, _MISSED, _NO_AIM = "#1b7837", "#b2182b", "#1f5fa8"


_PEAK = """\
The student that ships, one thread, processor time, least of {rounds} rounds at a load average of {load_average:.0f}
(`benchmarks/network_runtimes.py`). The peak is the fastest product of two matrices, 512 x 512 or 1024 x 1024, of the
runtimes installed here in the same rounds: in single precision, in bf16, and of bytes summed in 32 bits for the int8
file. Beside other programs it changes by a tenth from run to run, and the shares with it. A share counts the
multiply-accumulates of convolutions and matrix products, two operations each; whatever else a pass does takes time and
counts nothing. One minus the share is the most that a faster runtime could save at this precision."""


_GROWTH = """\
`pocketcxr predict` on a folder of drawings as JPEG, from process start, with the student that ships
(`benchmarks/predict_growth.py`). Memory is that of all its processes together, shared pages counted once."""


_COMPARISONS = 4  # the newest, of those that are kept
_HISTORY = f"""\
Kept in `history.jsonl` by `make bench-compare BASE=commit`; the last {_COMPARISONS} comparisons. Both commits do the
same work by turns with the same packages, each with its own files; medians of the rounds' ratios and their
95 % intervals. Flagged: more than 10 % slower, and the interval above 1."""


@dataclass(frozen=True)
class Ratio:
    """How many times faster than something; `aim` is the least that was wanted, None where nothing was said."""

    group: str
    beside: str
    times: float
    aim: float | None = None

    @property
    def outcome(self) -> str:
        """Whether the aim is met, in words and figures."""
        if self.aim is None:
            return ""
        return f"{self.aim:g}: " + ("met" if self.times >= self.aim else "**missed**")


def ratios(kept: Mapping[str, Any]) -> list[Ratio]:
    """All of them, in the order of the page; of what was not measured, none."""
    return [*_predict(kept["predict_speed"]), *_runtimes(kept["runtimes"]), *_distillation(kept), *_teacher(kept)]


def _predict(found: Mapping[str, Any]) -> Iterator[Ratio]:
    for name, of in found.get("networks", {}).items():
        for part, words in (("start", "one picture from process start"), ("folder", "a folder of pictures")):
            ours = of[part]["pocketcxr"]
            for rival, theirs in of[part].items():
                key = "cpu_s" if part == "start" else "cpu_ms"
                if rival != "pocketcxr" and key in theirs:
                    times = ratio(theirs[key], ours[key])
                    yield Ratio(f"predict, {words}: {name}", NAMES[rival], times, BARS.get((part, rival)))


def _runtimes(found: Mapping[str, Any]) -> Iterator[Ratio]:
    for one in found.get("rows", ()):
        yield Ratio(f"the network alone: {one['runtime']}, {one['kind']}", "PyTorch, eager, float", one["ratio"])


def _distillation(kept: Mapping[str, Any]) -> Iterator[Ratio]:
    seconds = kept["against_torchdistill"].get("seconds", {})
    ours = seconds.get("pocketcxr, cached")
    for rival, theirs in seconds.items():
        if rival != "pocketcxr, cached":
            yield Ratio(
                "an epoch of distillation, views cached", rival, statistics.median(theirs) / statistics.median(ours)
            )


def _teacher(kept: Mapping[str, Any]) -> Iterator[Ratio]:
    costs = kept["teacher_costs"]
    for one in costs.get("bundles", ()):
        kind = "int8" if one["int8"] else "float"
        for key, runtime in (("ms_pytorch", "PyTorch"), ("ms_onnxruntime", "ONNX Runtime")):
            if key in costs["teacher"]:
                times = costs["teacher"][key] / one["ms"]
                yield Ratio(f"the student that ships, {kind}", f"VGG19 ‖ ResNet50V2 in {runtime}", times)


def peak(found: Mapping[str, Any]) -> str:
    """The network's time in each runtime, and its share of what this processor can do."""
    if "peak_gops" not in found:
        return f"Share of the peak: {NOT_MEASURED}."
    return "\n".join([_PEAK.format(**found), "", *peak_lines(found)])


def growth(found: Mapping[str, Any]) -> str:
    """What a folder costs as its images, the processes and the pixels grow: table and plot."""
    if "rows" not in found:
        return f"Cost as images, processes and pixels grow: {NOT_MEASURED}."
    return f"{_GROWTH}\n\n{growth_table(found)}\n\n![Cost as images, processes and pixels grow]({GROWTH_PLOT})"


def history(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """What `compare_commits` kept: the last comparisons, newest first."""
    if not comparisons:
        return f"This commit and earlier ones: {NOT_MEASURED}."
    rows = [
        (of["date"], of["commit"], of["base"], measure, f"{one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f})",
         f"{one['seconds']:.2f}", "**slower**" if one["slower"] else "")
        for of in reversed(comparisons[-_COMPARISONS:]) for measure, one in of["measures"].items()
    ]  # fmt: skip
    columns = ("date", "commit", "beside", "measure", "processor time, commit / beside", "seconds", "flagged")
    return f"{_HISTORY}\n\n{table(columns, rows)}"


def plot(rows: Sequence[Ratio], path: Path) -> None:
    """A bar from 1 to each ratio on a logarithmic axis; a mark where the aim is; colour tells whether it is met."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(12, 1.1 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(reversed(rows)):
        colour = _NO_AIM if one.aim is None else _MET if one.times >= one.aim else _MISSED
        axes.barh(place, one.times - 1, left=1, color=colour, height=0.7)
        missed = ", aim missed" if one.aim is not None and one.times < one.aim else ""
        words = f"  {one.times:.1f}{missed}"
        axes.annotate(words, (max(one.times, one.aim or 1, 1), place), va="center", fontsize=8)
        if one.aim is not None:
            axes.vlines(one.aim, place - 0.4, place + 0.4, color="black", linewidth=2)
    names = [f"{one.group} | {one.beside.replace('**', '')}" for one in reversed(rows)]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(min(0.4, *(one.times / 1.2 for one in rows)), 2.5 * max(one.times for one in rows))
    low, high = axes.get_xlim()
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", alpha=0.3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_title("times faster; black mark: aim; green: met, red: missed, blue: no aim was set", fontsize=10)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def plot_growth(found: Mapping[str, Any], path: Path) -> None:
    """Images a second, and memory from zero, over each of what grows, on logarithmic horizontal axes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, NullLocator

    growing = list(dict.fromkeys(row["growing"] for row in found["rows"]))
    figure = Figure(figsize=(12, 6), layout="constrained")
    panels = figure.subplots(2, len(growing), sharey="row", sharex="col")
    for upper, lower, what in zip(*panels, growing, strict=True):
        rows = [row for row in found["rows"] if row["growing"] == what]
        values = [row["value"] for row in rows]
        upper.plot(values, [row["images"] / row["seconds"] for row in rows], "o-", color=_NO_AIM)
        lower.plot(values, [row["mb"] for row in rows], "o-", color=_NO_AIM)
        upper.set_title(f"{what} grow", fontsize=10)
        lower.set_xscale("log")
        lower.xaxis.set_minor_locator(NullLocator())
        lower.xaxis.set_minor_formatter(NullFormatter())
        lower.set_xticks(values, [f"{value:,}" for value in values])
        lower.set_xlabel(what)
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
    for (first, *_), label in zip(panels, ("images a second", "MB, all processes"), strict=True):
        first.set_ylabel(label)
        first.set_ylim(bottom=0)
    figure.savefig(path, dpi=100, metadata={"Software": None})
