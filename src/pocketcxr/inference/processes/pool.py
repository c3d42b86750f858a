"""Several scoring processes at once, records in the order of the files, whatever becomes of a process.

Each process holds one image and knows the next one. One that dies is replaced; the file it was reading becomes an
``error`` record, and what it had not begun goes to its successor. Nothing is scored twice, nothing is lost.
"""

from __future__ import annotations

import itertools
import queue
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pocketcxr.errors import BundleError, PocketCxrError
from pocketcxr.imaging.input_checks import Reason
from pocketcxr.inference.prediction import ERROR, Prediction
from pocketcxr.inference.processes.process import STARTS, WorkerProcess, ended_while_starting, how_it_ended
from pocketcxr.plain_text import path_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pocketcxr.inference.processes.process import Message

_KNOWN_AHEAD = 2  # the file being scored and the next one
_LOOKED_FOR_AT_ONCE = 64
_MOST_WAITING = 256  # answers that wait for a slow file before them; a few hundred bytes each


@dataclass(frozen=True)
class PoolOptions:
    """What every process needs to know: bundle and its identity, runtime, reading of all pixels, heatmap folder."""

    bundle: Path
    identity: str
    exact: bool = False
    heatmaps: Path | None = None
    runtime: str = "onnxruntime"


def predict_in_processes(paths: Iterable[Path], options: PoolOptions, *, workers: int) -> Iterator[Prediction]:
    """Score files in `workers` processes and yield the answers in the order of `paths`, as they come.

    Close the iterator (or use it up) to end the processes.

    Raises:
        BundleError: the bundle cannot be loaded.
        PocketCxrError: a process cannot be started, or ends before it is ready.
        OSError: a heatmap cannot be written.
    """
    pool = _Pool(options)
    try:
        for _ in range(workers):
            pool.start()
        yield from pool.answers(enumerate(_some_ahead(paths)))
    finally:
        pool.stop()


def _some_ahead(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield paths as they come, but look for several at a time: one between two answers takes ten times as long."""
    names = iter(paths)
    while several := list(itertools.islice(names, _LOOKED_FOR_AT_ONCE)):
        yield from several


class _Worker(WorkerProcess):
    """A process, and the files that it was given and has not answered."""

    def __init__(self, options: PoolOptions, events: queue.SimpleQueue[tuple[_Worker, Message | None]]) -> None:
        self.given: deque[tuple[int, Path]] = deque()
        self.ready = False
        given = {
            "bundle": str(options.bundle),
            "exact": options.exact,
            "runtime": options.runtime,
            "heatmaps": str(options.heatmaps) if options.heatmaps else None,
        }
        super().__init__("pocketcxr.inference.worker", given, lambda message: events.put((self, message)))

    def give(self, number: int, path: Path) -> None:
        self.given.append((number, path))
        self.send({"path": str(path)})  # where it has ended, its successor gets the file


class _Pool:
    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._events: queue.SimpleQueue[tuple[_Worker, Message | None]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._returned: deque[tuple[int, Path]] = deque()  # given to a process that died before it came to them
        self._answered: dict[int, Prediction] = {}
        self._next = 0
        self._died_starting = 0

    def start(self) -> None:
        try:
            self._workers.append(_Worker(self._options, self._events))
        except OSError as error:
            raise PocketCxrError(
                f"cannot start a scoring process ({error.strerror}): run with --workers 1, or free memory"
            ) from error

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    def answers(self, files: Iterator[tuple[int, Path]]) -> Iterator[Prediction]:
        self._feed(files)
        while any(worker.given for worker in self._workers) or self._returned:
            self._take(*self._events.get())
            while self._next in self._answered:
                yield self._answered.pop(self._next)
                self._next += 1
            self._feed(files)

    def _feed(self, files: Iterator[tuple[int, Path]]) -> None:
        """Keep every process busy, the idle ones first."""
        for ahead in range(1, _KNOWN_AHEAD + 1):
            for worker in self._workers:
                if len(worker.given) < ahead and (file := self._following(files)):
                    worker.give(*file)

    def _following(self, files: Iterator[tuple[int, Path]]) -> tuple[int, Path] | None:
        if self._returned:
            return self._returned.popleft()
        return next(files, None) if len(self._answered) < _MOST_WAITING else None

    def _take(self, worker: _Worker, message: Message | None) -> None:
        if message is None:
            self._replace(worker)
            return
        record, _ = message
        if "failed" in record:
            raise BundleError(record["failed"])
        if "errno" in record:
            raise OSError(record["errno"], record["strerror"], record["filename"] or None)
        if "ready" in record:
            worker.ready, self._died_starting = True, 0
            return
        number, _ = worker.given.popleft()
        self._answered[number] = Prediction.from_record(record)

    def _replace(self, worker: _Worker) -> None:
        """A process has ended though its input has not: blame the file it was at, and go on with a new one."""
        self._workers.remove(worker)
        worker.stop()
        ended = how_it_ended(worker)
        if not worker.ready:
            self._died_starting += 1
            if self._died_starting >= STARTS:
                raise PocketCxrError(ended_while_starting(ended))
            self._returned.extend(worker.given)
        elif worker.given:
            number, path = worker.given.popleft()
            name = path_text(path)
            words = f"{name}: the process that was scoring it {ended}; the other files were scored by a new one"
            self._answered[number] = Prediction(
                name, ERROR, {}, None, (Reason("process-ended", words),), self._options.identity
            )
            self._returned.extend(worker.given)
        self.start()
