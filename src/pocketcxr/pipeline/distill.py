"""The whole run: index, split, teacher, views, students, input filter, bundle, evaluation, report; resumable."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pocketcxr.pipeline.evaluate import compare_on_calibration, evaluate_run, export_run
from pocketcxr.pipeline.input_filter import input_filter_stage
from pocketcxr.pipeline.preflight import announce, check_experiment
from pocketcxr.pipeline.prepare import prepare
from pocketcxr.pipeline.run import log_to, open_run
from pocketcxr.pipeline.stages import student_stage, teacher_stage, views_stage
from pocketcxr.training.distributed.processes import refuse_several
from pocketcxr.training.teacher.sources import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pocketcxr.training.config import Experiment
    from pocketcxr.training.teacher.sources import Source

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
    teacher: Source | None = None,
    progress: bool = True,
) -> RunResult:
    """Do everything, from X-rays to a bundle and a report; called again, it goes on where it stopped.

    Args:
        folder: the run's folder.
        experiment: all settings.
        sources: folders or tables of X-rays; may be left out when the folder already holds a run.
        splits: a table with a ``split`` column, instead of sources.
        columns: field of the index to column of a table of your own.
        aliases: name of a class as the data say it, to a finding of `vocabulary.FINDINGS` or of your own.
        online: run the teacher in every step instead of caching its outputs.
        teacher: a network that teaches instead of one that is trained here, given in Python.
        progress: show progress bars on stderr.
    """
    refuse_several("distill")
    if teacher is not None:
        named = dataclasses.replace(experiment.teacher, checkpoint=name_of(teacher))
        experiment = dataclasses.replace(experiment, teacher=named)
    given = check_experiment(experiment, online=online, network=teacher)
    config, tables = experiment.teacher, experiment.teacher.outputs
    run = open_run(folder, experiment, progress=progress, given=given)
    with log_to(run):
        _say(1, "images, patients, splits")
        dataset = prepare(run, sources=sources, splits=splits, columns=columns, aliases=aliases)
        announce(run, dataset, online=online)
        _say(2, f"teacher: {config.checkpoint or ' ‖ '.join(tables or config.backbones)}")
        if not tables:
            teacher_stage(run, dataset)
        _say(3, f"baseline student: {experiment.student.backbone}, labels only")
        student_stage(run, dataset, teacher=False)
        if not tables:
            compare_on_calibration(run, dataset)
        _say(4, "teacher views" if not online else "teacher views: computed in every step (online)")
        if not online:
            views_stage(run, dataset)
        _say(5, f"distilled student: {', '.join(experiment.student.losses)}")
        student_stage(run, dataset, online=online)
        _say(6, "input filter: what is a frontal chest X-ray, and what must be refused")
        input_filter_stage(run)
        _say(7, "bundle")
        export_run(run, dataset, force=True)  # marks what failed, refuses nothing
        _say(8, "evaluation and report")
        summary = evaluate_run(run, dataset)
    return RunResult(run.evaluation / "report.html", run.bundle, summary)


def _say(stage: int, what: str) -> None:
    _LOGGER.info("[%d/%d] %s", stage, _STAGES, what)
