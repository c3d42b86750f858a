"""Evaluation of several findings per image: a report per finding, and one page and file for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.errors import DataError
from pocketcxr.evaluation.intervals import clusters, known_patients
from pocketcxr.evaluation.label_wise import (
    LabelScores,
    dataset_of_label,
    mean_auroc,
    predictions_of_label,
    score_labels,
)
from pocketcxr.evaluation.scoring import calibration_positions
from pocketcxr.files import write_json, write_text
from pocketcxr.report import summary
from pocketcxr.report.evaluate import Evaluation, evaluate_models
from pocketcxr.report.formatting import bracket, number, slug, with_interval
from pocketcxr.report.page import render
from pocketcxr.report.tables import environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.evaluation.costs import Costs
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.labels import Task

FORMAT_VERSION = 1
COLUMNS = (
    ("auroc", "AUROC"),
    ("average_precision", "Average precision"),
    ("ece_positive", "Calibration error"),
    ("brier", "Brier score"),
    ("sensitivity@screening", "Sensitivity at screening"),
    ("specificity@screening", "Specificity at screening"),
    ("conformal_coverage", "Prediction-set coverage"),
)
"""Figures of each finding on the page for all of them."""


@dataclass(frozen=True)
class LabelWiseEvaluation:
    """The results of every finding by its name, and the mean AUROC of every model."""

    headline: str
    findings: dict[str, Evaluation]
    mean_auroc: dict[str, Estimate]
    report: Path


def label_folders(task: Task) -> dict[str, str]:
    """Name of the folder of each label's own results.

    Raises:
        DataError: two labels whose folders would have one name.
    """
    folders = {label: slug(label) or f"finding-{i + 1}" for i, label in enumerate(task.labels)}
    if len(set(folders.values())) < len(folders):
        raise DataError(f"task {task.name}: expected findings whose names differ in letters, found {list(folders)}")
    return folders


def evaluate_labels(
    predictors: Mapping[str, Predict],
    dataset: Dataset,
    *,
    config: EvaluationConfig,
    out: Path,
    progress: bool = False,
    **report: Any,
) -> LabelWiseEvaluation:
    """Score models on the calibration and the test split, then `evaluate_label_scores`.

    Raises:
        DataError: see `score_labels` and `evaluate_label_scores`.
    """
    known, tested = calibration_positions(dataset, config), dataset.positions("test")
    calibration = [score_labels(name, one, dataset, known, progress=progress) for name, one in predictors.items()]
    test = [score_labels(name, one, dataset, tested, progress=progress) for name, one in predictors.items()]
    return evaluate_label_scores(calibration, test, dataset, config=config, out=out, **report)


def evaluate_label_scores(
    calibration: Sequence[LabelScores],
    test: Sequence[LabelScores],
    dataset: Dataset,
    *,
    config: EvaluationConfig,
    out: Path,
    title: str,
    costs: Mapping[str, Costs] | None = None,
    notes: Sequence[str] = (),
    curves: Mapping[str, Path] | None = None,
    command: str = "",
    settings: Mapping[str, object] | None = None,
) -> LabelWiseEvaluation:
    """Evaluate every finding as two classes, and write all of it to a folder.

    Writes a folder per finding as `evaluate_models` does, and ``evaluation.json`` and ``report.html`` over all.
    Arguments are those of `evaluate_models`.

    Raises:
        DataError: no test images, or two findings whose folders would have one name.
    """
    folders = label_folders(dataset.task)
    if len(test[0].positions) == 0:
        raise DataError(
            "evaluation: the test split holds no labelled image; run  pocketcxr split  with a test fraction"
        )
    findings: dict[str, Evaluation] = {}
    for i, label in enumerate(dataset.task.labels):
        findings[label] = evaluate_models(
            [predictions_of_label(scores, dataset, i) for scores in calibration],
            [predictions_of_label(scores, dataset, i) for scores in test],
            dataset_of_label(dataset, i),
            config=config,
            out=out / folders[label],
            title=f"{title}: {label}",
            costs=costs,
            notes=notes,
            curves=curves,
            command=command,
            settings=settings,
        )
    members = clusters([dataset.rows[i] for i in test[0].positions])
    means = {scores.name: mean_auroc(scores, dataset, config, members) for scores in test}
    found = LabelWiseEvaluation(_headline(findings, means), findings, means, out / "report.html")
    _write(found, dataset, test[0], folders, title=title, notes=notes, command=command, out=out)
    return found


def _headline(findings: Mapping[str, Evaluation], means: Mapping[str, Estimate]) -> str:
    models = next(iter(findings.values())).models
    shown = summary.primary(models).name
    others = "; ".join(f"{name} {number(one.value)}" for name, one in means.items() if name != shown)
    mean = means[shown]
    text = f"Mean AUROC over {len(findings)} findings, {shown}: {number(mean.value)} {bracket(mean)}"
    return f"{text}; {others}." if others else f"{text}."


def _write(
    found: LabelWiseEvaluation,
    dataset: Dataset,
    scores: LabelScores,
    folders: Mapping[str, str],
    *,
    title: str,
    notes: Sequence[str],
    command: str,
    out: Path,
) -> None:
    rows = [dataset.rows[i] for i in scores.positions]
    labels = dataset.labels[scores.positions]
    counted = {
        label: {
            name: int((labels[:, i] == code).sum())
            for name, code in (("present", 1), ("absent", 0), ("uncertain", -2), ("unknown", -1))
        }
        for i, label in enumerate(dataset.task.labels)
    }
    table: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "title": title,
        "headline": found.headline,
        "notes": list(notes),
        "task": {
            "name": dataset.task.name,
            "labels": list(dataset.task.labels),
            "multilabel": True,
            "uncertain": {label: dataset.task.uncertain.get(label, "ignore") for label in dataset.task.labels},
            "unmentioned": dataset.task.unmentioned,
        },
        "mean_auroc": {name: one.as_json() for name, one in found.mean_auroc.items()},
        "findings": {
            label: {
                "folder": folders[label],
                "test_images": counted[label],
                "models": {
                    one.name: {name: figure.as_json() for name, figure in one.figures.items()}
                    for one in evaluation.models
                },
            }
            for label, evaluation in found.findings.items()
        },
        "data": {
            "fingerprint": dataset.fingerprint,
            "test_images": len(rows),
            "test_patients": known_patients(rows),
        },
        "command": command,
        "environment": environment(),
    }
    write_json(out / "evaluation.json", table)
    models = [one.name for one in next(iter(found.findings.values())).models]
    page = render(
        "report/templates/findings.html.j2",
        title=title,
        headline=found.headline,
        notes=notes,
        models=models,
        columns=[name for _, name in COLUMNS],
        findings=[
            (
                label,
                f"{folders[label]}/report.html",
                counted[label],
                [(one.name, _cells(one.figures)) for one in found.findings[label].models],
            )
            for label in dataset.task.labels
        ],
        means=[(name, with_interval(one, 3)) for name, one in found.mean_auroc.items()],
        images=len(rows),
        patients=known_patients(rows),
        units=int(np.max(clusters(rows))) + 1,
        command=command,
    )
    write_text(found.report, page)


def _cells(figures: Mapping[str, Estimate]) -> list[str]:
    return [with_interval(figures[key], 3) if key in figures else "–" for key, _ in COLUMNS]
