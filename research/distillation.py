r"""The part of distillation in a student's accuracy: the same student, split and steps, with and without a teacher.

python research/distillation.py teach --data $POCKETCXR_DATA                    # tables of the teachers, where missing
python research/distillation.py train --data $POCKETCXR_DATA                    # students that are missing
python research/distillation.py train --data $POCKETCXR_DATA --only b d --seeds 0 1 --width 050
python research/distillation.py train --data $POCKETCXR_DATA --study all        # for the student that ships
python research/distillation.py table                                          # calibration split
python research/distillation.py table --open-test all                          # leaves a line in test_split_opened.log

Two studies: ``siim``, typical appearance against negative (distillation.toml), and ``all``, the three classes of the
student that ships from the adults of all sources (shipped.toml).

Variants: a, common practice (common_practice.toml); b, the study's recipe without a teacher; c, b taught by its
own out-of-fold predictions; d, b taught by cross-fitted VGG19; e, b taught by the mean of its own and those of
EfficientNet-Lite2; f, c whose heatmaps are kept within the radiologists' boxes (auxiliary loss ``evidence``); children,
b with the children of Kermany in training too. Distillation's part is d - b and e - b.
Narrow students start from the b of width 1.0 of their seed, pruned, and are compared with the b of their width.
Teachers are tables of out-of-fold logits in research/teachers/STUDY/, those of images of patients that no teacher saw
(indeterminate and atypical appearance, and images without a finding) the mean of the three. On the calibration and the
test split a teacher is the mean of its three networks.

Each student that is done leaves its logits on the calibration and the test split in research/scores/STUDY/, a few
kilobytes that are committed, so that seeds can be trained on different days and machines; no figure of the test split
is computed before ``table --open-test``. All of a study stand on one split: another fingerprint of the data is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from seeds import Scores, Split, table
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
from pocketcxr.pipeline.run import log_test_split, open_run
from pocketcxr.pipeline.stages import run_cache_views, run_train_student, run_train_teacher
from pocketcxr.pipeline.teachers import teacher_predict
from pocketcxr.run_folder import TEST_SPLIT_LOG, RunFolder, checkpoint
from pocketcxr.training.config import load_experiment
from pocketcxr.training.run.identity import fingerprint
from pocketcxr.training.run.record import finished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset

HERE = Path(__file__).parent
"""Holds ``teachers`` and ``scores``, unless ``--kept`` names another folder."""
RESULTS = HERE.parent / "docs" / "results"
REFERENCE, COMMON_PRACTICE, GUIDED, TEACHER = "b", "a", "f", "teacher"
CHILDREN = "kermany"
"""The source of children only: none of them is scored."""
WIDE = "mobilenetv2_100"
WIDTHS = ("100", "050", "035")


@dataclass(frozen=True)
class Study:
    """What is compared. `epochs_on_labels`, without unlabelled images, are as many steps as the recipe's with them."""

    sources: tuple[str, ...]
    task: str
    recipe: str
    taught_by: dict[str, tuple[str, ...]]
    epochs_on_labels: int
    others: tuple[str, ...] = ()

    @property
    def variants(self) -> tuple[str, ...]:
        """Every student of the study."""
        return (COMMON_PRACTICE, REFERENCE, *self.taught_by, *self.others)


STUDIES = {
    "siim": Study(
        ("siim",), "siim_two.toml", "distillation.toml", {"c": ("own",), "d": ("vgg19",), "e": ("own", "lite2")}, 11
    ),
    "all": Study(
        ("siim", "ieee8023", "cxnet", "radiography", "rsna", "kermany"),
        "covid3.toml",
        "shipped.toml",
        {"c": ("own",), GUIDED: ("own",)},
        7,
        ("children",),
    ),
}
COMMON = ["teacher.folds=3", "teacher.staged=false", 'teacher.weights=["pretrained"]', "teacher.frozen_blocks=2",
          "student.losses={ce=0.5, kd=1.0}"]  # fmt: skip
