"""Silences warnings and logs of the decoders, which may quote patients' names; safe with several threads.

Pillow and pydicom warn of odd metadata (a corrupt EXIF block, an identifier that is too long, a padding byte too many).
What matters for the pixels is checked by this package itself and refused: lengths, checksums, codestream sizes, value
ranges. `warnings.catch_warnings` alone is no help, for two threads that leave it in the wrong order restore the wrong
filters for good; so the first thread to enter sets the filter and the last one to leave removes it.

pydicom also logs each remark, and quotes the header's values in it: a file damaged in the right place puts the name of
the patient into the log of whatever program reads it. Its records of the reading thread are dropped.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_DECODERS = r"(PIL|pydicom|pylibjpeg|openjpeg|gdcm|pocketcxr\.imaging)\b"


class _SharedFilter:
    """The filters for all threads, with how often each thread is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: Counter[int] = Counter()
        self._saved = warnings.catch_warnings()

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                # only remarks of these modules: warnings of the caller's other threads stay visible
                warnings.filterwarnings("ignore", category=UserWarning, module=_DECODERS)
                logging.getLogger("pydicom").addFilter(self._passes)
            self._inside[threading.get_ident()] += 1

    def leave(self) -> None:
        with self._lock:
            self._inside[threading.get_ident()] -= 1
            self._inside = +self._inside  # drops zeros
            if not self._inside:
                logging.getLogger("pydicom").removeFilter(self._passes)
                self._saved.__exit__(None, None, None)

    def _passes(self, record: logging.LogRecord) -> bool:
        return record.thread not in self._inside


_SHARED = _SharedFilter()


@contextmanager
def decoder_warnings_ignored() -> Generator[None]:
    """Ignore UserWarnings of Pillow, pydicom and its plug-ins, and this thread's pydicom log, inside the block."""
    _SHARED.enter()
    try:
        yield
    finally:
        _SHARED.leave()
