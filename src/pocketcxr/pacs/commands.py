"""What ``pocketcxr pacs`` does; every command returns an exit status and lines for the screen."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.bundle.verified import read_verified
from pocketcxr.dicomweb.client import Archive, value_of
from pocketcxr.dicomweb.settings import PASSWORD_VARIABLE, read_password
from pocketcxr.errors import ArchiveError, ConfigError
from pocketcxr.inference.prediction import REFUSED
from pocketcxr.pacs.drift import changes
from pocketcxr.pacs.find import dated, left_out
from pocketcxr.pacs.results.identity import MANUFACTURER
from pocketcxr.pacs.results.reading import reports
from pocketcxr.pacs.settings import read_pacs_settings
from pocketcxr.pacs.status import served
from pocketcxr.pacs.worker import Worker, run
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pocketcxr.bundle.verified import VerifiedFile
    from pocketcxr.pacs.settings import PacsSettings

EXIT_DONE, EXIT_SOME_FAILED = 0, 1
_LOGGER = logging.getLogger(__name__)
_DATE_DIGITS = 8
Outcome = tuple[int, list[str]]


def check(path: Path) -> Outcome:
    """Validate the settings, load the bundle, ask the archive; one line per thing that was found.

    Raises:
        PocketCxrError: naming what is missing.
    """
    with _opened(path) as (settings, bundle, _, archive):
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
        left_out(settings.work)
    return EXIT_DONE, found


def run_for_ever(path: Path) -> Outcome:
    """Score what comes until SIGTERM or Ctrl-C; images in hand are finished.

    Raises:
        PocketCxrError: settings or bundle cannot be used.
    """
    with _opened(path) as (settings, bundle, password, archive):
        asked_to_stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: asked_to_stop.set())
        with (
            closing(Worker(settings, bundle, password)) as worker,
            served(settings.status, worker.progress, bundle.identity) as address,
        ):
            _LOGGER.info("%s: waiting for images%s", bundle.identity, f"; {address}" if address else "")
            given = (worker, settings, bundle, archive, asked_to_stop)
            threading.Thread(target=_watch_drift, args=given, daemon=True).start()
            run(worker, settings, stopped=asked_to_stop.is_set)
    return EXIT_DONE, []


def once(path: Path, *, study: str = "") -> Outcome:
    """Score what is missing in the studies of the last days, or in one study.

    Raises:
        PocketCxrError: settings, bundle or archive cannot be used.
    """
    with _opened(path) as (settings, bundle, password, _), closing(Worker(settings, bundle, password)) as worker:
        finder = worker.finder()
        worker.take(finder.study(study) if study else finder.recent())
        return _outcome(worker)


def backfill(path: Path, *, first: str = "", last: str = "", per_minute: float = 0.0, quiet: bool = False) -> Outcome:
    """Score what is missing in all studies between two dates, at most so many images a minute.

    Raises:
        PocketCxrError: settings, bundle or archive cannot be used.
    """
    if per_minute < 0:
        raise ConfigError(f"--per-minute: expected a number above 0, found {per_minute:g}")
    with (
        _opened(path, first, last) as (settings, bundle, password, _),
        closing(Worker(settings, bundle, password)) as worker,
    ):
        found = worker.finder().between(first, last)
        worker.take(Bar(found, desc="without a result", unit="film", disable=quiet), per_minute=per_minute)
        return _outcome(worker)


def retry(path: Path, *, study: str = "", first: str = "", last: str = "", reason: str = "") -> Outcome:
    """Delete reports of images that were not scored, all or those with one reason, and ask again.

    Raises:
        PocketCxrError: settings, bundle or archive cannot be used; the account may not delete.
    """
    with (
        _opened(path, first, last) as (settings, bundle, password, archive),
        closing(Worker(settings, bundle, password)) as worker,
    ):
        finder, removed = worker.finder(), 0
        matching = {"StudyInstanceUID": study} if study else dated(first, last)
        for one in list(reports(archive, bundle, **matching)):
            codes = {found.code for found in one.prediction.reasons}
            if one.prediction.decision == REFUSED and (not reason or reason in codes):
                archive.remove(*(uids := one.prediction.path.split("/")))
                worker.take(finder.study(uids[0]))
                removed += 1
        status, lines = _outcome(worker)
    return status, [f"asked again: {removed}", *lines]


def export(path: Path, *, output: Path, first: str = "", last: str = "", quiet: bool = False) -> Outcome:
    """Write the results of all studies, or those between two dates, as ``pocketcxr predict -o`` writes them.

    Raises:
        PocketCxrError: settings, bundle or archive cannot be used, or the file is there already.
    """
    from pocketcxr.inference.writers import scores_file
    from pocketcxr.inference.writers.formats import writer_for
    from pocketcxr.inference.writers.parquet import write_parquet

    kind, collected = scores_file.scores_format(output, None), scores_file.collected_in(output)
    if output.exists():
        raise ConfigError(f"{output}: is there already; an export is written as a whole: name another file")
    with _opened(path, first, last) as (_, bundle, _, archive):
        collected.unlink(missing_ok=True)
        labels, count = bundle.manifest.labels, 0
        stream, _ = scores_file.open_scores(collected, identity=bundle.identity, labels=labels)
        with stream:
            writer = writer_for("csv" if kind == "csv" else "jsonl", stream, labels)
            writer.begin()
            for one in Bar(reports(archive, bundle, **dated(first, last)), desc="read", unit="report", disable=quiet):
                writer.write(one.prediction)
                count += 1
        if kind == "parquet":
            write_parquet(collected, output, labels)
    return EXIT_DONE, [f"{output}: {count} results"]


def forget(path: Path, *, patient: str) -> Outcome:
    """Delete all results of a patient, by any bundle, and have the patient's images left out from now on.

    Args:
        path: settings, of an account that may delete.
        patient: the patient ID; "-" reads it from standard input, so that it stands in no list of commands.

    Raises:
        PocketCxrError: settings or archive cannot be used; an ID that cannot be looked for.
    """
    patient = (sys.stdin.readline() if patient == "-" else patient).strip()
    if not patient or set(patient) & set("*?\\"):
        raise ConfigError("forget: expected one patient ID, without the signs * ? and \\, which stand for others")
    with _opened(path) as (settings, _, _, archive):
        if settings.work.left_out_file and patient not in left_out(settings.work):
            with Path(settings.work.left_out_file).open("a", encoding="utf-8") as file:
                file.write(f"{patient}\n")
        removed = images = 0
        for row in archive.studies(PatientID=patient):
            if value_of(row, "PatientID").strip() == patient:
                study_uid = value_of(row, "StudyInstanceUID")
                for series in list(archive.series(study_uid)):
                    if value_of(series, "Manufacturer") == MANUFACTURER:
                        archive.remove(study_uid, value_of(series, "SeriesInstanceUID"))
                        removed += 1
                    images += value_of(series, "Modality") in settings.work.modalities
    lines = [f"series of results removed: {removed}"]
    if images and not settings.work.left_out_file:
        lines.append(
            f"{images} series of the patient's images are scored again: delete them, or set work.left_out_file"
        )
        return EXIT_SOME_FAILED, lines
    return EXIT_DONE, lines


def drift(path: Path, *, first: str = "", last: str = "") -> Outcome:
    """Compare each device's weeks with its earlier ones; status 1 where one differs.

    Raises:
        PocketCxrError: settings, bundle or archive cannot be used.
    """
    with _opened(path, first, last) as (_, bundle, _, archive):
        found = changes(reports(archive, bundle, **dated(first, last)))
    lines = [
        f"{'ALARM ' if one.alarm else ''}{one.device}  {one.week}  {one.name}: {one.value:.3f} of {one.images} images"
        + ("" if one.before is None else f", before {one.before:.3f}")
        + (", too few to compare" if one.errors is None else f", {one.errors:+.1f} standard errors")
        for one in found
    ]
    return (EXIT_SOME_FAILED if any(one.alarm for one in found) else EXIT_DONE), lines or ["no results by this bundle"]


ACTIONS = {
    "check": check,
    "run": run_for_ever,
    "once": once,
    "backfill": backfill,
    "retry": retry,
    "export": export,
    "forget": forget,
    "drift": drift,
}


@contextmanager
def _opened(path: Path, *dates: str) -> Iterator[tuple[PacsSettings, VerifiedFile, str, Archive]]:
    """Settings, bundle, password and a connection; the dates are checked first."""
    for date in filter(None, dates):
        if not (len(date) == _DATE_DIGITS and date.isdigit()):
            raise ConfigError(f"--from and --to: expected a date as YYYYMMDD, found {date!r}")
    settings = read_pacs_settings(path)
    bundle = read_verified(Path(settings.work.bundle) if settings.work.bundle else None)
    if bundle.manifest.multilabel:
        raise ConfigError(
            f"work.bundle: {bundle.identity} has several findings per image, which reports cannot say yet"
        )
    password = read_password(settings.archive)
    os.environ.pop(PASSWORD_VARIABLE, None)  # scoring processes need not know it
    with closing(Archive(settings.archive, password)) as archive:
        yield settings, bundle, password, archive


def _watch_drift(
    worker: Worker, settings: PacsSettings, bundle: VerifiedFile, archive: Archive, stop: threading.Event
) -> None:
    """Compute drift every so many hours; an alarm is a warning in the log, figures are on the status page."""
    while settings.drift.every_h and not stop.is_set():
        first = f"{datetime.now(tz=UTC) - timedelta(days=settings.drift.days):%Y%m%d}"
        try:
            worker.progress.drift = tuple(changes(reports(archive, bundle, **dated(first, ""))))
        except ArchiveError as error:
            _LOGGER.warning("drift was not computed: %s", error)
        alarms = sum(one.alarm for one in worker.progress.drift)
        if alarms:
            _LOGGER.warning("drift: %d values of devices differ from earlier weeks: pocketcxr pacs drift", alarms)
        stop.wait(settings.drift.every_h * 3600)


def _outcome(worker: Worker) -> Outcome:
    worker.wait()
    outcomes, failures = worker.progress.outcomes, worker.progress.failures
    line = f"scored {outcomes['scored']}, not applicable {outcomes['not applicable']}, failed {len(failures)}"
    return EXIT_SOME_FAILED if failures else EXIT_DONE, [line]
