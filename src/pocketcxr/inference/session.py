"""A loaded bundle: a session of ONNX Runtime, or of another runtime, behind the project's one `Predict` signature.

The slow part of a prediction's start is importing ONNX Runtime, so this module is imported only where a bundle is used.
"""
# ONNX Runtime ships no types for its C++ part:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors

from pocketcxr.bundle.contract import INPUT_KIND, INPUT_NAME, OUTPUT_NAMES, ModelOutputs
from pocketcxr.bundle.verified import VerifiedFile, identity_of, read_verified
from pocketcxr.data.parallel import default_workers
from pocketcxr.errors import BundleError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.inference.runtimes.sessions import Session

ONNX_RUNTIME = "onnxruntime"
"""The runtime that bundles are made with and that is always there."""

_IMAGES_PER_PASS = 16  # bounds the memory of a large batch (about 5 MB per image); larger passes are no faster
_MOST_THREADS = 4  # one image through a small network gains nothing from more
_FATAL = 4  # what ONNX Runtime may log: a failure reaches the user as one exception, not also as log lines
_RANKS = {"probabilities": 2, "logits": 2, "embedding": 2, "saliency": 4, "novelty": 1, INPUT_KIND: 2}
_SUM_TOLERANCE = 1e-3
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in vars(onnxruntime_errors).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    MemoryError,  # what pybind11 makes of exceptions of the C++ library
    RuntimeError,
    ValueError,
    IndexError,
)
"""What ONNX Runtime raises; its own exceptions share no public class."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle, ready to score; callable as `pocketcxr.bundle.contract.Predict`.

    `sha256` is the hash that the file carries, its identity in records.
    """

    path: Path
    manifest: Manifest
    sha256: str
    session: Session

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs: five of every bundle, and `INPUT_KIND` where it has an input filter."""
        return OUTPUT_NAMES if self.manifest.input_filter is None else (*OUTPUT_NAMES, INPUT_KIND)

    @property
    def identity(self) -> str:
        """Name, version and the start of the hash, as written beside every prediction."""
        return identity_of(self.manifest, self.sha256)

    def __call__(self, images: NDArray[np.float32], /) -> ModelOutputs:
        """Score images [n, 1, size, size], float32 in [0, 1], MONOCHROME2; all `outputs` are there.

        Raises:
            InputError: another shape, type or range, no image, or a pixel that is no number.
            BundleError: a graph that fails, or whose outputs are not what its manifest speaks of.
        """
        self._check(images)
        parts: list[list[NDArray[np.float32]]] = [
            self._run(images[start : start + _IMAGES_PER_PASS]) for start in range(0, len(images), _IMAGES_PER_PASS)
        ]
        whole = parts[0] if len(parts) == 1 else [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        return ModelOutputs(**dict(zip(self.outputs, whole, strict=True)))

    def _run(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        try:
            outputs: Sequence[Any] = self.session.run(list(self.outputs), {INPUT_NAME: images})
        except RUNTIME_ERRORS as error:
            raise BundleError(f"{self.path}: the model fails on an image ({first_line(error)})") from error
        arrays = list(outputs)
        self._check_outputs(dict(zip(self.outputs, arrays, strict=True)), len(images))
        return arrays

    def _check_outputs(self, arrays: dict[str, Any], count: int) -> None:
        """Refuse outputs of other shapes than were announced, and probabilities that are none; NaN is the caller's."""
        columns = _columns(self.manifest)
        for name, array in arrays.items():
            shape, width = np.shape(array), columns.get(name)
            fits = len(shape) == _RANKS[name] and shape[0] == count and (width is None or shape[1] == width)
            if not fits or array.dtype != np.float32:
                raise BundleError(f"{self.path}: output {name} has the shape {list(shape)}: export the bundle again")
        for name in columns.keys() & {"probabilities", INPUT_KIND}:
            alone = self.manifest.multilabel and name == "probabilities"  # findings by themselves do not sum to 1
            for row in arrays[name].tolist():  # few numbers, which NumPy takes longer for
                wrong = max(row) > 1 if alone else abs(sum(row) - 1) > _SUM_TOLERANCE
                if all(map(math.isfinite, row)) and (wrong or min(row) < 0):
                    raise BundleError(f"{self.path}: output {name} holds no probabilities: export the bundle again")

    def _check(self, images: NDArray[np.float32]) -> None:
        size = self.manifest.preprocessing.size
        expected = f"expected images float32 [n, 1, {size}, {size}] in [0, 1]"
        shape, dtype = getattr(images, "shape", ()), getattr(images, "dtype", type(images).__name__)
        if dtype != np.float32 or len(shape) != 4 or tuple(shape[1:]) != (1, size, size):  # noqa: PLR2004
            raise InputError(f"{expected}, found {dtype} {list(shape)}: resize with pocketcxr.imaging.resize")
        if len(images) == 0:
            raise InputError(f"{expected}, found no image")
        lowest, highest = float(images.min()), float(images.max())
        if not (lowest >= 0 and highest <= 1):  # also refuses NaN
            raise InputError(f"{expected}, found values from {lowest:g} to {highest:g}: read with pocketcxr.read_image")


