"""Whether this commit is slower than another: both do the same work by turns; the ratio of processor time counts.

    make bench-compare BASE=main                 (or: python benchmarks/compare_commits.py main --rounds 9)

The other commit is checked out beside this one and runs with the same environment, so that only the code differs: where
their requirements differ, say so and set up two environments instead. A measure is processor time, of the process and
all it started: other programs on the machine slow both alike. Which of the two begins changes from round to round.

A measure is flagged as slower where the median ratio is above 1.10 and its 95 % interval (bootstrap over rounds) above
1. Exit status: 0 none is, 1 some are, 2 the comparison could not be made. `--history FILE` adds a line of JSON;
`make bench-compare` adds it to docs/results/history.jsonl, whose last lines are on the page of benchmarks.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SLOWER = 1.10
SIDE, FILMS = 2000, 40
_RUN = "from pocketcxr.cli import main; raise SystemExit(main())"
MEASURES = {
    "one full-size picture, from process start": "predict {films}/0.jpg",
    f"a folder of {FILMS} full-size pictures": "predict {films} --workers 1 -o {out}/answers.jsonl",
    "the same, all pixels read": "predict {films} --exact --workers 1 -o {out}/exact.jsonl",
    "a student's epoch on drawn pictures, 64 px": "train-student --no-teacher --classes normal,covid19 --quiet"
    " --splits {set}/splits.csv -o {out}/student"
    " --set data.image_size=64 --set student.epochs=1 --set student.weights=scratch",
}
"""What is measured, and the command; its words are split before the folders are filled in."""


def main() -> int:
    """Measure both commits by turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="commit to compare with, such as main or v0.1.0")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", type=int, metavar="NUMBER", help="of the measures, from 1; default: all")
    parser.add_argument("--history", type=Path, help="add the ratios as a line of JSON to this file")
    options = parser.parse_args()
    chosen = [name for number, name in enumerate(MEASURES, 1) if options.only is None or number in options.only]
    if not chosen or options.rounds < 3:
        return _refused(f"expected measures from 1 to {len(MEASURES)} and at least 3 rounds")
    commit = _git("describe", "--always", "--dirty", "--exclude", "*")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        place = Path(folder)
        try:
            base = stack.enter_context(_checked_out(options.base, place / "base"))
            _draw(place)
            found = {name: _ratios(MEASURES[name].split(), base, place, options.rounds) for name in chosen}
        except subprocess.CalledProcessError as error:
            return _refused(f"{' '.join(map(str, error.cmd))}: {(error.stderr or '').strip()[-400:]}")
    rows = {name: _row(seconds) for name, seconds in found.items()}
    _show(rows, options.base)
    if options.history:
        line = {
            "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
            "commit": commit,
            "base": _git("rev-parse", "--short", options.base),
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "measures": rows,
        }
        with options.history.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
    return int(any(row["slower"] for row in rows.values()))


@contextlib.contextmanager
def _checked_out(commit: str, folder: Path) -> Iterator[Path]:
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run(
        [*git, "add", "--detach", "--force", str(folder), commit], check=True, capture_output=True, text=True
    )
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True, capture_output=True, text=True)


def _draw(place: Path) -> None:
    """Full-size JPEGs with grain, and a small set of two classes with its splits."""
    films, small = place / "films", place / "set"
    films.mkdir()
    generator = np.random.default_rng(0)
    ramp = np.linspace(40, 200, SIDE)
    for number in range(FILMS):
        grain = generator.normal(0, 12, (SIDE, SIDE))
        Image.fromarray((ramp[:, None] + grain + 10 * np.sin(number + ramp)).clip(0, 255).astype(np.uint8)).save(
            films / f"{number}.jpg", quality=85
        )
    for label in ("normal", "covid19"):
        (small / label).mkdir(parents=True)
        for number in range(160):
            pixels = generator.integers(0, 255, (64, 64)) // 2 + 60 * (label == "covid19")
            Image.fromarray(pixels.astype(np.uint8)).save(small / label / f"{number}.png")
    for words in (
        ["index", str(small), "-o", str(small / "index.csv")],
        ["split", str(small / "index.csv"), "--classes", "normal,covid19", "-o", str(small / "splits.csv")],
    ):
        _pocketcxr(ROOT, words, place)


def _ratios(words: list[str], base: Path, place: Path, rounds: int) -> list[tuple[float, float]]:
    """Processor seconds of this commit and of the other, a pair a round; one round before that is not counted."""
    found = []
    for number in range(rounds + 1):
        seconds = {}
        for root in (ROOT, base) if number % 2 else (base, ROOT):
            with tempfile.TemporaryDirectory(dir=place) as out:
                filled = [word.format(films=place / "films", set=place / "set", out=out) for word in words]
                seconds[root] = _pocketcxr(root, filled, place)
        if number:
            found.append((seconds[ROOT], seconds[base]))
    return found


def _pocketcxr(root: Path, words: list[str], place: Path) -> float:
    """Run one command of a checkout; return its processor seconds.

    Raises:
        subprocess.CalledProcessError: it failed; 1 stands for pictures that were refused.
    """
    command = [sys.executable, "-c", _RUN, *words]
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the first round, which is not counted, compiles
    environment["PYTHONPYCACHEPREFIX"] = str(place / "compiled")
    with (place / "said").open("w+") as said:
        process = subprocess.Popen(command, env=environment, cwd=place, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):
            said.seek(0)
            raise subprocess.CalledProcessError(process.returncode, words, stderr=said.read())
    return used.ru_utime + used.ru_stime


def _row(seconds: list[tuple[float, float]]) -> dict[str, float | bool]:
    pairs = np.array(seconds)
    ratios = pairs[:, 0] / pairs[:, 1]
    draws = np.random.default_rng(0).integers(0, len(ratios), (2000, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), (2.5, 97.5))
    median = float(np.median(ratios))
    return {"ratio": round(median, 3), "low": round(float(low), 3), "high": round(float(high), 3),
            "seconds": round(float(np.median(pairs[:, 0])), 3), "base_seconds": round(float(np.median(pairs[:, 1])), 3),
            "slower": bool(median > SLOWER and low > 1)}  # fmt: skip


def _show(rows: dict[str, dict[str, float | bool]], base: str) -> None:
    _say(f"| measure | processor time, this commit / {base} | seconds | {base} | |\n| --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        mark = "**SLOWER**" if row["slower"] else ""
        interval = f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        _say(f"| {name} | {interval} | {row['seconds']:.2f} | {row['base_seconds']:.2f} | {mark} |")


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout.strip()


def _refused(line: str) -> int:
    print(f"compare_commits: {line}", file=sys.stderr)
    return 2


def _say(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
