"""A folder of very many files: does memory stay constant, and is nothing scored twice or lost after kill -9?

    python benchmarks/predict_many.py --files 100000
    python benchmarks/predict_many.py --files 4000 --engine ray --formats jsonl

Some drawn pictures are hard-linked under many names. For each format, `pocketcxr predict -o` starts on them, is killed
without warning when a good third is answered, and started again. Meanwhile the memory of the parent and of the largest
scoring process is read from the system (resident, and the system's own peak). In the end answers are counted.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pocketcxr.bundle.verified import read_verified

DRAWN = 40
PER_FOLDER = 25_000
KILLED_AT = 0.4
EVERY_S = 0.5


def main() -> int:
    """Run every format and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--formats", nargs="+", default=["jsonl", "csv", "parquet"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/predict_many.json"))
    options = parser.parse_args()
    bundle = read_verified(options.bundle).identity
    record: dict[str, Any] = {
        "bundle": bundle,
        "files": options.files,
        "workers": options.workers,
        "engine": options.engine,
        "load_average": os.getloadavg(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _draw(folder, options.files)
        record["formats"] = {suffix: _measure(folder, suffix, options) for suffix in options.formats}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: {**found, "runs": "..."} for name, found in record["formats"].items()}, indent=2))
    return 0


def _draw(folder: Path, files: int) -> None:
    drawn, films = folder / "drawn", folder / "films"
    drawn.mkdir()
    generator = np.random.default_rng(0)
    ramp = np.linspace(40, 200, 128)
    for number in range(DRAWN):
        pixels = np.clip(ramp[:, None] + generator.normal(0, 20, (128, 128)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(drawn / f"{number}.png")
    for number in range(files):
        part = films / f"part-{number // PER_FOLDER}"
        part.mkdir(parents=True, exist_ok=True)
        os.link(drawn / f"{number % DRAWN}.png", part / f"{number}.png")


def _measure(folder: Path, suffix: str, options: argparse.Namespace) -> dict[str, Any]:
    output = folder / f"scores.{suffix}"
    growing = output.with_name(output.name + ".partial.jsonl") if suffix == "parquet" else output
    command = [sys.executable, "-m", "pocketcxr.cli", "predict", str(folder / "films"), "-o", str(output)]
    command += ["--workers", str(options.workers), "--engine", options.engine]
    command += ["--bundle", str(options.bundle)] if options.bundle else []
    killed = _run(command, growing, until=int(KILLED_AT * options.files))
    left_by_kill = _lines(growing)
    resumed = _run(command, growing, until=None)
    answered = _paths(output)
    return {
        "answers_before_the_kill": left_by_kill,
        "answers": len(answered),
        "answered_twice": len(answered) - len(set(answered)),
        "lost": options.files - len(set(answered)),
        "parent_peak_mb": [killed["parent_peak_mb"], resumed["parent_peak_mb"]],
        "worker_peak_mb": [killed["worker_peak_mb"], resumed["worker_peak_mb"]],
        "per_s": round((options.files - left_by_kill) / resumed["s"], 1),
        "runs": [killed, resumed],
    }


def _run(command: list[str], growing: Path, *, until: int | None) -> dict[str, Any]:
    """Run, or kill when so many answers are there; memory over time as [answers, resident MB of the parent]."""
    curve: list[tuple[int, float]] = []
    peaks = {"parent_peak_mb": 0.0, "worker_peak_mb": 0.0}
    started = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            answers, children = _lines(growing), _scoring(process.pid)
            curve.append((answers, _mb(process.pid, "VmRSS")))
            peaks["parent_peak_mb"] = max(peaks["parent_peak_mb"], _mb(process.pid, "VmHWM"))
            peaks["worker_peak_mb"] = max(peaks["worker_peak_mb"], *(_mb(child, "VmHWM") for child in children), 0)
            if until is not None and answers >= until:
                process.send_signal(signal.SIGKILL)
                process.wait()
                _wait_for_end(children)
            time.sleep(EVERY_S)
    step = max(1, len(curve) // 12)
    return {**peaks, "s": round(time.monotonic() - started, 1), "answers_and_mb": curve[::step]}


def _wait_for_end(processes: list[int]) -> None:
    until = time.monotonic() + 30
    while any(Path(f"/proc/{process}").exists() and _mb(process, "VmRSS") for process in processes):
        assert time.monotonic() < until, "scoring processes outlived their parent"
        time.sleep(0.05)


def _lines(path: Path) -> int:
    """Whole lines so far; counted from where the last call ended."""
    position, lines = _COUNTED.get(path, (0, 0))
    if not path.exists() or path.stat().st_size < position:
        position, lines = 0, 0
    if path.exists():
        with path.open("rb") as stream:
            stream.seek(position)
            while block := stream.read(1 << 20):
                lines += block.count(b"\n")
                position += len(block)
    _COUNTED[path] = position, lines
    return lines


_COUNTED: dict[Path, tuple[int, int]] = {}


def _paths(output: Path) -> list[str]:
    if output.suffix == ".csv":
        with output.open(encoding="utf-8", newline="") as stream:
            return [row["path"] for row in csv.DictReader(stream)]
    if output.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(output, columns=["path"])["path"].to_pylist()
    return [json.loads(line)["path"] for line in output.read_text(encoding="utf-8").splitlines()]


def _scoring(process: int) -> list[int]:
    """Processes of any depth below one that score, and those of Ray that hold them."""
    try:
        below = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
        title = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return []
    scores = b"pocketcxr.inference.worker" in title or (title.startswith(b"ray::") and b"score_part" in title)
    return [process] * scores + [one for child in below for one in _scoring(child)]


def _mb(process: int, what: str) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith(what)), 0.0)


if __name__ == "__main__":
    sys.exit(main())
