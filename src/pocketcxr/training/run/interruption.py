"""Ctrl-C and SIGTERM end a stage between two steps, with everything saved; a step that takes longer is cut off."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_P = ParamSpec("_P")
_R = TypeVar("_R")
_log = logging.getLogger(__name__)
_EXIT_SIGTERM = 128 + signal.SIGTERM

GRACE_S = 4.0
"""How long a step may still take after a signal; then the process ends as after a kill, which loses no more than what
came after the last saved state."""


class StopRequest:
    """Remembers the first signal; a second one acts at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._timer: threading.Timer | None = None

    def remember(self, number: int) -> None:
        """Note a signal; where the stage does not leave in time, the process ends."""
        self.signal = number
        self._timer = threading.Timer(GRACE_S, self._end_at_once)
        self._timer.daemon = True
        self._timer.start()

    def forget(self) -> None:
        """The stage has been left."""
        if self._timer is not None:
            self._timer.cancel()

    def _end_at_once(self) -> None:
        number = self.signal or signal.SIGTERM
        _log.warning(
            "stopped by %s in the middle of a step, which takes longer than %g s; the same command goes on from the "
            "last saved state",
            signal.Signals(number).name,
            GRACE_S,
        )
        os._exit(128 + number)

    def leave(self, saved: str) -> None:
        """If a signal came, say what was saved and end: KeyboardInterrupt, or exit status 143 after SIGTERM."""
        if self.signal is None:
            return
        _log.warning("stopped by %s; %s", signal.Signals(self.signal).name, saved)
        if self.signal == signal.SIGTERM:
            raise SystemExit(_EXIT_SIGTERM)
        raise KeyboardInterrupt

    def before(self, function: Callable[_P, _R], saved: str) -> Callable[_P, _R]:
        """Wrap a function that is called once per batch, so that the stage ends before the next call."""

        def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            self.leave(saved)
            return function(*args, **kwargs)

        return run


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Collect SIGINT and SIGTERM while the block runs; outside the main thread nothing is collected."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def remember(number: int, _frame: FrameType | None) -> None:
        request.remember(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, remember)
    try:
        yield request
    finally:
        request.forget()
        for number, handler in before.items():
            signal.signal(number, handler)
