"""How far a folder is: a line that rewrites itself for a person who watches, a line now and then for a log."""

from __future__ import annotations

import math
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

_EVERY_S = 0.2
_EVERY_S_IN_A_LOG = 30.0
_SHARE_IN_A_LOG = 0.05  # of the time that has passed, at least between two lines: a night leaves about a hundred


class Progress:
    """Counts predictions; another thread counts how many there will be, for a large folder takes long."""

    def __init__(self, count: Callable[[], int], *, already: int = 0, stream: TextIO | None = None) -> None:
        """Start counting.

        Args:
            count: returns how many files there are in all, scored before or not.
            already: predictions that are there from an earlier run; they do not count for the rate.
            stream: None takes the standard error stream.
        """
        self._stream = sys.stderr if stream is None else stream
        self._rewrites = self._stream.isatty()
        self._every_s = _EVERY_S if self._rewrites else _EVERY_S_IN_A_LOG
        self._already, self._done, self._total = already, 0, 0
        self._cleared = False
        self._started = self._first = self._told = time.monotonic()
        threading.Thread(target=self._count, args=(count,), daemon=True).start()

    def step(self) -> None:
        """Count one prediction, and tell from time to time."""
        now = time.monotonic()
        if not self._done:  # from here on the rate counts: what came before was loading
            self._first = now
        self._done += 1
        share = 0.0 if self._rewrites else _SHARE_IN_A_LOG
        if self._cleared or now - self._told >= max(self._every_s, share * (now - self._started)):
            self._told, self._cleared = now, False
            self._write(self.line(now - self._first))

    def line(self, elapsed_s: float) -> str:
        """Say what is done, how fast since the first prediction (`elapsed_s` ago), and how long the rest will take."""
        rate, done = (self._done - 1) / max(elapsed_s, 1e-9), self._already + self._done
        told = f"{done:,} of {self._total:,} ({done / self._total:.0%})" if self._total else f"{done:,} done"
        if not rate:
            return told
        if not self._total:
            return f"{told}, {rate:.1f}/s"
        return f"{told}, {rate:.1f}/s, {duration(math.ceil(max(0, self._total - done) / rate))} left"

    def end(self) -> None:
        """Say once what was done, where anything was."""
        self.clear()
        if self._done:
            elapsed_s = time.monotonic() - self._started
            before = f", {self._already:,} had been before" if self._already else ""
            self._stream.write(f"{self._done:,} scored in {duration(elapsed_s)}{before}\n")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away before something else is written to the same screen; the next step brings it back."""
        if self._rewrites:
            self._cleared = True
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _count(self, count: Callable[[], int]) -> None:
        self._total = count()

    def _write(self, line: str) -> None:
        self._stream.write(f"\r{line}\x1b[K" if self._rewrites else line + "\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """``1 h 18 min``, ``3 min 5 s`` or ``42 s``."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"