CROSS_FITTED = {
    "vgg19": [*COMMON, 'teacher.backbones=["vgg19"]', "teacher.image_size=160", "teacher.epochs=5",
              "teacher.learning_rate=1e-4", "teacher.weight_decay=0.02", "teacher.warmup_epochs=0.5",
              "teacher.ema_decay=0.97", "teacher.dropout=0.3"],
    "own": [*COMMON, f'teacher.backbones=["{WIDE}"]', "teacher.learning_rate=1e-3", "teacher.weight_decay=0.02",
            "teacher.ema_decay=0.995", "teacher.auxiliary={boxes=1.0}"],
    "lite2": [*COMMON, 'teacher.backbones=["tf_efficientnet_lite2"]', "teacher.epochs=8", "teacher.learning_rate=1e-3",
              "teacher.weight_decay=0.02", "teacher.ema_decay=0.995", "teacher.auxiliary={boxes=1.0}"],
}  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- training


def teach(study: str, out: Path, teachers: Sequence[str], *, data: Path, keep: Path = HERE) -> None:
    """Train every cross-fitted teacher whose table or scores are not kept yet; keep scores and logits of all views."""
    of = STUDIES[study]
    splits = _splits(of, out, data)
    for name in teachers:
        table = keep / "teachers" / study / f"{name}.npz"
        kept = keep / "scores" / study / f"{TEACHER}_{name}-w{WIDTHS[0]}-s0.npz"
        if table.is_file() and kept.is_file():
            continue
        settings = [*_data(of), *CROSS_FITTED[name]]
        if name == "own":
            settings.append(f"teacher.epochs={of.epochs_on_labels}")
        experiment = load_experiment(HERE / of.recipe, settings)
        folder = out / f"teacher-{name}"
        if not kept.is_file():
            run_train_teacher(folder, experiment, splits=splits)
            run = open_run(folder, experiment)
            _keep(kept, prepare(run), teacher_predict(run))
        if not table.is_file():
            run_cache_views(folder, experiment, splits=splits, save=table)
        print(f"{study}/{table.name}: kept", flush=True)  # noqa: T201


def train(
    study: str, out: Path, variants: Sequence[str], seeds: Sequence[int], *, width: str, data: Path, keep: Path = HERE
) -> None:
    """Train every student whose scores are not kept yet, seed by seed, and keep its scores."""
    of = STUDIES[study]
    splits = _splits(of, out, data)
    for seed in seeds:
        for variant in variants:
            name = f"{variant}-w{width}-s{seed}"
            kept = keep / "scores" / study / f"{name}.npz"
            if kept.is_file():
                continue
            recipe = "common_practice.toml" if variant == COMMON_PRACTICE else of.recipe
            experiment = load_experiment(HERE / recipe, _settings(study, variant, seed, width, out=out, keep=keep))
            run = out / name
            taught = variant in of.taught_by
            run_train_student(run, experiment, splits=splits, teacher=taught)
            folder = RunFolder(run)
            best = checkpoint(folder.student_distilled if taught else folder.student_baseline)
            _keep(kept, prepare(open_run(run, experiment)), as_predict(load_network(best)[0]))
            print(f"{study}/{kept.name}: kept", flush=True)  # noqa: T201


def _settings(study: str, variant: str, seed: int, width: str, *, out: Path, keep: Path = HERE) -> list[str]:
    of = STUDIES[study]
    settings = [f"student.seed={seed}", *_data(of, children=variant == "children")]
    if width != WIDTHS[0]:
        wide = RunFolder(out / f"{REFERENCE}-w{WIDTHS[0]}-s{seed}").student_baseline
        if finished(wide) is None:
            raise ConfigError(f"{wide}: not done; a narrow student starts from its strongest channels: train it first")
        settings += [f'student.backbone="mobilenetv2_{width}"', f'student.weights="{checkpoint(wide)}"',
                     "student.frozen_blocks=0"]  # fmt: skip
    if variant == COMMON_PRACTICE:
        return [*settings, f"views.seed={seed}"]
    if variant not in of.taught_by:
        return [*settings, f"student.epochs={of.epochs_on_labels}", "student.unlabelled=false"]
    if variant == GUIDED:
        settings.append("student.auxiliary={boxes=1.0, evidence=1.0}")
    tables = ", ".join(f'"{keep / "teachers" / study / f"{teacher}.npz"}"' for teacher in of.taught_by[variant])
    return [*settings, f"teacher.outputs=[{tables}]", "student.losses={ce=0.5, kd=1.0}"]


