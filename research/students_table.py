r"""The comparison of students over seeds: means, intervals, paired tests against the student without a teacher.

python research/students_table.py runs/table/*-s[0-9]* -o docs/results/students_table.json
python research/students_table.py runs/table/*-s[0-9]* -o docs/results/students_table.json --open-test \
    --teachers runs/table/teacher runs/table/teacher-ensemble

A run's folder is called VARIANT-sSEED (imagenet-s0, both-s2) and holds ``student-distilled`` or ``student-baseline``.
All runs must stand on the same images and splits. Teachers are runs of ``train-teacher``, one network for all seeds;
students are held against the one called ``teacher``, too. The winner is chosen on the calibration split; the test split
is asked only with --open-test, which leaves a line with date and hash of the runs in ``test_split_opened.log`` beside
the table.

Beside the JSON a plot is drawn, ``….png``. Scores are kept in each run (``students_table.SPLIT.npz``), so that a second
call is quick; --scores DIR keeps them elsewhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from openings import log_beside, log_opening
from seeds import REFERENCE, Scores, Split, table
from tables import students_of

from pocketcxr.errors import ConfigError, PocketCxrError
from pocketcxr.evaluation.calibration import fit_temperature
from pocketcxr.evaluation.intervals import clusters
from pocketcxr.files import write_json
from pocketcxr.pipeline.run import Run
from pocketcxr.run_folder import RunFolder, checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset


# ---------------------------------------------------------------------------------------------------------- the runs


def collect(
    folders: Sequence[Path], split: str, *, scores: Path | None, teachers: Sequence[Path] = ()
) -> tuple[list[Scores], Split]:
    """Score the runs on a split; logits that were kept are taken from there. A teacher answers for every seed.

    Raises:
        ConfigError: a folder that is no run of the table, or runs on different images.
    """
    found, first = [], None
    students = [name_of(folder) for folder in folders]
    for folder in (*folders, *teachers):
        dataset = _dataset(folder)
        if first is None:
            first = dataset
        elif dataset.fingerprint != first.fingerprint:
            raise ConfigError(f"{folder} stands on other images or splits than {folders[0]}: they cannot be compared")
        calibration = _logits(folder, dataset, "calibration", scores)
        temperature = fit_temperature(calibration, dataset.labels[dataset.positions("calibration")])
        logits = calibration if split == "calibration" else _logits(folder, dataset, split, scores)
        names = [(folder.name, seed) for seed in sorted({s for _, s in students})]
        names = names if folder in teachers else [name_of(folder)]
        found += [Scores(variant, seed, logits, temperature) for variant, seed in names]
        print(f"{folder.name}: {split} split scored", file=sys.stderr)  # noqa: T201
    assert first is not None
    positions = first.positions(split)
    rows = [first.rows[i] for i in positions]
    described = Split(
        name=split,
        truth=first.labels[positions],
        sources=np.array([row.source for row in rows]),
        members=clusters(rows),
        labels=tuple(first.task.labels),
        positive=first.task.positive_index,
    )
    return found, described


def name_of(folder: Path) -> tuple[str, int]:
    """Variant and seed of a run's folder.

    Raises:
        ConfigError: not called VARIANT-sSEED.
    """
    match = re.fullmatch(r"(.+)-s(\d+)", folder.resolve().name)
    if match is None:
        raise ConfigError(f"{folder}: expected a run's folder called VARIANT-sSEED, such as imagenet-s0")
    return match[1], int(match[2])


def checkpoint_of(folder: Path) -> Path:
    """The student of a run, or its teacher where it has no student.

    Raises:
        ConfigError: there is none.
    """
    run = RunFolder(folder)
    for place in (run.student_distilled, run.student_baseline, run.teacher):
        if checkpoint(place).is_file():
            return checkpoint(place)
    raise ConfigError(f"{folder}: expected a trained student in student-distilled or student-baseline, found none")


def hash_of(folders: Sequence[Path]) -> str:
    """One hash of the students of all runs."""
    parts = [f"{f.name} {hashlib.sha256(checkpoint_of(f).read_bytes()).hexdigest()}" for f in sorted(folders)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _dataset(folder: Path) -> Dataset:
    from pocketcxr.pipeline.prepare import prepare
    from pocketcxr.training.config import load_experiment

    saved = folder / "experiment.json"
    if not saved.is_file():
        raise ConfigError(f"{folder} holds no run: expected {saved}")
    experiment = load_experiment(saved, ())
    plain = dataclasses.replace(experiment, student=dataclasses.replace(experiment.student, unlabelled=False))
    return prepare(Run(folder, plain, progress=False))


def _logits(folder: Path, dataset: Dataset, split: str, scores: Path | None) -> NDArray[np.float64]:
    from pocketcxr.evaluation.scoring import score
    from pocketcxr.models.checkpoints import load_network
    from pocketcxr.models.predict import as_predict

    path = checkpoint_of(folder)
    key = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {dataset.fingerprint}"
    kept = (scores / folder.name if scores else folder) / f"students_table.{split}.npz"
    if kept.is_file():
        with np.load(kept) as arrays:
            if str(arrays["key"]) == key:
                return arrays["logits"]
    network, _, _ = load_network(path)
    logits = score(folder.name, as_predict(network), dataset, dataset.positions(split)).logits
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.savez(kept, logits=logits, key=np.array(key))
    return logits


# ------------------------------------------------------------------------------------------------------------ output


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Every seed as a dot, the mean as a bar with its interval over patients, the reference as a line."""
    from matplotlib.figure import Figure

    metric = next(iter(found["metrics"]))
    rows = list(found["variants"].items())
    figure = Figure(figsize=(8, 0.9 + 0.55 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, (variant, table_row) in enumerate(reversed(rows)):
        row = table_row[metric]
        colour = "#7a7a7a" if variant == REFERENCE else "#1f5fa8"
        low, high = row["patients"] or (row["mean"], row["mean"])
        axes.hlines(place, low, high, color=colour, linewidth=2, alpha=0.6)
        axes.scatter([row["mean"]], [place], marker="D", s=46, color=colour, zorder=3)
        axes.scatter(row["each"], [place + 0.22] * len(row["each"]), s=14, color=colour, alpha=0.7)
    if REFERENCE in found["variants"]:
        axes.axvline(found["variants"][REFERENCE][metric]["mean"], color="#7a7a7a", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), [variant for variant, _ in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.set_xlabel(
        f"{found['metrics'][metric]}\n{found['split']} split; diamond: mean, bar: 95 % over patients, dots: seeds"
    )
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the table, the plot, and the line in the log where the test split was opened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--open-test", action="store_true", help="ask the test split too; leaves a line in the log")
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--scores", type=Path, help="keep scores here instead of in the runs")
    parser.add_argument("--teachers", nargs="+", type=Path, default=[], help="runs of train-teacher")
    options = parser.parse_args(arguments)
    try:
        made = {"calibration": _made(options, "calibration")}
        digest = hash_of([*options.runs, *options.teachers])
        log = log_beside(options.output)
        if options.open_test:
            log_opening(options.output, f"{len(options.runs)} students, {digest}")
            made["test"] = _made(options, "test")
    except PocketCxrError as error:
        print(f"students_table: {error}", file=sys.stderr)  # noqa: T201
        return 2
    metric = next(iter(made["calibration"]["metrics"]))
    teachers = {path.resolve().name for path in options.teachers}
    students = {name: row for name, row in made["calibration"]["variants"].items() if name not in teachers}
    chosen = max(students.items(), key=lambda item: item[1][metric]["mean"])[0]
    record = {
        "chosen_on_calibration": chosen,
        "teachers": sorted(teachers),
        "metric": metric,
        "runs_hash": digest,
        "splits": made,
    }
    if log.is_file():
        record["test_opened"] = log.read_text(encoding="utf-8").splitlines()
    write_json(options.output, record)
    last = made.get("test", made["calibration"])
    plot(last, options.output.with_suffix(".png"))
    print(students_of(last, record["teachers"]))  # noqa: T201
    return 0


def _made(options: argparse.Namespace, split: str) -> dict[str, Any]:
    scores, described = collect(options.runs, split, scores=options.scores, teachers=options.teachers)
    return table(scores, described, bootstrap=options.bootstrap)


if __name__ == "__main__":
    sys.exit(main())
