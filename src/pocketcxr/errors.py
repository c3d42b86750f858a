"""Every error that pocketcxr raises on purpose, so that one ``except`` catches what a user can act on.

::

    PocketCxrError
    ├── InputError               an image that cannot be used
    │   ├── UnreadableImageError   not decodable: empty, truncated, not an image, no permission, too large
    │   └── UnusableImageError     decodable, but its pixels have no defined grey scale to score
    ├── DataError                an index, table or split that is wrong or too small
    │   └── LeakError              one patient or one duplicate group on both sides of a split
    ├── ConfigError              an experiment or option that contradicts itself or names something unknown
    ├── ReleaseError                a student that failed its audit and is to be exported all the same
    ├── BundleError              a bundle that is damaged, modified or of another format
    ├── ArchiveError             an image archive that cannot be reached, refuses, or answers with something else
    ├── TrainingError            a run that cannot go on
    │   ├── CheckpointError        a checkpoint that is damaged or belongs to another configuration
    │   ├── CacheError             a cache that is damaged or belongs to other data
    │   └── NonFiniteLossError     the loss became NaN or infinite at a named step
    └── MissingExtraError        an optional dependency is not installed

A message says what was expected, what was found, which file, and what to do. It never holds a patient identifier.
"""

from __future__ import annotations

import importlib.util
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVALUATE = ("huggingface_hub", "jinja2", "matplotlib", "scipy", "sklearn")

EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "deidentify": ("dicomanonymizer", "rapidocr"),
        "evaluate": _EVALUATE,
        "pacs": ("highdicom", "requests"),
        "cluster": ("ray", "pandas", "pyarrow", "fsspec", "s3fs", "requests"),
        "executorch": ("executorch", "torch"),
        "litert": ("ai_edge_litert", "litert_torch", "torch"),
        "mlflow": ("mlflow", "alembic", "sqlalchemy"),
        "parquet": ("pyarrow",),
        "runtimes": ("openvino", "ai_edge_litert"),
        "search": ("filelock", "optuna"),
        "serve": ("fastapi", "prometheus_client", "pydantic", "python_multipart", "starlette", "uvicorn"),
        "tensorboard": ("tensorboard",),
        "train": ("torch", "timm", "accelerate", "onnx", "onnxscript", "safetensors", *_EVALUATE),
    }
)
"""Optional dependencies by the extra that brings them: their top-level modules."""


class PocketCxrError(Exception):
    """Root of all deliberate errors; the command line prints it as one line and exits with status 2."""


class InputError(PocketCxrError):
    """An image that cannot be used; the batch goes on without it.

    `code` names the cause and stays the same whatever the message says; the web page has the same codes
    (``docs/reference/web-core.md`` lists them). `category` is the code of the image's record and HTTP problem.
    """

    category = "unreadable"
    default_code = "invalid-array"

    def __init__(self, message: str, code: str = "") -> None:
        """Take the message for people and the code of the cause."""
        super().__init__(message)
        self.code = code or self.default_code


class UnreadableImageError(InputError):
    """The file cannot be decoded (empty, truncated, another format, no permission, too many pixels)."""

    default_code = "damaged"


class UnusableImageError(InputError):
    """The file decodes, but a defined grey-scale radiograph cannot be derived from it without guessing."""

    category = "unusable"
    default_code = "undefined-grey-scale"


class DataError(PocketCxrError):
    """An index, table or split that is wrong, contradictory or too small for what was asked."""


class LeakError(DataError):
    """The same patient, study or near-duplicate image stands on both sides of a split."""


class ConfigError(PocketCxrError):
    """An option or experiment file that names something unknown or contradicts itself."""


class ReleaseError(PocketCxrError):
    """A student whose audit failed is not exported unless somebody forces it."""


class BundleError(PocketCxrError):
    """A bundle file that is damaged, was modified, or has another format version."""


class ArchiveError(PocketCxrError):
    """An image archive that cannot be reached, refuses, or answers with something else; no patient is named.

    `status`: of its answer (HTTP), 0 where there was none. `passing`: the same request may succeed later.
    """

    def __init__(self, message: str, *, status: int = 0, passing: bool = False) -> None:
        """Take the message for people, and what programs decide by."""
        super().__init__(message)
        self.status, self.passing = status, passing


class TrainingError(PocketCxrError):
    """A training run that cannot go on."""


class CheckpointError(TrainingError):
    """A checkpoint that is damaged or belongs to another configuration."""


class CacheError(TrainingError):
    """A cache (pixels or teacher views) that is damaged or belongs to other data."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite; the message names the step and the part."""


class MissingExtraError(PocketCxrError):
    """An optional dependency is not installed; the message says what to install."""


def require_extra(extra: str, *modules: str) -> None:
    """Refuse in one line when an optional dependency is missing, before any work is done.

    Args:
        extra: a name in `EXTRAS`.
        modules: those that are needed; none means all of the extra. They are located, not imported.

    Raises:
        MissingExtraError: naming the first module that is missing and the command that installs it.
    """
    for module in modules or EXTRAS[extra]:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(
                f"this command needs {module}, which is not installed: run  pip install 'pocketcxr[{extra}]'"
            )


def expect(holds: bool, name: str, expected: str, found: object) -> None:
    """Refuse a value, naming the field, what is expected and what was found.

    Raises:
        ConfigError: where `holds` is false.
    """
    if not holds:
        raise ConfigError(f"{name}: expected {expected}, found {found!r}")
