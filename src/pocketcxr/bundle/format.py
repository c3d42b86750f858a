"""The sealed bundle file: an ONNX model that any runtime loads, with its manifest inside and its hash at the end.

A `.onnx` file is one protobuf message (ModelProto), and protobuf lets a repeated field be appended after the message.
So a bundle is::

    ONNX model, one of its metadata_props being  pocketcxr.manifest = {JSON}
    one more metadata_props entry, appended:     pocketcxr.sha256   = SHA-256 (hexadecimal) of all bytes before it

Everything that reads ONNX reads a bundle; nothing but the standard library is needed to check that it is whole.

What runs is inside these bytes: a graph that takes numbers from elsewhere is refused (`bundle.graph`), so that one hash
means one set of answers.

Source: onnx.proto3, ModelProto field 14 and StringStringEntryProto.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from pocketcxr.bundle.graph import check_graph
from pocketcxr.bundle.manifest import Manifest
from pocketcxr.bundle.protobuf import field, spans, walk, within
from pocketcxr.errors import BundleError

MANIFEST_KEY = "pocketcxr.manifest"
SHA256_KEY = "pocketcxr.sha256"
TEMPERATURE = "pocketcxr.temperature"
"""Name of the constant, one float32, that divides the logits."""
WEIGHTS_FOLDER = Path(__file__).parent / "weights"

_GRAPH, _METADATA_PROPS = 7, 14  # ModelProto
_INITIALIZER, _TENSOR_NAME, _RAW_DATA = 5, 8, 9  # GraphProto, TensorProto
_KEY, _VALUE = 1, 2  # StringStringEntryProto
_HEX_DIGITS = 64


def seal(model: bytes) -> bytes:
    """Append the hash, so that a flipped, missing or added byte is noticed before the model is used.

    Args:
        model: a serialised ONNX model whose metadata hold the manifest.

    Raises:
        BundleError: the model has no readable manifest, is sealed already, or has a graph that no seal covers.
    """
    if SHA256_KEY in _metadata(model, "model"):
        raise BundleError("cannot seal the model: it is sealed already")
    read_manifest(model, "model to seal")
    check_graph(model, "model to seal")
    return model + _trailer(hashlib.sha256(model).hexdigest())


def with_calibration(data: bytes, manifest: Manifest, name: str) -> bytes:
    """Another manifest, and its temperature in the graph in place of the old one: every other byte stays as it is.

    Args:
        data: all bytes of a bundle.
        manifest: of the new bundle; its temperature, or those of its findings, become those of the graph.
        name: the file's name, for messages.

    Returns:
        All bytes of the new bundle, sealed.

    Raises:
        BundleError: no bundle, or one whose graph does not hold its temperature as this project writes it.
    """
    verify(data, name)
    model = bytearray()
    for number, content, whole in spans(memoryview(data)):
        key = bytes(dict(walk(content)).get(_KEY, b"")).decode() if number == _METADATA_PROPS else ""
        if key not in {MANIFEST_KEY, SHA256_KEY}:
            model += whole
    constants = [dict(walk(tensor)) for tensor in within(memoryview(model), _GRAPH, _INITIALIZER)]
    found = [one[_RAW_DATA] for one in constants if bytes(one.get(_TENSOR_NAME, b"")).decode() == TEMPERATURE]
    wanted = [one.temperature for one in manifest.findings] or [manifest.temperature]
    if [len(value) for value in found] != [4 * len(wanted)]:
        raise BundleError(f"{name}: expected {len(wanted)} float32 {TEMPERATURE} in the graph: export it again")
    found[0][:] = struct.pack(f"<{len(wanted)}f", *wanted)
    entry = field(_KEY, MANIFEST_KEY.encode()) + field(_VALUE, manifest.to_json().encode())
    return seal(bytes(model) + field(_METADATA_PROPS, entry))


def verify(data: bytes, name: str) -> None:
    """Check that a file is a bundle and has not changed since it was sealed.

    Args:
        data: all bytes of the file.
        name: the file's name, for the message.

    Raises:
        BundleError: not an ONNX file, cut short, no bundle, changed, or with a graph that its seal does not cover.
    """
    if MANIFEST_KEY not in _metadata(data, name):
        raise BundleError(
            f"{name}: an ONNX model, but no pocketcxr bundle (no {MANIFEST_KEY} in its metadata): "
            "give a file that pocketcxr exported"
        )
    model = memoryview(data)[: -len(_trailer("0" * _HEX_DIGITS))]
    if bytes(data[len(model) :]) != _trailer(hashlib.sha256(model).hexdigest()):
        raise BundleError(
            f"{name}: the bundle was changed after it was sealed (its SHA-256 does not fit): "
            "copy or download it again from where it was published"
        )
    check_graph(data, name)


def sha256_of(data: bytes, name: str) -> str:
    """Verify a bundle and return the hash it carries (64 hexadecimal digits), its identity in every record.

    Raises:
        BundleError: as `verify`.
    """
    verify(data, name)
    return _metadata(data, name)[SHA256_KEY]


def read_manifest(data: bytes, name: str) -> Manifest:
    """Read the manifest of a bundle without loading the model.

    Raises:
        BundleError: no ONNX file, no manifest, or one that cannot be read.
    """
    text = _metadata(data, name).get(MANIFEST_KEY)
    if text is None:
        raise BundleError(f"{name}: an ONNX model without {MANIFEST_KEY} in its metadata is no pocketcxr bundle")
    try:
        return Manifest.from_json(text)
    except BundleError as error:
        raise BundleError(f"{name}: {error}") from error


def read_bundle(path: Path) -> bytes:
    """Read all bytes of a bundle file.

    Raises:
        BundleError: no such file, a folder, or no permission.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read bundle {path}: {error.strerror}; give the .onnx file of a bundle") from error


def default_bundle_path() -> Path:
    """Path of the student that comes with the package.

    Raises:
        BundleError: this copy of the package brings none, or several.
    """
    found = sorted(WEIGHTS_FOLDER.glob("*.onnx"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise BundleError(f"expected one bundle in {WEIGHTS_FOLDER}, found {names}: name one with --bundle FILE")
    raise BundleError(
        "this copy of pocketcxr brings no trained student: "
        "name a bundle with --bundle FILE, or make one with  pocketcxr distill"
    )


def _trailer(digest: str) -> bytes:
    """The metadata_props entry of the hash as raw protobuf bytes."""
    entry = field(_KEY, SHA256_KEY.encode()) + field(_VALUE, digest.encode())
    return field(_METADATA_PROPS, entry)


def _metadata(data: bytes, name: str) -> dict[str, str]:
    """Key to value of every metadata_props entry, walking only the top level of the message."""
    found: dict[str, str] = {}
    try:
        for number, content in walk(memoryview(data)):
            if number == _METADATA_PROPS:
                entry = {key: bytes(value).decode() for key, value in walk(content)}
                key = entry.get(_KEY, "")
                if key in found and key in {MANIFEST_KEY, SHA256_KEY}:  # each reader would take the one it likes
                    raise BundleError(f"{name}: expected one {key} in the metadata, found two: export the bundle again")
                found[key] = entry.get(_VALUE, "")
    except (IndexError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{name}: not a complete ONNX file (another format, cut short or damaged): copy or download it again"
        ) from error
    return found
