"""A run: its folder (`run_folder`), the configuration it was started with, and its log."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.errors import ConfigError
from pocketcxr.files import check_output, write_json
from pocketcxr.labels import load_task
from pocketcxr.plain_text import PlainFormatter
from pocketcxr.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pocketcxr.training.config import Experiment
    from pocketcxr.training.teacher.given import GivenTeacher

_LOGGER = logging.getLogger("pocketcxr")


@dataclass(frozen=True)
class Run(RunFolder):
    """One run: its folder, its configuration, whether it shows progress bars, and a teacher of another make."""

    experiment: Experiment
    progress: bool = True
    given: GivenTeacher | None = None

    @property
    def bundle(self) -> Path:
        """The exported file, named after the task; a run that has one under its name of before keeps it."""
        task = self.experiment.data.task
        former = self.folder / "bundle" / f"{task.replace('/', '-')}.onnx"
        try:
            name = load_task(task).name
        except ConfigError:  # its file is gone
            name = Path(task).stem
        plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")
        return former if former.is_file() else former.with_name(f"{plain}.onnx")


def open_run(
    folder: Path,
    experiment: Experiment,
    *,
    progress: bool = True,
    record: bool = True,
    given: GivenTeacher | None = None,
) -> Run:
    """Create or reopen a run's folder and save the effective configuration in it.

    Args:
        folder: the run's.
        experiment: all settings, those of today included.
        progress: show progress bars.
        given: a teacher that was not trained here (`preflight.open_given`).
        record: False leaves the configuration of a run that is there as it was: for what is made beside its student.

    Raises:
        ConfigError: the folder holds a run on other data settings; its splits would silently be the wrong ones.
    """
    check_output(folder, folder=True)
    saved = folder / "experiment.json"
    if saved.is_file() and ((folder / "splits.csv").is_file() or (folder / "folds.csv").is_file()):
        before = json.loads(saved.read_text(encoding="utf-8")).get("data", {})
        before = {"adults_only": False} | before  # runs of earlier versions had children too
        now = json.loads(json.dumps(dataclasses.asdict(experiment.data)))
        for name, value in now.items():
            if name in before and before[name] != value:
                raise ConfigError(
                    f"{folder} holds a run with data.{name} = {before[name]!r}, not {value!r}: choose another -o folder"
                )
    if record or not saved.is_file():
        write_json(saved, dataclasses.asdict(experiment))
    return Run(folder, experiment, progress, given)


def reopen_run(folder: Path, *, progress: bool = True) -> Run:
    """A run that is there, with the settings that stand in its folder; nothing is written.

    Raises:
        ConfigError: no run.
    """
    from pocketcxr.training.config import load_experiment

    if not (folder / "experiment.json").is_file():
        raise ConfigError(f"{folder}: expected the folder of a run (with experiment.json)")
    return Run(folder, load_experiment(folder / "experiment.json", []), progress)


def log_test_split(log: Path, what: str) -> None:
    """Add a line to the log of looks at a test split; to be called before anything of the split is scored.

    Args:
        log: of a run, `RunFolder.test_split_log`, or of a study.
        what: that is scored, in a few words.
    """
    stamp = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"{stamp} test split opened for {what}\n")


def notes(run: Run) -> tuple[str, ...]:
    """Sentences that a reader of the report must know; the demonstration leaves one."""
    path = run.folder / "notes.txt"
    return tuple(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()


@contextmanager
def log_to(run: Run) -> Iterator[None]:
    """Keep what is said during a run in ``run.log``, with the time of each line."""
    handler = logging.FileHandler(run.folder / "run.log", encoding="utf-8")
    handler.setFormatter(PlainFormatter("%(asctime)s %(message)s"))
    _LOGGER.addHandler(handler)
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
        handler.close()
