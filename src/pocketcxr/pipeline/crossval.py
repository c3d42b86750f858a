"""A k-fold protocol: every network from scratch in every fold, scored on images it never saw, pooled at the end."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pocketcxr import roles
from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.rows import read_rows, write_rows
from pocketcxr.data.splits.assign import assign_folds, fold_splits
from pocketcxr.errors import ConfigError
from pocketcxr.evaluation.calibration import fit_temperature, softmax
from pocketcxr.evaluation.label_wise import LabelScores, fit_temperatures, score_labels, with_temperatures
from pocketcxr.evaluation.metrics import label_wise_auroc, macro_auroc
from pocketcxr.evaluation.scoring import Predictions, score
from pocketcxr.files import write_csv, write_json
from pocketcxr.labels import load_task
from pocketcxr.pipeline.preflight import check_experiment
from pocketcxr.pipeline.prepare import index_sources, open_images, read_table
from pocketcxr.pipeline.run import Run, log_to, open_run
from pocketcxr.pipeline.stages import student_stage, teacher_stage
from pocketcxr.pipeline.teachers import predict_of, teacher_predict
from pocketcxr.report.evaluate import evaluate_models
from pocketcxr.report.label_wise import evaluate_label_scores
from pocketcxr.training.distributed.processes import refuse_several
from pocketcxr.vocabulary import known_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
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
    """Of each model, by its word: predictions of the fold's test images, calibrated, and the fold's figures.

    `paths` are those of the fold's data set, in its order.
    """

    paths: list[str]
    test: dict[str, Predictions | LabelScores]
    figures: dict[str, dict[str, float]]


def run_crossval(
    folder: Path,
    experiment: Experiment,
    *,
    sources: Sequence[Path] | None = None,
    index: Path | None = None,
    columns: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
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
        columns: field of the index to column of a table of your own, among `sources`.
        aliases: name of a class as the sources say it, to a finding.
        folds: number of folds.
        level: ``patient``, or ``image`` to repeat published protocols in which one patient stands on both sides.
        models: words of `MODELS`.
        progress: show progress bars on stderr.

    Raises:
        ConfigError: no X-rays named and none in the folder, or a folder that holds another protocol.
        DataError: a class with fewer patients than folds.
    """
    refuse_several("crossval")
    task = load_task(experiment.data.task)
    if index is not None and (sources or columns or aliases):
        raise ConfigError("--index holds findings already: leave out --data, --label-column, --column and --alias")
    given = check_experiment(experiment)
    run = open_run(folder, experiment, progress=progress, given=given)

    def make_index() -> Path:
        if index is not None:
            return index
        if sources:
            words, layout = known_words(task.findings, aliases or {}), experiment.data.layout
            index_sources(sources, run.index, layout=layout, columns=columns, aliases=words, progress=progress)
        elif not run.index.is_file():
            raise ConfigError(f"{folder} holds no run yet: name X-rays with --data or an index with --index")
        return run.index

    with log_to(run):
        rows = _folded(run, task, make_index, folds=folds, level=level)
        scores = []
        for fold in range(folds):
            _LOGGER.info("fold %d of %d", fold + 1, folds)
            scores.append(_run_fold(run, rows, task, fold, models))
        return _report(run, rows, task, scores, level=level)


def _folded(run: Run, task: Task, make_index: Callable[[], Path], *, folds: int, level: str) -> list[IndexRow]:
    table = run.folder / "folds.csv"
    if not table.is_file():
        index = make_index()
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
    scores = _FoldScores([row.path for row in dataset.rows], {}, {})
    score_fold = _score_labels if task.multilabel else _score_classes
    for word in models:
        stages[word]()
        predict = teacher_predict(place) if word == "teacher" else predict_of(students[word])
        scores.test[word], scores.figures[word] = score_fold(MODELS[word], predict, dataset, progress=run.progress)
    return scores


def _score_classes(
    name: str, predict: Predict, dataset: Dataset, *, progress: bool
) -> tuple[Predictions, dict[str, float]]:
    """Predictions of the test images at the temperature of the calibration images, and the figures of a fold."""
    known, test = (
        score(name, predict, dataset, dataset.positions(split), progress=progress) for split in ("calibration", "test")
    )
    enough = len(np.unique(known.labels)) == test.logits.shape[1]
    temperature = fit_temperature(known.logits, known.labels) if enough else 1.0
    figures = {
        "accuracy": float((test.probabilities.argmax(axis=1) == test.labels).mean()),
        "auroc_macro": float(macro_auroc(test.probabilities, test.labels)[0]),
    }
    return dataclasses.replace(test, probabilities=softmax(test.logits, temperature)), figures


