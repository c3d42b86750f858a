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
import datetime as dt
import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tables import students_of

from pocketcxr.errors import ConfigError, PocketCxrError
from pocketcxr.evaluation.calibration import fit_temperature, softmax
from pocketcxr.evaluation.intervals import clusters, interval, resamples
from pocketcxr.evaluation.metrics import figures, ranking
from pocketcxr.files import write_json
from pocketcxr.pipeline.run import Run
from pocketcxr.run_folder import RunFolder, checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset

REFERENCE = "imagenet"
TEACHER = "teacher"
SCRATCH = "scratch"
SAME_SOURCE = "siim"
"""The source in which both classes come from the same hospitals: the headline is taken on it, where it is present."""

ORDER = (
    "scratch",
    "scratch-soft",
    "scratch-embedding",
    "scratch-both",
    "imagenet",
    "soft",
    "embedding",
    "both",
    "modern",
    "ensemble",
    TEACHER,
    "teacher-ensemble",
)
WORDS = {
    "auroc_same_source": f"AUROC of the positive class against the negative, within {SAME_SOURCE}",
    "auroc_macro": "mean AUROC over classes, all sources",
    "accuracy": "accuracy, all sources",
    "ece": "calibration error, all sources",
}
_LOG = "test_split_opened.log"


@dataclass(frozen=True, eq=False)
class Scores:
    """Logits [n, classes] of one run on one split."""

    variant: str
    seed: int
    logits: NDArray[np.float64]
    temperature: float


@dataclass(frozen=True, eq=False)
class Split:
    """The images that all runs are asked about."""

    name: str
    truth: NDArray[np.int64]
    sources: NDArray[np.str_]
    members: NDArray[np.int64]
    labels: tuple[str, ...]
    positive: int


def table(scores: Sequence[Scores], split: Split, *, bootstrap: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Figures of every variant on one split, and its differences from the reference.

    Of each figure: the value of every seed; the mean; ``seeds``, the 95 % t interval of the mean over seeds;
    ``patients``, the 95 % percentile interval of the mean over resampled patients. Differences are paired by seed and
    by resample; `p` is two-sided from the bootstrap over patients, `p_holm` corrected for the number of comparisons.
    """
    metrics = [name for name in WORDS if name != "auroc_same_source" or _same_source(split).any()]
    values = {(one.variant, one.seed): _measured(one, split, metrics, _ones(split))[0] for one in scores}
    draws = {key: {name: [] for name in metrics} for key in values}
    for weights in resamples(split.members, count=bootstrap, seed=seed):
        for one in scores:
            found = _measured(one, split, metrics, weights)[1]
            for name in metrics:
                draws[one.variant, one.seed][name].append(found[name])
    replicates = {key: {n: np.concatenate(parts) for n, parts in of.items()} for key, of in draws.items()}
    variants = _ordered({one.variant for one in scores})
    seeds = {v: sorted(one.seed for one in scores if one.variant == v) for v in variants}
    patients = int(split.members.max()) + 1
    rows = {v: {n: _row(v, n, seeds[v], values, replicates, patients) for n in metrics} for v in variants}
    measured = (variants, seeds, metrics, values, replicates, patients)
    return {
        "split": split.name,
        "images": len(split.truth),
        "patients": patients,
        "bootstrap": bootstrap,
        "metrics": {name: WORDS[name] for name in metrics},
        "seeds": seeds,
        "variants": rows,
        "against": REFERENCE if REFERENCE in variants else None,
        "differences": _differences(*measured, reference=REFERENCE),
        "differences_from_teacher": _differences(*measured, reference=TEACHER),
        "differences_from_scratch": _differences(
            [name for name in variants if name.startswith(SCRATCH)], *measured[1:], reference=SCRATCH
        ),
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction of several p-values (Holm 1979)."""
    found, largest = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, p_values[name] * (len(p_values) - place)))
        found[name] = largest
    return found


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of a few seeds; None with one."""
    from scipy.stats import t

    if len(values) < 2:  # noqa: PLR2004
        return None
    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def _differences(
    variants: Sequence[str],
    seeds: Mapping[str, list[int]],
    metrics: Sequence[str],
    values: Mapping[tuple[str, int], dict[str, float]],
    replicates: Mapping[tuple[str, int], dict[str, NDArray[np.float64]]],
    patients: int,
    *,
    reference: str,
) -> dict[str, dict[str, Any]]:
    if reference not in variants:
        return {}
    found: dict[str, dict[str, Any]] = {variant: {} for variant in variants if variant != reference}
    for name in metrics:
        for variant, of in found.items():
            shared = [one for one in seeds[variant] if one in seeds[reference]]
            if not shared:
                continue
            each = [values[variant, one][name] - values[reference, one][name] for one in shared]
            moved = np.mean([replicates[variant, s][name] - replicates[reference, s][name] for s in shared], axis=0)
            exist = moved[np.isfinite(moved)]
            figure = interval("difference", float(np.mean(each)), moved, patients=patients)
            tail = min(int((exist <= 0).sum()), int((exist >= 0).sum()))
            of[name] = {
                "each": each,
                "mean": float(np.mean(each)),
                "seeds": t_interval(each),
                "patients": _bounds(figure),
                "p": min(1.0, 2 * (tail + 1) / (len(exist) + 1)),
            }
        corrected = holm({variant: of[name]["p"] for variant, of in found.items() if name in of})
        for variant, p in corrected.items():
            found[variant][name]["p_holm"] = p
    return found


def _row(
    variant: str,
    metric: str,
    seeds: Sequence[int],
    values: Mapping[tuple[str, int], dict[str, float]],
    replicates: Mapping[tuple[str, int], dict[str, NDArray[np.float64]]],
    patients: int,
) -> dict[str, Any]:
    each = [values[variant, seed][metric] for seed in seeds]
    draws = np.mean([replicates[variant, seed][metric] for seed in seeds], axis=0)
    figure = interval(metric, float(np.mean(each)), draws, patients=patients)
    return {"each": each, "mean": float(np.mean(each)), "seeds": t_interval(each), "patients": _bounds(figure)}


def _bounds(figure: Any) -> tuple[float, float] | None:
    return None if figure.low is None else (figure.low, figure.high)


def _measured(
    one: Scores, split: Split, metrics: Sequence[str], weights: NDArray[np.float64]
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Figures for every resample: the first of each, and all."""
    probabilities = softmax(one.logits, one.temperature)
    found = figures(
        probabilities,
        split.truth,
        labels=split.labels,
        positive=split.labels[split.positive],
        thresholds={},
        weights=weights,
    )
    if "auroc_same_source" in metrics:
        within = _same_source(split)
        scores, is_positive = probabilities[within, split.positive], split.truth[within] == split.positive
        found["auroc_same_source"] = ranking(scores, is_positive, weights[:, within])[0]
    chosen = {name: found[name] for name in metrics}
    return {name: float(values[0]) for name, values in chosen.items()}, chosen


def _same_source(split: Split) -> NDArray[np.bool_]:
    """Images of the one source that has the positive class and another."""
    within = split.sources == SAME_SOURCE
    return within if len(set(split.truth[within])) > 1 else np.zeros_like(within)


def _ones(split: Split) -> NDArray[np.float64]:
    return np.ones((1, len(split.truth)))


def _ordered(variants: Iterable[str]) -> list[str]:
    return sorted(variants, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


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
        log = options.output.with_name(_LOG)
        if options.open_test:
            stamp = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            options.output.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as stream:  # before anything is seen of it
                stream.write(f"{stamp} test split opened for {len(options.runs)} students, {digest}\n")
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
