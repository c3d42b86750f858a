"""Inflates a deflated data set (PS3.5 A.5) only as far as it is read."""

from __future__ import annotations

import zlib

_FED_AT_ONCE = 1 << 16  # bytes that go in at once; a thousand times as many come out at most
_MADE_AT_ONCE = 1 << 20


class InflatedBytes:
    """What a raw deflate stream holds; nothing is kept, so that each look at it begins at its start again.

    Where the stream is damaged it ends, as one that was cut short does; `is_whole` tells them from one that is sound.
    """

    def __init__(self, data: bytes) -> None:
        """Take the deflated bytes, and what follows them."""
        self._data = data
        self._rewind()

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start`, fewer where the stream ends before."""
        self._rewind()
        self._pass_over(start)
        parts: list[bytes] = []
        while size > 0 and (part := self._portion(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def is_longer_than(self, size: int) -> bool:
        """Whether there are more than `size` bytes."""
        self._rewind()
        return self._pass_over(size + 1) > size

    @property
    def is_whole(self) -> bool:
        """Whether the last look went to the stream's own end."""
        return self._inflater.eof

    def _rewind(self) -> None:
        self._inflater, self._fed, self._waiting = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""

    def _pass_over(self, size: int) -> int:
        found = 0
        while found < size and (part := self._portion(size - found)):
            found += len(part)
        return found

    def _portion(self, size: int) -> bytes:
        """Some bytes, `size` at most; none at the end."""
        part, exhausted = b"", False
        while not part and not self._inflater.eof and not exhausted:
            if not self._waiting:
                self._waiting = self._data[self._fed : self._fed + _FED_AT_ONCE]
                self._fed += len(self._waiting)
                exhausted = not self._waiting  # the inflater may still hold some bytes back
            try:
                part = self._inflater.decompress(self._waiting, min(size, _MADE_AT_ONCE))
            except zlib.error:
                return b""
            self._waiting = self._inflater.unconsumed_tail
        return part