def _score_labels(
    name: str, predict: Predict, dataset: Dataset, *, progress: bool
) -> tuple[LabelScores, dict[str, float]]:
    """The same of several findings per image: a temperature for each, and their AUROC."""
    known, test = (
        score_labels(name, predict, dataset, dataset.positions(split), progress=progress)
        for split in ("calibration", "test")
    )
    temperatures = fit_temperatures(known.logits, dataset.labels[known.positions])
    truth = dataset.labels[test.positions]
    figures = {"auroc_mean": label_wise_auroc(test.probabilities, truth)}
    for i, label in enumerate(dataset.task.labels):
        figures[f"auroc/{label}"] = label_wise_auroc(test.probabilities[:, [i]], truth[:, [i]])
    return with_temperatures(test, temperatures), figures


def _report(run: Run, rows: list[IndexRow], task: Task, scores: list[_FoldScores], *, level: str) -> CrossvalResult:
    data = run.experiment.data
    # Every image is tested once, so over the whole protocol all of them are test images.
    tested = [dataclasses.replace(row, split="test") for row in rows if row.fold]
    dataset = open_dataset(tested, task, size=data.image_size, aspect=data.aspect, cache=run.cache, progress=False)
    place = {row.path: i for i, row in enumerate(dataset.rows)}
    pooled = [_pooled([(fold.paths, fold.test[word]) for fold in scores], place) for word in scores[0].test]
    remarks = [
        f"{len(scores)}-fold cross-validation; folds by {level}; every network trained from scratch in every fold."
    ]
    if level == "image":
        remarks.append("Folds by image: pictures of one patient stand on both sides, which flatters the figures.")
    evaluation = (evaluate_label_scores if task.multilabel else evaluate_models)(
        [],
        cast("Any", pooled),  # of the kind that the task has
        dataset,
        config=run.experiment.evaluation,
        out=run.evaluation,
        title=f"pocketcxr: {len(scores)}-fold cross-validation, {task.name}",
        notes=remarks,
    )
    lines = [evaluation.headline, *_per_fold(run, scores, level), f"report: {evaluation.report}"]
    return CrossvalResult(evaluation.report, "\n".join(lines))


def _pooled(
    parts: Sequence[tuple[list[str], Predictions | LabelScores]], place: Mapping[str, int]
) -> Predictions | LabelScores:
    """One model's predictions of all folds, in the order of the images in the pooled data set, where `place` has them.

    A fold's data set may hold unlabelled images too, so that its positions are others.
    """
    positions = np.array([place[paths[i]] for paths, part in parts for i in part.positions], dtype=np.int64)
    order = np.argsort(positions, kind="stable")
    first = parts[0][1]
    columns = {
        name: np.concatenate([getattr(part, name) for _, part in parts])[order]
        for name in ("labels", "logits", "probabilities")
        if hasattr(first, name)
    }
    return dataclasses.replace(first, positions=positions[order], **columns)


def _per_fold(run: Run, scores: list[_FoldScores], level: str) -> list[str]:
    names = list(next(iter(scores[0].figures.values())))
    lines: list[str] = []
    table: list[tuple[str | int | float, ...]] = []
    for word in scores[0].figures:
        values = {name: [fold.figures[word][name] for fold in scores] for name in names}
        told = ", ".join(f"{_words(name)} {mean(found):.3f} ± {_spread(found):.3f}" for name, found in values.items())
        lines.append(f"{MODELS[word]}: {told} over {len(scores)} folds by {level}")
        table += [(word, fold, *one.figures[word].values()) for fold, one in enumerate(scores)]
    write_csv(run.evaluation / "crossval.csv", ("model", "fold", *names), table)
    write_json(run.evaluation / "crossval.json", {"level": level, "folds": len(scores), "summary": lines})
    return lines


def _words(figure: str) -> str:
    return {"auroc_macro": "mean AUROC", "auroc_mean": "mean AUROC"}.get(figure, figure.replace("auroc/", "AUROC "))


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
