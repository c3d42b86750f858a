r"""The student that ships beside common practice on the same images: SIIM typical against negative, test split.

python research/against_common_practice.py BUNDLE.onnx runs/common-s0 runs/common-s1 \
    -o docs/results/against_common_practice.json

Each further argument is a run of ``common_practice.toml`` on the split of the bundle (``pocketcxr split --as``), one a
seed. Both predict the same test images, each as it is meant to be used: the bundle's answer among all its classes,
common practice's between two. Differences are of the bundle from the mean over seeds, paired over resampled patients.
Looks at the test split: a line with date and hashes goes into ``test_split_opened.log`` beside the output.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from openings import log_opening

from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.rows import read_rows
from pocketcxr.errors import ConfigError, PocketCxrError
from pocketcxr.evaluation.calibration import fit_temperature, softmax
from pocketcxr.evaluation.comparisons import paired_difference
from pocketcxr.evaluation.intervals import bootstrap, clusters, interval
from pocketcxr.evaluation.metrics import figures
from pocketcxr.evaluation.scoring import score
from pocketcxr.files import write_json
from pocketcxr.inference.session import load_bundle
from pocketcxr.labels import load_task
from pocketcxr.models.checkpoints import load_network
from pocketcxr.models.predict import as_predict
from pocketcxr.run_folder import STUDENT_FILE, RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

METRICS = ("auroc", "accuracy", "ece")


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities [n, classes] of one model on the test images, and what is true [n] among its classes."""

    name: str
    probabilities: NDArray[np.float64]
    truth: NDArray[np.int64]
    labels: tuple[str, ...]
    positive: str

    def measured(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Figures of every resample; weights [resamples, n]."""
        found = figures(
            self.probabilities,
            self.truth,
            labels=self.labels,
            positive=self.positive,
            thresholds={},
            weights=weights,
        )
        return {name: found[name] for name in METRICS}


def compare(
    bundle: Answers, rivals: Sequence[Answers], members: NDArray[np.int64], *, count: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Figures of the bundle, the mean of the rivals over their seeds, and the differences, all with intervals.

    Args:
        bundle: one model.
        rivals: the same training under other seeds, on the same images.
        members: patient number of each image [n], from `clusters`.
        count: resamples of patients.
        seed: of the resampling.
    """
    models = {"bundle": [bundle], "common_practice": list(rivals)}

    def mean(of: Sequence[Answers], weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        found = [one.measured(weights) for one in of]
        return {name: np.mean([one[name] for one in found], axis=0) for name in METRICS}

    ones = np.ones((1, len(members)))
    patients = int(members.max()) + 1
    draws = bootstrap({who: partial(mean, of) for who, of in models.items()}, members, count=count, seed=seed)
    figures_of = {
        who: {
            name: interval(name, float(value[0]), draws[who][name], patients=patients)
            for name, value in mean(of, ones).items()
        }
        for who, of in models.items()
    }
    each = {who: [one.measured(ones) for one in of] for who, of in models.items()}
    rows = {
        who: {
            name: {**figures_of[who][name].as_json(), "each": [float(one[name][0]) for one in each[who]]}
            for name in METRICS
        }
        for who in models
    }
    differences = {}
    for name in METRICS:
        pair = (figures_of["bundle"][name], figures_of["common_practice"][name])
        moved = (draws["bundle"][name], draws["common_practice"][name])
        found = paired_difference(name, pair, moved, patients=patients)
        differences[name] = {**found.figure.as_json(), "p": found.p}
    return {"images": len(members), "patients": patients, "models": rows, "differences": differences}


def answers_of_run(folder: Path) -> tuple[Answers, list[Any]]:
    """Calibrated answers of a run of common practice on its test split, and the rows of those images.

    Raises:
        ConfigError: no trained student there.
    """
    from pocketcxr.training.config import load_experiment

    checkpoint = RunFolder(folder).student_baseline / STUDENT_FILE
    if not checkpoint.is_file():
        raise ConfigError(f"{folder}: expected a run of common practice with {checkpoint.name}, found none")
    data = load_experiment(folder / "experiment.json", ()).data
    dataset = open_dataset(
        read_rows(folder / "splits.csv"),
        load_task(data.task),
        size=data.image_size,
        aspect=data.aspect,
        cache=folder / "cache",
        progress=False,
    )
    network = as_predict(load_network(checkpoint)[0])
    fitted = dataset.positions("calibration")
    temperature = fit_temperature(score(folder.name, network, dataset, fitted).logits, dataset.labels[fitted])
    positions = dataset.positions("test")
    logits = score(folder.name, network, dataset, positions).logits
    labels = dataset.labels[positions]
    task = dataset.task
    found = Answers(folder.name, softmax(logits, temperature), labels, tuple(task.labels), task.positive)
    return found, [dataset.rows[i] for i in positions]


def answers_of_bundle(path: Path, rows: Sequence[Any], cache: Path) -> Answers:
    """The bundle's own answers on the images of `rows`, read at its size."""
    bundle = load_bundle(path)
    manifest = bundle.manifest
    task = load_task(manifest.task)
    # the names of the rows' classes are the bundle's: common practice here tells two of its classes apart
    dataset = open_dataset(
        list(rows),
        task,
        size=manifest.preprocessing.size,
        aspect=manifest.preprocessing.aspect,
        cache=cache,
        progress=False,
    )
    positions = dataset.positions("test")
    scored = score(path.stem, bundle, dataset, positions)
    return Answers(
        path.stem, softmax(scored.logits, manifest.temperature), dataset.labels[positions], task.labels, task.positive
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask all, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        files = [options.bundle, *(RunFolder(run).student_baseline / STUDENT_FILE for run in options.runs)]
        digest = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
        log_opening(options.output, f"the bundle and common practice, {digest}")
        rivals, tested = [], []
        for run in options.runs:
            answers, rows = answers_of_run(run)
            if tested and [row.path for row in rows] != [row.path for row in tested]:
                raise ConfigError(f"{run} was tested on other images than {options.runs[0]}: they cannot be compared")
            rivals.append(answers)
            tested = rows
        bundle = answers_of_bundle(options.bundle, tested, options.runs[0] / "cache-of-bundle")
    except (PocketCxrError, OSError) as error:
        print(f"against_common_practice: {error}", file=sys.stderr)  # noqa: T201
        return 2
    found = compare(bundle, rivals, clusters(tested))
    write_json(options.output, found)
    for name in METRICS:
        one, other, gap = (found["models"]["bundle"][name], found["models"]["common_practice"][name],
                           found["differences"][name])  # fmt: skip
        print(  # noqa: T201
            f"{name}: {one['value']:.4f} against {other['value']:.4f}, "
            f"difference {gap['value']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f}), p {gap['p']:.3f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
