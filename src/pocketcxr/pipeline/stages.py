"""The stages of a run, each resumable: as functions of an opened run, and as commands on its folder."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.errors import CheckpointError, ConfigError
from pocketcxr.export.storages import BYTES
from pocketcxr.files import check_output, copy_file
from pocketcxr.models.checkpoints import checkpoint_sha256
from pocketcxr.pipeline.evaluate import evaluate_run, export_run
from pocketcxr.pipeline.input_filter import input_filter_stage
from pocketcxr.pipeline.leave_one_source_out import train_without_sources
from pocketcxr.pipeline.preflight import announce, check_experiment
from pocketcxr.pipeline.prepare import prepare
from pocketcxr.pipeline.run import Run, log_to, open_run
from pocketcxr.run_folder import TEACHER_FILE
from pocketcxr.training.distributed.processes import accelerator, lost_process_explained, main_first, refuse_several
from pocketcxr.training.losses.distillation import needs_teacher
from pocketcxr.training.student import train_student
from pocketcxr.training.teacher.crossfit import CrossFitted, train_cross_fitted, train_folds
from pocketcxr.training.teacher.outputs_table import save_outputs, views_from_tables
from pocketcxr.training.teacher.teacher import train_teacher
from pocketcxr.training.teacher.views import cache_views

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.training.config import Experiment
    from pocketcxr.training.teacher.given import GivenTeacher
    from pocketcxr.training.teacher.views import TeacherViews


def run_train_teacher(
    folder: Path,
    experiment: Experiment,
    *,
    splits: Path | None = None,
    folds: Sequence[int] = (),
    progress: bool = True,
) -> Path:
    """Train the teacher of a run; return its checkpoint.

    Args:
        folder: the run's.
        experiment: all settings.
        splits: a table with a ``split`` column, for a run that has none yet.
        folds: of a cross-fitted teacher, train only the teachers without these folds (from 1), such as one on each of
            several machines; the folder of all folds is then returned.
        progress: show progress bars on stderr.
    """
    given = check_experiment(experiment)
    if given is not None:
        raise ConfigError(f"teacher.checkpoint: {given.about['name']} teaches as it is, there is no teacher to train")
    with _opened(folder, experiment, splits=splits, progress=progress) as (run, dataset):
        announce(run, dataset)
        if folds:
            config, augmentation = experiment.teacher, experiment.views.augmentation
            train_folds(dataset, config, folds, out=run.teacher, augmentation=augmentation, progress=run.progress)
            return run.teacher
        trained = teacher_stage(run, dataset)
        assert isinstance(trained, Path)
        return trained


def run_cache_views(
    folder: Path,
    experiment: Experiment,
    *,
    splits: Path | None = None,
    save: Path | None = None,
    progress: bool = True,
) -> Path:
    """Compute the teacher's outputs for every augmented view; return the folder of all such caches, or `save`.

    Args:
        folder: the run's.
        experiment: all settings.
        splits: a table with a ``split`` column, for a run that has none yet.
        save: keep all logits in this one file, for ``teacher.outputs`` of another run.
        progress: show progress bars on stderr.
    """
    given = check_experiment(experiment)
    if save is not None and accelerator().is_main_process:
        check_output(save, folder=False)
    with _opened(folder, experiment, splits=splits, progress=progress, given=given) as (run, dataset):
        views = views_stage(run, dataset)
        if save is None:
            return run.views
        if accelerator().is_main_process:
            save_outputs(views, dataset, save)
        return save


def run_train_student(
    folder: Path,
    experiment: Experiment,
    *,
    splits: Path | None = None,
    teacher: bool = True,
    online: bool = False,
    progress: bool = True,
) -> Path:
    """Train the student of a run, distilled or (`teacher` false) as a baseline; return its checkpoint.

    Args:
        folder: the run's.
        experiment: all settings.
        splits: a table with a ``split`` column, for a run that has none yet.
        teacher: False trains the baseline student: labels only.
        online: run the teacher in every step instead of caching its outputs.
        progress: show progress bars on stderr.
    """
    given = check_experiment(experiment, teacher=teacher, online=online)
    with _opened(folder, experiment, splits=splits, progress=progress, given=given) as (run, dataset):
        announce(run, dataset, teacher=teacher, online=online)
        return student_stage(run, dataset, teacher=teacher, online=online)


def run_train_input_filter(
    folder: Path, experiment: Experiment, *, splits: Path | None = None, progress: bool = True
) -> Path | None:
    """Fit the learned input filter of a run; return its file, None where the data hold nothing to refuse."""
    refuse_several("train-input-filter")
    with _opened(folder, experiment, splits=splits, progress=progress) as (run, _):
        return input_filter_stage(run)


def run_leave_one_source_out(
    folder: Path,
    experiment: Experiment,
    *,
    splits: Path | None = None,
    only: Sequence[str] = (),
    start_from: Path | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Train the student again without each source in turn; see `leave_one_source_out.train_without_sources`.

    Returns:
        Source to the checkpoint of the student that never saw it.
    """
    refuse_several("leave-one-source-out")
    check_experiment(experiment, teacher=False)
    with _opened(folder, experiment, splits=splits, progress=progress, record=False) as (run, dataset):
        return train_without_sources(run, dataset, only=only, start_from=start_from)


