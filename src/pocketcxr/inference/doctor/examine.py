"""``pocketcxr doctor``: what this machine has for predictions, what is missing, and what to do about it."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pocketcxr.bundle.failures import failure_lines
from pocketcxr.errors import BundleError, PocketCxrError
from pocketcxr.inference.doctor import machine
from pocketcxr.plain_text import one_line
from pocketcxr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.inference.session import Bundle

State = Literal["ok", "note", "missing", "fault"]
"""``note``: works, could be better; ``missing``: optional, not installed; ``fault``: predictions fail or are wrong."""

EXIT_HEALTHY, EXIT_FAULT = 0, 1

GOLDEN_TOLERANCE = 0.001
"""Most by which probabilities may differ from the golden ones: runtimes and processors differ by 0.0001 or less."""

_NEEDED_MB_PER_PROCESS = 150


@dataclass(frozen=True)
class Check:
    """One thing looked at: its state, what was found, and what to do (empty where nothing is to be done)."""

    name: str
    state: State
    found: str
    advice: str = ""


def run_doctor(*, bundle: Path | None, as_json: bool, stream: TextIO) -> int:
    """Examine the machine and write what was found.

    Returns:
        `EXIT_FAULT` where at least one check is a fault, otherwise `EXIT_HEALTHY`.
    """
    checks = list(examine(bundle))
    healthy = all(check.state != "fault" for check in checks)
    if as_json:
        record = {"healthy": healthy, "version": __version__, "checks": [asdict(check) for check in checks]}
        stream.write(json.dumps(record, indent=2) + "\n")
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            stream.write(f"{check.state:8}{check.name:{width}}  {one_line(check.found)}\n")
            if check.advice:
                stream.write(f"{'':8}{'':{width}}  -> {one_line(check.advice)}\n")
        stream.write("\nready to predict\n" if healthy else "\nnot ready: see the lines marked fault\n")
    return EXIT_HEALTHY if healthy else EXIT_FAULT


def examine(bundle: Path | None) -> Iterator[Check]:
    """Look at everything that a prediction needs; `bundle` None takes the one that comes with the package."""
    yield Check(
        "pocketcxr", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"
    )
    yield _processors()
    yield from _load()
    yield _instruction_sets()
    yield _memory()
    yield _start()
    yield from _decoders()
    runtime = _runtime()
    yield runtime
    if runtime.state != "fault":
        yield from _bundle(bundle)
    yield from _extras()


def _processors() -> Check:
    usable, whole = machine.processors()
    found = (
        f"{machine.processor_name()}: {usable} of {whole} processors usable; a folder is scored by {usable} "
        f"process{'es' if usable > 1 else ''} of one thread"
    )
    if usable < machine.default_workers():
        return Check("processors", "note", found, f"processor time is rationed: run predict with --workers {usable}")
    return Check("processors", "ok", found)


def _load() -> Iterator[Check]:
    """Other programs at work: the commonest reason why a sound machine is slow."""
    usable, busy = machine.processors()[0], machine.load_average()
    if busy is not None and busy > usable:
        advice = f"predictions will take about {1 + busy / usable:.0f} times as long until they have finished"
        yield Check("load", "note", f"other programs keep {busy:.0f} processors' worth of work waiting", advice)


def _instruction_sets() -> Check:
    found = machine.instruction_sets()
    if not found:
        return Check("instructions", "note", "none known", "predictions work, but several times slower than elsewhere")
    if not set(found) & {"AVX2", "NEON"}:
        return Check("instructions", "note", ", ".join(found), "without AVX2 the network is several times slower")
    if not set(found) & machine.INT8_SETS:
        advice = "prefer a bundle in floating point: int8 is no faster here"
        return Check("instructions", "note", ", ".join(found), advice)
    return Check("instructions", "ok", f"{', '.join(found)}: int8 bundles are fastest here")


def _memory() -> Check:
    free, (usable, _) = machine.available_memory_mb(), machine.processors()
    if free is None:
        return Check("memory", "note", "the system does not tell", f"a process needs {_NEEDED_MB_PER_PROCESS} MB")
    fits = free // _NEEDED_MB_PER_PROCESS
    if fits < 1:
        return Check("memory", "fault", f"{free} MB available", f"free {_NEEDED_MB_PER_PROCESS} MB for one process")
    if fits < usable:
        return Check("memory", "note", f"{free} MB available", f"run predict with --workers {fits}")
    return Check("memory", "ok", f"{free:,} MB available, {_NEEDED_MB_PER_PROCESS} per process are enough")


def _start() -> Check:
    if machine.bytecode_is_kept():
        return Check("start", "ok", "modules are compiled")
    return Check(
        "start",
        "note",
        "modules are compiled anew at every start, which doubles its time",
        "unset PYTHONDONTWRITEBYTECODE, or run  python -m compileall  on the folder of installed packages",
    )


def _decoders() -> Iterator[Check]:
    from PIL import features

    turbo, wavelets = features.check("libjpeg_turbo"), features.check("jpg_2000")
    if turbo and wavelets:
        yield Check("images", "ok", "Pillow with libjpeg-turbo and OpenJPEG")
    else:
        lacking = " and ".join(name for name, there in (("libjpeg-turbo", turbo), ("OpenJPEG", wavelets)) if not there)
        yield Check("images", "note", f"Pillow without {lacking}: slower", "pip install --force-reinstall pillow")
    absent = [name for name, module in _DICOM_DECODERS.items() if not _imports(module)]
    if absent:
        advice = "pip install --force-reinstall pocketcxr"
        yield Check("DICOM", "fault", f"cannot decode {' or '.join(absent)}", advice)
    else:
        yield Check("DICOM", "ok", f"decodes native, RLE, JPEG, {', '.join(_DICOM_DECODERS)}")


_DICOM_DECODERS = {"JPEG 2000": "openjpeg", "JPEG lossless and JPEG-LS": "gdcm"}


def _imports(module: str) -> bool:
    try:
        __import__(module)
    except (ImportError, OSError):  # OSError: a shared library that it needs
        return False
    return True


def _runtime() -> Check:
    try:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
    except (ImportError, OSError) as error:
        return Check("runtime", "fault", f"ONNX Runtime cannot be imported ({error})", "pip install onnxruntime")
    return Check("runtime", "ok", f"ONNX Runtime {onnxruntime.__version__}")


def _bundle(path: Path | None) -> Iterator[Check]:
    from pocketcxr.inference.session import load_bundle

    try:
        bundle = load_bundle(path, threads=1)
    except BundleError as error:
        yield Check("bundle", "fault", str(error))
        return
    manifest = bundle.manifest
    size = manifest.preprocessing.size
    yield Check("bundle", "ok", f"{bundle.identity}: {', '.join(manifest.labels)}; {size} x {size} pixels")
    yield _audit(manifest)
    yield _golden(bundle)
    yield _speed(bundle)


def _audit(manifest: Manifest) -> Check:
    """What the bundle says of its own audit: a machine can be ready for a model that is not."""
    audit: dict[str, Any] = manifest.run.get("audit") or {}
    outcome = str(audit.get("outcome", ""))
    if outcome.startswith("passed"):
        return Check("audit", "ok", "the bundle passed the criteria of its audit")
    found = (
        " ".join(("the bundle failed its audit.", *failure_lines(manifest)))
        if outcome.startswith("failed")
        else "nothing says that the bundle was audited"
    )
    return Check("audit", "note", found, "trust none of its predictions: pocketcxr audit")


def _golden(bundle: Bundle) -> Check:
    from pocketcxr.bundle.golden import check_golden, golden_path, read_golden

    path = golden_path(bundle.path)
    if not path.exists():
        return Check(
            "golden vectors",
            "note",
            f"none beside the bundle ({path.name}), so nothing proves that this machine computes as its maker's did",
            "copy them from where the bundle was published, or export it again",
        )
    try:
        golden = read_golden(path)
        if golden.sha256 != bundle.sha256:
            raise BundleError(f"{path} belongs to another bundle: copy the one that was published with this")
        difference = check_golden(bundle, golden)["probabilities"]
    except PocketCxrError as error:
        return Check("golden vectors", "fault", str(error))
    within = f"within {difference:.1g}" if difference else "to the last digit"
    found = f"{len(golden.inputs)} inputs give the expected probabilities {within}"
    if not difference <= GOLDEN_TOLERANCE:  # NaN is a fault too
        return Check(
            "golden vectors",
            "fault",
            f"probabilities differ by {difference:.2g}, {GOLDEN_TOLERANCE} is allowed",
            "this machine computes something else: do not use its predictions; try another version of onnxruntime",
        )
    return Check("golden vectors", "ok", found)


def _speed(bundle: Bundle) -> Check:
    from pocketcxr.inference.doctor.speed import IMAGE_SIDE, measure_speed

    reading_ms, network_ms = measure_speed(bundle)
    workers = machine.processors()[0]
    per_s = workers * 1000 / (reading_ms + network_ms)
    return Check(
        "speed",
        "ok",
        f"a JPEG of {IMAGE_SIDE} x {IMAGE_SIDE}: {reading_ms:.1f} ms to read, {network_ms:.1f} ms for the network; "
        f"about {per_s:.0f} a second in {workers} process{'es' if workers > 1 else ''} when nothing else runs",
    )


_PURPOSE_OF_EXTRA = {
    "cluster": "scoring on many machines (pocketcxr predict --engine ray)",
    "deidentify": "images without what names a patient",
    "evaluate": "tables, intervals and reports",
    "executorch": "files for ExecuTorch (pocketcxr export --format executorch)",
    "litert": "files for LiteRT (pocketcxr export --format litert)",
    "mlflow": "trainings followed in MLflow (--track mlflow)",
    "pacs": "a worker beside an archive (pocketcxr pacs)",
    "parquet": "predictions as a Parquet file",
    "runtimes": "predictions by other runtimes (pocketcxr predict --runtime)",
    "search": "search of settings (pocketcxr search)",
    "serve": "predictions over HTTP (pocketcxr serve)",
    "tensorboard": "trainings followed in TensorBoard (--track tensorboard)",
    "train": "distil, evaluate and export (not needed for predictions)",
}


def _extras() -> Iterator[Check]:
    for name, absent in machine.extras().items():
        purpose = f"{_PURPOSE_OF_EXTRA[name]}: " if name in _PURPOSE_OF_EXTRA else ""
        if absent:
            found, advice = f"{purpose}lacks {', '.join(absent)}", f"pip install 'pocketcxr[{name}]'"
            yield Check(f"extra {name}", "missing", found, advice)
        else:
            yield Check(f"extra {name}", "ok", f"{purpose}installed")
    if machine.has_web_page():
        yield Check("web page", "ok", "pocketcxr serve shows it at its address")
    else:
        advice = "install Node.js 20.19 or newer and run  pip install  again, or  make web  in a clone"
        yield Check("web page", "missing", "not part of this copy; the rest of pocketcxr serve works without", advice)
