"""Evaluate models side by side: calibrate on one split, measure on another, compare, write tables and the report.

Teacher, baseline student, distilled student and exported file go through this same code as `predict` callables; it
never imports a training framework.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr import roles
from pocketcxr.errors import DataError
from pocketcxr.evaluation.comparisons import Comparison, delong, mcnemar, paired_difference
from pocketcxr.evaluation.intervals import clusters, known_patients
from pocketcxr.evaluation.model_result import ModelResult, calibrate, model_results
from pocketcxr.evaluation.scoring import calibration_positions, score
from pocketcxr.report import summary
from pocketcxr.report.conclusions import draw_conclusions
from pocketcxr.report.evaluation_page import write_report
from pocketcxr.report.formatting import slug
from pocketcxr.report.tables import write_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.evaluation.costs import Costs
    from pocketcxr.evaluation.intervals import Replicates
    from pocketcxr.evaluation.scoring import Predictions
    from pocketcxr.labels import Task
    from pocketcxr.report.conclusions import Conclusion
    from pocketcxr.report.summary import KeyFigure

COMPARED = ("auroc", "auroc_macro", "average_precision", "accuracy", "balanced_accuracy", "brier", "ece")
"""Figures whose differences between models are tested."""

_RANK = {roles.BASELINE: -3, roles.TEACHER: -2, roles.DISTILLED: 1_000, roles.EXPORTED: 1_001}


@dataclass(frozen=True)
class Evaluation:
    """All results of one evaluation; `evaluation.json` and the report are written from it.

    `counts` maps (split, source, label) to images; `members` numbers the patient of each test image (see
    `intervals.clusters`), `known_patients` counts them where the data set names that of every image; `shared_patients`
    counts patients or near-duplicate groups on both sides of train and test, None where the data set holds no training
    images to check against.
    """

    title: str
    task: Task
    models: tuple[ModelResult, ...]
    comparisons: tuple[Comparison, ...]
    conclusions: tuple[Conclusion, ...]
    headline: str
    key_figures: tuple[KeyFigure, ...]
    next_steps: tuple[str, ...]
    cautions: tuple[str, ...]
    costs: dict[str, Costs]
    counts: dict[tuple[str, str, str], int]
    members: np.ndarray
    known_patients: int | None
    shared_patients: int | None
    config: EvaluationConfig
    fingerprint: str
    notes: tuple[str, ...]
    report: Path

    @property
    def primary(self) -> ModelResult:
        """The model that users will get."""
        return summary.primary(self.models)

    @property
    def units(self) -> int:
        """Number of units that were resampled: patients, or what stands for one that is not named."""
        return int(self.members.max()) + 1


def evaluate_predictors(
    predictors: Mapping[str, Predict | Callable[[NDArray[np.float32]], NDArray[np.floating]]],
    dataset: Dataset,
    *,
    config: EvaluationConfig,
    out: Path,
    keep_saliency: int = 12,
    progress: bool = False,
    **report: Any,
) -> Evaluation:
    """Score models on the calibration and the test split, then `evaluate_models`.

    Args:
        predictors: name to a function from images float32 [n, 1, size, size] in [0, 1] to
            `pocketcxr.bundle.contract.ModelOutputs`, or to probabilities [n, classes] that sum to 1.
        dataset: the images.
        config: resamples, seed, targets of the operating points.
        out: folder, made where it is missing.
        keep_saliency: class activation maps kept of so many wrong and so many right predictions.
        progress: show progress bars on standard error.
        report: see `evaluate_models`: `costs`, `title`, `notes`, `curves`, `command`, `settings`.

    Raises:
        DataError: see `score` and `evaluate_models`.
    """
    known, tested = calibration_positions(dataset, config), dataset.positions("test")
    calibration = [score(name, one, dataset, known, progress=progress) for name, one in predictors.items()]
    test = [
        score(name, one, dataset, tested, keep_saliency=keep_saliency, progress=progress)
        for name, one in predictors.items()
    ]
    return evaluate_models(calibration, test, dataset, config=config, out=out, **report)


def evaluate_models(
    calibration: Sequence[Predictions],
    test: Sequence[Predictions],
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
) -> Evaluation:
    """Compare models on the same test images and write everything to a folder.

    Writes ``evaluation.json``, ``tables/*.csv``, ``predictions/*.csv`` and ``report.html``. A model whose probabilities
    are not the softmax of its logits brings its own temperature; for the others one is fitted on the calibration split.

    Args:
        calibration: predictions on the calibration split, matched by name; a model that is missing here has no
            temperature and no operating points, and the report says so.
        test: predictions on the test split, all of the same images in the same order. The names `roles.TEACHER`,
            `BASELINE`, `DISTILLED` and `EXPORTED` are the ones that conclusions speak of.
        dataset: the images.
        config: resamples, seed, targets of the operating points.
        out: folder, made where it is missing.
        title: of the report.
        costs: by model name; what is missing is shown as not measured.
        notes: sentences that a reader must know, such as that the images are synthetic.
        curves: model name to run folder with ``metrics.csv``.
        command: the command line that made this.
        settings: the whole effective configuration, for the record.

    Raises:
        DataError: no test images, or models that were not scored on the same images.
    """
    _check(test)
    task = dataset.task
    rows = [dataset.rows[i] for i in test[0].positions]
    by_name = {one.name: one for one in calibration}
    calibrations = {
        one.name: calibrate(by_name.get(one.name), task, config, brings_temperature=one.brings_temperature)
        for one in test
    }
    members, sources = clusters(rows), [row.source for row in rows]
    models, replicates = model_results(
        test, calibrations, task=task, config=config, members=members, sources=np.array(sources)
    )
    patients, known, shared = int(members.max()) + 1, known_patients(rows), _shared(dataset)
    comparisons = compare(models, replicates, task=task, patients=patients)
    conclusions = draw_conclusions(models, comparisons, task)
    evaluation = Evaluation(
        title=title,
        task=task,
        models=tuple(models),
        comparisons=comparisons,
        conclusions=conclusions,
        headline=summary.headline(models, comparisons, costs or {}, task=task, patients=known),
        key_figures=summary.key_figures(models, comparisons, task=task, config=config),
        next_steps=summary.next_steps(models, conclusions, task=task, shared_patients=shared),
        cautions=summary.cautions(
            models,
            task=task,
            sources=sources,
            units=patients,
            known_patients=known,
            without_patient=sum(not row.patient_id for row in rows),
            resamples=config.bootstrap,
        ),
        costs=dict(costs or {}),
        counts=_counts(dataset),
        members=members,
        known_patients=known,
        shared_patients=shared,
        config=config,
        fingerprint=dataset.fingerprint,
        notes=tuple(notes),
        report=out / "report.html",
    )
    write_tables(evaluation, dataset, out=out, command=command, settings=settings or {})
    write_report(evaluation, dataset, curves=curves or {}, command=command, settings=settings or {})
    return evaluation


def compare(
    models: Sequence[ModelResult], replicates: Mapping[str, Replicates], *, task: Task, patients: int
) -> tuple[Comparison, ...]:
    """Test every pair of models; the one of higher `_RANK` comes first, so that gains of distillation are positive."""
    found = []
    places = {one.name: _RANK.get(one.name, place) for place, one in enumerate(models)}
    for pair in itertools.combinations(models, 2):
        second, first = sorted(pair, key=lambda one: places[one.name])
        truth = first.predictions.labels
        positive = task.positive_index
        differences = tuple(
            paired_difference(
                metric,
                (first.figures[metric], second.figures[metric]),
                (replicates[first.name][metric], replicates[second.name][metric]),
                patients=patients,
            )
            for metric in COMPARED
        )
        found.append(
            Comparison(
                first=first.name,
                second=second.name,
                differences=differences,
                mcnemar=mcnemar(first.predicted == truth, second.predicted == truth),
                delong=delong(first.probabilities[:, positive], second.probabilities[:, positive], truth == positive),
            )
        )
    return tuple(found)


def _check(test: Sequence[Predictions]) -> None:
    if not test:
        raise DataError("evaluation: expected at least one scored model, found none")
    first = test[0]
    if len(first.positions) == 0:
        raise DataError(
            "evaluation: the test split holds no labelled image; run  pocketcxr split  with a test fraction"
        )
    names = [one.name for one in test]
    if len({slug(name) or "model" for name in names}) != len(
        names
    ):  # the files of their predictions are named after them
        raise DataError(f"evaluation: expected different names of models, found {names}")
    for one in test[1:]:
        if not np.array_equal(one.positions, first.positions):
            raise DataError(
                f"evaluation: {one.name} and {first.name} were scored on different images; score both on the same"
            )


def _counts(dataset: Dataset) -> dict[tuple[str, str, str], int]:
    labelled = ((row, int(label)) for row, label in zip(dataset.rows, dataset.labels, strict=True) if label >= 0)
    found = Counter((row.split, row.source, dataset.task.labels[label]) for row, label in labelled)
    return dict(sorted(found.items()))


def _shared(dataset: Dataset) -> int | None:
    """Patients and near-duplicate groups that stand in train and in test; anything above 0 flatters the figures."""
    sides: dict[str, set[tuple[str, str]]] = {"train": set(), "test": set()}
    training_images = 0
    for row, label in zip(dataset.rows, dataset.labels, strict=True):
        if row.split in sides and label >= 0:
            named = (("patient", row.patient_id), ("duplicates", row.duplicate_group))
            sides[row.split] |= {(kind, name) for kind, name in named if name}
            training_images += row.split == "train"
    return len(sides["train"] & sides["test"]) if training_images else None
