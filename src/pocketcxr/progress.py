"""How far a long loop is: tqdm's bar where a person watches, a few lines of the log where nobody does."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from tqdm import tqdm

if TYPE_CHECKING:
    _Bar: TypeAlias = tqdm[Any]
else:
    _Bar = tqdm

_FIRST_S = 60.0
"""Seconds until the first line, and the least between two."""

_SHARE = 0.05
"""A line comes no sooner than after this share of the time that has passed: ten hours give about ninety."""

_LOGGER = logging.getLogger("pocketcxr")


class Bar(_Bar):
    """tqdm's bar, with the same arguments; where the screen is a file or a pipe, lines of the log instead.

    A loop that takes less than a minute leaves none.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """As tqdm; `disable` silences the lines, too."""
        self._lines = not (sys.stderr.isatty() or "ipykernel" in sys.modules)
        self._began = self._told = time.monotonic()
        if self._lines:
            options = {**options, "leave": False, "file": _Nowhere(), "mininterval": 1, "delay": 0}
        super().__init__(*args, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar, or write a line where it is time for one."""
        if not self._lines:
            super().display(msg, pos)
            return
        now = time.monotonic()
        passed_s = now - self._began
        if now - self._told >= max(_FIRST_S, _SHARE * passed_s):
            self._told = now
            _LOGGER.info("%s", self._line(passed_s))

    def _line(self, passed_s: float) -> str:
        title = (self.desc or "").rstrip(": ") or "done"
        done = (
            f"{title}: {self.n:,} of {self.total:,} {self.unit}s" if self.total else f"{title}: {self.n:,} {self.unit}s"
        )
        made = self.n - self.initial
        if not made or not self.total:
            return done
        left_s = (self.total - self.n) * passed_s / made
        return f"{done}, {made / passed_s:.1f}/s, {tqdm.format_interval(left_s)} left"


class _Nowhere:
    """Takes what tqdm writes itself."""

    def write(self, _: str) -> None:
        """Drop it."""

    def flush(self) -> None:
        """Nothing waits."""
