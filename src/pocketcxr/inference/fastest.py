"""Which installed runtime is fastest for a bundle on this machine: measured once, and kept until something changes."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.errors import PocketCxrError
from pocketcxr.files import write_json
from pocketcxr.inference.doctor.machine import instruction_sets, processor_name, processors
from pocketcxr.inference.runtimes.sessions import MODULES, installed_runtimes
from pocketcxr.inference.session import ONNX_RUNTIME, load_verified

if TYPE_CHECKING:
    from pocketcxr.bundle.verified import VerifiedFile

_ROUNDS = 15
# another runtime must be 5 % faster: less is noise, and ONNX Runtime is what the bundle was made with
_LEAST_GAIN = 1.05


def measured_runtimes(file: VerifiedFile, *, threads: int | None = None) -> dict[str, Any]:
    """Time every installed runtime on this bundle, by turns; what is refused stands there with the reason.

    Returns:
        ``runtime``: the fastest that gives the bundle's answers; ``ms``: median processor time of one image by
        runtime; ``refused``: runtime to reason.
    """
    bundles: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name in installed_runtimes():
        try:
            bundles[name] = load_verified(file, threads=threads, runtime=name)
        except PocketCxrError as error:
            if name == ONNX_RUNTIME:
                raise
            refused[name] = str(error)
    size = file.manifest.preprocessing.size
    image = np.random.default_rng(0).random((1, 1, size, size), dtype=np.float32)
    times: dict[str, list[float]] = {name: [] for name in bundles}
    for _ in range(_ROUNDS + 1):  # the first makes room
        for name, bundle in bundles.items():
            started = time.process_time()  # of all threads: other programs hardly change it
            bundle(image)
            times[name].append(1000 * (time.process_time() - started))
    ms = {name: statistics.median(found[1:]) for name, found in times.items()}
    fastest = min(ms, key=lambda name: ms[name])
    return {
        "runtime": fastest if ms[fastest] * _LEAST_GAIN < ms[ONNX_RUNTIME] else ONNX_RUNTIME,
        "ms": {name: round(found, 3) for name, found in ms.items()},
        "refused": refused,
    }


def fastest_runtime(file: VerifiedFile, *, threads: int | None = None) -> str:
    """Return the fastest runtime, from this machine's record where it holds a measurement, otherwise measured now.

    A measurement counts for one bundle with its converted files, one processor, one number of threads and one set of
    versions. A record that cannot be read or written only costs another measurement.
    """
    path, key = record_file(), _key(file, threads)
    kept = _kept(path)
    with suppress(KeyError, TypeError):
        if kept[key]["runtime"] in installed_runtimes():
            return kept[key]["runtime"]
    found = measured_runtimes(file, threads=threads)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**kept, key: found})
    return str(found["runtime"])


def record_file() -> Path:
    """Where measurements are kept: ``runtimes.json`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pocketcxr" / "runtimes.json"


def _kept(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def _key(file: VerifiedFile, threads: int | None) -> str:
    from pocketcxr.inference.runtimes.converted import converted_path, record_path

    converted = ""
    with suppress(OSError):
        converted = record_path(converted_path(file.path, "litert")).read_text(encoding="utf-8")
    parts = [
        file.sha256,
        hashlib.sha256(converted.encode()).hexdigest(),
        processor_name(),
        *instruction_sets(),
        str(processors()),
        str(threads),
        *(f"{module} {_version(module)}" for module in MODULES.values()),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _version(module: str) -> str:
    try:
        return version(module.replace("_", "-"))
    except PackageNotFoundError:
        return "none"
