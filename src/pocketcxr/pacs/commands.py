"""What ``pocketcxr pacs`` does: check the settings and the archive, score once or for ever, score years."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.bundle.verified import read_verified
from pocketcxr.errors import ConfigError
from pocketcxr.pacs.client import Archive
from pocketcxr.pacs.settings import PASSWORD_VARIABLE, read_pacs_settings, read_password
from pocketcxr.pacs.status import served
from pocketcxr.pacs.worker import Worker, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pocketcxr.bundle.verified import VerifiedFile
    from pocketcxr.pacs.results.identity import Instance
    from pocketcxr.pacs.settings import PacsSettings

EXIT_DONE, EXIT_SOME_FAILED = 0, 1
_LOGGER = logging.getLogger(__name__)
_DATE_DIGITS = 8


def check(path: Path) -> list[str]:
    """Validate the settings, load the bundle, ask the archive; one line per thing that was found.

    Raises:
        PocketCxrError: naming what is missing.
    """
    settings, bundle, password = _read(path)
    archive = Archive(settings.archive, password)
    first = next(archive.studies(), None)
    found = [
        f"settings: {path}: valid",
        f"bundle: {bundle.identity}",
        f"archive: answers queries and holds {'studies' if first else 'no study yet'}",
    ]
    if settings.archive.changes_url:
        found.append(f"feed of changes: at number {archive.changes(None).get('Last', 0)}")
    else:
        found.append(f"feed of changes: none; studies are asked for every {settings.work.sweep_s:g} s")
    return found


def run_for_ever(path: Path) -> int:
    """Score what comes until SIGTERM or Ctrl-C; images in hand are finished.

    Raises:
        PocketCxrError: settings or bundle cannot be used.
    """
    settings, bundle, password = _read(path)
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    with (
        _started(settings, bundle, password) as worker,
        served(settings.status, worker.progress, bundle.identity) as address,
    ):
        _LOGGER.info("%s: waiting for images%s", bundle.identity, f"; {address}" if address else "")
        run(worker, settings, stopped=asked_to_stop.is_set)
    return EXIT_DONE


def run_once(path: Path, *, study: str = "") -> tuple[int, str]:
    """Score what is missing in the studies of the last days, or in one study; returns status and a line of counts.

    Raises:
        PocketCxrError: settings, bundle or archive cannot be used.
    """
    settings, bundle, password = _read(path)
    with _started(settings, bundle, password) as worker:
        finder = worker.finder()
        worker.take(finder.study(study) if study else finder.recent())
        worker.wait()
        return _outcome(worker)


def backfill(path: Path, *, first: str, last: str, per_minute: float, quiet: bool) -> tuple[int, str]:
    """Score what is missing in all studies between two dates, at most so many images a minute.

    Raises:
        PocketCxrError: a date that is none, or settings, bundle or archive cannot be used.
    """
    _check_dates(first, last)
    if per_minute < 0:
        raise ConfigError(f"--per-minute: expected a number above 0, found {per_minute:g}")
    settings, bundle, password = _read(path)
    with _started(settings, bundle, password) as worker:
        worker.take(_shown(worker.finder().between(first, last), quiet=quiet), per_minute=per_minute)
        worker.wait()
        return _outcome(worker)


def drift(path: Path, *, first: str, last: str) -> tuple[int, list[str]]:
    """Compare each device's weeks with its earlier ones; returns status 1 where one differs, and lines of a table.

    Raises:
        PocketCxrError: a date that is none, or settings, bundle or archive cannot be used.
    """
    from pocketcxr.pacs.drift import changes, reported

    _check_dates(first, last)
    settings, bundle, password = _read(path)
    with closing(Archive(settings.archive, password)) as archive:
        found = changes(list(reported(archive, bundle.sha256, first=first, last=last)))
    lines = [
        f"{'ALARM ' if one.alarm else ''}{one.device}  {one.week}  {one.name}: {one.value:.3f} of {one.images} images"
        + ("" if one.before is None else f", before {one.before:.3f}")
        + (", too few to compare" if one.errors is None else f", {one.errors:+.1f} standard errors")
        for one in found
    ]
    return (EXIT_SOME_FAILED if any(one.alarm for one in found) else EXIT_DONE), lines or ["no results by this bundle"]


def _check_dates(first: str, last: str) -> None:
    for name, date in (("from", first), ("to", last)):
        if date and not (len(date) == _DATE_DIGITS and date.isdigit()):
            raise ConfigError(f"--{name}: expected a date as YYYYMMDD, found {date!r}")


def _read(path: Path) -> tuple[PacsSettings, VerifiedFile, str]:
    settings = read_pacs_settings(path)
    bundle = read_verified(Path(settings.work.bundle) if settings.work.bundle else None)
    password = read_password(settings.archive)
    os.environ.pop(PASSWORD_VARIABLE, None)  # scoring processes need not know it
    return settings, bundle, password


def _started(settings: PacsSettings, bundle: VerifiedFile, password: str) -> closing[Worker]:
    return closing(Worker(settings, bundle, password))


def _shown(instances: Iterator[Instance], *, quiet: bool) -> Iterator[Instance]:
    from tqdm import tqdm

    return iter(tqdm(instances, unit=" images", desc="found without a result", disable=True if quiet else None))


def _outcome(worker: Worker) -> tuple[int, str]:
    outcomes, failures = worker.progress.outcomes, worker.progress.failures
    line = f"scored {outcomes['scored']}, not applicable {outcomes['not applicable']}, failed {len(failures)}"
    return EXIT_SOME_FAILED if failures else EXIT_DONE, line
