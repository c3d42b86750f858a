"""Run a model over a split once and keep what every figure needs; the only place where evaluation calls a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.errors import DataError
from pocketcxr.evaluation.calibration import softmax
from pocketcxr.plain_text import one_line
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig

_SUM = 1e-2  # half precision rounds; anything further from 1 is no distribution over the classes
_SAME = 1e-3  # probabilities this close to softmax(logits) carry no temperature of their own


@dataclass(frozen=True)
class Predictions:
    """Predictions of one model for n images.

    `positions` int [n] in the data set; `labels` int [n], the truth; `probabilities` and `logits` float64 [n, classes];
    `novelty` [n] or None; `saliency` maps a position to class activation maps [classes, rows, columns] for the few
    images that a report shows. `as_is` marks a model that gives probabilities only: they are measured as they are,
    without a temperature.
    """

    name: str
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    logits: NDArray[np.float64]
    novelty: NDArray[np.float64] | None = None
    saliency: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    as_is: bool = False

    @property
    def brings_temperature(self) -> bool:
        """Whether the probabilities are more than the softmax of the logits: the model is calibrated already."""
        if self.as_is or len(self.labels) == 0:
            return self.as_is
        return bool(np.abs(self.probabilities - softmax(self.logits)).max() > _SAME)

    def calibrated(self, temperature: float | None) -> NDArray[np.float64]:
        """Probabilities [n, classes] after a temperature fitted here, or the model's own where it is None."""
        return self.probabilities if temperature is None else softmax(self.logits, temperature)

    @property
    def implied_temperature(self) -> float:
        """Temperature that lies between logits and probabilities (least squares); 1 where there is nothing to tell."""
        logs = np.log(np.maximum(self.probabilities, 1e-6))
        logs = logs - logs.mean(axis=1, keepdims=True)
        centred = self.logits - self.logits.mean(axis=1, keepdims=True)
        inside = (self.probabilities > 1e-6).all(axis=1)  # noqa: PLR2004  # rounded away below
        square = float((logs[inside] ** 2).sum())
        return float((centred[inside] * logs[inside]).sum()) / square if square > 0 else 1.0


def calibration_positions(dataset: Dataset, config: EvaluationConfig) -> NDArray[np.int64]:
    """Positions of the calibration images that temperature, conformal sets and operating points are fitted on.

    Raises:
        DataError: `config.calibration_source` has no labelled image in that split.
    """
    positions = dataset.positions("calibration")
    if not config.calibration_source:
        return positions
    of_source = [i for i in positions if dataset.rows[i].source == config.calibration_source]
    if not of_source:
        found = sorted({dataset.rows[i].source for i in positions})
        raise DataError(
            f"evaluation.calibration_source: no labelled calibration image of {config.calibration_source!r}; "
            f"sources there: {', '.join(found)}"
        )
    return np.array(of_source, dtype=np.int64)


def score(
    name: str,
    predict: Predict | Callable[[NDArray[np.float32]], NDArray[np.floating]],
    dataset: Dataset,
    positions: NDArray[np.int64],
    *,
    batch_size: int = 32,
    keep_saliency: int = 0,
    progress: bool = False,
) -> Predictions:
    """Score images of a data set with a model.

    Args:
        name: of the model, as tables shall name it.
        predict: takes float32 [n, 1, size, size] in [0, 1], gives `pocketcxr.bundle.contract.ModelOutputs`, or
            probabilities [n, classes] alone, which are then measured as they are: see `Predictions.as_is`.
        dataset: labelled images.
        positions: int [n], which of them; may be empty.
        batch_size: images per call.
        keep_saliency: keep the maps of this many wrong and this many right answers, the most confident of each.
        progress: show a progress bar on standard error.

    Raises:
        DataError: an unlabelled image among them, or a model whose outputs have other shapes than promised or hold NaN.
    """
    labels = dataset.labels[positions]
    if (labels < 0).any():
        raise DataError(
            f"scoring {name}: {int((labels < 0).sum())} of {len(labels)} images have no label; leave them out"
        )
    classes = len(dataset.task.labels)
    probabilities, logits = np.zeros((len(positions), classes)), np.zeros((len(positions), classes))
    novelty: list[NDArray[np.float32]] = []
    maps: dict[int, NDArray[np.float16]] = {}
    as_is = False
    starts = range(0, len(positions), batch_size)
    for start in Bar(starts, desc=f"scoring with {one_line(name)}", unit="batch", disable=not progress, leave=False):
        batch = positions[start : start + batch_size]
        answer = predict(dataset.images(batch))
        as_is = as_is or not isinstance(answer, ModelOutputs)
        outputs = model_outputs(answer)
        _check(outputs, name, len(batch), classes)
        probabilities[start : start + len(batch)] = outputs.probabilities
        logits[start : start + len(batch)] = outputs.logits
        if outputs.novelty is not None:
            novelty.append(outputs.novelty)
        if keep_saliency and outputs.saliency is not None:  # half precision: maps of every image for a moment
            maps |= {int(place): row.astype(np.float16) for place, row in zip(batch, outputs.saliency, strict=True)}
    chosen = _notable(probabilities, labels, keep_saliency) if maps else []
    return Predictions(
        name=name,
        positions=positions,
        labels=labels,
        probabilities=probabilities,
        logits=logits,
        novelty=np.concatenate(novelty).astype(np.float64) if novelty else None,
        saliency={int(positions[i]): maps[int(positions[i])].astype(np.float32) for i in chosen},
        as_is=as_is,
    )


def model_outputs(answer: ModelOutputs | NDArray[np.floating]) -> ModelOutputs:
    """Outputs of a model; from probabilities [n, classes] alone, logits and embedding are their logarithms."""
    if isinstance(answer, ModelOutputs):
        return answer
    probabilities = np.asarray(answer, dtype=np.float32)
    logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return ModelOutputs(probabilities, logits, logits)


def _check(outputs: ModelOutputs, name: str, images: int, classes: int) -> None:
    for what, table in (("probabilities", outputs.probabilities), ("logits", outputs.logits)):
        if table.shape != (images, classes):
            raise DataError(
                f"model {name}: expected {what} of shape {(images, classes)}, found {table.shape}; "
                "was it made for another task?"
            )
        if not np.isfinite(table).all():
            raise DataError(f"model {name}: found NaN or infinity among its {what}; it cannot be evaluated")
    sums = outputs.probabilities.sum(axis=1)
    if images and np.abs(sums - 1).max() > _SUM:
        raise DataError(
            f"model {name}: expected probabilities that sum to 1, found {sums.min():.3g} to {sums.max():.3g}"
        )


def _notable(probabilities: NDArray[np.float64], labels: NDArray[np.int64], count: int) -> list[int]:
    """Most confident wrong answers, and most confident right answers taken from the classes in turn."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = [int(i) for i in order if predicted[i] != labels[i]][:count]
    turns: list[tuple[int, int]] = []
    for label in np.unique(labels):
        right = [int(i) for i in order if predicted[i] == labels[i] == label][:count]
        turns += list(enumerate(right))
    return wrong + [i for _, i in sorted(turns)][:count]
