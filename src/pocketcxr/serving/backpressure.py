"""Back-pressure: limits the queue and the bytes in memory; requests beyond are refused with `Retry-After`.

The queue is limited by its expected waiting time, which depends on the images: one takes 5 ms to 5 s. The time per
image is measured (`Pool.pace_s`).
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pocketcxr.serving.api.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pocketcxr.serving.pool import Pool
    from pocketcxr.serving.settings import Limits

LONGEST_RETRY_S = 60
"""Most seconds that `Retry-After` tells."""


class Backpressure:
    """Counts images and bytes of accepted requests. Used by the event loop only, so that no lock is needed."""

    def __init__(self, limits: Limits, pool: Pool, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing accepted."""
        self.pictures = self.bytes = 0
        self._limits, self._pool, self._clock = limits, pool, clock
        self._promised = 0.0  # when the last refused client may return

    @contextmanager
    def admit(self) -> Generator[Ticket]:
        """Let one request in that there is room for now, and what it has taken out again at the end of the block.

        Nothing is counted yet: what a client announces and never sends must not take the place of others.

        Raises:
            ProblemError: ``busy``, with the seconds after which to come back.
        """
        self._check(pictures=1, size=1)
        ticket = Ticket(self)
        try:
            yield ticket
        finally:
            self.pictures -= ticket.pictures
            self.bytes -= ticket.bytes
            if not self.pictures:
                self._promised = 0.0  # refused clients have returned already, or will not

    @property
    def wait_s(self) -> float:
        """Seconds that a picture would wait for its turn if it came now, if the next pictures are like the last."""
        return max(0, self.pictures - self._pool.size + 1) * self._pool.pace_s

    def take(self, pictures: int, size: int) -> None:
        """Count pictures and bytes in that have arrived, or refuse them.

        Raises:
            ProblemError: ``busy``.
        """
        self._check(pictures, size)
        self.pictures += pictures
        self.bytes += size

    def _check(self, pictures: int, size: int) -> None:
        limits = self._limits
        line_is_long = pictures > 0 and self.wait_s > limits.wait_s
        if line_is_long or self.pictures + pictures > limits.queue or self.bytes + size > limits.held_bytes:
            raise ProblemError(
                "busy",
                "as many pictures are waiting as this service can score in time; send this one again later",
                headers={"Retry-After": str(self._retry_after_s(pictures))},
            )

    def _retry_after_s(self, pictures: int) -> int:
        """Whole seconds after which there should be room for this one, behind all that were refused before it.

        If all were told the same second, all would return in it, and most would be refused again.
        """
        now = self._clock()
        room = now + max(0.0, self.wait_s - self._limits.wait_s)
        self._promised = min(max(self._promised, room) + pictures * self._pool.pace_s, now + LONGEST_RETRY_S)
        return max(1, math.ceil(self._promised - now))


class Ticket:
    """What one request has counted in."""

    def __init__(self, backpressure: Backpressure) -> None:
        """Nothing is counted yet."""
        self.pictures = self.bytes = 0
        self._admission = backpressure

    def take(self, *, pictures: int = 0, size: int = 0) -> None:
        """Count more in for this request.

        Raises:
            ProblemError: ``busy``.
        """
        self._admission.take(pictures, size)
        self.pictures += pictures
        self.bytes += size
