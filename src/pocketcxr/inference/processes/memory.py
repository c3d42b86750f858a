"""A limit on the memory of a scoring process: a file that makes a decoder ask for more fails alone."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

MOST_BYTES = 3 * 2**29
"""What one picture may take beside the loaded model. The largest that are read (64 million pixels) take 1,226 MB
at most: a PNG of four channels of 16 bits; docs/results/attacks.md has the others."""

_KILOBYTE = 1024


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