def _data(of: Study, *, children: bool = False) -> list[str]:
    return [f'data.task="{HERE / of.task}"', f"data.adults_only={str(not children).lower()}"]


def _splits(of: Study, out: Path, data: Path) -> Path:
    """The study's sources indexed and split by patient, the same on every machine."""
    index, splits = out / "index.csv", out / "splits.csv"
    if not splits.is_file():
        index_sources([data / source for source in of.sources], index)
        split_index(index, load_task(HERE / of.task), splits)
    return splits


def _keep(path: Path, dataset: Dataset, predict: Predict) -> None:
    labelled = [
        (row.sha256, row.split, int(label))
        for row, label in zip(dataset.rows, dataset.labels, strict=True)
        if label >= 0 and row.source != CHILDREN
    ]
    found: dict[str, Any] = {"fingerprint": np.array(fingerprint(labelled))}
    for split in ("calibration", "test"):
        positions = np.array([i for i in dataset.positions(split) if dataset.rows[i].source != CHILDREN])
        rows = [dataset.rows[position] for position in positions]
        logits = score(path.stem, predict, dataset, positions).logits
        found |= {
            f"{split}_logits": logits.astype(np.float32),
            f"{split}_truth": dataset.labels[positions].astype(np.int8),
            f"{split}_members": clusters(rows).astype(np.int16),
            f"{split}_sources": np.array([row.source for row in rows]),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **found)


# -------------------------------------------------------------------------------------------------------------- table


