"""Back-pressure: how many pictures and bytes all requests together may hold; what is beyond is told to come back."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pocketcxr.serving.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Generator

    from pocketcxr.serving.pool import Pool
    from pocketcxr.serving.settings import Limits

_LONGEST_RETRY_S = 60


class Admission:
    """Counts what is inside. Used by the event loop alone, so that no lock is needed."""

    def __init__(self, limits: Limits, pool: Pool) -> None:
        """Nothing is inside."""
        self.pictures = self.bytes = 0
        self._limits, self._pool = limits, pool

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

    def take(self, pictures: int, size: int) -> None:
        """Count pictures and bytes in, or refuse them.

        Raises:
            ProblemError: ``busy``.
        """
        if self.pictures + pictures > self._limits.queue or self.bytes + size > self._limits.held_bytes:
            raise ProblemError(
                "busy",
                "as many pictures are waiting as this service holds; send this one again later",
                headers={"Retry-After": str(self._retry_after_s())},
            )
        self.pictures += pictures
        self.bytes += size

    def _retry_after_s(self) -> int:
        """Whole seconds after which half of the line should be gone."""
        line_s = self.pictures * self._pool.mean_s / self._pool.size
        return min(_LONGEST_RETRY_S, max(1, math.ceil(line_s / 2)))


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
