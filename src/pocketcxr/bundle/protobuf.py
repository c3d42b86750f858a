"""Protocol Buffers read and written without a library: enough to check a bundle where no ONNX package is installed.

Source: Protocol Buffers, "Encoding".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types
_LARGEST_NUMBER = 2**29 - 1  # beyond it other readers drop the upper bits, and see another field than is seen here
_LONGEST_VARINT = 70  # bits: ten bytes of seven


def field(number: int, content: bytes) -> bytes:
    """Bytes of a field whose content has a length: text, bytes or a message; `number` below 16."""
    length, size = bytearray(), len(content)
    while size >= 0x80:  # noqa: PLR2004  # base 128: the top bit says that more follows
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | _LENGTH, *length, size]) + content


def within(data: memoryview, *path: int) -> Iterator[memoryview]:
    """Contents of the fields that a path of numbers leads to through nested messages."""
    for number, content in walk(data):
        if number == path[0]:
            yield from within(content, *path[1:]) if path[1:] else (content,)


def walk(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of every field of a protobuf message; IndexError where the message breaks off."""
    for number, content, _ in spans(data):
        yield number, content


def spans(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
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
        if position > len(data) or not 0 < tag >> 3 <= _LARGEST_NUMBER:
            raise IndexError
        yield tag >> 3, data[start:position], data[begin:position]


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """A base-128 number and the position after it."""
    number = shift = 0
    while shift < _LONGEST_VARINT:
        byte = data[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004  # the top bit says that more follows
            return number, position
    raise IndexError
