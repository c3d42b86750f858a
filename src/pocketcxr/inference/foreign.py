"""An ONNX classifier that is no bundle, with a description beside it: images in, probabilities out."""
# ONNX Runtime ships no types for its C++ part:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.bundle.description import ModelDescription, read_description
from pocketcxr.bundle.graph import refuse_external_data
from pocketcxr.errors import BundleError, ConfigError, DataError
from pocketcxr.inference.session import RUNTIME_ERRORS, first_line, session_of

if TYPE_CHECKING:
    from pathlib import Path

    import onnxruntime
    from numpy.typing import NDArray

_IMAGES_PER_PASS = 16


@dataclass(frozen=True, eq=False)
class ForeignModel:
    """A loaded classifier, callable on images; `labels` and `image_size` as its description has them."""

    path: Path
    description: ModelDescription
    session: onnxruntime.InferenceSession

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes in the order of the probabilities."""
        return self.description.labels

    @property
    def image_size(self) -> int:
        """Pixels of each side of the images it takes."""
        return self.description.image_size

    def __call__(self, images: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Return probabilities [n, labels] of images [n, 1, size, size], float32 in [0, 1], MONOCHROME2.

        Raises:
            DataError: the network does not take such images, or its output is not what the description says.
        """
        parts: list[NDArray[np.float32]] = [np.zeros((0, len(self.labels)), np.float32)]
        for start in range(0, len(images), _IMAGES_PER_PASS):
            (found,) = self.run(self.description.prepare(images[start : start + _IMAGES_PER_PASS]), self.output)
            parts.append(self.description.probabilities(found, str(self.path)))
        return np.concatenate(parts)

    @property
    def output(self) -> str:
        """Name of the output that tells the classes."""
        return self.description.output or self.session.get_outputs()[0].name

    def run(self, prepared: NDArray[np.float32], *outputs: str) -> list[NDArray[Any]]:
        """Raw outputs, by name, of images as `description.prepare` gives them.

        Raises:
            DataError: the network does not take such images.
        """
        node = self.session.get_inputs()[0]
        fixed = node.shape[0] if isinstance(node.shape[0], int) else 0  # a batch size that the graph insists on
        parts: list[list[NDArray[Any]]] = []
        for start in range(0, len(prepared), fixed or len(prepared)):
            block = prepared[start : start + (fixed or len(prepared))]
            count = len(block)
            if count < fixed:
                block = np.concatenate([block, np.zeros((fixed - count, *block.shape[1:]), np.float32)])
            try:
                found = self.session.run(list(outputs), {node.name: block})
            except RUNTIME_ERRORS as error:
                raise DataError(f"{self.path}: {first_line(error)}") from error
            parts.append([np.asarray(one)[:count] for one in found])
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    predict = __call__


def description_path(path: Path) -> Path:
    """Where the description of an ONNX file lies: ``model.toml`` beside ``model.onnx``."""
    return path.with_suffix(".toml")


def load_foreign_model(path: Path, *, threads: int | None = None) -> ForeignModel:
    """Load an ONNX classifier with its description (see `pocketcxr.bundle.description`).

    Args:
        path: the ONNX file; its description lies beside it, see `description_path`.
        threads: as for `inference.session.load_bundle`.

    Raises:
        ConfigError: no description, or one that does not fit the file.
        BundleError: a file that the runtime cannot load, or that keeps weights in other files.
    """
    description = read_description(description_path(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    refuse_external_data(data, str(path))
    session = session_of(data, str(path), threads=threads)
    inputs, outputs = session.get_inputs(), [node.name for node in session.get_outputs()]
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{node.name} {node.type}" for node in inputs)
        raise ConfigError(f"{path}: expected one input of float32 images, found {found}")
    for name in filter(None, (description.output, description.embedding)):
        if name not in outputs:
            raise ConfigError(f"{path}: expected the output {name!r}, found {', '.join(outputs)}")
    return ForeignModel(path, description, session)
