"""A k-fold protocol: every network from scratch in every fold, scored on images it never saw, pooled at the end."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr import roles
from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.rows import read_rows, write_rows
from pocketcxr.data.splits.assign import assign_folds, fold_splits
from pocketcxr.errors import ConfigError
from pocketcxr.evaluation.calibration import fit_temperature, softmax
from pocketcxr.evaluation.metrics import macro_auroc
from pocketcxr.evaluation.scoring import Predictions, score
from pocketcxr.files import write_csv, write_json
from pocketcxr.labels import load_task
from pocketcxr.models.checkpoints import load_network
from pocketcxr.models.predict import as_predict
from pocketcxr.pipeline.preflight import check_experiment
from pocketcxr.pipeline.prepare import index_sources, open_images, read_table
from pocketcxr.pipeline.run import Run, log_to, open_run
from pocketcxr.pipeline.stages import student_stage, teacher_stage
from pocketcxr.pipeline.teachers import teacher_predict
from pocketcxr.report.evaluate import evaluate_models
from pocketcxr.run_folder import checkpoint
from pocketcxr.vocabulary import known_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import Task
    from pocketcxr.training.config import Experiment

_LOGGER = logging.getLogger("pocketcxr")

MODELS = {"teacher": roles.TEACHER, "student": roles.BASELINE, "distilled": roles.DISTILLED}
"""What `crossval` can train, by the word on the command line and the name in the report."""


@dataclass(frozen=True)
class CrossvalResult:
    """The pooled report and the outcome in a few lines."""

    report: Path
    summary: str


@dataclass(frozen=True)
class _FoldScores:
    calibration: dict[str, Predictions]
    test: dict[str, Predictions]


def run_crossval(
    folder: Path,
    experiment: Experiment,
    *,
    sources: Sequence[Path] | None = None,
    index: Path | None = None,
    folds: int = 5,
    level: str = "patient",
    models: Sequence[str] = tuple(MODELS),
    progress: bool = True,
) -> CrossvalResult:
    """Run a k-fold protocol; called again, it goes on where it stopped.

    In each fold a tenth of the other images calibrates and the rest trains. Weights marked ``pretrained`` are loaded
    anew in each fold; nothing learned in one fold reaches another. Predictions of all folds are pooled for the report;
    the mean and standard deviation over folds stand in ``crossval.csv``.

    Args:
        folder: the run's folder.
        experiment: all settings.
        sources: folders or tables of X-rays.
        index: an index instead of sources.
        folds: number of folds.
        level: ``patient``, or ``image`` to repeat published protocols in which one patient stands on both sides.
        models: words of `MODELS`.
        progress: show progress bars on stderr.

    Raises:
        ConfigError: no X-rays named and none in the folder, or a folder that holds another protocol.
        DataError: a class with fewer patients than folds.
    """
    task = load_task(experiment.data.task)
    task.refuse_several("cross-validation")
    given = check_experiment(experiment)
    run = open_run(folder, experiment, progress=progress, given=given)
    with log_to(run):
        rows = _folded(run, task, sources=sources, index=index, folds=folds, level=level)
        scores = []
        for fold in range(folds):
            _LOGGER.info("fold %d of %d", fold + 1, folds)
            scores.append(_run_fold(run, rows, task, fold, models))
        return _report(run, rows, task, scores, level=level)


def _folded(
    run: Run, task: Task, *, sources: Sequence[Path] | None, index: Path | None, folds: int, level: str
) -> list[IndexRow]:
    table = run.folder / "folds.csv"
    if not table.is_file():
        if index is None:
            if not sources and not run.index.is_file():
                raise ConfigError(f"{run.folder} holds no run yet: name X-rays with --data or an index with --index")
            if sources:
                layout, words = run.experiment.data.layout, known_words(task.findings, {})
                index_sources(sources, run.index, layout=layout, aliases=words, progress=run.progress)
            index = run.index
        data = run.experiment.data
        given, counted = read_table(index, adults_only=data.adults_only)
        if counted:
            _LOGGER.info("%s", counted)
        write_rows(assign_folds(given, task, folds=folds, seed=data.seed, level=level), table)
    rows = read_rows(table)
    found = {row.fold for row in rows if row.fold}
    if len(found) != folds or any(fold.startswith("image:") for fold in found) != (level == "image"):
        raise ConfigError(f"{table} holds {len(found)} folds of another protocol: choose another -o folder")
    return rows


def _run_fold(run: Run, rows: list[IndexRow], task: Task, fold: int, models: Sequence[str]) -> _FoldScores:
    place = Run(run.folder / f"fold-{fold}", run.experiment, run.progress, run.given)
    split = fold_splits(rows, fold, seed=run.experiment.data.seed)
    write_rows(split, place.splits)
    dataset = open_images(run, split, task)
    stages = {
        "teacher": lambda: teacher_stage(place, dataset),
        "student": lambda: student_stage(place, dataset, teacher=False),
        "distilled": lambda: student_stage(place, dataset),
    }
    students = {"student": place.student_baseline, "distilled": place.student_distilled}
    scores = _FoldScores({}, {})
    for word in models:
        stages[word]()
        predict = (
            teacher_predict(place) if word == "teacher" else as_predict(load_network(checkpoint(students[word]))[0])
        )
        for split_name, kept in (("calibration", scores.calibration), ("test", scores.test)):
            kept[word] = score(MODELS[word], predict, dataset, dataset.positions(split_name), progress=run.progress)
    return scores


def _report(run: Run, rows: list[IndexRow], task: Task, scores: list[_FoldScores], *, level: str) -> CrossvalResult:
    data = run.experiment.data
    words = list(scores[0].test)
    # Every image is tested once, so over the whole protocol all of them are test images.
    tested = [dataclasses.replace(row, split="test") for row in rows if row.fold]
    dataset = open_dataset(tested, task, size=data.image_size, aspect=data.aspect, cache=run.cache, progress=False)
    calibrated = {word: _calibrated(word, scores) for word in words}
    remarks = [
        f"{len(scores)}-fold cross-validation; folds by {level}; every network trained from scratch in every fold."
    ]
    if level == "image":
        remarks.append("Folds by image: pictures of one patient stand on both sides, which flatters the figures.")
    evaluation = evaluate_models(
        [],
        [calibrated[word] for word in words],
        dataset,
        config=run.experiment.evaluation,
        out=run.evaluation,
        title=f"pocketcxr: {len(scores)}-fold cross-validation, {task.name}",
        notes=remarks,
    )
    lines = [evaluation.headline, *_per_fold(run, words, scores, level), f"report: {evaluation.report}"]
    return CrossvalResult(evaluation.report, "\n".join(lines))


def _calibrated(word: str, scores: list[_FoldScores]) -> Predictions:
    """Pool the folds of one model in the order of the images, each with its own calibration split's temperature."""
    parts = []
    for fold in scores:
        test, known = fold.test[word], fold.calibration[word]
        enough = len(np.unique(known.labels)) == test.logits.shape[1]
        temperature = fit_temperature(known.logits, known.labels) if enough else 1.0
        parts.append(dataclasses.replace(test, probabilities=softmax(test.logits, temperature)))
    order = np.argsort(np.concatenate([part.positions for part in parts]), kind="stable")
    return Predictions(
        name=MODELS[word],
        positions=np.concatenate([part.positions for part in parts])[order],
        labels=np.concatenate([part.labels for part in parts])[order],
        probabilities=np.concatenate([part.probabilities for part in parts])[order],
        logits=np.concatenate([part.logits for part in parts])[order],
    )


def _per_fold(run: Run, words: Sequence[str], scores: list[_FoldScores], level: str) -> list[str]:
    lines, table = [], []
    for word in words:
        accuracies = [
            float((fold.test[word].probabilities.argmax(axis=1) == fold.test[word].labels).mean()) for fold in scores
        ]
        areas = [float(macro_auroc(fold.test[word].probabilities, fold.test[word].labels)[0]) for fold in scores]
        table += [
            (word, fold, accuracy, area) for fold, (accuracy, area) in enumerate(zip(accuracies, areas, strict=True))
        ]
        lines.append(
            f"{MODELS[word]}: accuracy {mean(accuracies):.3f} ± {_spread(accuracies):.3f}, "
            f"mean AUROC {mean(areas):.3f} ± {_spread(areas):.3f} over {len(scores)} folds by {level}"
        )
    write_csv(run.evaluation / "crossval.csv", ("model", "fold", "accuracy", "auroc_macro"), table)
    write_json(run.evaluation / "crossval.json", {"level": level, "folds": len(scores), "summary": lines})
    return lines


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
