"""An exported graph with its weights stored, calibrated on its own outputs and compared with PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.bundle.golden import drawn_inputs
from pocketcxr.bundle.manifest import MULTILABEL_VERSION, FindingCalibration
from pocketcxr.data.dataset import evenly
from pocketcxr.evaluation.calibration import conformal_quantile, fit_temperature, softmax, two_columns
from pocketcxr.evaluation.label_wise import dataset_of_label, fit_temperatures
from pocketcxr.evaluation.operating_points import choose_operating_points
from pocketcxr.export.novelty import CUT_OFF_PERCENTILE, FILTERED_CUT_OFF_PERCENTILE, NoveltyReference, fit_novelty
from pocketcxr.export.onnx_tail import attach_tail
from pocketcxr.export.parity import GraphRun, check_parity, differences, moved_too_far, moves, torch_outputs
from pocketcxr.export.storages import FLOAT
from pocketcxr.export.weight_storage import PICTURES, store_weights

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import OperatingPoint
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.models.input_filter import InputKindNetwork
    from pocketcxr.models.networks import Student

_PARITY_IMAGES = 8


@dataclass(frozen=True, eq=False)
class Splits:
    """Positions in a dataset: of two splits, of what temperature and thresholds are fitted on, of what is known."""

    train: NDArray[np.int64]
    calibration: NDArray[np.int64]
    fitted: NDArray[np.int64]
    reference: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A graph with its tail, its logits on the calibration split, what was fitted on them, and what is on record.

    `temperature` has one number per label where images may have several findings.
    """

    model: onnx.ModelProto
    logits: NDArray[np.float32]
    temperature: float | tuple[float, ...]
    reference: NoveltyReference
    parity: dict[str, dict[str, float]]
    weights: dict[str, Any]


def calibrated(
    network: Student,
    full: onnx.ModelProto,
    dataset: Dataset,
    splits: Splits,
    storage: str,
    *,
    input_filter: InputKindNetwork | None,
    progress: bool,
) -> tuple[Calibrated, str]:
    """Store the weights, fit what is fitted on the outputs, compare with PyTorch.

    Args:
        network: that was exported.
        full: its core graph, float32.
        dataset: see `splits`.
        splits: the pictures to look at.
        storage: of the weights, one of `pocketcxr.export.storages.STORAGES`.
        input_filter: in the graph, None without one.
        progress: show bars on stderr.

    Returns:
        The graph, and in words whether storing its weights so moves outputs too far; "" where it does not.

    Raises:
        BundleError: the float32 graph does not give what PyTorch gives.
    """
    stored = store_weights(full, storage, lambda: dataset.images(evenly(splits.train, PICTURES)))
    run = partial(GraphRun(stored.model), dataset, progress=progress)
    seen = run(splits.calibration, what="calibrating")
    known = run(splits.reference, what="novelty reference")
    own = np.isin(splits.calibration, splits.fitted)  # of the source that is calibrated on, or all
    temperature = _fitted_temperature(seen.logits[own], dataset.labels[splits.fitted])
    percentile = CUT_OFF_PERCENTILE if input_filter is None else FILTERED_CUT_OFF_PERCENTILE
    reference = fit_novelty(known.embedding, seen.embedding, percentile=percentile)
    attach = partial(attach_tail, temperature=temperature, reference=reference, half_weights=storage != FLOAT)
    model = attach(stored.model)

    size = dataset.pixels.shape[1]
    pictures = np.concatenate([drawn_inputs(size), dataset.pixels[evenly(splits.calibration, _PARITY_IMAGES)]])
    expected = torch_outputs(network, pictures, temperature=temperature, reference=reference, input_filter=input_filter)
    parity = {"graph": check_parity(attach(full), pictures, expected)}
    if storage != FLOAT:
        parity["stored_weights"] = differences(model, pictures, expected)
    if stored.layers:
        exact = GraphRun(full)(dataset, splits.calibration, progress=progress, what="float against 8-bit")
        parity["calibration_split"] = moves(seen.logits, exact.logits, temperature)
    found = Calibrated(model, seen.logits, temperature, reference, parity, stored.record)
    return found, moved_too_far(parity)


def _fitted_temperature(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> float | tuple[float, ...]:
    if truth.ndim == 1:
        return fit_temperature(logits, truth)
    return tuple(fit_temperatures(logits, truth).tolist())


def fitted_on_calibration(
    dataset: Dataset,
    evaluation: EvaluationConfig,
    logits: NDArray[np.float32],
    *,
    temperature: float | tuple[float, ...],
    fitted: NDArray[np.int64],
) -> dict[str, Any]:
    """Fields of the manifest that are fitted on the logits [n, classes] of the n images at the positions `fitted`."""
    truth = dataset.labels[fitted]
    if not isinstance(temperature, tuple):
        probabilities = softmax(logits, temperature)
        return {
            "temperature": temperature,
            "conformal_quantile": conformal_quantile(probabilities, truth, coverage=evaluation.coverage),
            "operating_points": operating_points_of(dataset, evaluation, probabilities, fitted),
        }
    findings: list[FindingCalibration] = []
    points: list[OperatingPoint] = []
    for i, label in enumerate(dataset.task.labels):
        known = truth[:, i] >= 0
        probabilities = softmax(two_columns(logits[known, i]), temperature[i])
        quantile = conformal_quantile(probabilities, truth[known, i], coverage=evaluation.coverage)
        findings.append(FindingCalibration(label, temperature[i], quantile))
        points += operating_points_of(dataset_of_label(dataset, i), evaluation, probabilities, fitted[known])
    return {
        "findings": tuple(findings),
        "operating_points": tuple(points),
        "format_version": MULTILABEL_VERSION,
    }


def operating_points_of(
    dataset: Dataset,
    evaluation: EvaluationConfig,
    probabilities: NDArray[np.float64],
    fitted: NDArray[np.int64],
) -> tuple[OperatingPoint, ...]:
    """Operating points of calibrated probabilities [n, classes] for the n images at the positions `fitted`."""
    positive, fitted_on = (
        dataset.task.positive_index,
        filter(None, ("calibration split", evaluation.calibration_source)),
    )
    return choose_operating_points(
        probabilities[:, positive],
        dataset.labels[fitted] == positive,
        label=dataset.task.positive,
        sensitivity=evaluation.screening_sensitivity,
        specificity=evaluation.confirming_specificity,
        chosen_on=f"{' of '.join(fitted_on)}, {len(fitted)} images",
    )
