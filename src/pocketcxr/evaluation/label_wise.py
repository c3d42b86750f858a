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

from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.errors import DataError
from pocketcxr.evaluation.calibration import fit_temperature, softmax, two_columns
from pocketcxr.evaluation.intervals import bootstrap, interval
from pocketcxr.evaluation.metrics import ranking
from pocketcxr.evaluation.scoring import Predictions
from pocketcxr.labels import Task
from pocketcxr.plain_text import one_line
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.evaluation.intervals import Estimate


@dataclass(frozen=True)
class LabelScores:
    """Outputs of one model for n images at `positions`: `logits` and `probabilities` float64 [n, labels].

    `as_is` marks a model that gives probabilities only; see `Predictions.as_is`.
    """

    name: str
    positions: NDArray[np.int64]
    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    as_is: bool = False


def score_labels(
    name: str,
    predict: Predict | Callable[[NDArray[np.float32]], NDArray[np.floating]],
    dataset: Dataset,
    positions: NDArray[np.int64],
    *,
    progress: bool = False,
) -> LabelScores:
    """Score images of a data set with a model whose outputs are findings by themselves.

    Args:
        name: of the model, as tables shall name it.
        predict: takes float32 [n, 1, size, size] in [0, 1], gives outputs, or probabilities [n, labels] alone.
        dataset: of a task with several findings per image.
        positions: int [n], which of its images.
        progress: show a progress bar on standard error.

    Raises:
        DataError: outputs of another shape than promised, or no probabilities.
    """
    shape = (len(positions), len(dataset.task.labels))
    logits, probabilities = np.zeros(shape), np.zeros(shape)
    as_is = False
    starts = range(0, len(positions), 32)
    for start in Bar(starts, desc=f"scoring with {one_line(name)}", unit="batch", disable=not progress, leave=False):
        answer = predict(dataset.images(positions[start : start + 32]))
        as_is = as_is or not isinstance(answer, ModelOutputs)
        outputs = answer if isinstance(answer, ModelOutputs) else label_outputs(answer)
        for table, part in ((logits, outputs.logits), (probabilities, outputs.probabilities)):
            if part.shape[1:] != shape[1:] or not np.isfinite(part).all():
                raise DataError(
                    f"model {name}: expected {shape[1]} finite numbers per image, found {part.shape}; "
                    "was it made for another task?"
                )
            table[start : start + len(part)] = part
    if probabilities.size and not (probabilities.min() >= 0 and probabilities.max() <= 1):
        raise DataError(f"model {name}: expected probabilities from 0 to 1 for each finding by itself")
    return LabelScores(name, positions, logits, probabilities, as_is)


def label_outputs(answer: NDArray[np.floating]) -> ModelOutputs:
    """Outputs from probabilities [n, labels] alone: logits are their log odds, cut off where float32 has no more.

    There is no embedding: its width is 0.
    """
    probabilities = np.asarray(answer, dtype=np.float32)
    inside = np.clip(probabilities.astype(np.float64), 1e-30, 1 - 1e-7)
    logits = np.log(inside / (1 - inside)).astype(np.float32)
    return ModelOutputs(probabilities, logits, np.zeros((len(logits), 0), np.float32))


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
        as_is=scores.as_is,
    )


def fit_temperatures(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Temperature [labels] of each label by itself, fitted on the images of which it is known.

    1 where a label is not both present and absent among them. `logits` and `truth` are [n, labels].
    """
    found = np.ones(truth.shape[1])
    for i, known in enumerate((truth >= 0).T):
        if len(np.unique(truth[known, i])) == 2:  # noqa: PLR2004
            found[i] = fit_temperature(two_columns(logits[known, i]), truth[known, i])
    return found


def with_temperatures(scores: LabelScores, temperatures: NDArray[np.float64]) -> LabelScores:
    """The same scores with the probabilities of the logits divided by a temperature for each label."""
    columns = zip(scores.logits.T, temperatures, strict=True)
    present = [softmax(two_columns(logits), temperature)[:, 1] for logits, temperature in columns]
    return dataclasses.replace(scores, probabilities=np.stack(present, axis=1))


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
