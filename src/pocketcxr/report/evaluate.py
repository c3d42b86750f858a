"""Evaluate models side by side: calibrate on one split, measure on another, compare, write tables and the report.

Teacher, student alone, distilled student and exported file go through this same code as `predict` callables; it never
imports a training framework.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr import roles
from pocketcxr.errors import DataError
from pocketcxr.evaluation.comparisons import Comparison, delong, mcnemar, paired_difference
from pocketcxr.evaluation.intervals import clusters
from pocketcxr.evaluation.model_result import ModelResult, calibrate, judge
from pocketcxr.evaluation.scoring import Predictions, score
from pocketcxr.report import conclusions
from pocketcxr.report.formatting import slug
from pocketcxr.report.tables import write_tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.evaluation.costs import Costs
    from pocketcxr.evaluation.intervals import Replicates
    from pocketcxr.labels import Task
    from pocketcxr.report.conclusions import Conclusion

__all__ = ["Evaluation", "Predictions", "evaluate_models", "score"]

COMPARED = ("auroc", "auroc_macro", "average_precision", "accuracy", "balanced_accuracy", "brier", "ece")
"""Figures whose differences between models are tested."""

_RANK = {roles.BASELINE: -3, roles.TEACHER: -2, roles.DISTILLED: 1_000, roles.EXPORTED: 1_001}


@dataclass(frozen=True)
class Evaluation:
    """All results of one evaluation; `evaluation.json` and the report are written from it.

    `counts` maps (split, source, label) to images; `members` numbers the patient of each test image; `shared_patients`
    counts patients or near-duplicate groups on both sides of train and test, None where the data set holds no training
    images to check against.
    """

    title: str
    task: Task
    models: tuple[ModelResult, ...]
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Conclusion, ...]
    headline: str
    cautions: tuple[str, ...]
    costs: dict[str, Costs]
    counts: dict[tuple[str, str, str], int]
    members: np.ndarray
    shared_patients: int | None
    config: EvaluationConfig
    fingerprint: str
    notes: tuple[str, ...]
    report: Path

    @property
    def primary(self) -> ModelResult:
        """The model that users will get."""
        return conclusions.primary(self.models)

    @property
    def patients(self) -> int:
        """Number of patients in the test split."""
        return int(self.members.max()) + 1


def evaluate_models(
    scored_calibration: Sequence[Predictions],
    scored_test: Sequence[Predictions],
    dataset: Dataset,
    *,
    config: EvaluationConfig,
    costs: Mapping[str, Costs],
    out: Path,
    title: str,
    notes: Sequence[str] = (),
    curves: Mapping[str, Path] | None = None,
    command: str = "",
    settings: Mapping[str, object] | None = None,
) -> Evaluation:
    """Judge models on the same test images and write everything to a folder.

    Writes ``evaluation.json``, ``tables/*.csv``, ``predictions/*.csv`` and ``report.html``. A model whose probabilities
    are not the softmax of its logits brings its own temperature; for the others one is fitted on the calibration split.

    Args:
        scored_calibration: what the models say of the calibration split, matched by name; a model that is missing here
            has no temperature and no operating points, and the report says so.
        scored_test: what the models say of the test split, all of the same images in the same order. The names
            `roles.TEACHER`, `BASELINE`, `DISTILLED` and `EXPORTED` are the ones that verdicts speak of.
        dataset: the images.
        config: resamples, seed, targets of the operating points.
        costs: by model name; what is missing is shown as not measured.
        out: folder, made where it is missing.
        title: of the report.
        notes: sentences that a reader must know, such as that the images are drawings.
        curves: model name to run folder with ``metrics.csv``.
        command: the command line that made this.
        settings: the whole effective configuration, for the record.

    Raises:
        DataError: no test images, or models that were not scored on the same images.
    """
    _check(scored_test)
    task, first = dataset.task, scored_test[0]
    rows = [dataset.rows[i] for i in first.positions]
    by_name = {one.name: one for one in scored_calibration}
    calibrations = {
        one.name: calibrate(by_name.get(one.name), task, config, brings_temperature=one.brings_temperature)
        for one in scored_test
    }
    members = clusters(rows)
    sources = np.array([row.source for row in rows])
    judged, replicates = judge(scored_test, calibrations, task=task, config=config, members=members, sources=sources)
    comparisons = compare(judged, replicates, task=task, patients=int(members.max()) + 1)
    patients = int(members.max()) + 1
    evaluation = Evaluation(
        title=title,
        task=task,
        models=tuple(judged),
        comparisons=comparisons,
        verdicts=conclusions.verdicts(judged, comparisons, task),
        headline=conclusions.headline(judged, comparisons, costs, task=task, patients=patients),
        cautions=conclusions.cautions(
            judged,
            task=task,
            sources=[row.source for row in rows],
            patients=patients,
            anonymous=sum(not (row.patient_id or row.study_id) for row in rows),
            config_bootstrap=config.bootstrap,
        ),
        costs=dict(costs),
        counts=_counts(dataset),
        members=members,
        shared_patients=_shared(dataset),
        config=config,
        fingerprint=dataset.fingerprint,
        notes=tuple(notes),
        report=out / "report.html",
    )
    from pocketcxr.report.evaluation_page import write_report

    write_tables(evaluation, dataset, out=out, command=command, settings=settings or {})
    write_report(evaluation, dataset, curves=curves or {}, command=command, settings=settings or {})
    return evaluation


def compare(
    judged: Sequence[ModelResult], replicates: Mapping[str, Replicates], *, task: Task, patients: int
) -> tuple[Comparison, ...]:
    """Test every pair of models; the one of higher `_RANK` comes first, so that gains of distillation are positive."""
    found = []
    places = {one.name: _RANK.get(one.name, place) for place, one in enumerate(judged)}
    for pair in itertools.combinations(judged, 2):
        second, first = sorted(pair, key=lambda one: places[one.name])
        truth = first.scored.labels
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


def _check(scored: Sequence[Predictions]) -> None:
    if not scored:
        raise DataError("evaluation: expected at least one scored model, found none")
    first = scored[0]
    if len(first.positions) == 0:
        raise DataError(
            "evaluation: the test split holds no labelled image; run  pocketcxr split  with a test fraction"
        )
    names = [one.name for one in scored]
    if len({slug(name) or "model" for name in names}) != len(
        names
    ):  # the files of their predictions are named after them
        raise DataError(f"evaluation: expected different names of models, found {names}")
    for one in scored[1:]:
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
