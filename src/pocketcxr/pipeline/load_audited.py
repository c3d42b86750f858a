"""What an audit works on, loaded once: table and task, images, the model with its rivals."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr import roles
from pocketcxr.audit.model.audited_model import from_probabilities
from pocketcxr.data.multilabel import is_of_task
from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.splits.assign import label_rows
from pocketcxr.errors import ConfigError, DataError, require_extra
from pocketcxr.files import check_output
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle
from pocketcxr.labels import TASKS, load_task
from pocketcxr.pipeline.prepare import index_sources
from pocketcxr.pipeline.run import reopen_run
from pocketcxr.run_folder import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pocketcxr.bundle.contract import ModelOutputs, Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.imaging.radiograph import Radiograph
    from pocketcxr.inference.prediction import Prediction
    from pocketcxr.labels import Task
    from pocketcxr.pipeline.run import Run

_LOGGER = logging.getLogger("pocketcxr")
_SIZE = 224  # of the images that a function takes, unless it says otherwise


@dataclass(frozen=True)
class AuditTarget:
    """What is audited: a table, the run it belongs to where there is one, and the bundle where there is one."""

    table: Path
    out: Path
    run: Run | None
    bundle: Path | None

    @property
    def cache(self) -> Path:
        """Folder of decoded images."""
        return self.run.cache if self.run else self.out / "cache"


@dataclass(frozen=True)
class LoadedModel:
    """A model that is audited, its classes, and the size and aspect of the images it takes.

    `decide` is the whole decision of a bundle, with the network's outputs; `has_input_filter` whether it learned what a
    frontal chest X-ray is, `multilabel` whether an image may have several of the classes.
    """

    name: str
    predict: Predict
    labels: tuple[str, ...]
    size: int
    aspect: str = "squash"
    randomised: Callable[[], Iterable[tuple[str, Predict]]] | None = None
    decide: Callable[[Radiograph], tuple[Prediction, ModelOutputs | None]] | None = None
    has_input_filter: bool = False
    multilabel: bool = False


def find_target(
    target: Path, *, bundle: Path | None, run: Path | None, out: Path | None, other: str, progress: bool
) -> AuditTarget:
    """Recognise a run's folder, a table, or a folder of X-rays, which is indexed.

    Args:
        target: one of these.
        bundle: a model's file, or None for the run's.
        run: folder of the run that the bundle belongs to.
        out: folder of the report.
        other: name of a model other than the run's, for the default folder.
        progress: show bars on stderr.

    Raises:
        ConfigError: it is none of these.
    """
    if not target.exists():
        raise ConfigError(
            f"{target}: expected an index or split table, a run's folder or a folder of X-rays; not there"
        )
    if target.is_dir() and (target / "experiment.json").is_file():
        found = reopen_run(target, progress=progress)
        if not found.splits.is_file():
            raise ConfigError(f"{target} holds no splits.csv yet: run  pocketcxr distill -o {target}  first")
        own = found.bundle if found.bundle.is_file() else None
        if bundle is not None and bundle != own:
            other = bundle.parent.name
        out = out or target / (f"audit-{other}" if other else "audit")
        check_output(out, folder=True)
        return AuditTarget(found.splits, out, found, bundle or own)
    owner = reopen_run(run, progress=progress) if run else None
    own = owner.bundle if owner and owner.bundle.is_file() else None
    name = target.stem if target.is_file() else target.resolve().name
    out = out or target.absolute().parent / f"{name}-audit"
    check_output(out, folder=True)
    table = out / "index.csv" if target.is_dir() else target
    if target.is_dir():
        index_sources([target], table, progress=progress)
    return AuditTarget(table, out, owner, bundle or own)


def label_table(rows: list[IndexRow], name: str | None, run: Run | None) -> tuple[Task, list[IndexRow]]:
    """The task, and the rows with its classes; labels in the table are kept.

    Raises:
        ConfigError: no known task has the table's classes.
        DataError: no image has a class of the task.
    """
    if name is None and run is not None:
        name = run.experiment.data.task
    task = load_task(name) if name else _guessed(rows)
    said = {row.label for row in rows if row.label}
    if said and all(is_of_task(label, task) for label in said):
        return task, rows
    labelled = label_rows(rows, task)
    if not any(row.label for row in labelled):
        findings = sorted({row.finding or "unlabelled" for row in rows})
        raise DataError(
            f"task {task.name}: no image has one of its classes; the table's findings are {', '.join(findings[:8])}: "
            "name another with --task"
        )
    return task, labelled


def open_images(
    rows: Sequence[IndexRow], task: Task, *, cache: Path, size: int, aspect: str, split: str, progress: bool
) -> Dataset:
    """All images of a table that have a class or a split, leaks included; those without a split are put in `split`."""
    placed = [dataclasses.replace(row, split=row.split or split) for row in rows if row.label or row.split]
    return open_dataset(
        placed, task, size=size, aspect=aspect, cache=cache, unlabelled=True, leaks=True, progress=progress
    )


def load_model(path: Path, *, run: Run | None, seed: int = 0) -> LoadedModel:
    """Load a bundle (.onnx), or a checkpoint of a teacher or student (.safetensors).

    Raises:
        BundleError, CheckpointError: a missing or damaged file.
    """
    if path.suffix != ".safetensors":
        bundle = load_bundle(path)
        shape, predictor = bundle.manifest.preprocessing, Predictor(bundle, exact=True)
        return LoadedModel(
            "student",
            bundle,
            tuple(bundle.manifest.labels),
            shape.size,
            shape.aspect,
            _randomised(path, seed=seed),
            decide=lambda radiograph: predictor.score_image(radiograph, ""),
            has_input_filter=bundle.manifest.input_filter is not None,
            multilabel=bundle.manifest.multilabel,
        )
    require_extra("train", "torch", "timm")
    from pocketcxr.models.checkpoints import load_network
    from pocketcxr.models.predict import as_predict

    network, spec, _ = load_network(path)
    aspect = run.experiment.data.aspect if run else "squash"
    predict = as_predict(network, multilabel=spec.multilabel)
    return LoadedModel(spec.kind, predict, spec.labels, spec.image_size, aspect, multilabel=spec.multilabel)


def model_of(model: Any, *, task: Task, labels: Sequence[str] | None, image_size: int | None) -> LoadedModel:
    """A model that is none of ours: a function, or an object with `predict`, `labels` and `image_size`.

    Args:
        model: gives probabilities [n, classes] or `ModelOutputs` of images float32 [n, 1, size, size] in [0, 1],
            MONOCHROME2.
        task: whose classes it has, unless it or `labels` says otherwise.
        labels: its classes in order.
        image_size: side of the images it takes; 224 unless it says otherwise.
    """
    names = tuple(labels or getattr(model, "labels", None) or task.labels)
    size = image_size or getattr(model, "image_size", None) or _SIZE
    several = getattr(model, "multilabel", None)
    several = task.multilabel if several is None else bool(several)
    predict = from_probabilities(getattr(model, "predict", model), classes=len(names), multilabel=several)
    aspect = getattr(model, "aspect", "squash")
    return LoadedModel(model_name(model), predict, names, size, aspect, multilabel=several)


def model_name(model: Any) -> str:
    """What a model that is none of ours is called: its own name, or "model"."""
    return str(getattr(model, "name", None) or "model")


def ood_of_run(run: Run | None) -> tuple[Path, ...]:
    """Folders of out-of-distribution images that a run was given; one that is gone is said and left out."""
    named = [] if run is None else [Path(folder) for folder in run.experiment.input_filter.ood]
    there = tuple(folder for folder in named if folder.is_dir())
    for folder in named:
        if folder in there:
            _LOGGER.info("out-of-distribution images of the run: %s", folder)
        else:
            _LOGGER.warning("%s: these out-of-distribution images of the run are gone: name them with --ood", folder)
    return there


def load_rivals(run: Run | None, name: str) -> dict[str, Predict]:
    """Teacher and baseline student, where the run has them, without the model under audit itself."""
    if run is None:
        return {}
    require_extra("train", "torch", "timm")
    from pocketcxr.pipeline.teachers import open_again, predict_of, teacher_predict

    folders = {roles.TEACHER: run.teacher, roles.BASELINE: run.student_baseline}
    given = open_again(run)
    found = {} if given is None else {roles.TEACHER: teacher_predict(dataclasses.replace(run, given=given))}
    return found | {
        rival: predict_of(folder) for rival, folder in folders.items() if rival != name and checkpoint(folder).is_file()
    }


def load_left_out(run: Run | None, dataset: Dataset) -> dict[str, Predict]:
    """Students trained without a source, where ``pocketcxr leave-one-source-out`` has trained them."""
    if run is None or not run.left_out_record.is_file():
        return {}
    require_extra("train", "torch", "timm")
    from pocketcxr.pipeline.leave_one_source_out import students_without

    return students_without(run, dataset)


def _guessed(rows: Sequence[IndexRow]) -> Task:
    """The task whose classes the table has, and of those the one that uses most images."""
    said = {row.label for row in rows if row.label}
    fitting = [task for task in TASKS.values() if said == set(task.labels)]
    if fitting:
        return fitting[0]
    if said:
        raise ConfigError(f"the table's classes {', '.join(sorted(said))} fit no task known here: name it with --task")
    counts = {
        name: len([row for row in rows if task.label_of(row.finding)])
        for name, task in TASKS.items()
        if {task.label_of(row.finding) for row in rows} >= set(task.labels)
    }
    if not counts:
        raise DataError(
            f"no task has all its classes in this table: name one of {', '.join(TASKS)}, or a file, with --task"
        )
    return TASKS[max(counts, key=lambda name: counts[name])]


def _randomised(path: Path, *, seed: int) -> Callable[[], Iterable[tuple[str, Predict]]] | None:
    """Randomised copies of a bundle, for the saliency check; None without onnx, which takes the bundle apart."""
    if importlib.util.find_spec("onnx") is None:
        return None
    from pocketcxr.export.randomised import randomised_bundle

    return randomised_bundle(path, seed=seed)
