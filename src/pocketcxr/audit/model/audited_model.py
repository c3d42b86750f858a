"""The model under audit with its outputs on calibration and test split, computed once and shared by all probes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.audit.describing import NotMeasurable
from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.errors import DataError
from pocketcxr.evaluation.calibration import softmax
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.intervals import bootstrap, clusters, interval
from pocketcxr.evaluation.label_wise import label_outputs
from pocketcxr.evaluation.model_result import Calibration, calibrate
from pocketcxr.evaluation.scoring import Predictions
from pocketcxr.plain_text import one_line
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.model.config import AuditConfig
    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.evaluation.intervals import Estimate, Replicates
    from pocketcxr.labels import Task


@dataclass(frozen=True)
class SplitOutputs:
    """A model on the images of a split: `outputs`, with calibrated `probabilities` float64 [n, classes]."""

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
    """One model with its data, its calibration and its outputs; what every probe of the audit starts from."""

    name: str
    predict: Predict
    dataset: Dataset
    config: AuditConfig
    seed: int
    fitted: Calibration
    calibration: SplitOutputs
    test: SplitOutputs
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

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        """Which test images have the positive class [n]."""
        return self.test.truth == self.task.positive_index

    @property
    def embedding(self) -> NDArray[np.float32]:
        """Embedding of the test images [n, features].

        Raises:
            NotMeasurable: the model has none.
        """
        if self.test.outputs.embedding.shape[1] == 0:
            raise NotMeasurable("the model gives no embedding")
        return self.test.outputs.embedding

    def sources_with(self, least: int) -> list[str]:
        """Sources with at least so many test images."""
        names, counts = np.unique(self.sources, return_counts=True)
        return names[counts >= least].tolist()

    def outputs_for(self, images: NDArray[np.float32], what: str = "") -> ModelOutputs:
        """Outputs for images of your own making [n, 1, size, size]; probabilities are the calibrated ones."""
        blocks = (images[start : start + self.config.batch_size] for start in self._starts(len(images), what))
        outputs = _joined([self.predict(np.ascontiguousarray(block)) for block in blocks])
        temperature = self.fitted.temperature
        if temperature is None:
            return outputs
        return replace(outputs, probabilities=softmax(outputs.logits, temperature).astype(np.float32))

    def outputs_of(self, predict: Predict, positions: NDArray[np.int64], what: str) -> ModelOutputs:
        """Outputs of another model, or of this one, uncalibrated, for images of the data set."""
        starts = self._starts(len(positions), what)
        return run_model(predict, self.dataset, positions, batch_size=self.config.batch_size, starts=starts)

    def sample(self, count: int, keep: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Places among the test images, at most `count`, drawn evenly over the cells of class and source."""
        cells = [f"{row.source} {label}" for row, label in zip(self.rows, self.test.truth, strict=True)]
        return even_sample(cells, count, seed=self.seed, keep=keep)

    def estimates(
        self, figures: Callable[[NDArray[np.float64]], Replicates], places: NDArray[np.int64] | None = None
    ) -> dict[str, Estimate]:
        """Figures with intervals by patient.

        Args:
            figures: from weights [resamples, n] to values [resamples] by name.
            places: the n test images that it speaks of; None for all.
        """
        members = self.members if places is None else self.members[places]
        own = np.unique(members, return_inverse=True)[1]
        values = figures(np.ones((1, len(own))))
        replicates = bootstrap({"": figures}, own, count=self.config.bootstrap, seed=self.seed)[""]
        patients = int(own.max()) + 1
        return {
            name: interval(name.rpartition(" ")[2], float(value[0]), replicates[name], patients=patients)
            for name, value in values.items()
        }

    def _starts(self, count: int, what: str) -> Iterable[int]:
        blocks = range(0, count, self.config.batch_size)
        return Bar(blocks, desc=one_line(what), unit="batch", disable=not self.progress, leave=False)


