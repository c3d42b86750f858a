"""The worker pool of the service: each process scores one image at a time; one that hangs or ends is replaced."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pocketcxr.errors import BundleError, PocketCxrError
from pocketcxr.imaging.radiograph import MAX_PIXELS
from pocketcxr.inference.processes.process import STARTS, WorkerProcess, ended_while_starting, how_it_ended
from pocketcxr.serving.api.problems import ProblemError
from pocketcxr.serving.worker import Answer, failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from pocketcxr.inference.processes.process import Message

_START_TIMEOUT_S = 120.0  # a slow disk and a busy processor; seconds are usual
_PAUSE_S = 0.5  # before the next attempt, longer each time: memory that was short may be there again
_SMOOTHING = 0.1  # weight of the newest picture in the mean time per picture
_LOGGER = logging.getLogger(__name__)


class ClientGoneError(Exception):
    """The client left before its picture's turn came."""


class Worker:
    """One process and the pipe to it. Methods block; call them from a thread, one at a time."""

    def __init__(self, bundle: Path | None, *, sha256: str, max_pixels: int = MAX_PIXELS) -> None:
        """Nothing is started yet; `sha256` is the only model that the process may answer with."""
        self._bundle, self._sha256, self._max_pixels = bundle, sha256, max_pixels
        self._lock = threading.Lock()
        self._process: WorkerProcess | None = None
        self._answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Start the process and wait until it has loaded the model.

        Raises:
            BundleError: no usable bundle, or another than expected.
            PocketCxrError: the process did not come up, not even at the last attempt.
        """
        with self._lock:
            self._start()

    def ask(self, data: bytes, name: str, *, heatmap: bool, timeout_s: float) -> Answer | None:
        """Return the answer to one file; None where the process died over it.

        Raises:
            TimeoutError: it took longer, and the process was ended.
            PocketCxrError: no process could be started.
        """
        with self._lock:
            if not self.running:
                self._start()
            if not self._send(data, name, heatmap=heatmap):  # it ended while it was idle: not this image's fault
                self._start()
                self._send(data, name, heatmap=heatmap)
            try:
                message = self._answers.get(timeout=timeout_s)
            except queue.Empty:
                self._end()
                raise TimeoutError from None
            if message is None:
                self._end()
                return None
            fields, heatmap_png = message
            return Answer(**fields, heatmap=heatmap_png or None)

    def stop(self) -> None:
        """End the process; it holds nothing that would be lost."""
        with self._lock:
            self._end()

    def _send(self, data: bytes, name: str, *, heatmap: bool) -> bool:
        assert self._process is not None
        return self._process.send({"name": name, "heatmap": heatmap}, data)

    def _start(self) -> None:
        """Start the process; one that dies before it is ready is started again, `STARTS` times in all."""
        ended = ""
        for attempt in range(STARTS):
            time.sleep(attempt * _PAUSE_S)
            ended = self._start_once()
            if not ended:
                return
        raise PocketCxrError(ended_while_starting(ended))

    def _start_once(self) -> str:
        """Start the process; say how it ended where it died before it was ready."""
        self._end()
        self._answers = queue.SimpleQueue()
        options = {"bundle": None if self._bundle is None else str(self._bundle), "max_pixels": self._max_pixels}
        try:
            process = WorkerProcess("pocketcxr.serving.worker", options, self._answers.put)
        except OSError as error:  # no memory or no process left
            return f"could not be started ({error.strerror})"
        self._process = process
        try:
            message = self._answers.get(timeout=_START_TIMEOUT_S)
        except queue.Empty:
            self._end()
            raise PocketCxrError(
                f"a scoring process was not ready after {_START_TIMEOUT_S:g} s: the disk or processor is too busy; use "
                "fewer --workers, or start again later"
            ) from None
        if message is None:
            self._end()
            return how_it_ended(process)
        failure = message[0].get("failed", "")
        if not failure and message[0]["sha256"] != self._sha256:
            failure = "the bundle was exchanged while the service was running: start the service again"
        if failure:
            self._end()
            raise BundleError(failure)
        return ""

    def _end(self) -> None:
        if self._process is not None:
            self._process.stop(kill=True)
        self._process = None


class Pool:
    """Workers and the line of pictures before them, first come first served."""

    def __init__(
        self,
        bundle: Path | None,
        *,
        workers: int,
        sha256: str,
        identity: str,
        timeout_s: float,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Nothing is started yet; `sha256` and `identity` are of the model, both limits of one picture."""
        self.restarts = 0
        self.mean_s = 0.1
        """Seconds per picture, smoothed; a guess until the first one."""
        self._workers = [Worker(bundle, sha256=sha256, max_pixels=max_pixels) for _ in range(workers)]
        self._identity, self._timeout_s = identity, timeout_s
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="scoring")
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._returning: set[asyncio.Task[None]] = set()

    @property
    def size(self) -> int:
        """Number of workers."""
        return len(self._workers)

    @property
    def pace_s(self) -> float:
        """Seconds after which the next picture of a line leaves it, on average, with all workers busy."""
        return self.mean_s / self.size

    @property
    def running(self) -> int:
        """Number of workers whose process is there."""
        return sum(worker.running for worker in self._workers)

    def start(self) -> None:
        """Start all workers, and wait until they have loaded the model.

        Raises:
            BundleError: no usable bundle.
            PocketCxrError: a worker does not come up.
        """
        for _ in self._threads.map(Worker.start, self._workers):
            pass
        for worker in self._workers:
            self._idle.put_nowait(worker)

    def stop(self) -> None:
        """End all workers."""
        list(self._threads.map(Worker.stop, self._workers))
        self._threads.shutdown()

    async def score(
        self, data: bytes, name: str, *, heatmap: bool, left: Callable[[], Awaitable[bool]]
    ) -> tuple[Answer, float, float]:
        """Wait for a worker; return its answer, the seconds that it took, and those until its turn came.

        Args:
            data: the file.
            name: how the record and its messages call it.
            heatmap: whether a PNG is wanted too.
            left: tells whether the client has gone; asked when the turn has come, so that nobody's work is not done.

        Raises:
            ClientGoneError: the client has gone.
            ProblemError: no worker could be started.
        """
        arrived = time.perf_counter()
        worker = await self._idle.get()
        try:
            if await left():
                raise ClientGoneError
            started = time.perf_counter()
            answer = await self._ask(worker, data, name, heatmap=heatmap)
            seconds = time.perf_counter() - started
            self.mean_s += _SMOOTHING * (seconds - self.mean_s)
            return answer, seconds, started - arrived
        finally:
            task = asyncio.get_running_loop().create_task(self._give_back(worker))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _ask(self, worker: Worker, data: bytes, name: str, *, heatmap: bool) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(
                self._threads, lambda: worker.ask(data, name, heatmap=heatmap, timeout_s=self._timeout_s)
            )
        except TimeoutError:
            words = f"{name}: took longer than the {self._timeout_s:g} s that a picture may take; export it plainer"
            return failed(name, "picture-timeout", words, identity=self._identity)
        except PocketCxrError:
            raise ProblemError("not-ready", "no worker could be started; see the service's log") from None
        if answer is None:
            words = f"{name}: the decoder broke down on this picture, which is damaged; export it uncompressed"
            return failed(name, "decoder-crash", words, identity=self._identity)
        return answer

    async def _give_back(self, worker: Worker) -> None:
        """Put the worker back in line, with a new process where the old one was lost."""
        if not worker.running:
            self.restarts += 1
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, worker.start)
                _LOGGER.warning("worker replaced")
            except PocketCxrError as error:
                _LOGGER.error("worker cannot be replaced: %s", error)  # noqa: TRY400  # one line; the next picture tries again
        self._idle.put_nowait(worker)
