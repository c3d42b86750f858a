"""Golden vectors: inputs and expected outputs beside a bundle, for testing ports of it.

The file is NumPy's `.npz`: ``inputs`` uint8 [n, size, size] (divide by 255), the outputs under their names (five, and
``input_kind`` where the bundle has a learned input filter), and ``sha256`` of the bundle they belong to. The inputs are
synthetic, because a bundle must not carry a patient's image unless its export asked for that.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.bundle.contract import INPUT_KIND, OUTPUT_NAMES, ModelOutputs, Predict
from pocketcxr.errors import BundleError
from pocketcxr.files import open_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LARGEST_GOLDEN = 256 * 2**20
"""Bytes of all arrays; those of a bundle take some hundred thousand."""

# what NumPy and the modules below it raise on damaged files
_UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class GoldenVectors:
    """`inputs` uint8 [n, size, size]; `outputs` of the bundle with hash `sha256` on ``inputs / 255``."""

    inputs: NDArray[np.uint8]
    outputs: ModelOutputs
    sha256: str


def golden_path(bundle: Path) -> Path:
    """Where the golden vectors of a bundle stand: ``student.onnx`` has ``student.golden.npz``."""
    return bundle.with_suffix(".golden.npz")


def drawn_inputs(size: int) -> NDArray[np.uint8]:
    """Six pictures that excite a port's weak spots, uint8 [6, size, size]: the same on every machine.

    A ramp along each axis (axes swapped, flipped), a dark and a bright field (clipping, padding), noise (everything),
    and two soft-edged dark ovals on grey, the plainest chest.
    """
    axis = np.linspace(0, 1, size)
    x, y = np.meshgrid(axis, axis)
    noise = np.random.default_rng(20230103).random((size, size))
    chest = np.full((size, size), 0.75)
    for centre in (0.3, 0.7):
        distance = ((x - centre) / 0.16) ** 2 + ((y - 0.5) / 0.33) ** 2
        chest -= 0.55 / (1 + np.exp(np.clip(8 * (distance - 1), -50, 50)))
    pictures = np.stack([x, y, np.zeros_like(x), np.ones_like(x), noise, chest])
    return np.round(pictures * 255).astype(np.uint8)


def network_input(inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn stored pictures uint8 [n, size, size] into the network's float32 [n, 1, size, size] in [0, 1]."""
    return inputs[:, None].astype(np.float32) / np.float32(255)


def write_golden(path: Path, predict: Predict, inputs: NDArray[np.uint8], *, sha256: str) -> None:
    """Score the inputs and write them with all outputs that the model gives; the file appears whole or not at all.

    Raises:
        BundleError: the model gives no saliency or no novelty.
    """
    outputs = predict(network_input(inputs))
    arrays: dict[str, Any] = {name: getattr(outputs, name) for name in OUTPUT_NAMES}
    absent = [name for name, array in arrays.items() if array is None]
    if absent:
        raise BundleError(f"cannot write golden vectors {path}: the model gives no {', '.join(absent)}")
    if outputs.input_kind is not None:
        arrays[INPUT_KIND] = outputs.input_kind
    with open_atomic(path) as stream:
        np.savez_compressed(stream, inputs=inputs, sha256=np.array(sha256), **arrays)


def read_golden(path: Path) -> GoldenVectors:
    """Read golden vectors.

    Raises:
        BundleError: missing, damaged, without one of the arrays, or with arrays that do not belong together.
    """
    try:
        with path.open("rb") as stream:
            unpacked = sum(member.file_size for member in zipfile.ZipFile(stream).infolist())
            if unpacked > LARGEST_GOLDEN:
                raise BundleError(
                    f"golden vectors {path}: expected at most {LARGEST_GOLDEN:,} bytes, found {unpacked:,}"
                )
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as arrays:
                names = (*OUTPUT_NAMES, INPUT_KIND) if INPUT_KIND in arrays else OUTPUT_NAMES
                outputs = {name: arrays[name] for name in names}
                inputs, sha256 = arrays["inputs"], str(arrays["sha256"])
    except _UNREADABLE as error:
        raise BundleError(f"cannot read golden vectors {path} ({error}): export the bundle again") from error
    if inputs.dtype != np.uint8 or inputs.ndim != 3 or not len(inputs) or inputs.shape[1] != inputs.shape[2]:  # noqa: PLR2004
        found = f"{inputs.dtype} {list(inputs.shape)}"
        raise BundleError(f"golden vectors {path}: expected inputs uint8 [n, size, size], found {found}: export again")
    for name, array in outputs.items():
        if array.dtype != np.float32 or array.shape[:1] != inputs.shape[:1]:
            expected, found = f"{name} float32 [{len(inputs)}, ...]", f"{array.dtype} {list(array.shape)}"
            raise BundleError(f"golden vectors {path}: expected {expected}, found {found}: export again")
    return GoldenVectors(inputs=inputs, outputs=ModelOutputs(**outputs), sha256=sha256)


def check_golden(predict: Predict, golden: GoldenVectors) -> dict[str, float]:
    """Score the golden inputs and return the largest absolute difference of each output.

    Any runtime can stand behind `predict`. About 1e-4 is what changing the order of float32 sums may cost; a port with
    swapped axes, another resize or another normalisation differs by 0.1 and more.

    Raises:
        BundleError: an output has another shape than the golden one, or one of the two has no `INPUT_KIND`.
    """
    found = predict(network_input(golden.inputs))
    differences: dict[str, float] = {}
    for name in (*OUTPUT_NAMES, INPUT_KIND):
        expected, actual = getattr(golden.outputs, name), getattr(found, name)
        if expected is None and actual is None:
            continue
        if expected is None or actual is None or actual.shape != expected.shape:
            shapes = ["none" if array is None else list(array.shape) for array in (expected, actual)]
            raise BundleError(f"output {name}: expected shape {shapes[0]}, found {shapes[1]}")
        differences[name] = float(np.max(np.abs(expected - actual)))
    return differences
