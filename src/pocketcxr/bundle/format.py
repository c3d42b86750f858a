"""The sealed bundle file: an ONNX model that any runtime loads, with its manifest inside and its hash at the end.

A `.onnx` file is one protobuf message (ModelProto), and protobuf lets a repeated field be appended after the message.
So a bundle is::

    ONNX model, one of its metadata_props being  pocketcxr.manifest = {JSON}
    one more metadata_props entry, appended:     pocketcxr.sha256   = SHA-256 (hexadecimal) of all bytes before it

Everything that reads ONNX reads a bundle; nothing but the standard library is needed to check that it is whole.

Source: Protocol Buffers, "Encoding"; onnx.proto3, ModelProto field 14 and StringStringEntryProto.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.bundle.manifest import Manifest
from pocketcxr.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST_KEY = "pocketcxr.manifest"
SHA256_KEY = "pocketcxr.sha256"
TEMPERATURE = "pocketcxr.temperature"
"""Name of the constant, one float32, that divides the logits."""
WEIGHTS_FOLDER = Path(__file__).parent / "weights"

_GRAPH, _METADATA_PROPS = 7, 14  # ModelProto
_INITIALIZER, _TENSOR_NAME, _RAW_DATA = 5, 8, 9  # GraphProto, TensorProto
_KEY, _VALUE = 1, 2  # StringStringEntryProto
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # protobuf wire types
_HEX_DIGITS = 64


def seal(model: bytes) -> bytes:
    """Append the hash, so that a flipped, missing or added byte is noticed before the model is used.

    Args:
        model: a serialised ONNX model whose metadata hold the manifest.

    Raises:
        BundleError: the model has no readable manifest, or is sealed already.
    """
    if SHA256_KEY in dict(_metadata(model, "model")):
        raise BundleError("cannot seal the model: it is sealed already")
    read_manifest(model, "model to seal")
    return model + _trailer(hashlib.sha256(model).hexdigest())


def with_calibration(data: bytes, manifest: Manifest, name: str) -> bytes:
    """Another manifest, and its temperature in the graph in place of the old one: every other byte stays as it is.

    Args:
        data: all bytes of a bundle.
        manifest: of the new bundle; its `temperature` becomes that of the graph.
        name: the file's name, for messages.

    Returns:
        All bytes of the new bundle, sealed.

    Raises:
        BundleError: no bundle, or one whose graph does not hold its temperature as this project writes it.
    """
    verify(data, name)
    model = bytearray()
    for number, content, whole in _spans(memoryview(data)):
        key = bytes(dict(_walk(content)).get(_KEY, b"")).decode() if number == _METADATA_PROPS else ""
        if key not in {MANIFEST_KEY, SHA256_KEY}:
            model += whole
    constants = [dict(_walk(tensor)) for tensor in _within(memoryview(model), _GRAPH, _INITIALIZER)]
    found = [one[_RAW_DATA] for one in constants if bytes(one.get(_TENSOR_NAME, b"")).decode() == TEMPERATURE]
    if [len(value) for value in found] != [4]:
        raise BundleError(f"{name}: expected one float32 {TEMPERATURE} in the graph, found none: export it again")
    found[0][:] = struct.pack("<f", manifest.temperature)
    entry = _field(_KEY, MANIFEST_KEY.encode()) + _field(_VALUE, manifest.to_json().encode())
    return seal(bytes(model) + _field(_METADATA_PROPS, entry))


def verify(data: bytes, name: str) -> None:
    """Check that a file is a bundle and has not changed since it was sealed.

    Args:
        data: all bytes of the file.
        name: the file's name, for the message.

    Raises:
        BundleError: not an ONNX file, cut short, no bundle, or changed.
    """
    metadata = dict(_metadata(data, name))
    if MANIFEST_KEY not in metadata:
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


def sha256_of(data: bytes, name: str) -> str:
    """Verify a bundle and return the hash it carries (64 hexadecimal digits), its identity in every record.

    Raises:
        BundleError: as `verify`.
    """
    verify(data, name)
    return dict(_metadata(data, name))[SHA256_KEY]


def read_manifest(data: bytes, name: str) -> Manifest:
    """Read the manifest of a bundle without loading the model.

    Raises:
        BundleError: no ONNX file, no manifest, or one that cannot be read.
    """
    text = dict(_metadata(data, name)).get(MANIFEST_KEY)
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
    entry = _field(_KEY, SHA256_KEY.encode()) + _field(_VALUE, digest.encode())
    return _field(_METADATA_PROPS, entry)


def _field(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size >= 0x80:  # noqa: PLR2004  # base 128: the top bit says that more follows
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | _LENGTH, *length, size]) + content


def _metadata(data: bytes, name: str) -> Iterator[tuple[str, str]]:
    """Key and value of every metadata_props entry, walking only the top level of the message."""
    try:
        for number, content in _walk(memoryview(data)):
            if number == _METADATA_PROPS:
                entry = {key: bytes(value).decode() for key, value in _walk(content)}
                yield entry.get(_KEY, ""), entry.get(_VALUE, "")
    except (IndexError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{name}: not a complete ONNX file (another format, cut short or damaged): copy or download it again"
        ) from error


def _within(data: memoryview, *path: int) -> Iterator[memoryview]:
    """Contents of the fields that a path of numbers leads to through nested messages."""
    for number, content in _walk(data):
        if number == path[0]:
            yield from _within(content, *path[1:]) if path[1:] else (content,)


def _walk(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of every field of a protobuf message; IndexError where the message breaks off."""
    for number, content, _ in _spans(data):
        yield number, content


def _spans(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Number, content and all bytes of every field; IndexError where the message breaks off."""
    if not data:
        raise IndexError
    position = 0
    while position < len(data):
        begin = position
        tag, position = _varint(data, position)
        kind, start = tag & 7, position
        if kind == _VARINT:
            _, position = _varint(data, position)
        elif kind == _LENGTH:
            length, start = _varint(data, position)
            position = start + length
        elif kind in {_FIXED64, _FIXED32}:
            position += 8 if kind == _FIXED64 else 4
        else:
            raise IndexError
        if position > len(data) or tag >> 3 == 0:
            raise IndexError
        yield tag >> 3, data[start:position], data[begin:position]


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """A base-128 number and the position after it."""
    number = shift = 0
    while True:
        byte = data[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004  # the top bit says that more follows
            return number, position
