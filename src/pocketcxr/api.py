"""`pocketcxr.distill`, `evaluate` and `audit`: whole pipelines as functions; the command line is a shell over them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pocketcxr.errors import ConfigError, require_extra
from pocketcxr.files import check_output, named_path
from pocketcxr.own_parts import name_in_python

if TYPE_CHECKING:
    from torch import nn

    from pocketcxr.bundle.description import ModelDescription
    from pocketcxr.pipeline.audit import AuditResult
    from pocketcxr.pipeline.distill import RunResult
    from pocketcxr.pipeline.models import EvaluationResult
    from pocketcxr.training.config import Experiment

AnyPath: TypeAlias = "str | os.PathLike[str]"
Model: TypeAlias = "AnyPath | Callable[..., Any]"
Settings: TypeAlias = "Mapping[str, Any] | Sequence[str]"
Teacher: TypeAlias = "AnyPath | nn.Module | tuple[nn.Module, ModelDescription]"


def distill(
    output: AnyPath,
    *,
    data: AnyPath | Sequence[AnyPath] | None = None,
    splits: AnyPath | None = None,
    task: str | None = None,
    experiment: AnyPath | None = None,
    settings: Settings = (),
    columns: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    online: bool = False,
    teacher: Teacher | None = None,
    progress: bool = True,
) -> RunResult:
    """Train a teacher, distil a student, evaluate both and export a bundle; called again, it continues.

    Args:
        output: the run's folder.
        data: folders or tables of X-rays; may be left out when the folder already holds a run.
        splits: a table that `pocketcxr split` wrote, instead of `data`.
        task: name, or a TOML file of your own; default ``covid-3class``, or the run's.
        experiment: experiment file (TOML); default: the settings that the run was started with.
        settings: single fields, such as ``{"student.epochs": 40}`` or ``["student.epochs=40"]``. A loss of your own, a
            function or class of modules, may stand for its name in ``student.losses``, a class of networks in
            ``student.backbone``.
        columns: field of the index to column of a table of your own.
        aliases: name of a class in the data to a finding of `vocabulary.FINDINGS` or of your own.
        online: run the teacher in every step instead of caching its outputs.
        teacher: what teaches instead of a network that is trained here: what ``teacher.checkpoint`` may name, a network
            of torchxrayvision, or any module with its `pocketcxr.bundle.description.ModelDescription`.
        progress: show bars on stderr.

    Returns:
        `report` and `bundle`, paths of what was made, and `summary`, the outcome in a few lines.

    Raises:
        PocketCxrError: a setting, data set or split that is not usable; its subclass says which.
    """
    require_extra("train")
    from pocketcxr.pipeline.distill import run_distill

    return run_distill(
        named_path(output),
        read_settings(output, task=task, experiment=experiment, settings=settings),
        sources=paths_of(data),
        splits=named_path(splits) if splits is not None else None,
        columns=columns,
        aliases=aliases,
        online=online,
        teacher=str(teacher) if isinstance(teacher, os.PathLike) else teacher,
        progress=progress,
    )


def evaluate(
    output: AnyPath,
    *,
    model: Model | Mapping[str, Model] | None = None,
    labels: Sequence[str] | None = None,
    image_size: int | None = None,
    splits: AnyPath | None = None,
    task: str | None = None,
    experiment: AnyPath | None = None,
    settings: Settings = (),
    progress: bool = True,
) -> EvaluationResult:
    """Evaluate the networks of a run side by side, or any other classifiers on a table of X-rays.

    Args:
        output: a run's folder, or for other classifiers any folder for the report.
        model: None evaluates the networks of the run. Otherwise a bundle, a checkpoint, an ONNX file with a description
            beside it (see `pocketcxr.bundle.description`), or a callable that takes images float32 [n, 1, size, size]
            in [0, 1] and returns probabilities [n, labels]; or several of them by name, for one table.
        labels: classes of a callable in the order of its columns; default: its attribute `labels`.
        image_size: pixels of each side that a callable takes; default: its attribute `image_size`.
        splits: a table that `pocketcxr split` wrote (default: the run's own); one without splits is tested whole.
        task: name, or a TOML file of your own; default: the run's, or the one with the model's labels.
        experiment: experiment file (TOML) with the table ``[evaluation]``.
        settings: single fields, such as ``{"evaluation.bootstrap": 2000}``.
        progress: show bars on stderr.

    Returns:
        `report` and `record`, paths of what was written, and `summary`, the outcome in a few lines.

    Raises:
        PocketCxrError: a model, table or setting that is not usable; its subclass says which.
    """
    folder, table = named_path(output), named_path(splits) if splits is not None else None
    if model is None:
        require_extra("train")
        from pocketcxr.pipeline.models import EvaluationResult
        from pocketcxr.pipeline.stages import run_evaluate
        from pocketcxr.run_folder import RunFolder

        found = read_settings(output, task=task, experiment=experiment, settings=settings)
        summary = run_evaluate(folder, found, splits=table, progress=progress)
        written = RunFolder(folder).evaluation
        return EvaluationResult(written / "report.html", written / "evaluation.json", summary)
    require_extra("evaluate")
    from pocketcxr.pipeline.models import evaluate_classifiers, load_classifier, name_of

    named = model if isinstance(model, Mapping) else {name_of(model): model}
    return evaluate_classifiers(
        folder,
        [load_classifier(one, name=name, labels=labels, image_size=image_size) for name, one in named.items()],
        splits=table,
        task=task,
        config=read_settings(output, task=task, experiment=experiment, settings=settings).evaluation,
        progress=progress,
    )


def audit(
    target: AnyPath,
    *,
    model: Model | None = None,
    labels: Sequence[str] | None = None,
    image_size: int | None = None,
    run: AnyPath | None = None,
    task: str | None = None,
    output: AnyPath | None = None,
    criteria: AnyPath | None = None,
    ood: Sequence[AnyPath] = (),
    boxes: AnyPath | None = None,
    quick: bool = False,
    data_only: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> AuditResult:
    """Examine X-rays, and a model, for leaks, shortcuts and calibration against criteria; write one report.

    Args:
        target: an index or split table (CSV), a run's folder, or a folder of X-rays, which is indexed first.
        model: as for `evaluate`; default: the run's bundle, or none.
        labels: as for `evaluate`.
        image_size: as for `evaluate`.
        run: the run that the model, its teacher and its baseline student are from.
        task: name, or a TOML file of your own; default: the run's, or the one whose classes the table has.
        output: folder of the report; default ``RUN/audit``, or ``NAME-audit`` beside the table.
        criteria: criteria of your own, as ``audit/criteria.toml``.
        ood: folders of out-of-distribution images, which a model must refuse, a folder per kind; default: the run's.
        boxes: table of boxes around findings, beside those of the sets' own tables.
        quick: fewer images and resamples: wider intervals, sooner done.
        data_only: leave the model out.
        seed: of everything random.
        progress: show bars on stderr.

    Returns:
        `report` and `record`, paths of what was written, `failed`, the criteria that failed, and `summary`.

    Raises:
        PocketCxrError: a model, table or setting that is not usable; its subclass says which.
    """
    require_extra("evaluate")
    from pocketcxr.pipeline.audit import run_audit
    from pocketcxr.pipeline.models import load_classifier, name_of, needs_adapter

    other = None
    if model is not None and needs_adapter(model):
        other = load_classifier(model, name=name_of(model), labels=labels, image_size=image_size)
    return run_audit(
        named_path(target),
        bundle=named_path(model) if other is None and isinstance(model, (str, os.PathLike)) else None,
        model=other,
        run=named_path(run) if run is not None else None,
        task=task,
        out=named_path(output) if output is not None else None,
        criteria=named_path(criteria) if criteria is not None else None,
        ood=paths_of(ood) or (),
        boxes=named_path(boxes) if boxes is not None else None,
        quick=quick,
        data_only=data_only,
        seed=seed,
        progress=progress,
    )


def read_settings(
    output: AnyPath, *, task: str | None = None, experiment: AnyPath | None = None, settings: Settings = ()
) -> Experiment:
    """All settings of a run: its experiment file, or what it was started with, then single fields.

    A command that failed before the images were split has started no run: its settings are not taken.

    Raises:
        ConfigError: an output that cannot be written, or a file or field that does not fit.
    """
    from pocketcxr.training.config import load_experiment

    pairs = settings.items() if isinstance(settings, Mapping) else None
    overrides = list(settings) if pairs is None else [f"{name}={_toml(value)}" for name, value in pairs]
    if task is not None:
        overrides.append(f"data.task={_toml(task)}")
    folder = Path(output)
    check_output(folder, folder=True, keep=False)  # before settings, which are read again and again until they fit
    started = any((folder / name).is_file() for name in ("splits.csv", "folds.csv"))
    saved = folder / "experiment.json"
    resumed = saved if experiment is None and started and saved.is_file() else None
    return load_experiment(named_path(experiment) if experiment is not None else resumed, overrides)


def paths_of(given: AnyPath | Sequence[AnyPath] | None) -> list[Path] | None:
    """One path or several as a list; None where nothing is given.

    Raises:
        ConfigError: something else.
    """
    if given is None or (not isinstance(given, (str, os.PathLike)) and not given):
        return None
    try:
        return [named_path(one) for one in ([given] if isinstance(given, (str, os.PathLike)) else given)]
    except TypeError as error:
        raise ConfigError(f"expected paths, found {error}") from error


def _toml(value: Any) -> str:
    """A value as TOML; a function or class by the name that finds it again."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if callable(value):
        return json.dumps(name_in_python(value))
    return json.dumps(str(value) if isinstance(value, os.PathLike) else value)
