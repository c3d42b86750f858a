"""A bundle converted for another runtime: its files' names, and the record beside them that ties them to the bundle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pocketcxr.errors import BundleError
from pocketcxr.files import sha256_of_file, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUFFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"litert": (".tflite",), "executorch": (".pte",), "openvino": (".xml", ".bin")}
)
"""Format to the ends of its files' names; ``student.onnx`` becomes ``student.tflite``."""


@dataclass(frozen=True)
class ConvertedRecord:
    """What is on record of a conversion.

    `bundle_sha256` of the bundle, `files` names with their SHA-256, `outputs` in the order of the converted graph,
    `differences` the largest of each output over the golden vectors (see `checks.differences_from_golden`), `software`
    that converted.
    """

    format: str
    bundle_sha256: str
    files: dict[str, str]
    outputs: list[str]
    differences: dict[str, float]
    software: dict[str, str]


def converted_path(bundle: Path, output_format: str) -> Path:
    """Where the first file of a conversion stands beside its bundle."""
    return bundle.with_suffix(SUFFIXES[output_format][0])


def record_path(converted: Path) -> Path:
    """Where the record of a converted file stands: ``student.tflite`` has ``student.tflite.json``."""
    return converted.with_name(f"{converted.name}.json")


def write_record(converted: Path, record: ConvertedRecord) -> None:
    """Write the record beside the converted file."""
    write_json(record_path(converted), asdict(record))


def read_converted(bundle: Path, bundle_sha256: str, output_format: str) -> tuple[Path, ConvertedRecord]:
    """Find the conversion of a bundle and check that it is whole and of this very bundle.

    Raises:
        BundleError: missing, changed, or of another bundle.
    """
    path = converted_path(bundle, output_format)
    again = f"run  pocketcxr export --bundle {bundle.name} --format {output_format}"
    try:
        record = ConvertedRecord(**json.loads(record_path(path).read_text(encoding="utf-8")))
        found = {name: sha256_of_file(path.with_name(name)) for name in record.files}
    except OSError as error:
        name = path.with_name(path.name).name
        raise BundleError(f"{bundle}: no {output_format} file {name} with its record beside it: {again}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BundleError(f"{record_path(path)}: not the record of a converted bundle: {again}") from error
    if record.format != output_format or record.bundle_sha256 != bundle_sha256:
        raise BundleError(f"{path}: converted from another bundle than {bundle}: {again}")
    if found != record.files or path.name not in found:
        raise BundleError(f"{path}: changed since it was converted: {again}")
    return path, record
