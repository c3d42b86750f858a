"""Accuracy against bytes and milliseconds of several bundles, float and int8: what an embedded developer chooses from.

python research/frontier.py runs/w100 runs/w050 w100-int8.onnx -o docs/results/frontier.json

Takes bundles, or run folders with their bundles. Accuracy with its interval is what each manifest says of the test
split (within one source where both classes come from the same hospitals); bytes are those of the file; milliseconds are
processor time of ONNX Runtime on one thread for one picture, all bundles taking turns. A plot goes beside, ``….png``.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from pocketcxr.bundle.golden import drawn_inputs, network_input
from pocketcxr.errors import ConfigError, PocketCxrError
from pocketcxr.files import write_json
from pocketcxr.inference.session import load_bundle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.inference.session import Bundle

SAME_SOURCE = "siim"
_TICKS = (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50)
_COLOURS = ("#1f5fa8", "#b2182b", "#1b7837", "#8c510a", "#762a83", "#4d4d4d", "#d6a300", "#01a2a6")


def bundles_of(paths: Sequence[Path]) -> list[Path]:
    """Bundle files, those of run folders included.

    Raises:
        ConfigError: a folder without a bundle.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted((path / "bundle").glob("*.onnx")) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"{path}: expected a bundle in {path / 'bundle'}, found none; export the run first")
        found += inside
    return found


def accuracy_of(manifest: Manifest) -> tuple[str, Mapping[str, Any]]:
    """Which figure of the test split stands for accuracy, in words, and the figure with its interval.

    Raises:
        ConfigError: the manifest has no figures.
    """
    metrics = manifest.metrics
    within = metrics.get("sources", {}).get(SAME_SOURCE, {}).get("auroc", {})
    if within.get("value") is not None:
        return f"AUROC for “{manifest.positive}” within {SAME_SOURCE}, test split", within
    overall = metrics.get("overall", {})
    name = "auroc" if len(manifest.labels) == 2 else "auroc_macro"  # noqa: PLR2004
    if overall.get(name, {}).get("value") is None:
        raise ConfigError(f"bundle {manifest.name} says nothing of its accuracy: evaluate its run and export again")
    return "AUROC on the test split, all sources", overall[name]


def describe(bundle: Bundle, times_ms: Sequence[float]) -> dict[str, Any]:
    """A point of the frontier."""
    manifest = bundle.manifest
    metric, figure = accuracy_of(manifest)
    student = (manifest.run.get("experiment") or {}).get("student") or {}
    return {
        "name": manifest.name.removesuffix(", int8"),
        "file": bundle.path.name,
        "int8": "quantisation" in manifest.run,
        "backbone": student.get("backbone", ""),
        "image_size": manifest.preprocessing.size,
        "metric": metric,
        "auroc": {key: figure.get(key) for key in ("value", "low", "high")},
        "auroc_macro": manifest.metrics.get("overall", {}).get("auroc_macro"),
        "bytes": bundle.path.stat().st_size,
        "ms": statistics.median(times_ms),
        "sha256": bundle.sha256,
    }


def times(bundles: Sequence[Bundle], *, rounds: int = 40) -> list[list[float]]:
    """Milliseconds of processor time per picture; the bundles take turns."""
    images = [network_input(drawn_inputs(one.manifest.preprocessing.size))[-1:] for one in bundles]
    found: list[list[float]] = [[] for _ in bundles]
    for number in range(rounds + 2):
        order = range(len(bundles)) if number % 2 else reversed(range(len(bundles)))
        for place in order:
            start = time.thread_time()
            bundles[place](images[place])
            found[place].append((time.thread_time() - start) * 1000)
    return [of[2:] for of in found]


def label(point: Mapping[str, Any]) -> str:
    """What tells a point from the others."""
    backbone = point["backbone"] or point["name"]
    return f"{backbone}, {point['image_size']} px, {'int8' if point['int8'] else 'float'}"


def plot(points: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Two panels, bytes and milliseconds, on logarithmic axes; numbers on the points, their names in a list."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    networks = list(dict.fromkeys((point["name"], point["backbone"], point["image_size"]) for point in points))
    for axes, key, words in zip(panels, ("bytes", "ms"), ("megabytes", "ms per picture, one thread"), strict=True):
        for number, point in enumerate(points, start=1):
            x = point[key] / 1e6 if key == "bytes" else point[key]
            value, low, high = (point["auroc"][name] for name in ("value", "low", "high"))
            network = networks.index((point["name"], point["backbone"], point["image_size"]))
            colour = _COLOURS[network % len(_COLOURS)]
            if low is not None and high is not None:
                axes.vlines(x, low, high, color=colour, alpha=0.35, linewidth=2)
            face = colour if point["int8"] else "white"
            axes.scatter([x], [value], s=150, marker="o", facecolor=face, edgecolor=colour, linewidth=1.8, zorder=3)
            tint = "white" if point["int8"] else colour
            axes.annotate(str(number), (x, value), ha="center", va="center", fontsize=7.5, color=tint, zorder=4)
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.set_xlim(low / 1.4, high * 1.4)
        ticks = [t for t in _TICKS if low / 1.4 <= t <= high * 1.4]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel(words)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(points[0]["metric"])
    labels = [label(point) for point in points]
    shown = [
        f"{one} ({point['file']})" if labels.count(one) > 1 else one for one, point in zip(labels, points, strict=True)
    ]
    names = [f"{number}  {one}" for number, one in enumerate(shown, start=1)]
    panels[1].text(1.03, 1.0, "\n".join(names), transform=panels[1].transAxes, va="top", fontsize=9, linespacing=1.6)
    panels[1].text(1.03, 0.0, "filled: int8, hollow: float\nbars: 95 % over patients", transform=panels[1].transAxes,
                   va="bottom", fontsize=8, color="#555555")  # fmt: skip
    figure.savefig(path, dpi=130, bbox_inches="tight")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the JSON and the plot, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="RUN|BUNDLE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        bundles = [load_bundle(path, threads=1) for path in bundles_of(options.bundles)]
        points = [describe(one, of) for one, of in zip(bundles, times(bundles), strict=True)]
    except PocketCxrError as error:
        print(f"frontier: {error}", file=sys.stderr)  # noqa: T201
        return 2
    points.sort(key=lambda point: point["ms"])
    machine = f"ONNX Runtime {onnxruntime.__version__}, {platform.machine()}, one thread"
    write_json(options.output, {"points": points, "machine": machine})
    plot(points, options.output.with_suffix(".png"))
    for point in points:
        figure = point["auroc"]
        bounds = "" if figure["low"] is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
        size = f"{point['bytes'] / 1e6:.2f} MB"
        print(f"{label(point)}: {figure['value']:.3f}{bounds}, {size}, {point['ms']:.2f} ms")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
