"""What `pocketcxr predict` on a folder costs as its images, the processes and the pixels grow.

    python benchmarks/predict_growth.py

Drawings of the generator as JPEG, some under several names, scored by the student that ships. One of the three grows at
a time, the others stay; the start is counted. Each is measured in every round, by turns, and the least time counts.
Processor time is that of all processes; memory is their most together, shared pages counted once. `--table FILE` prints
what a result says.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from predict_speed import together_kb

GROWING = {
    "images": (100, 400, 1600, 6400),
    "processes": (1, 2, 4),
    "pixels a side": (500, 1000, 2000, 4000),
}
STAYING = {"images": 400, "processes": 2, "pixels a side": 1000}
DRAWN = 20
EVERY_S = 0.1
KEPT = ("seconds", "processor_s", "mb")


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of an earlier result, no more")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/predict_growth.json"))
    options = parser.parse_args()
    if not options.table:
        with tempfile.TemporaryDirectory() as name:
            record = _measure(Path(name), options.rounds)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(json.loads((options.table or options.output).read_text(encoding="utf-8"))))
    return 0


def _measure(folder: Path, rounds: int) -> dict[str, Any]:
    from pocketcxr.bundle.verified import read_verified

    os.environ["OMP_NUM_THREADS"] = "1"
    before = os.getloadavg()[0]
    runs = {(what, value): {**STAYING, what: value} for what, values in GROWING.items() for value in values}
    films = {size: _draw(folder, *size) for size in {(of["pixels a side"], of["images"]) for of in runs.values()}}
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {one: [] for one in runs}
    for _ in range(rounds):
        for one, of in runs.items():
            found[one].append(_run(films[of["pixels a side"], of["images"]], of["processes"], folder / "answers.jsonl"))
    rows = [
        {"growing": what, "value": value, "images": runs[what, value]["images"]}
        | {key: round(min(values), 2) for key, values in zip(KEPT, zip(*took, strict=True), strict=True)}
        for (what, value), took in found.items()
    ]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "bundle": read_verified(None).identity,
        "processors": os.cpu_count(),
        "load_average": [before, os.getloadavg()[0]],
        "rounds": rounds,
        "staying": STAYING,
        "rows": rows,
    }


def _draw(folder: Path, side: int, images: int) -> Path:
    """A folder of `images` JPEG files of few drawings, enlarged to `side` with grain."""
    from pocketcxr.data.synthetic.generate import draw_synthetic_xrays

    source, films = folder / "drawn", folder / f"{side}-{images}"
    if not source.exists():
        draw_synthetic_xrays(source, patients=DRAWN, size=512)
    films.mkdir()
    drawn = [path for path in sorted((source / "images").iterdir()) if path.suffix in {".png", ".jpg"}][:DRAWN]
    generator = np.random.default_rng(0)
    made: list[bytes] = []
    for path in drawn:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L").resize((side, side)), dtype=np.float32)
        one = films / "one.jpg"
        Image.fromarray(np.clip(pixels + generator.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)).save(one)
        made.append(one.read_bytes())
        one.unlink()
    for number in range(images):
        (films / f"{number:05}.jpg").write_bytes(made[number % len(made)])
    return films


def _run(films: Path, processes: int, answers: Path) -> tuple[float, float, float]:
    command = [sys.executable, "-m", "pocketcxr.cli", "predict", str(films), "-o", str(answers)]
    began, used, most = time.perf_counter(), _children_s(), 0
    with subprocess.Popen(
        [*command, "--workers", str(processes)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            most = max(most, together_kb(process.pid))
            time.sleep(EVERY_S)
    took = time.perf_counter() - began
    if process.returncode not in (0, 1):  # 1: some drawings are refused
        raise RuntimeError(f"{films}: predict ended with status {process.returncode}")
    answers.unlink()
    return took, _children_s() - used, most / 1024


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(record: dict[str, Any]) -> str:
    """Return what was measured, as Markdown."""
    staying = ", ".join(f"{value:,} {name}" for name, value in record["staying"].items())
    loads = " to ".join(f"{load:.0f}" for load in record["load_average"])
    measured = f"{record['date']}, {record['processors']} processors, load average {loads}"
    lines = [
        f"{measured}, least of {record['rounds']} rounds. What does not grow: {staying}.",
        "",
        "| growing | | seconds | images a second | processor ms an image | MB, all processes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in record["rows"]:
        rate, each = row["images"] / row["seconds"], 1000 * row["processor_s"] / row["images"]
        cells = f"{row['seconds']:.1f} | {rate:.1f} | {each:.1f} | {row['mb']:.0f}"
        lines.append(f"| {row['growing']} | {row['value']:,} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
