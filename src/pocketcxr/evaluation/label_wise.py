"""Several findings per image: each finding is a problem of two classes, over the images of which it is known.

So every figure, interval, threshold and temperature of a finding is that of the two-class evaluation. An image whose
finding is uncertain or not known is in none of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.errors import DataError
from pocketcxr.evaluation.calibration import two_columns
from pocketcxr.evaluation.intervals import bootstrap, interval
from pocketcxr.evaluation.metrics import ranking
from pocketcxr.evaluation.scoring import Predictions
from pocketcxr.labels import Task
from pocketcxr.plain_text import one_line
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.evaluation.intervals import Estimate


@dataclass(frozen=True)
class LabelScores:
    """Outputs of one model for n images at `positions`: `logits` and `probabilities` float64 [n, labels]."""

    name: str
    positions: NDArray[np.int64]
    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]


def score_labels(
    name: str, predict: Predict, dataset: Dataset, positions: NDArray[np.int64], *, progress: bool = False
) -> LabelScores:
    """Score images of a data set with a model whose outputs are findings by themselves.

    Args:
        name: of the model, as tables shall name it.
        predict: takes float32 [n, 1, size, size] in [0, 1].
        dataset: of a task with several findings per image.
        positions: int [n], which of its images.
        progress: show a progress bar on standard error.

    Raises:
        DataError: outputs of another shape than promised, or no probabilities.
    """
    shape = (len(positions), len(dataset.task.labels))
    logits, probabilities = np.zeros(shape), np.zeros(shape)
    starts = range(0, len(positions), 32)
    for start in Bar(starts, desc=f"scoring with {one_line(name)}", unit="batch", disable=not progress, leave=False):
        outputs = predict(dataset.images(positions[start : start + 32]))
        for table, part in ((logits, outputs.logits), (probabilities, outputs.probabilities)):
            if part.shape[1:] != shape[1:] or not np.isfinite(part).all():
                raise DataError(
                    f"model {name}: expected {shape[1]} finite numbers per image, found {part.shape}; "
                    "was it made for another task?"
                )
            table[start : start + len(part)] = part
    if probabilities.size and not (probabilities.min() >= 0 and probabilities.max() <= 1):
        raise DataError(f"model {name}: expected probabilities from 0 to 1 for each finding by itself")
    return LabelScores(name, positions, logits, probabilities)


def task_of_label(task: Task, number: int) -> Task:
    """The problem of one label: absent, present."""
    label = task.labels[number]
    absent = f"no {label}"
    return Task(f"{task.name}: {label}", (absent, label), label, MappingProxyType({absent: absent, label: label}))


def dataset_of_label(dataset: Dataset, number: int) -> Dataset:
    """The same images with the labels of one finding; those of which it is not known are unlabelled."""
    labels = dataset.labels[:, number]
    return dataclasses.replace(
        dataset, task=task_of_label(dataset.task, number), labels=np.where(labels < 0, -1, labels)
    )


def predictions_of_label(scores: LabelScores, dataset: Dataset, number: int) -> Predictions:
    """Predictions of one label for the images of which it is known, as those of two classes with the logits (0, z)."""
    truth = dataset.labels[scores.positions, number]
    known = truth >= 0
    logits, present = scores.logits[known, number], scores.probabilities[known, number]
    return Predictions(
        name=scores.name,
        positions=scores.positions[known],
        labels=truth[known],
        probabilities=np.stack([1 - present, present], axis=1),
        logits=two_columns(logits),
    )


def mean_auroc(scores: LabelScores, dataset: Dataset, config: EvaluationConfig, members: NDArray[np.int64]) -> Estimate:
    """Mean AUROC over the labels, each over the images of which it is known, with its interval by patient.

    `members` are the patient numbers [n] of the images. A resample in which some label is only present or only absent
    is skipped.
    """
    truth = dataset.labels[scores.positions]  # [n, labels]
    known = truth >= 0

    def measure(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        areas = [
            ranking(scores.probabilities[known[:, i], i], truth[known[:, i], i] == 1, weights[:, known[:, i]])[0]
            for i in range(truth.shape[1])
        ]
        return {"auroc_mean": np.mean(areas, axis=0)}

    value = float(measure(np.ones((1, len(truth))))["auroc_mean"][0])
    found = bootstrap({scores.name: measure}, members, count=config.bootstrap, seed=config.seed)
    return interval("auroc_mean", value, found[scores.name]["auroc_mean"], patients=int(members.max()) + 1)
