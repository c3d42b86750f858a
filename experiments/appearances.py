"""Which class SIIM's indeterminate and atypical appearances belong to: what a student says that never saw their labels.

python experiments/appearances.py BUNDLE.onnx splits.csv -o docs/results/appearances.json
python experiments/appearances.py BUNDLE.onnx splits.csv -o … --mapping left-out=runs/map/two-s0 \
    --mapping indeterminate=runs/map/indeterminate-s0

Negative and typical films are those of the calibration split; the two others are in no class of the task, so no part of
the bundle's labels came from them. For each appearance: how often the bundle calls it each class, and how well its
probability of COVID-19 tells it from negative and from typical films. With --mapping, students that were trained with
one mapping or another (``siim_two.toml``, ``siim_indeterminate.toml``, ``siim_any_opacity.toml``, ``siim_four.toml``)
are compared by what all of them are asked for: typical against negative on the calibration split of the first. The test
split is not used.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.rows import read_rows
from pocketcxr.data.splits import label_rows
from pocketcxr.errors import ConfigError, PocketCxrError
from pocketcxr.evaluation.calibration import softmax
from pocketcxr.evaluation.intervals import interval, resamples
from pocketcxr.evaluation.metrics import auroc, ranking
from pocketcxr.inference.session import load_bundle
from pocketcxr.labels import load_task
from pocketcxr.pipeline.run import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset

FOUR = Path(__file__).with_name("siim_four.toml")
_BATCH = 32


def told_apart(scores: NDArray[np.float64], positive: NDArray[np.bool_], *, count: int = 1000) -> dict[str, Any]:
    """AUROC with its interval over resampled films; scores [n], larger for the positive."""
    draws = np.concatenate(
        [ranking(scores, positive, w)[0] for w in resamples(np.arange(len(scores)), count=count, seed=0)]
    )
    return interval("auroc", auroc(scores, positive), draws, patients=len(scores)).as_json()


def of_bundle(path: Path, splits: Path, cache: Path) -> dict[str, Any]:
    """What a bundle says of each appearance."""
    bundle = load_bundle(path)
    size, aspect = bundle.manifest.preprocessing.size, bundle.manifest.preprocessing.aspect
    task = load_task(FOUR)
    rows = label_rows([row for row in read_rows(splits) if row.source == "siim"], task)
    data = open_dataset(rows, task, size=size, aspect=aspect, cache=cache, progress=False)
    names = np.array([row.finding for row in data.rows])
    sides = np.array([row.split for row in data.rows])
    chosen = {
        "negative": (names == "no_pneumonia") & (sides == "calibration"),
        "typical": (names == "typical_appearance") & (sides == "calibration"),
        "indeterminate": names == "indeterminate_appearance",
        "atypical": names == "atypical_appearance",
    }
    found = {name: _probabilities(bundle, data, np.flatnonzero(mask)) for name, mask in chosen.items()}
    labels = list(bundle.manifest.labels)
    covid = labels.index(bundle.manifest.positive)
    report: dict[str, Any] = {}
    for name, probabilities in found.items():
        report[name] = {
            "images": len(probabilities),
            "called": {label: float((probabilities.argmax(1) == i).mean()) for i, label in enumerate(labels)},
            "mean_probability": float(probabilities[:, covid].mean()),
        }
        for other in ("negative", "typical"):
            if name in {other, "negative"}:
                continue
            scores = np.concatenate([probabilities[:, covid], found[other][:, covid]])
            positive = np.arange(len(scores)) < len(probabilities)
            # from typical films it is the lower probability that tells
            report[name][f"auroc_from_{other}"] = told_apart(scores if other == "negative" else -scores, positive)
    return report


def of_mappings(runs: Sequence[tuple[str, Path]]) -> dict[str, Any]:
    """Typical against negative on one calibration split, for students trained with several mappings.

    Raises:
        ConfigError: a run without a trained student.
    """
    from pocketcxr.models.checkpoints import load_network
    from pocketcxr.models.predict import as_predict
    from pocketcxr.training.config import load_experiment

    first = runs[0][1]
    config = load_experiment(first / "experiment.json", ()).data
    rows = read_rows(first / "splits.csv")
    data = open_dataset(rows, load_task(config.task), size=config.image_size, cache=first / "cache", progress=False)
    positions = data.positions("calibration")
    truth = data.labels[positions] == data.task.positive_index
    each: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for name, run in runs:
        checkpoint = run / "student-alone" / "best.safetensors"
        if not checkpoint.is_file():
            raise ConfigError(f"{run}: expected a student trained with --alone, found none")
        logits = _logits(as_predict(load_network(checkpoint)[0]), data, positions)
        each[name].append(logits[:, -1] - logits[:, 0])  # every mapping has negative first and typical last
    draws: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for weights in resamples(np.arange(len(truth)), count=1000, seed=0):
        for name, scores in each.items():
            draws[name].append(np.mean([ranking(one, truth, weights)[0] for one in scores], axis=0))
    reference = next(iter(each))
    report = {}
    for name, scores in each.items():
        values = [auroc(one, truth) for one in scores]
        gap = np.concatenate(draws[name]) - np.concatenate(draws[reference])
        mean = float(np.mean(values))
        base = float(np.mean([auroc(one, truth) for one in each[reference]]))
        report[name] = {
            "each": values,
            "mean": mean,
            f"difference_from_{reference}": interval("difference", mean - base, gap, patients=len(truth)).as_json(),
        }
    return {"images": len(truth), "split": "calibration", "students": report}


def _logits(predict: Any, data: Dataset, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.concatenate(
        [predict(data.images(positions[start : start + _BATCH])).logits for start in range(0, len(positions), _BATCH)]
    )


def _probabilities(bundle: Any, data: Dataset, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    return softmax(_logits(bundle, data, positions), bundle.manifest.temperature)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the bundle, compare the mappings, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("splits", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/appearances-cache"))
    parser.add_argument("--mapping", action="append", default=[], metavar="NAME=RUN")
    options = parser.parse_args(arguments)
    try:
        found: dict[str, Any] = {"bundle": of_bundle(options.bundle, options.splits, options.cache)}
        pairs = [(name, Path(run)) for name, _, run in (text.partition("=") for text in options.mapping)]
        if pairs:
            found["mappings"] = of_mappings(pairs)
    except PocketCxrError as error:
        print(f"appearances: {error}", file=sys.stderr)  # noqa: T201
        return 2
    write_json(options.output, found)
    for name, one in found["bundle"].items():
        from_negative = one.get("auroc_from_negative", {}).get("value")
        print(f"{name}: {one['images']} films, called {one['called']}, from negative {from_negative}")  # noqa: T201
    for name, one in found.get("mappings", {}).get("students", {}).items():
        print(f"trained with {name}: AUROC {one['mean']:.4f} {one['each']}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
