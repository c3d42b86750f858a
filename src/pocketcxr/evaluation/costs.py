"""Costs of a prediction: latency and memory are measured here, counts of a network come from the caller.

Evaluation never imports a framework. Parameters and multiply-accumulates (MACs) of a PyTorch network come from
`pocketcxr.models.costs`; latency is measured here from plain callables, memory from fresh processes.
"""

from __future__ import annotations

import dataclasses
import logging
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import PocketCxrError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_LOGGER = logging.getLogger("pocketcxr")


@dataclass(frozen=True)
class Latency:
    """Wall-clock time of one call in milliseconds: median, 10th and 90th percentile over `runs` calls."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int


@dataclass(frozen=True)
class Costs:
    """Costs of one model; None where not measured.

    `parameters` and `macs` (multiply-accumulates of one image) are counts; `bytes` is the size of the file that is
    shipped; `latency` is for one image on one thread; `peak_memory_bytes` is the largest resident size of a fresh
    process that loads the model and scores one image, the runtime included. `runtime` names what ran it.
    """

    parameters: int | None = None
    macs: int | None = None
    bytes: int | None = None
    latency: Latency | None = None
    peak_memory_bytes: int | None = None
    runtime: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def measure_latency(
    callables: Mapping[str, Callable[[], object]], *, rounds: int = 30, warmup: int = 3, budget_s: float = 60.0
) -> dict[str, Latency]:
    """Time one call of each model, taking turns so that a busy machine slows all of them alike.

    Each callable scores one image on one thread: the caller sets the runtime's threads, because only it knows the
    runtime. The order within a round alternates, so that nobody always runs on the caches its predecessor left.

    Args:
        callables: model name to a function without arguments.
        rounds: timed calls of each, at most.
        warmup: calls of each before, not timed.
        budget_s: stop after this many seconds of timed rounds; at least three rounds are made.

    Returns:
        Model name to latency.
    """
    names = list(callables)
    for _ in range(warmup):
        for name in names:
            callables[name]()
    times: dict[str, list[float]] = {name: [] for name in names}
    begin = time.perf_counter()
    for number in range(max(3, rounds)):
        if number >= 3 and time.perf_counter() - begin > budget_s:  # noqa: PLR2004
            break
        for name in names if number % 2 == 0 else reversed(names):
            start = time.perf_counter()
            callables[name]()
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: _latency(values) for name, values in times.items()}


def _latency(times_ms: list[float]) -> Latency:
    cuts = statistics.quantiles(times_ms, n=10, method="inclusive")
    return Latency(statistics.median(times_ms), cuts[0], cuts[-1], len(times_ms))


ONNX_PROGRAM = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
side = int(sys.argv[2])
session.run(None, {session.get_inputs()[0].name: numpy.zeros((1, 1, side, side), numpy.float32)})
"""
"""Program for `measure_peak_memory`: ONNX Runtime scores one image; arguments are the file and the side in pixels."""

# ru_maxrss would be wrong: across fork and exec a child inherits its parent's peak. VmHWM belongs to the new program.
_REPORT_PEAK = """
import pathlib as _pathlib, resource as _resource, sys as _sys
_status = _pathlib.Path("/proc/self/status")
if _status.exists():
    _peak = next(int(line.split()[1]) * 1024 for line in _status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    _peak = _resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss * (1 if _sys.platform == "darwin" else 1024)
print(f"\\npeak={_peak}")
"""


def peak_memory_of(
    name: str, program: str, arguments: Sequence[str], missing: list[str], *, timeout_s: float = 300.0
) -> int | None:
    """Peak memory of a model (`measure_peak_memory`), or None where it cannot be measured.

    That says a sentence in `missing`, for a report whose other figures are worth more than this one.
    """
    try:
        return measure_peak_memory(program, arguments, timeout_s=timeout_s)
    except PocketCxrError as error:
        missing.append(f"Peak memory of the {name}: not measured ({error}).")
        _LOGGER.warning("%s", missing[-1])
        return None


def measure_peak_memory(program: str, arguments: Sequence[str] = (), *, timeout_s: float = 300.0) -> int:
    """Largest resident size in bytes of a fresh Python process that runs a program text.

    Args:
        program: Python source, such as `ONNX_PROGRAM`; it loads one model and scores one image.
        arguments: its command-line arguments.
        timeout_s: give up after this many seconds.

    Raises:
        PocketCxrError: the program failed or took too long; the message ends with its last line.
    """
    command = [sys.executable, "-c", program + _REPORT_PEAK, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise PocketCxrError(f"measuring memory: no result after {timeout_s:g} s; give it more time") from error
    peak = [line.removeprefix("peak=") for line in done.stdout.splitlines() if line.startswith("peak=")]
    if done.returncode != 0 or not peak:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PocketCxrError(f"measuring memory: the program ended with status {done.returncode}: {last}")
    return int(peak[-1])