def tabulate(output: Path, *, open_test: Sequence[str], bootstrap: int, keep: Path = HERE) -> str:
    """Write the tables of all kept scores, of the test split those of `open_test`'s studies; return them as text."""
    found: dict[str, Any] = {}
    for study in STUDIES:
        folder = keep / "scores" / study
        kept = {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*-w*-s*.npz"))}
        prints = {str(one["fingerprint"]) for one in kept.values()}
        if len(prints) > 1:
            raise ConfigError(
                f"{folder}: the students stand on {len(prints)} different splits; they cannot be compared"
            )
        if not kept:
            continue
        digest = hashlib.sha256(b"".join(kept[name]["test_logits"].tobytes() for name in kept)).hexdigest()
        opened = study in open_test
        splits = ("calibration", "test") if opened else ("calibration",)
        if opened:
            log_test_split(
                output.with_name(TEST_SPLIT_LOG), f"{len(kept)} students of distillation.py, study {study}, {digest}"
            )
        found[study] = {"scores_hash": digest, "splits": {one: _tables(study, kept, one, bootstrap) for one in splits}}
    if not found:
        raise ConfigError(f"{keep / 'scores'}: expected scores of students, found none; run distillation.py train")
    write_json(output, found)
    return "\n\n".join(
        f"{study}, {split}, width {width}\n{students_of(one)}"
        for study, of in found.items()
        for split, tables in of["splits"].items()
        for width, one in tables.items()
    )


def _tables(study: str, kept: dict[str, dict[str, Any]], split: str, bootstrap: int) -> dict[str, Any]:
    """A table for each width with students: against its own (b), common practice, which is wide, and teachers."""
    found: dict[str, Any] = {}
    teachers = {name: one for name, one in kept.items() if name.startswith(TEACHER)}
    students = {name: one for name, one in kept.items() if name not in teachers}
    for width in WIDTHS:
        own = {name: one for name, one in students.items() if f"-w{width}-" in name}
        wide = {name: one for name, one in students.items() if name.startswith(f"{COMMON_PRACTICE}-w{WIDTHS[0]}-")}
        if own:
            found[width] = _table(STUDIES[study], wide | own, teachers, split, bootstrap)
    return found


def _table(
    of: Study, students: dict[str, dict[str, Any]], teachers: dict[str, dict[str, Any]], split: str, bootstrap: int
) -> dict[str, Any]:
    scores: list[Scores] = []
    for name, one in students.items():
        variant, _, seed = name.rsplit("-", 2)
        scores.append(_scores(variant, int(seed.removeprefix("s")), [one], split))
    taught = [_scores(name, seed, parts, split) for name, parts in _teachers(of, teachers).items()
              for seed in sorted({one.seed for one in scores})]  # fmt: skip
    first, task = next(iter(students.values())), load_task(HERE / of.task)
    described = Split(
        name=split,
        truth=first[f"{split}_truth"].astype(int),
        sources=first[f"{split}_sources"],
        members=first[f"{split}_members"].astype(int),
        labels=task.labels,
        positive=task.positive_index,
    )
    references = (REFERENCE, COMMON_PRACTICE, *dict.fromkeys(one.variant for one in taught))
    return table([*scores, *taught], described, references=references, bootstrap=bootstrap)


def _teachers(of: Study, kept: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Scores of the networks whose mean teaches, by the students that it teaches; there is one, for every seed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for parts in dict.fromkeys(of.taught_by.values()):
        names = [f"{TEACHER}_{part}-w{WIDTHS[0]}-s0" for part in parts]
        if all(name in kept for name in names):
            pupils = " and ".join(variant for variant, by in of.taught_by.items() if by == parts)
            found[f"{TEACHER} of {pupils}"] = [kept[name] for name in names]
    return found


def _scores(variant: str, seed: int, networks: Sequence[dict[str, Any]], split: str) -> Scores:
    calibration, asked = (
        np.mean([one[f"{name}_logits"].astype(float) for one in networks], axis=0) for name in ("calibration", split)
    )
    temperature = fit_temperature(calibration, networks[0]["calibration_truth"].astype(int))
    return Scores(variant, seed, asked, temperature)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing, or make the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    teaching = commands.add_parser("teach")
    teaching.add_argument("--only", nargs="+", choices=list(CROSS_FITTED), help="default: every teacher of the study")
    training = commands.add_parser("train")
    training.add_argument("--only", nargs="+", metavar="VARIANT", help="default: every variant of the study")
    training.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    training.add_argument(
        "--width", nargs="+", default=WIDTHS[:1], choices=WIDTHS, help="percent of MobileNetV2's channels"
    )
    for command in (teaching, training):
        command.add_argument("--study", default="siim", choices=list(STUDIES))
        command.add_argument("-o", "--output", type=Path, help="default: runs/distillation-STUDY")
        command.add_argument("--data", type=Path, required=True, help="the folder that $POCKETCXR_DATA names")
    making = commands.add_parser("table")
    making.add_argument("-o", "--output", type=Path, default=RESULTS / "distillation_study.json")
    making.add_argument(
        "--open-test",
        nargs="+",
        default=[],
        choices=list(STUDIES),
        metavar="STUDY",
        help="ask the test split of these studies too; leaves a line in the log",
    )
    making.add_argument("--bootstrap", type=int, default=1000)
    for command in (teaching, training, making):
        command.add_argument("--kept", type=Path, default=HERE, help="folder of teachers/ and scores/")
    options = parser.parse_args(arguments)
    try:
        if options.command == "table":
            print(tabulate(options.output, open_test=options.open_test, bootstrap=options.bootstrap, keep=options.kept))  # noqa: T201
            return 0
        study, of = options.study, STUDIES[options.study]
        out = options.output or Path("runs") / f"distillation-{study}"
        if options.command == "teach":
            every = dict.fromkeys(teacher for teachers in of.taught_by.values() for teacher in teachers)
            teach(study, out, options.only or list(every), data=options.data, keep=options.kept)
        else:
            if unknown := sorted(set(options.only or ()) - set(of.variants)):
                raise ConfigError(f"--only: expected some of {', '.join(of.variants)}, found {', '.join(unknown)}")
            for width in options.width:
                train(
                    study,
                    out,
                    options.only or of.variants,
                    options.seeds,
                    width=width,
                    data=options.data,
                    keep=options.kept,
                )
    except PocketCxrError as error:
        print(f"distillation: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