def make_audited_model(
    name: str,
    predict: Predict,
    dataset: Dataset,
    *,
    config: AuditConfig,
    seed: int,
    splits: tuple[str, str] = ("calibration", "test"),
    calibrated: bool = False,
    progress: bool = False,
) -> AuditedModel:
    """Run a model over the calibration and the test split, and fit there what it does not bring.

    Args:
        name: what the model is called.
        predict: the model.
        dataset: with both splits.
        config: sizes.
        seed: of all sampling.
        splits: names of the calibration and the test split.
        calibrated: take the probabilities as they are, without fitting a temperature, as those of a model that gives
            nothing else; otherwise a model whose probabilities are the softmax of its logits gets one.
        progress: show bars on stderr.

    Raises:
        DataError: no labelled test image, or a model whose outputs have other shapes than promised or hold NaN.
    """
    raw = []
    for split in splits:
        positions = dataset.positions(split)
        blocks = range(0, len(positions), config.batch_size)
        starts = Bar(blocks, desc=one_line(f"{name}: {split}"), unit="batch", disable=not progress, leave=False)
        outputs = run_model(predict, dataset, positions, batch_size=config.batch_size, starts=starts)
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
        brings_temperature=calibrated or not raw[1][1].embedding.shape[1] or scored[1].brings_temperature,
    )
    done = []
    for (positions, outputs), one in zip(raw, scored, strict=True):
        probabilities = one.probabilities if fitted.temperature is None else softmax(one.logits, fitted.temperature)
        done.append(SplitOutputs(positions, one.labels, probabilities, outputs))
    return AuditedModel(name, predict, dataset, config, seed, fitted, done[0], done[1], progress)


def run_model(
    predict: Predict,
    dataset: Dataset,
    positions: NDArray[np.int64],
    *,
    batch_size: int = 64,
    starts: Iterable[int] | None = None,
) -> ModelOutputs:
    """Outputs of a model for images of a data set, batch by batch; `starts` may show their progress."""
    starts = range(0, len(positions), batch_size) if starts is None else starts
    return _joined([predict(dataset.images(positions[start : start + batch_size])) for start in starts])


def _joined(parts: list[ModelOutputs]) -> ModelOutputs:
    if not parts:
        empty = np.zeros((0, 1), np.float32)
        return ModelOutputs(empty, empty, empty)
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    joined: list[Any] = [None if any(p is None for p in column) else np.concatenate(column) for column in columns]
    return ModelOutputs(*joined)


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


def from_probabilities(
    function: Callable[[NDArray[np.float32]], object], *, classes: int, multilabel: bool = False
) -> Predict:
    """A plain function as a model: it gives probabilities and neither embedding nor maps.

    Args:
        function: from images float32 [n, 1, size, size] in [0, 1] (MONOCHROME2) to probabilities [n, classes], or to
            `ModelOutputs`, which pass through.
        classes: number of classes.
        multilabel: each has a probability by itself, so that they do not sum to 1.

    Returns:
        A model that raises DataError where the function gives anything else.
    """

    def predict(images: NDArray[np.float32], /) -> ModelOutputs:
        given = function(images)
        if isinstance(given, ModelOutputs):
            return given
        table = np.asarray(given, dtype=np.float64)
        shape = (len(images), classes)
        fits = table.shape == shape and bool((table >= 0).all())
        if multilabel and (not fits or (table > 1).any()):
            raise DataError(f"model: expected probabilities {shape} from 0 to 1, found {table.shape} or others")
        if multilabel:
            return label_outputs(table)
        if not fits or not np.allclose(table.sum(axis=1), 1, atol=1e-3):
            found = f"found {table.shape}" if table.shape != shape else "found rows that do not"
            raise DataError(f"model: expected probabilities {shape}, each row with a sum of 1, {found}")
        logits = np.log(np.maximum(table, np.finfo(np.float32).tiny))
        nothing = np.zeros((len(images), 0), np.float32)
        return ModelOutputs(table.astype(np.float32), logits.astype(np.float32), nothing)

    return predict
