"""What a machine offers a prediction: processors, instruction sets, memory, extras. It only looks."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
from pathlib import Path

from pocketcxr.data.parallel import default_workers

_DISTRIBUTION = "pocketcxr"
_WEB_PAGE = Path(__file__).parents[2] / "serving" / "static"  # where `make web` puts it
# what speeds small networks up, by the names that Linux and NumPy use
_INSTRUCTION_SETS = {
    "sse4_1": "SSE4.1",
    "sse41": "SSE4.1",
    "avx2": "AVX2",
    "fma": "FMA",
    "fma3": "FMA",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX int8",
    "asimd": "NEON",
    "neon": "NEON",
    "asimddp": "dot product",
    "i8mm": "int8 matrices",
    "sve": "SVE",
}
INT8_SETS = frozenset({"AVX-512 VNNI", "AVX-VNNI", "AMX int8", "dot product", "int8 matrices"})
"""With one of these, an int8 bundle is several times faster than a float one; without, hardly."""


def processors() -> tuple[int, int]:
    """Processors that this process may use, and those of the machine.

    A container may be given fewer by its affinity mask or by a quota of processor time.
    """
    machine = os.cpu_count() or 1
    usable = default_workers()
    quota = _first_line(Path("/sys/fs/cgroup/cpu.max")).split()  # cgroup version 2: "200000 100000" or "max 100000"
    if len(quota) == 2 and quota[0].isdigit():  # noqa: PLR2004
        usable = min(usable, max(1, int(quota[0]) // int(quota[1])))
    return usable, machine


def processor_name() -> str:
    """Name of the processor as the system tells it."""
    found = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), flags=re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def load_average() -> float | None:
    """Processors' worth of work in the last minute; None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None


def has_web_page() -> bool:
    """Whether this copy brings the page that ``pocketcxr serve`` shows."""
    return (_WEB_PAGE / "index.html").is_file()


def instruction_sets() -> tuple[str, ...]:
    """Names of the instruction sets that matter for small networks."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), flags=re.MULTILINE)
    names = set(found.group(1).split()) if found else _numpy_features()
    return tuple(dict.fromkeys(words for name, words in _INSTRUCTION_SETS.items() if name in names))


def available_memory_mb() -> int | None:
    """Megabytes that a process may still take; None where the system does not tell."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _text(Path("/proc/meminfo")), flags=re.MULTILINE)
    free = int(found.group(1)) // 1024 if found else None
    limit, used = (_first_line(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        left = (int(limit) - int(used)) // 2**20
        return left if free is None else min(free, left)
    return free


def extras() -> dict[str, list[str]]:
    """Every extra of the installed package with those of its requirements that are missing."""
    try:
        requirements = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return {}
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = re.search(r"""extra\s*==\s*["']([\w-]+)["']""", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if extra is None or name is None:
            continue
        absent = missing.setdefault(extra.group(1), [])
        if name.group() != _DISTRIBUTION and not _installed(name.group()):
            absent.append(name.group())
    return missing


def bytecode_is_kept() -> bool:
    """Whether imports find compiled modules; without, every start compiles NumPy anew, which doubles its time."""
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        return True
    return Path(importlib.util.cache_from_source(found.origin)).exists()


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _numpy_features() -> set[str]:
    """NumPy looks at the processor on every system; where a later one keeps it elsewhere, nothing is known."""
    try:
        found = importlib.import_module("numpy._core._multiarray_umath")
    except ImportError:
        return set()
    features: dict[str, bool] = getattr(found, "__cpu_features__", {})
    return {name.lower() for name, there in features.items() if there}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _first_line(path: Path) -> str:
    return _text(path).partition("\n")[0].strip()
