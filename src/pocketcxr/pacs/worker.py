"""The worker: finds what is missing, scores it in several processes, stores the results; holds nothing that must last.

Everything is decided by what the archive holds, and storing twice is storing once. So the worker may be ended at any
moment, run twice at once, or find the archive gone: what was not stored is found again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pocketcxr.data.parallel import default_workers
from pocketcxr.dicomweb.client import Archive
from pocketcxr.errors import ArchiveError, BundleError, PocketCxrError
from pocketcxr.inference.prediction import ERROR, REFUSED
from pocketcxr.pacs.find import Finder
from pocketcxr.pacs.results.identity import KINDS, result_uid
from pocketcxr.pacs.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pocketcxr.bundle.verified import VerifiedFile
    from pocketcxr.pacs.drift import Change
    from pocketcxr.pacs.results.identity import Instance
    from pocketcxr.pacs.settings import PacsSettings

_LOGGER = logging.getLogger(__name__)
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 3600.0
_MOST_FAILURES = 100_000
_LAST_SHOWN = 50
_DAY_S = 86400.0


@dataclass
class Failure:
    """An image whose result could not be stored: how often, why, and when it is tried again (monotonic seconds)."""

    study_uid: str
    times: int
    reason: str
    next_try: float


@dataclass
class Progress:
    """What this worker has done since it started; for the screen, the status page and metrics. Names no patient."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[str, Failure] = field(default_factory=dict)
    stored_at: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    last: deque[tuple[float, str, float]] = field(default_factory=lambda: deque(maxlen=_LAST_SHOWN))
    waiting: int = 0
    reachable: bool = True
    drift: tuple[Change, ...] = ()

    def retry(self) -> None:
        """Try all images without a result again now."""
        for one in list(self.failures.values()):
            one.next_try = 0.0


class Worker:
    """Threads that each hold a connection and a scoring process, fed by whoever finds images."""

    def __init__(self, settings: PacsSettings, bundle: VerifiedFile, password: str) -> None:
        """Start the threads; nothing is asked of the archive yet."""
        self.progress = Progress()
        self._settings, self._bundle, self._password = settings, bundle, password
        self._work: queue.Queue[Instance | None] = queue.Queue(maxsize=64)
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._fatal: PocketCxrError | None = None
        count = settings.work.processes or default_workers()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def finder(self) -> Finder:
        """A finder with a connection of its own."""
        archive = Archive(self._settings.archive, self._password)
        return Finder(archive, self._settings.work, self._bundle.sha256)

    def take(self, instances: Iterable[Instance], *, per_minute: float = 0.0, now: bool = False) -> int:
        """Hand images to the threads, at most `per_minute`; those in hand or that failed lately are passed over.

        `now`: also those that failed lately. Waits while all threads are busy.

        Raises:
            PocketCxrError: what no image can be scored without, such as the bundle, is missing.
            ArchiveError: the archive cannot be asked.
        """
        taken, start = 0, time.monotonic()
        for instance in instances:
            uid = instance.sop_instance_uid
            with self._lock:
                failure = self.progress.failures.get(uid)
                rests = failure is not None and not now and failure.next_try > time.monotonic()
                if rests or uid in self._held:
                    continue
                self._held.add(uid)
                self.progress.waiting += 1
            if per_minute:
                time.sleep(max(0.0, start + taken * 60 / per_minute - time.monotonic()))
            self._put(instance)
            taken += 1
        return taken

    def wait(self) -> None:
        """Wait until everything that was handed over is stored or has failed.

        Raises:
            PocketCxrError: as `take`.
        """
        while self.progress.waiting:
            self._check()
            time.sleep(0.02)
        self._check()

    def close(self) -> None:
        """End the threads after the images that they have in hand."""
        while not self._work.empty():
            self._work.get_nowait()
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _put(self, instance: Instance) -> None:
        while True:
            self._check()
            try:
                return self._work.put(instance, timeout=1.0)
            except queue.Full:
                continue

    def _check(self) -> None:
        if self._fatal is not None:
            raise self._fatal

    def _serve(self) -> None:
        archive = Archive(self._settings.archive, self._password)
        scorer = Scorer(self._bundle.path, self._settings.work.calibration_site)
        try:
            while (instance := self._work.get()) is not None:
                self._handle(archive, scorer, instance)
        finally:
            scorer.stop()
            archive.close()

    def _handle(self, archive: Archive, scorer: Scorer, instance: Instance) -> None:
        start, failure = time.monotonic(), ""
        try:
            decision = process(archive, scorer, instance, self._bundle.sha256)
        except BundleError as error:
            self._fatal, failure, decision = error, str(error), ""
        except PocketCxrError as error:
            failure, decision = str(error), ""
        except Exception as error:  # noqa: BLE001  # a fault of ours must not end the thread; the image is tried again
            failure, decision = f"a fault of the program ({type(error).__name__}); report it", ""
        with self._lock:
            self._held.discard(instance.sop_instance_uid)
            self.progress.waiting -= 1
            self._note(instance, decision, failure, time.monotonic() - start)

    def _note(self, instance: Instance, decision: str, failure: str, seconds: float) -> None:
        progress, uid = self.progress, instance.sop_instance_uid
        if failure:
            times = progress.failures[uid].times + 1 if uid in progress.failures else 1
            wait_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(times - 1, 20))
            if len(progress.failures) < _MOST_FAILURES or uid in progress.failures:
                progress.failures[uid] = Failure(instance.study_uid, times, failure, time.monotonic() + wait_s)
            progress.outcomes["failed"] += 1
            _LOGGER.warning("an image has no result yet: %s; tried again in %g s", failure, wait_s)
            return
        progress.failures.pop(uid, None)
        outcome = "not applicable" if decision in {ERROR, REFUSED} else "scored"
        progress.outcomes[outcome] += 1
        progress.stored_at.append(time.time())
        progress.last.append((time.time(), outcome, seconds))


