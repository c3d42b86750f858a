"""A process that scores images for its parent: start, messages in both directions, end.

Shared by `pool` (many files) and the HTTP service. It is a plain subprocess, not one of `multiprocessing`, so that
notebooks and scripts without a main guard can start it. A message is one line of JSON, followed by as many bytes as its
field ``bytes`` gives. The process ends when its input does, also when the parent was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

from pocketcxr.errors import PocketCxrError
from pocketcxr.inference.processes.memory import ALLOCATOR, keep_room_of_images, limit_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Message = tuple[dict[str, Any], bytes]
    Answer = Callable[[dict[str, Any], bytes], Message]

STARTS = 3
"""How often a process is started that dies before it is ready, in all."""

_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_EXIT_TIMEOUT_S = 10


class WorkerProcess:
    """A process that runs the main function of a module, and the thread that listens to it."""

    def __init__(self, module: str, options: dict[str, Any], deliver: Callable[[Message | None], None]) -> None:
        """Start the process and send it its options.

        Args:
            module: its main function calls `run_worker`.
            options: its first message.
            deliver: called in a thread with each message of the process, and with None when it has ended.

        Raises:
            OSError: the process cannot be started.
        """
        with _stop_signals_blocked():
            # -P: a json.py in the folder where the user stands must not become ours
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**ALLOCATOR, **os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        self._listener = threading.Thread(target=self._listen, args=(deliver,), daemon=True)
        self._listener.start()
        self.send(options)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process.poll() is None

    def send(self, header: dict[str, Any], data: bytes = b"") -> bool:
        """Send a message; False where the process has ended and cannot take it."""
        assert self.process.stdin is not None
        try:
            _write(self.process.stdin, header, data)
        except OSError:
            return False
        return True

    def stop(self, *, kill: bool = False) -> None:
        """End the process: when it has done what it was sent, or at once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if kill:
            self.process.kill()
        with contextlib.suppress(OSError):  # its end is gone already
            self.process.stdin.close()
        try:
            self.process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.join(_EXIT_TIMEOUT_S)
        self.process.stdout.close()

    def _listen(self, deliver: Callable[[Message | None], None]) -> None:
        assert self.process.stdout is not None
        while message := _read(self.process.stdout):
            deliver(message)
        deliver(None)


def run_worker(prepare: Callable[[dict[str, Any]], tuple[dict[str, Any], Answer]], *, quiet: bool = False) -> None:
    """Answer the parent on standard input and output until the input ends.

    The first answer is ``{"ready": true}`` with the fields that `prepare` returns; ``{"failed": message}`` where the
    work cannot begin or go on, ``{"errno": ..., ...}`` where a file cannot be written.

    Args:
        prepare: takes the options; returns fields of the first answer, and the function that answers every message.
        quiet: discard the process's output, and ignore SIGTERM: the parent decides when it ends.
    """
    for number in _STOP_SIGNALS if quiet else {signal.SIGINT}:
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C reaches the parent, which closes the input
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a C library prints must not look like an answer
    try:
        first = _read(requests)
        if first is None:
            return
        fields, answer = prepare(first[0])
        limit_memory()
        keep_room_of_images()
        if quiet:
            _discard_output()
        _write(answers, {"ready": True, **fields})
        while message := _read(requests):
            _write(answers, *answer(*message))
    except PocketCxrError as error:
        _write(answers, {"failed": str(error)})
    except BrokenPipeError:  # the parent is gone
        os._exit(1)
    except OSError as error:
        _write(answers, {"errno": error.errno, "strerror": error.strerror, "filename": str(error.filename or "")})


def how_it_ended(process: WorkerProcess) -> str:
    """Describe the exit status of a process that has ended."""
    status = process.process.returncode
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def ended_while_starting(ended: str) -> str:
    """Say that a process does not come up, and what to do; `ended` is of `how_it_ended`, of the last attempt."""
    return (
        f"a scoring process {ended} while it was starting, {STARTS} times in a row: use fewer --workers or free "
        "memory, and see  pocketcxr doctor"
    )


def _write(stream: IO[bytes], header: dict[str, Any], data: bytes = b"") -> None:
    stream.write(json.dumps({**header, "bytes": len(data)}).encode("ascii") + b"\n")
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> Message | None:
    """The next message; None at the end, or where the other side was ended while it wrote."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    header: dict[str, Any] = json.loads(line)
    data = stream.read(header["bytes"])
    return (header, data) if len(data) == header.pop("bytes") else None


def _discard_output() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def _stop_signals_blocked() -> Generator[None]:
    """Let a process that starts inside the block inherit stop signals blocked until it has chosen what they mean."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
