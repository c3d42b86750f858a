r"""The part of distillation in a student's accuracy: the same student, split and steps, with and without a teacher.

python research/distillation.py teach --data $POCKETCXR_DATA                    # tables of the teachers, where missing
python research/distillation.py train --data $POCKETCXR_DATA                    # students that are missing
python research/distillation.py train --data $POCKETCXR_DATA --only b d --seeds 0 1 --width 050
python research/distillation.py table                                          # calibration split
python research/distillation.py table --open-test                              # leaves a line in test_split_opened.log

Variants: a, common practice (common_practice.toml); b, as distillation.toml says, without a teacher; c, b taught by its
own out-of-fold predictions; d, b taught by cross-fitted VGG19; e, b taught by the mean of its own and those of
EfficientNet-Lite2. Distillation's part is d - b and e - b. Narrow students start from the b of width 1.0 of their seed,
pruned, and are compared with the b of their width. Teachers are tables of out-of-fold logits in research/teachers/,
those of images of patients that no teacher saw (indeterminate and atypical appearance, and images without a finding)
the mean of the three.

Each student that is done leaves its logits on the calibration and the test split in research/scores/, a few kilobytes
that are committed, so that seeds can be trained on different days and machines; no figure of the test split is computed
before ``table --open-test``. All of them stand on one split: another fingerprint of the data is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from openings import log_opening
from seeds import SAME_SOURCE, Scores, Split, table
from tables import students_of

from pocketcxr.errors import ConfigError, PocketCxrError
from pocketcxr.evaluation.calibration import fit_temperature
from pocketcxr.evaluation.intervals import clusters
from pocketcxr.evaluation.scoring import score
from pocketcxr.files import write_json
from pocketcxr.labels import load_task
from pocketcxr.models.checkpoints import load_network
from pocketcxr.models.predict import as_predict
from pocketcxr.pipeline.prepare import index_sources, prepare, split_index
from pocketcxr.pipeline.run import open_run
from pocketcxr.pipeline.stages import run_cache_views, run_train_student
from pocketcxr.run_folder import RunFolder, checkpoint
from pocketcxr.training.config import load_experiment
from pocketcxr.training.run.identity import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.data.dataset import Dataset

HERE = Path(__file__).parent
TEACHERS, SCORES = HERE / "teachers", HERE / "scores"
RESULTS = HERE.parent / "docs" / "results"
TASK = HERE / "siim_two.toml"
REFERENCE = "b"
TAUGHT_BY = {"c": ("own",), "d": ("vgg19",), "e": ("own", "lite2")}
WIDE = "mobilenetv2_100"
WIDTHS = ("100", "050", "035")
UNTAUGHT_EPOCHS = 11  # without unlabelled images: as many steps as 8 epochs with them
COMMON = ["teacher.folds=3", "teacher.staged=false", 'teacher.weights=["pretrained"]', "teacher.frozen_blocks=2",
          'teacher.sampling="uniform"', "student.losses={ce=0.5, kd=1.0}"]  # fmt: skip
CROSS_FITTED = {
    "vgg19": [*COMMON, 'teacher.backbones=["vgg19"]', "teacher.image_size=160", "teacher.epochs=5",
              "teacher.learning_rate=1e-4", "teacher.weight_decay=0.02", "teacher.warmup_epochs=0.5",
              "teacher.ema_decay=0.97", "teacher.dropout=0.3"],
    "own": [*COMMON, f'teacher.backbones=["{WIDE}"]', f"teacher.epochs={UNTAUGHT_EPOCHS}",
            "teacher.learning_rate=1e-3", "teacher.weight_decay=0.02", "teacher.ema_decay=0.995",
            "teacher.auxiliary={boxes=1.0}"],
    "lite2": [*COMMON, 'teacher.backbones=["tf_efficientnet_lite2"]', "teacher.epochs=8", "teacher.learning_rate=1e-3",
              "teacher.weight_decay=0.02", "teacher.ema_decay=0.995", "teacher.auxiliary={boxes=1.0}"],
}  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- training


def teach(out: Path, teachers: Sequence[str], *, data: Path) -> None:
    """Train every cross-fitted teacher whose table is not kept yet, and keep its logits of all views."""
    splits = _splits(out, data)
    for name in teachers:
        table = TEACHERS / f"{name}.npz"
        if table.is_file():
            continue
        experiment = load_experiment(HERE / "distillation.toml", [f'data.task="{TASK}"', *CROSS_FITTED[name]])
        run_cache_views(out / f"teacher-{name}", experiment, splits=splits, save=table)
        print(f"{table.name}: kept", flush=True)  # noqa: T201


def train(out: Path, variants: Sequence[str], seeds: Sequence[int], *, width: str, data: Path) -> None:
    """Train every student whose scores are not kept yet, seed by seed, and keep its scores."""
    splits = _splits(out, data)
    for seed in seeds:
        for variant in variants:
            name = f"{variant}-w{width}-s{seed}"
            kept = SCORES / f"{name}.npz"
            if kept.is_file():
                continue
            recipe = "common_practice.toml" if variant == "a" else "distillation.toml"
            experiment = load_experiment(HERE / recipe, _settings(variant, seed, width, out=out))
            run = out / name
            taught = variant in TAUGHT_BY
            run_train_student(run, experiment, splits=splits, teacher=taught)
            folder = RunFolder(run)
            _keep(
                kept,
                prepare(open_run(run, experiment)),
                checkpoint(folder.student_distilled if taught else folder.student_baseline),
            )
            print(f"{kept.name}: kept", flush=True)  # noqa: T201


def _settings(variant: str, seed: int, width: str, *, out: Path) -> list[str]:
    settings = [f"student.seed={seed}", f'data.task="{TASK}"']
    if width != WIDTHS[0]:
        wide = checkpoint(RunFolder(out / f"{REFERENCE}-w{WIDTHS[0]}-s{seed}").student_baseline)
        if not wide.is_file():
            raise ConfigError(f"{wide}: not there; a narrow student starts from its strongest channels: train it first")
        settings += [f'student.backbone="mobilenetv2_{width}"', f'student.weights="{wide}"', "student.frozen_blocks=0"]
    if variant == "a":
        return [*settings, f"views.seed={seed}"]
    if variant == REFERENCE:
        return [*settings, f"student.epochs={UNTAUGHT_EPOCHS}", "student.unlabelled=false"]
    tables = ", ".join(f'"{TEACHERS / f"{teacher}.npz"}"' for teacher in TAUGHT_BY[variant])
    return [*settings, f"teacher.outputs=[{tables}]", "student.losses={ce=0.5, kd=1.0}"]


def _splits(out: Path, data: Path) -> Path:
    """SIIM indexed and split by patient, the same on every machine."""
    index, splits = out / "index.csv", out / "splits.csv"
    if not splits.is_file():
        index_sources([data / "siim"], index)
        split_index(index, load_task(TASK), splits)
    return splits


def _keep(path: Path, dataset: Dataset, student: Path) -> None:
    network, _, _ = load_network(student)
    labelled = [
        (row.sha256, row.split, int(label))
        for row, label in zip(dataset.rows, dataset.labels, strict=True)
        if label >= 0
    ]
    found: dict[str, Any] = {"fingerprint": np.array(fingerprint(labelled))}
    for split in ("calibration", "test"):
        positions = dataset.positions(split)
        rows = [dataset.rows[position] for position in positions]
        logits = score(path.stem, as_predict(network), dataset, positions).logits
        found |= {
            f"{split}_logits": logits.astype(np.float32),
            f"{split}_truth": dataset.labels[positions].astype(np.int8),
            f"{split}_members": clusters(rows).astype(np.int16),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **found)


# -------------------------------------------------------------------------------------------------------------- table


def tabulate(output: Path, *, open_test: bool, bootstrap: int) -> str:
    """Write the table of all kept scores; return it as text."""
    kept = {path.stem: dict(np.load(path)) for path in sorted(SCORES.glob("*-w*-s*.npz"))}
    if not kept:
        raise ConfigError(f"{SCORES}: expected scores of students, found none; run distillation.py train")
    prints = {str(one["fingerprint"]) for one in kept.values()}
    if len(prints) > 1:
        raise ConfigError(f"{SCORES}: the students stand on {len(prints)} different splits; they cannot be compared")
    found = {"calibration": _tables(kept, "calibration", bootstrap)}
    digest = hashlib.sha256(b"".join(kept[name]["test_logits"].tobytes() for name in kept)).hexdigest()
    if open_test:
        log_opening(output, f"{len(kept)} students of distillation.py, {digest}")
        found["test"] = _tables(kept, "test", bootstrap)
    write_json(output, {"scores_hash": digest, "splits": found})
    shown = found.get("test", found["calibration"])
    return "\n\n".join(f"width {width}\n{students_of(one)}" for width, one in shown.items())


def _tables(kept: dict[str, dict[str, Any]], split: str, bootstrap: int) -> dict[str, Any]:
    """A table for each width of which there are students, each against its own student (b)."""
    found: dict[str, Any] = {}
    for width in WIDTHS:
        of_width = {name: one for name, one in kept.items() if f"-w{width}-" in name}
        if of_width:
            found[width] = _table(of_width, split, bootstrap)
    return found


def _table(kept: dict[str, dict[str, Any]], split: str, bootstrap: int) -> dict[str, Any]:
    scores: list[Scores] = []
    for name, one in kept.items():
        variant, _, seed = name.split("-")
        seed = seed.removeprefix("s")
        temperature = fit_temperature(one["calibration_logits"].astype(float), one["calibration_truth"].astype(int))
        scores.append(Scores(variant, int(seed), one[f"{split}_logits"].astype(float), temperature))
    task, first = load_task(TASK), next(iter(kept.values()))
    truth = first[f"{split}_truth"].astype(int)
    described = Split(
        name=split,
        truth=truth,
        sources=np.full(len(truth), SAME_SOURCE),
        members=first[f"{split}_members"].astype(int),
        labels=task.labels,
        positive=task.positive_index,
    )
    return table(scores, described, bootstrap=bootstrap, reference=REFERENCE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing, or make the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    teaching = commands.add_parser("teach")
    teaching.add_argument("--only", nargs="+", default=list(CROSS_FITTED), choices=list(CROSS_FITTED))
    training = commands.add_parser("train")
    training.add_argument(
        "--only", nargs="+", default=["a", REFERENCE, *TAUGHT_BY], choices=["a", REFERENCE, *TAUGHT_BY]
    )
    training.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    training.add_argument("--width", default=WIDTHS[0], choices=WIDTHS, help="percent of MobileNetV2's channels")
    for command in (teaching, training):
        command.add_argument("-o", "--output", type=Path, default=Path("runs/distillation"))
        command.add_argument("--data", type=Path, required=True, help="the folder that $POCKETCXR_DATA names")
    making = commands.add_parser("table")
    making.add_argument("-o", "--output", type=Path, default=RESULTS / "distillation_study.json")
    making.add_argument("--open-test", action="store_true", help="ask the test split too; leaves a line in the log")
    making.add_argument("--bootstrap", type=int, default=1000)
    options = parser.parse_args(arguments)
    try:
        if options.command == "teach":
            teach(options.output, options.only, data=options.data)
        elif options.command == "train":
            train(options.output, options.only, options.seeds, width=options.width, data=options.data)
        else:
            print(tabulate(options.output, open_test=options.open_test, bootstrap=options.bootstrap))  # noqa: T201
    except PocketCxrError as error:
        print(f"distillation: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
