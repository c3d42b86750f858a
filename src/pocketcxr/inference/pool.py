"""Several scoring processes at once, answers in the order of the files, whatever becomes of a process.

Each process holds one picture and knows the next one. One that dies is replaced; the file it was reading becomes an
``error`` record, and what it had not begun goes to its successor. Nothing is scored twice, nothing is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import BundleError, PocketCxrError
from pocketcxr.imaging.input_checks import Reason
from pocketcxr.inference.inputs import printable
from pocketcxr.inference.prediction import ERROR, Prediction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_KNOWN_AHEAD = 2  # the file being scored and the next one
_MOST_WAITING = 256  # answers that wait for a slow file before them; a few hundred bytes each
_FAREWELL_S = 10
# glibc, after one large film, keeps the room of films that size for good; this gives it back: 5 to 13 MB per process
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(8 << 20)}


@dataclass(frozen=True)
class PoolOptions:
    """What every process needs to know: bundle file and its identity, whether to read all pixels, heatmap folder."""

    bundle: Path
    identity: str
    exact: bool = False
    heatmaps: Path | None = None


def default_workers() -> int:
    """One process per core that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        yield from pool.answers(enumerate(paths))
    finally:
        pool.stop()


class _Worker:
    """A process, the thread that listens to it, and the files it was given and has not answered."""

    def __init__(self, options: PoolOptions, events: queue.SimpleQueue[tuple[_Worker, str | None]]) -> None:
        self.given: deque[tuple[int, Path]] = deque()
        self.ready = False
        # -P: a json.py in the folder where the user stands must not become ours
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pocketcxr.inference.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="ascii",
            env={**_ALLOCATOR, **os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._tell(
            {
                "bundle": str(options.bundle),
                "exact": options.exact,
                "heatmaps": str(options.heatmaps) if options.heatmaps else None,
            }
        )
        self._listener = threading.Thread(target=self._listen, args=(events,), daemon=True)
        self._listener.start()

    def give(self, number: int, path: Path) -> None:
        self.given.append((number, path))
        self._tell(str(path))

    def _tell(self, value: Any) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(value) + "\n")
            self.process.stdin.flush()
        except OSError:  # it has died: the listening thread tells, and the file goes to its successor
            return

    def _listen(self, events: queue.SimpleQueue[tuple[_Worker, str | None]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):  # not the half line of a process that was ended while it wrote
                events.put((self, line))
        events.put((self, None))

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):  # its end is gone already
            self.process.stdin.close()
        try:
            self.process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.join(_FAREWELL_S)
        self.process.stdout.close()


class _Pool:
    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._events: queue.SimpleQueue[tuple[_Worker, str | None]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._returned: deque[tuple[int, Path]] = deque()  # given to a process that died before it came to them
        self._answered: dict[int, Prediction] = {}
        self._next = 0

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

    def _take(self, worker: _Worker, line: str | None) -> None:
        if line is None:
            self._replace(worker)
            return
        record = json.loads(line)
        if "failed" in record:
            raise BundleError(record["failed"])
        if "errno" in record:
            raise OSError(record["errno"], record["strerror"], record["filename"] or None)
        if "ready" in record:
            worker.ready = True
            return
        number, _ = worker.given.popleft()
        self._answered[number] = Prediction.from_record(record)

    def _replace(self, worker: _Worker) -> None:
        """A process has ended though its input has not: blame the file it was at, and go on with a new one."""
        self._workers.remove(worker)
        worker.stop()
        ended = _how_it_ended(worker.process.returncode)
        if not worker.ready:
            raise PocketCxrError(f"a scoring process {ended} before it was ready; see what it said above")
        if worker.given:
            number, path = worker.given.popleft()
            name = printable(path)
            words = f"{name}: the process that was scoring it {ended}; the other files were scored by a new one"
            self._answered[number] = Prediction(
                name, ERROR, {}, None, (Reason("process-ended", words),), self._options.identity
            )
            self._returned.extend(worker.given)
        self.start()


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
