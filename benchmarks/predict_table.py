"""The tables of `predict_speed.py`, as Markdown: made from its JSON, so that a document can be checked against it."""

from __future__ import annotations

import statistics
from typing import Any

BARS = {
    ("start", "pytorch"): 13.0,
    ("folder", "decode-scaled"): 0.75,
    ("folder", "pytorch"): 4.0,
    ("folder", "torchxrayvision"): 10.0,
}
"""How many times faster `pocketcxr predict` should be at least."""

MEMORY_BAR_MB = 120

NAMES = {
    "pocketcxr": "**pocketcxr predict**",
    "decode-fully": "only decoding, all pixels",
    "decode-scaled": "only decoding, as few pixels as predict asks for",
    "pytorch": "Pillow + PyTorch, MobileNetV2",
    "pytorch-traced": "the same, traced",
    "torchxrayvision": "torchxrayvision, DenseNet121",
}


_RATIOS = "we are faster by | by processor time | bar"
_SIX_COLUMNS, _THREE_COLUMNS = "| --- | --- | --- | --- | --- | --- |", "| --- | --- | --- |"


def tables(record: dict[str, Any]) -> str:
    """Return what was measured, network by network."""
    return "\n\n".join(_network(name, found, record) for name, found in record["networks"].items())


def _network(name: str, found: dict[str, Any], record: dict[str, Any]) -> str:
    busy = " to ".join(f"{load:.0f}" for load in found["load_average"])
    lines = [
        f"**{name[0].upper() + name[1:]}** ({record['date']}, {record['processors']} processors, load average {busy})",
        "",
        f"| one image of {record['side']} x {record['side']}, process start to answer | s | processor s | {_RATIOS} |",
        _SIX_COLUMNS,
    ]
    ours = found["start"]["pocketcxr"]
    for rival, times in found["start"].items():
        ratios = [ratio(times[key], ours[key]) for key in ("s", "cpu_s")]
        values = [f"{statistics.median(times[key]):.2f}" for key in ("s", "cpu_s")]
        lines.append(_row(rival, values, ratios, BARS.get(("start", rival))))
    kind = f"{record['mean_kb_per_film']} KB each, {record['films']}"
    images = f"{record['files']:,} such images ({kind}), {record['workers']} processes"
    lines += ["", f"| {images} | per s | processor ms each | {_RATIOS} |", _SIX_COLUMNS]
    ours = found["folder"]["pocketcxr"]
    for rival, rates in found["folder"].items():
        if "skipped" in rates:
            lines.append(f"| {NAMES[rival]} | not installed | | | | |")
            continue
        ratios = [ratio(ours["per_s"], rates["per_s"]), ratio(rates["cpu_ms"], ours["cpu_ms"])]
        values = [f"{statistics.median(rates[key]):.1f}" for key in ("per_s", "cpu_ms")]
        lines.append(_row(rival, values, ratios, BARS.get(("folder", rival))))
    lines += [
        "",
        f"| peak memory, MB; bar {MEMORY_BAR_MB} | each process | together, shared pages once |",
        _THREE_COLUMNS,
    ]
    for what, peak in found["memory_mb"].items():
        lines.append(f"| {what} | {', '.join(map(str, peak['each']))} | {peak['together']} |")
    return "\n".join(lines)


def _row(rival: str, values: list[str], ratios: list[float], bar: float | None) -> str:
    if rival == "pocketcxr":
        return f"| {NAMES[rival]} | {' | '.join(values)} | | | |"
    judged = ""
    if bar is not None:  # processor time judges: elapsed time tells what else the machine did
        judged = f"{bar:g}: {'met' if ratios[1] >= bar else 'missed'}"
    told = " | ".join(f"{value:.2f}" for value in ratios)
    return f"| {NAMES[rival]} | {' | '.join(values)} | {told} | {judged} |"


def ratio(theirs: list[float], ours: list[float]) -> float:
    """Median over the rounds of the ratio within each round."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
