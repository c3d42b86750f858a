"""Limits of connections, below the application: how long a request's header may take, how many connections there are.

uvicorn limits the size of a header and the idle time after an answer. It has no limit for a header that is never
finished, for a body that still trickles in after the answer, or for a client that does not read its answer: the idle
time starts again with every byte. So a connection that has announced nothing can stay for ever, and the service would
run out of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from pocketcxr.serving.settings import Limits

if TYPE_CHECKING:
    import asyncio


class Connection(H11Protocol):
    """One connection; with as many as allowed, the one that has kept the service waiting longest makes room."""

    limits: ClassVar[Limits] = Limits()
    _patience: asyncio.TimerHandle | None = None  # until the header of a request has arrived
    _drain: asyncio.TimerHandle | None = None  # until the client has read what was sent
    _waits_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Count the connection in, and wait for its first request."""
        super().connection_made(transport)
        self._wait_for_request()
        if len(self.connections) > self.limits.connections:
            others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
            candidates = [one for one in others if one.waits] or [one for one in others if one.receives] or [self]
            longest = min(candidates, key=lambda one: one._waits_since)  # noqa: SLF001  # its own class
            self.connections.discard(longest)  # now: it is told of its end later, and others may come before
            longest.transport.abort()

    @property
    def waits(self) -> bool:
        """Whether no request is being received or answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def receives(self) -> bool:
        """Whether the body of a request has not arrived yet."""
        return not self.waits and self.cycle.more_body

    def data_received(self, data: bytes) -> None:
        """Take bytes; those after an answer must become the next request's header in time."""
        if self.waits and self._patience is None:
            self._wait_for_request()
        super().data_received(data)

    def handle_events(self) -> None:
        """Stop waiting where a request has begun."""
        super().handle_events()
        if not self.waits and self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def on_response_complete(self) -> None:
        """Count the idle time from now on."""
        self._waits_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Give the client time to read what was sent."""
        super().pause_writing()
        self._drain = self.loop.call_later(self.limits.answer_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read it."""
        super().resume_writing()
        if self._drain is not None:
            self._drain.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        for timer in (self._patience, self._drain):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        self._waits_since = self.loop.time()
        # not close(), which would wait until the client has read the last answer
        self._patience = self.loop.call_later(self.limits.header_timeout_s, self.transport.abort)


def connections_within(limits: Limits) -> type[Connection]:
    """Class of the connections of a service with these limits, for ``uvicorn.Config(http=...)``."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