def process(archive: Archive, scorer: Scorer, instance: Instance, bundle_sha256: str) -> str:
    """Retrieve, score and store one image; returns the decision.

    The pictures are stored first and confirmed, then the report: where that is, all is there.

    Raises:
        ArchiveError: the archive cannot be asked, or did not store what it was sent.
        PocketCxrError: no result can be made.
    """
    data = archive.retrieve(instance.study_uid, instance.series_uid, instance.sop_instance_uid)
    results = scorer.score(data, instance)
    *pictures, report = results.files
    stored = archive.store(pictures) if pictures else set()
    if len(stored) < len(pictures):
        raise ArchiveError(f"the archive stored {len(stored)} of {len(pictures)} pictures: is its disk full?")
    stored = archive.store([report])
    if result_uid(instance.sop_instance_uid, bundle_sha256, KINDS[0]) not in stored:
        raise ArchiveError("the archive did not store a report: is its disk full, or the account without the right?")
    return results.decision


def run(worker: Worker, settings: PacsSettings, *, stopped: Callable[[], bool]) -> None:
    """Go on until `stopped`: the feed of changes every `poll_s`, all recent studies every `sweep_s`.

    Raises:
        PocketCxrError: what no image can be scored without is missing.
    """
    finder, next_sweep, next_day, pause_s = worker.finder(), 0.0, 0.0, settings.work.poll_s
    while not stopped():
        try:
            if settings.archive.changes_url:
                worker.take(finder.changed())
            _try_again(worker, finder)
            if time.monotonic() >= next_day:
                finder.forget_complete()
                next_day = time.monotonic() + _DAY_S
            if time.monotonic() >= next_sweep:
                worker.take(finder.recent())
                next_sweep = time.monotonic() + settings.work.sweep_s
            worker.progress.reachable, pause_s = True, settings.work.poll_s
        except ArchiveError as error:
            if worker.progress.reachable:
                _LOGGER.warning("%s; asking again until it answers", error)
            worker.progress.reachable, pause_s = False, min(10.0, max(1.0, 2 * pause_s))
            next_sweep = next_day = 0.0  # what came in the meantime, and what the feed no longer tells
        time.sleep(pause_s)


def _try_again(worker: Worker, finder: Finder) -> None:
    """Take images that failed and are due; those that the archive no longer holds, or that have a result, are done."""
    failures, now = worker.progress.failures, time.monotonic()
    due = {uid: one.study_uid for uid, one in list(failures.items()) if one.next_try <= now}
    for study_uid in set(due.values()):
        missing = {one.sop_instance_uid: one for one in finder.study(study_uid)}
        for uid in [uid for uid, study in due.items() if study == study_uid and uid not in missing]:
            failures.pop(uid, None)
        worker.take(missing.values())
