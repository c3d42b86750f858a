"""The model under audit and its answers: asked once over calibration and test split, shared by all questions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.errors import DataError
from pocketcxr.evaluation.calibration import softmax
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.intervals import Estimate, bootstrap, clusters, interval
from pocketcxr.evaluation.model_result import Calibration, calibrate
from pocketcxr.evaluation.scoring import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.model.config import AuditConfig
    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import Task


@dataclass(frozen=True)
class Answers:
    """What a model says of images of a data set: `outputs` with calibrated `probabilities` float64 [n, classes]."""

    positions: NDArray[np.int64]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    outputs: ModelOutputs

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Class with the largest probability [n]."""
        return self.probabilities.argmax(axis=1)


@dataclass(frozen=True)
class AuditedModel:
    """One model with its data, its calibration and its answers; what every question of the audit starts from."""

    name: str
    predict: Predict
    dataset: Dataset
    config: AuditConfig
    seed: int
    fitted: Calibration
    calibration: Answers
    test: Answers
    progress: bool = False

    @property
    def task(self) -> Task:
        """Classes and the positive one."""
        return self.dataset.task

    @property
    def rows(self) -> list[IndexRow]:
        """Rows of the test images."""
        return [self.dataset.rows[i] for i in self.test.positions]

    @property
    def sources(self) -> NDArray[np.str_]:
        """Source of each test image [n]."""
        return np.array([row.source for row in self.rows])

    @property
    def members(self) -> NDArray[np.int64]:
        """Patient number of each test image [n]."""
        return clusters(self.rows)

    def ask(self, images: NDArray[np.float32], what: str = "") -> ModelOutputs:
        """Ask the model about images of one's own making [n, 1, size, size]; probabilities are the calibrated ones."""
        outputs = ask(self.predict, images, batch_size=self.config.batch_size, what=what, progress=self.progress)
        temperature = self.fitted.temperature
        if temperature is None:
            return outputs
        return replace(outputs, probabilities=softmax(outputs.logits, temperature).astype(np.float32))

    def sample(self, count: int, keep: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Places among the test images, at most `count`, drawn evenly over the cells of class and source."""
        cells = [f"{row.source} {label}" for row, label in zip(self.rows, self.test.truth, strict=True)]
        return even_sample(cells, count, seed=self.seed, keep=keep)


def make_subject(
    name: str,
    predict: Predict,
    dataset: Dataset,
    *,
    config: AuditConfig,
    seed: int,
    splits: tuple[str, str] = ("calibration", "test"),
    progress: bool = False,
) -> AuditedModel:
    """Ask a model about the calibration and the test split, and fit there what it does not bring.

    Raises:
        DataError: no labelled test image, or a model whose answers have other shapes than promised or hold NaN.
    """
    raw = []
    for split in splits:
        positions = dataset.positions(split)
        outputs = ask(
            predict, dataset, batch_size=config.batch_size, what=f"{name}: {split}", progress=progress, which=positions
        )
        _check(name, outputs, len(positions), len(dataset.task.labels))
        raw.append((positions, outputs))
    if len(raw[1][0]) == 0:
        raise DataError("model audit: the test split holds no labelled image; run  pocketcxr split  first")
    scored = [
        Predictions(name, positions, dataset.labels[positions], _double(outputs.probabilities), _double(outputs.logits))
        for positions, outputs in raw
    ]
    fitted = calibrate(
        scored[0],
        dataset.task,
        EvaluationConfig(bootstrap=config.bootstrap, seed=seed, coverage=config.coverage),
        brings_temperature=scored[1].brings_temperature,
    )
    answers = []
    for (positions, outputs), one in zip(raw, scored, strict=True):
        probabilities = one.probabilities if fitted.temperature is None else softmax(one.logits, fitted.temperature)
        answers.append(Answers(positions, one.labels, probabilities, outputs))
    return AuditedModel(name, predict, dataset, config, seed, fitted, answers[0], answers[1], progress)


def ask(
    predict: Predict,
    images: NDArray[np.float32] | Dataset,
    *,
    batch_size: int,
    what: str = "",
    progress: bool = False,
    which: NDArray[np.int64] | None = None,
) -> ModelOutputs:
    """Ask a model batch by batch, about images in memory or about positions `which` of a data set."""
    count = len(images) if isinstance(images, np.ndarray) else len(which) if which is not None else 0
    parts: list[ModelOutputs] = []
    for start in tqdm(range(0, count, batch_size), desc=what, unit="batch", disable=not progress, leave=False):
        if isinstance(images, np.ndarray):
            batch = images[start : start + batch_size]
        else:
            assert which is not None
            batch = images.images(which[start : start + batch_size])
        parts.append(predict(np.ascontiguousarray(batch)))
    if not parts:
        empty = np.zeros((0, 1), np.float32)
        return ModelOutputs(empty, empty, empty)
    saliency = [part.saliency for part in parts if part.saliency is not None]
    novelty = [part.novelty for part in parts if part.novelty is not None]
    kinds = [part.input_kind for part in parts if part.input_kind is not None]
    return ModelOutputs(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.embedding for part in parts]),
        np.concatenate(saliency) if len(saliency) == len(parts) else None,
        np.concatenate(novelty) if len(novelty) == len(parts) else None,
        np.concatenate(kinds) if len(kinds) == len(parts) else None,
    )


def even_sample(
    cells: Sequence[str], count: int, *, seed: int, keep: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Sorted places [at most count], taken from each cell in turn until there are enough: small cells come in whole."""
    names = np.array(cells)
    allowed = np.ones(len(names), dtype=bool) if keep is None else keep
    order = np.random.default_rng(seed).permutation(np.flatnonzero(allowed))
    turns: dict[str, int] = {}
    rank = []
    for place in order:
        rank.append(turns.setdefault(str(names[place]), 0))
        turns[str(names[place])] += 1
    return np.sort(order[np.argsort(np.array(rank, dtype=np.int64), kind="stable")][:count]).astype(np.int64)


def figures_with_intervals(
    measure: Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]],
    members: NDArray[np.int64],
    *,
    config: AuditConfig,
    seed: int,
) -> dict[str, Estimate]:
    """Figures of a function from weights [resamples, n] to values [resamples], with intervals by patient."""
    own = np.unique(members, return_inverse=True)[1]
    values = measure(np.ones((1, len(own))))
    replicates = bootstrap({"": measure}, own, count=config.bootstrap, seed=seed)[""]
    patients = int(own.max()) + 1
    return {
        name: interval(name.rpartition(" ")[2], float(value[0]), replicates[name], patients=patients)
        for name, value in values.items()
    }


def _double(table: NDArray[np.float32]) -> NDArray[np.float64]:
    return table.astype(np.float64)


def _check(name: str, outputs: ModelOutputs, images: int, classes: int) -> None:
    if images == 0:
        return
    for what, table in (("probabilities", outputs.probabilities), ("logits", outputs.logits)):
        if table.shape != (images, classes) or not np.isfinite(table).all():
            raise DataError(
                f"model {name}: expected finite {what} of shape {(images, classes)}, found {table.shape}; "
                "was it made for another task, or did its training fail?"
            )
