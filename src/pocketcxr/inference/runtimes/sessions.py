"""Sessions of other runtimes, each with the one method that a bundle asks of ONNX Runtime: `run`."""
# OpenVINO and LiteRT are optional, and their bindings have no types:
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false, reportUnknownParameterType=false

from __future__ import annotations

import importlib.util
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pocketcxr.bundle.contract import INPUT_NAME
from pocketcxr.errors import BundleError, ConfigError, require_extra
from pocketcxr.inference.runtimes.converted import read_converted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pocketcxr.bundle.verified import VerifiedFile

AUTO = "auto"
MODULES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "litert": "ai_edge_litert"}
"""Runtimes that `predict` can use, to the modules they need."""


class Session(Protocol):
    """What a bundle needs of a runtime."""

    def run(self, names: Sequence[str], feeds: dict[str, NDArray[np.float32]], /) -> Sequence[Any]:
        """Score the images of `feeds` and return the named outputs, a row per image."""
        ...


class OneByOne:
    """A session that scores one image per pass, one thread of the caller at a time."""

    def __init__(self, score: Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]) -> None:
        """Take the function that scores one image [1, 1, size, size] and returns all outputs by name."""
        self._score, self._lock = score, threading.Lock()

    def run(self, names: Sequence[str], feeds: dict[str, NDArray[np.float32]], /) -> Sequence[Any]:
        """Score the images of `feeds` and return the named outputs, a row per image."""
        images = feeds[INPUT_NAME]
        with self._lock:
            rows = [self._score(images[k : k + 1]) for k in range(len(images))]
        return [np.concatenate([row[name] for row in rows]) for name in names]


def installed_runtimes() -> list[str]:
    """Names of the runtimes whose modules are installed, ONNX Runtime first."""
    return [name for name, module in MODULES.items() if importlib.util.find_spec(module) is not None]


def check_runtime(name: str) -> None:
    """Refuse a runtime that is unknown or not installed.

    Raises:
        ConfigError: unknown.
        MissingExtraError: not installed.
    """
    if name != AUTO and name not in MODULES:
        raise ConfigError(f"runtime: expected {AUTO} or one of {', '.join(MODULES)}, found {name!r}")
    if name in {"openvino", "litert"}:
        require_extra("runtimes", MODULES[name])


def open_session(file: VerifiedFile, runtime: str, *, threads: int) -> Session:
    """Open a bundle in another runtime.

    Raises:
        BundleError: the runtime cannot load it, or its converted file is missing or of another bundle.
    """
    check_runtime(runtime)
    openers = {"openvino": _openvino, "litert": _litert}
    try:
        return openers[runtime](file, threads)
    except (RuntimeError, ValueError) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BundleError(f"{file.path}: {runtime} cannot load it ({line})") from error


def _openvino(file: VerifiedFile, threads: int) -> Session:
    return openvino_session(import_openvino().Core().read_model(file.data), file, threads=threads)


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which tells its maker of every import (decision 8: nothing is sent)."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]  # OpenVINO then takes a stub
    import openvino

    return openvino


def openvino_session(model: Any, file: VerifiedFile, *, threads: int) -> Session:
    """Compile a model that OpenVINO has read, for one image of the bundle's size per pass, in single precision."""
    size = file.manifest.preprocessing.size
    model.reshape({INPUT_NAME: [1, 1, size, size]})
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": "1",
        "ENABLE_CPU_PINNING": False,  # several processes share the cores
        "INFERENCE_PRECISION_HINT": "f32",  # by itself it takes bf16 where there is any: probabilities move by 0.03
    }
    request = import_openvino().Core().compile_model(model, "CPU", settings).create_infer_request()

    def score(image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        found = request.infer({INPUT_NAME: image})
        return {port.any_name: np.array(array) for port, array in found.items()}  # its own memory is used again

    return OneByOne(score)


def _litert(file: VerifiedFile, threads: int) -> Session:
    from ai_edge_litert.interpreter import Interpreter

    path, record = read_converted(file.path, file.sha256, "litert")
    return OneByOne(litert_scorer(Interpreter(model_path=str(path), num_threads=threads), record.outputs))


def litert_scorer(interpreter: Any, outputs: list[str]) -> Callable[[NDArray[np.float32]], dict[str, Any]]:
    """Return the function of `OneByOne` for a LiteRT interpreter; `outputs` in the order in which they were given."""
    runner = interpreter.get_signature_runner()
    ((argument, taken),) = runner.get_input_details().items()
    given = runner.get_output_details()

    def score(image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        found = runner(**{argument: _stored(image, taken)})
        return {name: _read(found[f"output_{k}"], given[f"output_{k}"]) for k, name in enumerate(outputs)}

    return score


def _stored(values: NDArray[np.float32], tensor: dict[str, Any]) -> NDArray[Any]:
    """Numbers as a tensor stores them: int8 files take the image in eight bits."""
    scale, zero = tensor["quantization"]
    if tensor["dtype"] == np.float32:
        return values
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(tensor["dtype"])


def _read(stored: NDArray[Any], tensor: dict[str, Any]) -> NDArray[np.float32]:
    scale, zero = tensor["quantization"]
    return stored if tensor["dtype"] == np.float32 else (stored.astype(np.float32) - zero) * np.float32(scale)
