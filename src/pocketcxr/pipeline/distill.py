"""The whole run: index, split, teacher, views, students, gate, bundle, evaluation, report; resumable as a whole."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.errors import CheckpointError
from pocketcxr.export.storages import BYTES
from pocketcxr.models.checkpoints import checkpoint_sha256
from pocketcxr.pipeline.evaluate import compare_on_calibration, evaluate_run, export_run
from pocketcxr.pipeline.input_filter import gate_stage
from pocketcxr.pipeline.leave_one_source_out import train_without_sources
from pocketcxr.pipeline.run import log_to, open_run
from pocketcxr.pipeline.stages import prepare
from pocketcxr.training.losses import needs_teacher
from pocketcxr.training.student import train_student
from pocketcxr.training.teacher import TEACHER, train_teacher
from pocketcxr.training.views import cache_views

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.pipeline.run import Run
    from pocketcxr.training.config import Experiment

_LOGGER = logging.getLogger("pocketcxr")
_STAGES = 8


@dataclass(frozen=True)
class RunResult:
    """What a run leaves: the report to read, the bundle to predict with, and the outcome in a few lines."""

    report: Path
    bundle: Path
    summary: str


def run_distill(
    folder: Path,
    experiment: Experiment,
    *,
    sources: Sequence[Path] | None = None,
    splits: Path | None = None,
    columns: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    online: bool = False,
    progress: bool = True,
) -> RunResult:
    """Do everything, from X-rays to a bundle and a report; called again, it goes on where it stopped.

    Args:
        folder: the run's folder.
        experiment: all settings.
        sources: folders or tables of X-rays; may be left out when the folder already holds a run.
        splits: a table with a ``split`` column, instead of sources.
        columns: field of the index to column of a table of one's own.
        aliases: name of a class as the data say it, to a finding of `labels.FINDINGS`.
        online: run the teacher in every step instead of caching its answers.
        progress: show progress bars on stderr.
    """
    run = open_run(folder, experiment, progress=progress)
    with log_to(run):
        _say(1, "images, patients, splits")
        dataset = prepare(run, sources=sources, splits=splits, columns=columns, aliases=aliases)
        _say(2, f"teacher: {' ‖ '.join(experiment.teacher.backbones)}")
        teacher_stage(run, dataset)
        _say(3, f"student alone: {experiment.student.backbone} on labels only")
        student_stage(run, dataset, alone=True)
        compare_on_calibration(run, dataset)
        _say(4, "teacher views" if not online else "teacher views: computed in every step (online)")
        if not online:
            views_stage(run, dataset)
        _say(5, f"student distilled: {', '.join(experiment.student.losses)}")
        student_stage(run, dataset, online=online)
        _say(6, "input gate: what is a frontal chest X-ray, and what must be refused")
        gate_stage(run)
        _say(7, "bundle")
        export_run(run, dataset, force=True)  # never refused here: a run that goes on only marks what failed
        _say(8, "evaluation and report")
        summary = evaluate_run(run, dataset)
    return RunResult(run.evaluation / "report.html", run.bundle, summary)


def run_stage(
    command: str,
    folder: Path,
    experiment: Experiment,
    *,
    splits: Path | None = None,
    alone: bool = False,
    online: bool = False,
    force: bool = False,
    storage: str = BYTES,
    only: Sequence[str] = (),
    start_from: Path | None = None,
    progress: bool = True,
) -> str:
    """Do one stage of a run (a command of the command line) and say where its work is."""
    run = open_run(folder, experiment, progress=progress, record=command != "leave-source-out")
    with log_to(run):
        dataset = prepare(run, splits=splits)
        stages: dict[str, Callable[[], object]] = {
            "train-teacher": lambda: teacher_stage(run, dataset),
            "cache-views": lambda: views_stage(run, dataset) and run.views,
            "train-student": lambda: student_stage(run, dataset, alone=alone, online=online),
            "train-gate": lambda: gate_stage(run) or "no input gate",
            "leave-source-out": lambda: "\n".join(
                f"without {source}: {path}"
                for source, path in train_without_sources(run, dataset, only=only, start_from=start_from).items()
            ),
            "export": lambda: export_run(run, dataset, force=force, storage=storage),
            "evaluate": lambda: evaluate_run(run, dataset),
        }
        return str(stages[command]())


def teacher_stage(run: Run, dataset: Dataset) -> Path:
    """Train the teacher of a run, or copy the one that was named; return its checkpoint when that is done."""
    config = run.experiment
    if config.teacher.checkpoint:
        return _given_teacher(run, Path(config.teacher.checkpoint))
    return train_teacher(
        dataset, config.teacher, out=run.teacher, augmentation=config.views.augmentation, progress=run.progress
    )


def _given_teacher(run: Run, given: Path) -> Path:
    """Copy of a trained network in the run's folder, where evaluation and audit look for the teacher.

    Raises:
        CheckpointError: no such file, or the run has another teacher already.
    """
    path, sha256 = run.teacher / TEACHER, checkpoint_sha256(given)
    if path.exists():
        if checkpoint_sha256(path) != sha256:
            raise CheckpointError(f"{path} is another teacher than {given}: choose another -o folder")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    shutil.copyfile(given, partial)
    partial.replace(path)
    return path


def views_stage(run: Run, dataset: Dataset):  # noqa: ANN201  # TeacherViews
    """Compute what is missing of the teacher's answers to the augmented views."""
    return cache_views(dataset, teacher_stage(run, dataset), run.experiment.views, out=run.views, progress=run.progress)


def student_stage(run: Run, dataset: Dataset, *, alone: bool = False, online: bool = False) -> Path:
    """Train the light network of a run, alone or taught, on the same views and for as many steps."""
    config = run.experiment.student
    if alone:
        config = dataclasses.replace(config, losses={"hard": 1.0})
    taught = needs_teacher(config.losses)  # alone there are only labels
    return train_student(
        dataset,
        config,
        out=run.alone if alone else run.distilled,
        views_config=run.experiment.views,
        views=views_stage(run, dataset) if taught and not online else None,
        teacher=teacher_stage(run, dataset) if taught and online else None,
        progress=run.progress,
    )


def _say(stage: int, what: str) -> None:
    _LOGGER.info("[%d/%d] %s", stage, _STAGES, what)