def load_bundle(path: Path | None = None, *, threads: int | None = None, runtime: str = ONNX_RUNTIME) -> Bundle:
    """Read, verify and load a bundle.

    Args:
        path: the bundle's file; None takes the student that comes with the package.
        threads: threads inside one forward pass; None takes the processors this process may use, 4 at most. Always set:
            left to itself, ONNX Runtime counts the host's processors and pins its threads, also inside a container
            that was given fewer.
        runtime: one of `pocketcxr.inference.runtimes.sessions.MODULES`; another than ONNX Runtime is asked for the
            golden vectors first.

    Raises:
        BundleError: missing, damaged, changed, of another format version, or a model that does not fit its manifest.
    """
    return load_verified(read_verified(path), threads=threads, runtime=runtime)


def load_verified(file: VerifiedFile, *, threads: int | None = None, runtime: str = ONNX_RUNTIME) -> Bundle:
    """Load a bundle whose file was read and verified already; otherwise as `load_bundle`.

    Raises:
        BundleError: a model that the runtime cannot load, that does not fit its manifest, or whose answers another
            runtime does not give.
    """
    if runtime == ONNX_RUNTIME:
        session = session_of(file.data, str(file.path), threads=threads)
        bundle = Bundle(path=file.path, manifest=file.manifest, sha256=file.sha256, session=session)
        _check_fit(bundle, session)
        return bundle
    from pocketcxr.inference.runtimes.checks import check_answers
    from pocketcxr.inference.runtimes.sessions import open_session

    opened = open_session(file, runtime, threads=threads or _threads())
    bundle = Bundle(path=file.path, manifest=file.manifest, sha256=file.sha256, session=opened)
    check_answers(bundle, file.path, file.sha256, runtime=runtime)
    return bundle


def session_of(data: bytes, name: str, *, threads: int | None) -> onnxruntime.InferenceSession:
    """Start a session on the processor with the project's settings; `name` stands in messages.

    Raises:
        BundleError: a model that the runtime cannot load.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads() if threads is None else max(1, threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    # threads that spin between two images would take the processor from the one that decodes the next
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # the reading that was checked
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        words = f"{name}: ONNX Runtime {onnxruntime.__version__} cannot load it ({first_line(error)})"
        raise BundleError(words) from error


def _threads() -> int:
    available = default_workers()
    return min(_MOST_THREADS, available)


def _check_fit(bundle: Bundle, session: onnxruntime.InferenceSession) -> None:
    """Refuse a graph whose input or outputs are not those that its manifest speaks of."""
    manifest, path = bundle.manifest, bundle.path
    size, columns = manifest.preprocessing.size, _columns(manifest)
    inputs = {node.name: (node.type, list(node.shape)[1:]) for node in session.get_inputs()}
    expected = {INPUT_NAME: ("tensor(float)", [1, size, size])}
    if inputs != expected:
        raise BundleError(f"{path}: expected the input {expected}, found {inputs}: export the bundle again")
    outputs = {node.name: (node.type, list(node.shape)) for node in session.get_outputs()}
    if set(outputs) != set(bundle.outputs):
        raise BundleError(f"{path}: expected outputs {list(bundle.outputs)}, found {list(outputs)}: export it again")
    for name, (kind, shape) in outputs.items():
        if kind != "tensor(float)" or len(shape) != _RANKS[name] or isinstance(shape[0], int):
            fitting = f"tensor(float) of {_RANKS[name]} axes, the first one free"
            raise BundleError(f"{path}: output {name}: expected {fitting}, found {kind} {shape}: export it again")
        if name in columns and shape[1] != columns[name]:
            what = "kinds" if name == INPUT_KIND else "classes"
            raise BundleError(
                f"{path}: output {name} has {shape[1]} {what}, the manifest names {columns[name]}: export it again"
            )


def _columns(manifest: Manifest) -> dict[str, int]:
    """Second axis of the outputs for which the manifest says it."""
    columns: dict[str, int] = {name: len(manifest.labels) for name in ("probabilities", "logits", "saliency")}
    if manifest.input_filter is not None:
        columns[INPUT_KIND] = len(manifest.input_filter.kinds)
    return columns


def first_line(error: Exception) -> str:
    """First line of an exception's message, or its class where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
