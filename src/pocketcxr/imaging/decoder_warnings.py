"""Keeps the decoders' remarks on header trivia off the user's screen, safely with several threads.

Pillow and pydicom warn of odd metadata (a corrupt EXIF block, an identifier that is too long, a padding byte too many).
What matters for the pixels is checked by this package itself and refused: lengths, checksums, codestream sizes, value
ranges. `warnings.catch_warnings` alone is no help, for two threads that leave it in the wrong order restore the wrong
filters for good; so the first thread to enter sets the filter and the last one to leave removes it.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_DECODERS = r"(PIL|pydicom|pylibjpeg|openjpeg|gdcm|pocketcxr\.imaging)\b"


class _SharedFilter:
    """The one filter for all threads, with the number of threads inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                # only remarks of these modules: warnings of the caller's other threads stay visible
                warnings.filterwarnings("ignore", category=UserWarning, module=_DECODERS)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._saved.__exit__(None, None, None)


_SHARED = _SharedFilter()


@contextmanager
def decoder_warnings_ignored() -> Generator[None]:
    """Ignore UserWarnings that Pillow, pydicom and its plug-ins raise inside the block; all others pass."""
    _SHARED.enter()
    try:
        yield
    finally:
        _SHARED.leave()
