"""The model's part of an audit: the bundle, its rivals from the run, and pictures of the size that it takes."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr import roles
from pocketcxr.audit.describing import NotMeasurable, missing_section
from pocketcxr.audit.model.model_audit import AuditConfig, audit_model, load_ood
from pocketcxr.audit.model.probes import input_filter
from pocketcxr.data.image_types import input_filter_splits
from pocketcxr.data.ood_images import with_ood_images
from pocketcxr.data.pixels import open_dataset
from pocketcxr.errors import ConfigError, require_extra
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle
from pocketcxr.run_folder import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.imaging.radiograph import Radiograph
    from pocketcxr.inference.prediction import Prediction
    from pocketcxr.labels import Task
    from pocketcxr.pipeline.run import Run
    from pocketcxr.report.types import Section

_BATCH = 64


@dataclass(frozen=True)
class Questions:
    """How a model is asked: `quick` with fewer images, `strangers` folders of pictures that it must refuse."""

    quick: bool = False
    strangers: tuple[Path, ...] = ()
    seed: int = 0
    progress: bool = True


@dataclass(frozen=True)
class LoadedModel:
    """A model that is audited: what it is asked through, the classes it knows, the pictures it takes."""

    name: str
    predict: Predict
    labels: tuple[str, ...]
    size: int
    aspect: str
    randomised: Callable[[], Iterable[tuple[str, Predict]]] | None = None
    decide: Callable[[Radiograph], Prediction] | None = None
    has_gate: bool = False


def load_model(path: Path, *, run: Run | None, seed: int = 0) -> LoadedModel:
    """Load a bundle (.onnx), or a checkpoint of a teacher or student (.safetensors).

    Raises:
        BundleError, CheckpointError: a missing or damaged file.
    """
    if path.suffix != ".safetensors":
        bundle = load_bundle(path)
        shape = bundle.manifest.preprocessing
        randomised = _randomised(path, seed=seed)
        predictor = Predictor(bundle, exact=True)
        return LoadedModel(
            "student",
            bundle,
            tuple(bundle.manifest.labels),
            shape.size,
            shape.aspect,
            randomised,
            decide=lambda radiograph: predictor.predict_image(radiograph, ""),
            has_gate=bundle.manifest.input_filter is not None,
        )
    require_extra("train", "torch", "timm")
    from pocketcxr.models.checkpoints import load_network
    from pocketcxr.models.predict import as_predict

    network, spec, _ = load_network(path)
    aspect = run.experiment.data.aspect if run else "squash"
    return LoadedModel(spec.kind, as_predict(network), spec.labels, spec.image_size, aspect)


def audit_loaded(
    model: LoadedModel, rows: Sequence[IndexRow], task: Task, *, run: Run | None, cache: Path, asked: Questions
) -> tuple[Section, ...]:
    """Audit a model on the test split of a table, or on all of it where it has no splits.

    Raises:
        ConfigError: the model knows other classes than the task.
    """
    if model.labels != task.labels:
        raise ConfigError(
            f"the {model.name} knows the classes {', '.join(model.labels)}, the task {task.name} has "
            f"{', '.join(task.labels)}: name another with --task"
        )
    placed = [dataclasses.replace(row, split=row.split or "test") for row in rows if row.label]
    dataset = open_dataset(
        placed, task, size=model.size, aspect=model.aspect, cache=cache, leaks=True, progress=asked.progress
    )
    sections = audit_model(
        model.predict,
        dataset,
        name=model.name,
        rivals={name: rival for name, rival in _rivals(run).items() if name != model.name},
        ood=load_ood(asked.strangers, rows, size=model.size, aspect=model.aspect, seed=asked.seed),
        config=AuditConfig.quick() if asked.quick else AuditConfig(),
        seed=asked.seed,
        progress=asked.progress,
        without_source=_without_source(run, dataset),
        randomised=model.randomised,
    )
    return (*sections, _gate_section(model, dataset, rows, asked))


def _gate_section(model: LoadedModel, dataset: Dataset, rows: Sequence[IndexRow], asked: Questions) -> Section:
    """The whole decision; of a bundle with a learned gate, on strangers of the gate's test split alone."""
    strangers = with_ood_images(rows, asked.strangers)
    note = ""
    if model.has_gate:
        splits = input_filter_splits(strangers)
        strangers = [row for row, split in zip(strangers, splits, strict=True) if split == "test"]
        note = "Strangers of the gate's own train and calibration split were left out (see data.image_types)."
    films = [row for row in dataset.rows if row.split == "test"]
    most = 60 if asked.quick else 400
    try:
        found = input_filter.measure(model.decide, films, strangers, most=most, note=note, progress=asked.progress)
    except NotMeasurable as error:
        return missing_section("gate", str(error))
    return input_filter.describe(found)


def embeddings(model: LoadedModel, dataset: Dataset, *, cache: Path, progress: bool) -> NDArray[np.float32]:
    """The model's embedding of every picture, float32 [n, features], in the order of the dataset."""
    placed = [dataclasses.replace(row, split="train", fold="") for row in dataset.rows]
    own = open_dataset(
        placed,
        dataset.task,
        size=model.size,
        aspect=model.aspect,
        cache=cache,
        unlabelled=True,
        leaks=True,
        progress=progress,
    )
    positions = np.arange(len(own.rows))
    blocks = [positions[start : start + _BATCH] for start in range(0, len(positions), _BATCH)]
    return np.concatenate([model.predict(own.images(block)).embedding for block in blocks])


def _without_source(run: Run | None, dataset: Dataset) -> dict[str, Predict]:
    """Students that never saw a source, where ``pocketcxr leave-one-source-out`` has trained them."""
    if run is None or not run.left_out_record.is_file():
        return {}
    require_extra("train", "torch", "timm")
    from pocketcxr.pipeline.leave_one_source_out import students_without

    return students_without(run, dataset)


def _randomised(path: Path, *, seed: int) -> Callable[[], Iterable[tuple[str, Predict]]] | None:
    """Randomised copies of a bundle, for the saliency check; None without onnx, which takes the bundle apart."""
    if importlib.util.find_spec("onnx") is None:
        return None
    from pocketcxr.export.randomised import randomised_bundle

    return randomised_bundle(path, seed=seed)


def _rivals(run: Run | None) -> dict[str, Predict]:
    """Teacher and baseline student, where the run has them."""
    if run is None:
        return {}
    require_extra("train", "torch", "timm")
    from pocketcxr.models.checkpoints import load_network
    from pocketcxr.models.predict import as_predict

    folders = {roles.TEACHER: run.teacher, roles.BASELINE: run.student_baseline}
    return {
        name: as_predict(load_network(checkpoint(folder))[0])
        for name, folder in folders.items()
        if checkpoint(folder).is_file()
    }
