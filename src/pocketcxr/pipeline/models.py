"""Classifiers from anywhere: loaded by what they are, and evaluated side by side on a table of X-rays."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr.data.multilabel import is_of_task
from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.rows import read_rows
from pocketcxr.data.splits.assign import label_rows
from pocketcxr.errors import ConfigError, require_extra
from pocketcxr.evaluation.label_wise import score_labels
from pocketcxr.evaluation.scoring import calibration_positions, score
from pocketcxr.files import check_output
from pocketcxr.inference.foreign import ForeignModel, description_path, load_foreign_model
from pocketcxr.inference.session import Bundle, load_bundle
from pocketcxr.labels import TASKS, load_task
from pocketcxr.pipeline.run import log_test_split
from pocketcxr.report.evaluate import evaluate_models
from pocketcxr.report.formatting import slug
from pocketcxr.report.label_wise import evaluate_label_scores
from pocketcxr.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.labels import Task


@dataclass(frozen=True)
class Classifier:
    """A model with its name in reports, its classes, and the images that it takes.

    `multilabel` says whether an image may have several of the classes; None where only the task tells. `task` is that
    of a bundle.
    """

    name: str
    predict: Callable[..., Any]
    labels: tuple[str, ...]
    image_size: int
    aspect: str = "squash"
    multilabel: bool | None = None
    task: str = ""


@dataclass(frozen=True)
class EvaluationResult:
    """Where the report and its numbers are, and the outcome in a few lines."""

    report: Path
    record: Path
    summary: str


def name_of(model: object) -> str:
    """Name of a model in reports: of its file, or of the function or class."""
    if isinstance(model, (str, os.PathLike)):
        return Path(model).stem
    return getattr(model, "__name__", type(model).__name__)


def needs_adapter(model: object) -> bool:
    """Whether a model is neither a bundle's nor a checkpoint's file."""
    return not isinstance(model, (str, os.PathLike)) or description_path(Path(model)).is_file()


def load_classifier(
    model: object, *, name: str, labels: Sequence[str] | None = None, image_size: int | None = None
) -> Classifier:
    """Load a bundle, a checkpoint, an ONNX file with a description beside it, or take a callable as it is.

    Args:
        model: path or callable; see `pocketcxr.evaluate`.
        name: for reports.
        labels: of a callable.
        image_size: of a callable.

    Raises:
        ConfigError: something else, or a callable whose labels or image size are not known.
        BundleError, CheckpointError: a file that is missing or damaged.
    """
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        if description_path(path).is_file():
            model = load_foreign_model(path)
        elif path.suffix == ".safetensors":
            require_extra("train", "torch", "timm")
            from pocketcxr.models.checkpoints import load_network
            from pocketcxr.models.predict import as_predict

            network, spec, _ = load_network(path)
            return Classifier(
                name,
                as_predict(network, multilabel=spec.multilabel),
                spec.labels,
                spec.image_size,
                multilabel=spec.multilabel,
            )
        else:
            model = load_bundle(path)
    model = getattr(model, "bundle", model)  # of a predictor
    if isinstance(model, Bundle):
        manifest, shape = model.manifest, model.manifest.preprocessing
        return Classifier(name, model, manifest.labels, shape.size, shape.aspect, manifest.multilabel, manifest.task)
    if isinstance(model, ForeignModel):
        return Classifier(name, model, model.labels, model.image_size, multilabel=model.description.multilabel)
    if not callable(model):
        raise ConfigError(f"model: expected a file or a callable, found {type(model).__name__}")
    labels = labels if labels is not None else getattr(model, "labels", None)
    image_size = image_size if image_size is not None else getattr(model, "image_size", None)
    if labels is None or image_size is None:
        raise ConfigError(
            f"model {name}: name the classes of its columns with labels= and the pixels it takes with image_size= "
            "(networks of PyTorch: wrap them with pocketcxr.models.predict.as_classifier)"
        )
    return Classifier(name, model, tuple(labels), int(image_size))


def evaluate_classifiers(
    folder: Path,
    models: Sequence[Classifier],
    *,
    splits: Path | None,
    task: str | None,
    config: EvaluationConfig,
    progress: bool = True,
) -> EvaluationResult:
    """Evaluate models side by side on the test split of a table, or on all of it where it has no splits.

    Args:
        folder: for the report; in a run's folder it is written to ``evaluation-NAMES``.
        models: at least one, all of the same classes.
        splits: the table; None takes the run's.
        task: name or TOML file; None takes the one known here that has the models' labels.
        config: settings of the figures.
        progress: show bars on stderr.

    Raises:
        ConfigError: no table, or models of other classes than the task.
        DataError: no labelled test image, or a model whose output has another shape.
    """
    check_output(folder, folder=True)
    run = (folder / "experiment.json").is_file()
    table = splits or folder / "splits.csv"
    if not table.is_file():
        raise ConfigError(f"{table}: expected a table of X-rays; name one with splits= (--splits)")
    found = _task(models, task)
    rows = _tested(read_rows(table), found)
    out = folder / f"evaluation-{'-'.join(slug(model.name) for model in models)}" if run else folder
    scored: Callable[..., Any] = score_labels if found.multilabel else score
    if run:
        log_test_split(RunFolder(folder).test_split_log, f"evaluation of {', '.join(model.name for model in models)}")
    calibration, test = [], []
    datasets = []
    for model in models:
        dataset = open_dataset(
            rows, found, size=model.image_size, aspect=model.aspect, cache=folder / "cache", progress=progress
        )
        datasets.append(dataset)
        if len(dataset.positions("calibration")):
            fitted = calibration_positions(dataset, config)
            calibration.append(scored(model.name, model.predict, dataset, fitted, progress=progress))
        test.append(scored(model.name, model.predict, dataset, dataset.positions("test"), progress=progress))
    title = f"pocketcxr: {found.name}, {', '.join(model.name for model in models)}"
    evaluate = evaluate_label_scores if found.multilabel else evaluate_models
    evaluation = evaluate(calibration, test, datasets[0], config=config, costs={}, out=out, title=title)
    summary = f"{evaluation.headline}\nreport: {evaluation.report}"
    return EvaluationResult(evaluation.report, out / "evaluation.json", summary)


def _task(models: Sequence[Classifier], name: str | None) -> Task:
    """The task that was named, or the one known here with the models' labels; all models must have its classes."""
    here = [task.name for task in TASKS.values() if task.labels == models[0].labels and not models[0].multilabel]
    known = [name] if name else here + [one.task for one in models if one.task]
    if not known:
        raise ConfigError(
            f"no task known here has the classes {', '.join(models[0].labels)}: name one with task= (--task)"
        )
    task = load_task(known[0])
    kinds = {True: "any number of findings", False: "one class per image"}
    for model in models:
        if model.labels != task.labels:
            raise ConfigError(
                f"the model {model.name} knows the classes {', '.join(model.labels)}, the task {task.name} has "
                f"{', '.join(task.labels)}: name another with task= (--task)"
            )
        if model.multilabel not in {None, task.multilabel}:
            raise ConfigError(
                f"the model {model.name} gives an image {kinds[not task.multilabel]}, the task {task.name} "
                f"{kinds[task.multilabel]}: name another with task= (--task)"
            )
    return task


def _tested(rows: list[IndexRow], task: Task) -> list[IndexRow]:
    """Labelled rows of the calibration and test splits; of a table without splits all, as test images."""
    if not any(is_of_task(row.label, task) for row in rows):
        rows = label_rows(rows, task)
    if not any(row.split for row in rows):
        rows = [dataclasses.replace(row, split="test") for row in rows]
    return [row for row in rows if is_of_task(row.label, task) and row.split in {"calibration", "test"}]
