"""The worker's side of a scoring process: hand it a file, take the results, replace it where it ends."""

from __future__ import annotations

import dataclasses
import queue
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pocketcxr.errors import BundleError, PocketCxrError
from pocketcxr.inference.processes.process import WorkerProcess, how_it_ended

if TYPE_CHECKING:
    from pathlib import Path

    from pocketcxr.inference.processes.process import Message
    from pocketcxr.pacs.results.identity import Instance

_IMAGE_TIMEOUT_S = 60.0
_START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Results:
    """Result objects of one image as files, the report last, and the decision."""

    decision: str
    files: tuple[bytes, ...]


class Scorer:
    """One scoring process at a time; not shared between threads."""

    def __init__(self, bundle: Path, site: str) -> None:
        """Take what every process is told; the first one starts with the first image."""
        self._options = {"bundle": str(bundle), "site": site}
        self._process: WorkerProcess | None = None
        self._answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def score(self, data: bytes, instance: Instance) -> Results:
        """Results of one file; where it ends the process or takes too long, a report by a new process that says so.

        Raises:
            BundleError: the bundle cannot be loaded.
            PocketCxrError: not even that report can be made.
        """
        failed = ""
        for _ in range(2):
            answer = self._ask({"instance": dataclasses.asdict(instance), "failed": failed}, data)
            if answer is not None:
                return _results(*answer)
            failed = f"the process that was scoring it {self._ended()}"
        raise PocketCxrError(f"no result can be made of an image: {failed}")

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.stop(kill=True)
            self._process = None

    def _ask(self, header: dict[str, object], data: bytes) -> Message | None:
        if self._process is None:
            self._answers = answers = queue.SimpleQueue()
            self._process = WorkerProcess("pocketcxr.pacs.scoring", self._options, answers.put)
            first = self._next(_START_TIMEOUT_S)
            if first is None:
                raise PocketCxrError(f"a scoring process {self._ended()} before it was ready")
            if "failed" in first[0]:
                raise BundleError(str(first[0]["failed"]))
        self._process.send(header, data)
        return self._next(_IMAGE_TIMEOUT_S)

    def _next(self, timeout_s: float) -> Message | None:
        try:
            return self._answers.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _ended(self) -> str:
        """Say how the process ended; one that still runs has taken too long and is ended now."""
        process, self._process = self._process, None
        assert process is not None
        late = process.running
        process.stop(kill=late)
        return f"took longer than {_IMAGE_TIMEOUT_S:g} s" if late else how_it_ended(process)


def _results(header: dict[str, object], data: bytes) -> Results:
    if "failed" in header or "errno" in header:
        raise PocketCxrError(f"a scoring process failed: {header.get('failed') or header.get('strerror')}")
    files: list[bytes] = []
    sizes = header["sizes"]
    assert isinstance(sizes, list)
    for size in sizes:
        files.append(data[:size])
        data = data[size:]
    return Results(str(header["decision"]), tuple(files))