def run_export(
    folder: Path,
    experiment: Experiment,
    *,
    splits: Path | None = None,
    force: bool = False,
    storage: str = BYTES,
    progress: bool = True,
) -> Path:
    """Export the distilled student of a run as a bundle; see `export_run`."""
    refuse_several("export")
    with _opened(folder, experiment, splits=splits, progress=progress) as (run, dataset):
        return export_run(run, dataset, force=force, storage=storage)


def run_evaluate(folder: Path, experiment: Experiment, *, splits: Path | None = None, progress: bool = True) -> str:
    """Evaluate all networks of a run side by side and write the report; return the outcome in a few lines."""
    refuse_several("evaluate")
    with _opened(folder, experiment, splits=splits, progress=progress) as (run, dataset):
        return evaluate_run(run, dataset)


@contextmanager
def _opened(
    folder: Path,
    experiment: Experiment,
    *,
    splits: Path | None,
    progress: bool,
    record: bool = True,
    given: GivenTeacher | None = None,
) -> Iterator[tuple[Run, Dataset]]:
    main = accelerator().is_main_process
    with lost_process_explained():
        run = Run(folder, experiment, progress=False, given=given)
        if main:
            run = open_run(folder, experiment, progress=progress, record=record, given=given)
        with log_to(run) if main else nullcontext():
            with main_first():
                dataset = prepare(run, splits=splits)
            yield run, dataset


def teacher_stage(run: Run, dataset: Dataset) -> Path | GivenTeacher:
    """Train the teacher of a run, or copy the one that was named; return its checkpoint when that is done.

    A teacher of another make is returned as it is.

    Raises:
        ConfigError: a table of outputs teaches, so that there is no teacher to train or to run.
    """
    config = run.experiment
    if config.teacher.outputs:
        raise ConfigError(
            f"teacher.outputs: a table ({', '.join(config.teacher.outputs)}) teaches, there is no teacher to train or "
            "to run; leave out --online, and go on with train-student or distill"
        )
    if run.given is not None:
        return run.given
    if config.teacher.folds:
        return _cross_fitted(run, dataset).mean
    if config.teacher.checkpoint:
        return _given_teacher(run, Path(config.teacher.checkpoint))
    return train_teacher(
        dataset, config.teacher, out=run.teacher, augmentation=config.views.augmentation, progress=run.progress
    )


def _cross_fitted(run: Run, dataset: Dataset) -> CrossFitted:
    config = run.experiment
    return train_cross_fitted(
        dataset, config.teacher, out=run.teacher, augmentation=config.views.augmentation, progress=run.progress
    )


def _given_teacher(run: Run, given: Path) -> Path:
    """Copy of a trained network in the run's folder, where evaluation and audit look for the teacher.

    Raises:
        CheckpointError: no such file, or the run has another teacher already.
    """
    path, sha256 = run.teacher / TEACHER_FILE, checkpoint_sha256(given)
    with main_first():
        if not path.exists():
            copy_file(given, path)
        elif checkpoint_sha256(path) != sha256:
            raise CheckpointError(f"{path} is another teacher than {given}: choose another -o folder")
    return path


def views_stage(run: Run, dataset: Dataset) -> TeacherViews:
    """Compute what is missing of the teacher's outputs for the augmented views, or take them from a table."""
    config = run.experiment
    if config.teacher.outputs:
        tables = [Path(name) for name in config.teacher.outputs]
        return views_from_tables(dataset, tables, config.views, out=run.views, progress=run.progress)
    teacher = _cross_fitted(run, dataset) if config.teacher.folds else teacher_stage(run, dataset)
    return cache_views(dataset, teacher, config.views, out=run.views, progress=run.progress)


def student_stage(run: Run, dataset: Dataset, *, teacher: bool = True, online: bool = False) -> Path:
    """Train the student of a run, distilled or as a baseline, on the same views and for as many steps."""
    config = run.experiment.student
    if not teacher:
        config = dataclasses.replace(config, losses={"ce": 1.0})
    distils = needs_teacher(config.losses)
    return train_student(
        dataset,
        config,
        out=run.student_distilled if teacher else run.student_baseline,
        views_config=run.experiment.views,
        views=views_stage(run, dataset) if distils and not online else None,
        teacher=teacher_stage(run, dataset) if distils and online else None,
        progress=run.progress,
    )
