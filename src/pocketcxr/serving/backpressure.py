"""Back-pressure: how long a line the service lets grow, and how many bytes it holds; what is beyond is told to return.

A line is bounded by the time that its end would wait, because nobody is served by an answer that comes too late, and a
picture takes 5 ms or 5 s depending on what it is. The pace is measured (`Pool.pace_s`).
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pocketcxr.serving.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pocketcxr.serving.pool import Pool
    from pocketcxr.serving.settings import Limits

LONGEST_RETRY_S = 60
"""Most seconds that `Retry-After` tells."""


class Admission:
    """Counts what is inside. Used by the event loop alone, so that no lock is needed."""

    def __init__(self, limits: Limits, pool: Pool, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is inside."""
        self.pictures = self.bytes = 0
        self._limits, self._pool, self._clock = limits, pool, clock
        self._promised = 0.0  # when the last one that was sent away may come

    @contextmanager
    def admit(self, size: int) -> Generator[Ticket]:
        """Let one request of `size` bytes with at least one picture in, and out again at the end of the block.

        Raises:
            ProblemError: ``busy``, with the seconds after which to come back.
        """
        ticket = Ticket(self)
        ticket.take(pictures=1, size=size)
        try:
            yield ticket
        finally:
            self.pictures -= ticket.pictures
            self.bytes -= ticket.bytes
            if not self.pictures:
                self._promised = 0.0  # whoever was sent away has come already, or is not coming

    @property
    def wait_s(self) -> float:
        """Seconds that a picture would wait for its turn if it came now, if the next pictures are like the last."""
        return max(0, self.pictures - self._pool.size + 1) * self._pool.pace_s

    def take(self, pictures: int, size: int) -> None:
        """Count pictures and bytes in, or refuse them.

        Raises:
            ProblemError: ``busy``.
        """
        limits = self._limits
        line_is_long = pictures > 0 and self.wait_s > limits.wait_s
        if line_is_long or self.pictures + pictures > limits.queue or self.bytes + size > limits.held_bytes:
            raise ProblemError(
                "busy",
                "as many pictures are waiting as this service can score in time; send this one again later",
                headers={"Retry-After": str(self._retry_after_s(pictures))},
            )
        self.pictures += pictures
        self.bytes += size

    def _retry_after_s(self, pictures: int) -> int:
        """Whole seconds after which there should be room for this one, behind all that were sent away before it.

        If all were told the same second, all would come back in it, and most would be sent away again.
        """
        now = self._clock()
        room = now + max(0.0, self.wait_s - self._limits.wait_s)
        self._promised = min(max(self._promised, room) + pictures * self._pool.pace_s, now + LONGEST_RETRY_S)
        return max(1, math.ceil(self._promised - now))


class Ticket:
    """What one request has counted in."""

    def __init__(self, admission: Admission) -> None:
        """Nothing is counted yet."""
        self.pictures = self.bytes = 0
        self._admission = admission

    def take(self, *, pictures: int = 0, size: int = 0) -> None:
        """Count more in for this request.

        Raises:
            ProblemError: ``busy``.
        """
        self._admission.take(pictures, size)
        self.pictures += pictures
        self.bytes += size
