"""What a second worker gains with `pocketcxr predict --engine ray`, beside the plain engine: rows a second, ratios.

    python benchmarks/cluster_scaling.py          (needs the extra cluster; --table FILE prints what a result says)

The generator's drawings at full size (PNG, JPEG and DICOM; some linked under several names) are scored by both engines
with one and two workers, by turns. Start-up is left out: each round scores a few files too, and the medians of that are
taken off; the first run of all compiles modules and is not counted. Processor time is of the command and all processes
below it, those of Ray among them.

Other programs take processors away from a run, so its rows a second say little without how many processors it had. The
gain is therefore by processor time: rows a second if each worker had a processor to itself, at the cost of an image as
measured. Where processors are two hyperthreads of a core and the other one is busy anyway, that is the gain beside this
other work; on a quiet machine a single worker is faster, and a second one gains less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIDE, FEW, EVERY_S = 2000, 8, 0.1
RUNS = [(engine, workers) for engine in ("local", "ray") for workers in (1, 2)]
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=30, help="drawn, with one to four images each")
    parser.add_argument("--files", type=int, default=600, help="in the folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of an earlier result, no more")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/cluster_scaling.json"))
    options = parser.parse_args()
    if not options.table:
        with tempfile.TemporaryDirectory() as name:
            record = _measure(Path(name), options)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(json.loads((options.table or options.output).read_text(encoding="utf-8"))))
    return 0


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from pocketcxr.bundle.verified import read_verified
    from pocketcxr.data.synthetic.generate import draw_synthetic_xrays

    draw_synthetic_xrays(folder / "drawn", patients=options.patients, size=SIDE)
    drawn = sorted((folder / "drawn" / "images").iterdir())
    for name, count in (("all", options.files), ("few", FEW)):
        (folder / name).mkdir()
        for number in range(count):
            one = drawn[number % len(drawn)]
            os.link(one, folder / name / f"{number:05}{one.suffix}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.update(OMP_NUM_THREADS="1", RAY_ADDRESS="local", PYTHONPYCACHEPREFIX=str(folder / "compiled"))
    _predict(folder, "few", "ray", 1)
    runs = {f"{engine} {workers}": {"all": [], "few": []} for engine, workers in RUNS}
    before, answers = os.getloadavg()[0], set()
    for number in range(options.rounds):
        for engine, workers in RUNS if number % 2 else RUNS[::-1]:
            for part, found in runs[f"{engine} {workers}"].items():
                took, rows = _predict(folder, part, engine, workers)
                found.append(took)
                answers |= {rows} if part == "all" else set()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "bundle": read_verified(None).identity,
        "files": options.files,
        "few": FEW,
        "drawn": len(drawn),
        "side": SIDE,
        "rounds": options.rounds,
        "load_average": [before, os.getloadavg()[0]],
        "same_bytes": len(answers) == 1,
        "runs": runs,
    }


def _predict(folder: Path, part: str, engine: str, workers: int) -> tuple[tuple[float, float], bytes]:
    output = folder / "answers.jsonl"
    command = ["predict", str(folder / part), "--engine", engine, "--workers", str(workers), "-o", str(output)]
    took = run_tree([sys.executable, "-m", "pocketcxr.cli", *command])
    rows = output.read_bytes()
    output.unlink()
    return took, rows


def run_tree(command: list[str]) -> tuple[float, float]:
    """Elapsed and processor seconds of a command and of every process below it.

    Raises:
        RuntimeError: it failed; 1 stands for pictures that were refused.
    """
    began, used = time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            used = max(used, _seconds(process.pid))
            time.sleep(EVERY_S)
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)}: status {process.returncode}")
    return round(time.perf_counter() - began, 2), round(used, 2)


def _seconds(process: int) -> float:
    """Processor seconds of a process, of those below it, and of those that have ended and were waited for."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        below = [one for path in Path(f"/proc/{process}/task").glob("*/children") for one in path.read_text().split()]
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS + sum(_seconds(int(child)) for child in below)


def table(record: dict[str, Any]) -> str:
    """Return what was measured, as Markdown."""
    files = record["files"] - record["few"]
    found = {name: [_beyond_start(of, place) / files for place in (0, 1)] for name, of in record["runs"].items()}
    loads = " to ".join(f"{load:.0f}" for load in record["load_average"])
    measured = f"{record['date']}, {record['files']} images {record['side']} pixels high, {record['rounds']} rounds"
    columns = ("engine, workers", "rows a second", "with so many processors", "processor ms each",
               "rows a second, one processor a worker", "gain")  # fmt: skip
    answers = "the same bytes" if record["same_bytes"] else "**not the same bytes**"
    lines = [
        f"{measured}, load average {loads}; answers: {answers} every time.",
        "",
        f"| {' | '.join(columns)} |",
        f"| {' | '.join('---' for _ in columns)} |",
    ]
    for name, (elapsed, used) in found.items():
        engine, workers = name.split()
        rate = int(workers) / used
        gain = f"{rate * found[f'{engine} 1'][1]:.2f}" if workers != "1" else ""
        shown = f"{1 / elapsed:.1f} | {used / elapsed:.2f} | {1000 * used:.1f} | {rate:.1f}"
        lines.append(f"| {engine}, {workers} | {shown} | {gain} |")
    return "\n".join(lines)


def _beyond_start(runs: dict[str, list[list[float]]], place: int) -> float:
    whole, few = (statistics.median(one[place] for one in runs[part]) for part in ("all", "few"))
    return whole - few


if __name__ == "__main__":
    sys.exit(main())
