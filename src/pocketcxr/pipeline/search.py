"""Search of settings with Optuna: trials train students that differ in the fields searched and share all else."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.errors import ConfigError, NonFiniteLossError, expect
from pocketcxr.files import check_output, write_csv, write_text
from pocketcxr.pipeline.preflight import announce, check_experiment
from pocketcxr.pipeline.prepare import prepare
from pocketcxr.pipeline.run import Run, log_to, open_run
from pocketcxr.pipeline.stages import views_stage
from pocketcxr.report.search_page import search_page
from pocketcxr.training.config import Experiment
from pocketcxr.training.config.space import read_space, with_values
from pocketcxr.training.config.tables import toml_tables
from pocketcxr.training.engine import Engine
from pocketcxr.training.losses.distillation import needs_teacher
from pocketcxr.training.run import record
from pocketcxr.training.run.identity import fingerprint, recorded
from pocketcxr.training.run.resume import remove_state
from pocketcxr.training.student import train_student

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from filelock import AcquireReturnProxy, BaseFileLock
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution

    from pocketcxr.data.dataset import Dataset

FIGURES = {"auroc": "auroc", "cross-entropy": "cross_entropy"}
"""``student.select_by`` to the figure of an epoch that is searched by."""

PRUNERS = ("median", "halving", "none")

_LOGGER = logging.getLogger("pocketcxr")


def run_search(
    folder: Path,
    experiment: Experiment,
    *,
    space: Path,
    trials: int,
    splits: Path | None = None,
    pruner: str = PRUNERS[0],
    progress: bool = True,
) -> str:
    """Search settings of a student; called again, it goes on, and several processes share one search.

    A trial is what ``train-student`` does with its settings. It counts by its best epoch on the calibration split,
    measured as ``student.select_by`` says; the labels of the test split are taken away before the first trial. A trial
    whose process was killed is continued where it was, by whichever process comes next.

    Args:
        folder: the run's; images, teacher and teacher views are those of the run, the search stands in ``search``.
        experiment: all settings that are not searched.
        space: see `space.read_space`.
        trials: how many there are to be in all, those of earlier calls included.
        splits: a table with a ``split`` column, for a run that has none yet.
        pruner: one of `PRUNERS`: what ends trials that are worse than others were at the same epoch.
        progress: show progress bars on stderr.

    Returns:
        The outcome in a few lines.

    Raises:
        ConfigError: a space that does not fit, or no trial that came to its end.
        CheckpointError: a folder with another search.
        DataError: a calibration split without every class, on which nothing can be measured.
    """
    expect(trials >= 1, "trials", "at least 1", trials)
    expect(Engine("fp32").processes == 1, "search", "one process per trial; start the command several times", "more")
    searched = read_space(space, experiment)
    given = check_experiment(experiment)
    run = open_run(folder, experiment, progress=progress, record=False, given=given)
    place = run.folder / "search"
    check_output(place, folder=True)
    with log_to(run):
        with _locked(place / "preparing.lock"):
            dataset = prepare(run, splits=splits).without_labels_of("test")
            record.open_run(place, _identity(experiment, searched, dataset))
            announce(run, dataset)
        study = _study(place, experiment, pruner)
        while (found := _next_trial(study, place, searched, trials, seed=experiment.student.seed)) is not None:
            trial, taken = found
            with taken:
                _train(run, dataset, study, trial, place)
        with _locked(place / "choosing.lock"):
            return _outcome(study, place, experiment)


def _locked(path: Path) -> BaseFileLock:
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)  # the system releases it when its process ends, however that is


def _identity(experiment: Experiment, space: Mapping[str, BaseDistribution], dataset: Dataset) -> dict[str, Any]:
    """What the trials of one search have in common."""
    return {
        "stage": "search",
        "space": {name: str(distribution) for name, distribution in space.items()},
        "teacher": recorded(experiment.teacher),
        "views": dataclasses.asdict(experiment.views),
        "student": recorded(experiment.student),
        "data": dataset.fingerprint,
    }


def _study(place: Path, experiment: Experiment, pruner: str) -> Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    first = int(np.ceil(experiment.student.warmup_epochs)) + 1  # epoch after which a trial may be ended
    pruners = {
        "median": optuna.pruners.MedianPruner(n_warmup_steps=first),
        "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=first),
        "none": optuna.pruners.NopPruner(),
    }
    with _locked(place / "choosing.lock"):
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(place / "study.log"))),
            study_name="search",
            direction="maximize" if experiment.student.select_by == "auroc" else "minimize",
            pruner=pruners[pruner],
            load_if_exists=True,
        )


def _next_trial(
    study: Study, place: Path, space: dict[str, BaseDistribution], wanted: int, *, seed: int
) -> tuple[Trial, AcquireReturnProxy] | None:
    """A trial whose process has ended, or a new one; taken, so that no other process trains it."""
    from filelock import Timeout
    from optuna.samplers import TPESampler
    from optuna.trial import Trial, TrialState

    with _locked(place / "choosing.lock"):
        known = study.get_trials(deepcopy=False)
        for one in known:
            if one.state is not TrialState.RUNNING:
                continue
            if one.params.keys() != space.keys():  # its process was stopped before it had all values
                study.tell(one.number, state=TrialState.FAIL)
                continue
            with contextlib.suppress(Timeout):
                taken = _locked(_folder(place, one.number) / "lock").acquire(timeout=0)
                _LOGGER.info("trial %d goes on where it was stopped", one.number)
                return Trial(study, one._trial_id), taken  # noqa: SLF001  # there is no other way to take one over
        if len(known) >= wanted:
            return None
        # Seeded by its number, a trial gets the same values after a stop as without one.
        study.sampler = TPESampler(seed=int(np.random.SeedSequence((seed, len(known))).generate_state(1)[0]))
        trial = study.ask(space)
        values = ", ".join(f"{name} = {value}" for name, value in trial.params.items())
        _LOGGER.info("trial %d of %d: %s", trial.number, wanted, values)
        return trial, _locked(_folder(place, trial.number) / "lock").acquire(timeout=0)


def _folder(place: Path, number: int) -> Path:
    return place / "trials" / f"{number:04}"


def _train(run: Run, dataset: Dataset, study: Study, trial: Trial, place: Path) -> None:
    """Train the student of a trial, and tell the study how it ended."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    figure = FIGURES[run.experiment.student.select_by]
    out = _folder(place, trial.number)
    reported = study.get_trials(deepcopy=False)[trial.number].intermediate_values

    def watch(epoch: int, measured: dict[str, float]) -> None:
        if epoch not in reported:  # else taken again after a kill
            trial.report(measured[figure], epoch)
        if trial.should_prune():
            raise TrialPruned(f"pruned after epoch {epoch}")

    try:
        experiment = with_values(run.experiment, trial.params)
        _train_student(run, dataset, experiment, out=out, place=place, watch=watch)
    except (TrialPruned, NonFiniteLossError) as error:
        trial.set_user_attr("ended", str(error))
        study.tell(trial, state=TrialState.PRUNED)
        remove_state(out)
    except ConfigError as error:  # values that each fit alone and not together
        trial.set_user_attr("ended", str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        finished = record.finished(out)
        assert finished is not None
        trial.set_user_attr("ended", f"best epoch {finished['best_epoch']}")
        study.tell(trial, finished["best_figures"][figure])
    told = study.get_trials(deepcopy=False)[trial.number]
    result = "" if told.value is None else f"{figure} {told.value:.4f}, "
    _LOGGER.info("trial %d: %s%s", trial.number, result, told.user_attrs["ended"])


def _train_student(run: Run, dataset: Dataset, experiment: Experiment, *, out: Path, place: Path, watch: Any) -> None:
    """As `stages.student_stage`; a teacher or cache of other settings than the run's stands in a folder of its own."""
    given = check_experiment(experiment)
    folder, taught = run.folder, (experiment.teacher, experiment.views.augmentation)
    if taught != (run.experiment.teacher, run.experiment.views.augmentation):
        folder = place / "teachers" / fingerprint(*taught)
    shared = Run(folder, experiment, run.progress, given)
    with _locked(place / "preparing.lock"):
        views = views_stage(shared, dataset) if needs_teacher(experiment.student.losses) else None
    train_student(
        dataset,
        experiment.student,
        out=out,
        views_config=experiment.views,
        views=views,
        progress=run.progress,
        watch=watch,
    )


def _outcome(study: Study, place: Path, experiment: Experiment) -> str:
    """Write table, best settings and report, and say what is best."""
    figure = FIGURES[experiment.student.select_by]
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    ended = [one.user_attrs.get("ended", "") for one in trials]
    columns = ("trial", "state", figure, *names, "ended")
    rows = [
        (one.number, one.state.name.lower(), one.value, *(one.params.get(name) for name in names), why)
        for one, why in zip(trials, ended, strict=True)
    ]
    write_csv(place / "trials.csv", columns, (["" if cell is None else cell for cell in row] for row in rows))
    complete = [one for one in trials if one.state.name == "COMPLETE"]
    if not complete:
        raise ConfigError(f"no trial came to its end, {place / 'trials.csv'} says why: search other ranges")
    best = study.best_trial
    said = f"Trial {best.number} is the best of {len(trials)}: {figure} {best.value:.4f} on the calibration split"
    settings = toml_tables(with_values(experiment, best.params), Experiment())
    write_text(place / "best.toml", "\n".join([f"# {said}.", *settings]))
    sign = 1 if figure == "cross_entropy" else -1
    order = sorted(rows, key=lambda row: (row[1] != "complete", sign * (row[2] or 0)))
    write_text(place / "report.html", search_page(study, said, columns, order, settings=settings, figure=figure))
    values = "\n".join(f"  {name} = {value}" for name, value in best.params.items())
    return f"{said}\n{values}\nsettings: {place / 'best.toml'}\nreport: {place / 'report.html'}"
