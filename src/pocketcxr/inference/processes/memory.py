"""Memory of a scoring process: a limit, so that a file that makes a decoder ask for more fails alone; and its reuse."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

MOST_BYTES = 3 * 2**29
"""What one picture may take beside the loaded model. The largest that are read (64 million pixels) take 1,226 MB
at most: a PNG of four channels of 16 bits; docs/results/attacks.md has the others."""

# glibc, after one large image, keeps the room of images that size for good; this gives it back
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(8 << 20)}
"""Environment that a scoring process starts with; what the user sets stays."""

_KEPT_BYTES = 4 << 20
_M_MMAP_THRESHOLD = -3  # of malloc.h
_KILOBYTE = 1024


def keep_room_of_images() -> None:
    """Reuse pieces of up to 4 MiB, such as the arrays of an ordinary image: the system clears new ones for every file.

    For when the model is loaded: what loading leaves behind, in pieces of that size, would stay too. With glibc only.
    """
    name = "MALLOC_MMAP_THRESHOLD_"
    if sys.platform != "linux" or os.environ.get(name) != ALLOCATOR[name]:
        return
    import ctypes

    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)


def limit_memory() -> None:
    """Let this process take `MOST_BYTES` more than it holds now; beyond, an allocation fails.

    On Linux only: no other system holds a process to such a limit. A tighter one that is there already stays.
    """
    if sys.platform != "linux":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data_bytes() + MOST_BYTES
    limits = [wanted, *(one for one in (soft, hard) if one != resource.RLIM_INFINITY)]
    with contextlib.suppress(OSError, ValueError):  # a sandbox that allows no limits has its own
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))


def _data_bytes() -> int:
    """Private writable memory of this process, which `RLIMIT_DATA` counts."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = (line.split()[1] for line in status.splitlines() if line.startswith("VmData:"))
    return int(next(found, "0")) * _KILOBYTE
