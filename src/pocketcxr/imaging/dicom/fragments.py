"""Finds the frame of compressed pixel data in its fragments (PS3.5 A.4), also where the sequence is not closed.

Which fragments make a frame is said by no offset table here: one picture is read, and all of them are its own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pocketcxr.errors import UnreadableImageError, UnusableImageError

_ITEM = 0xFFFEE000
_SEQUENCE_END = 0xFFFEE0DD
_ITEM_HEADER = 8  # bytes of tag and length
_MOST_FRAGMENTS = 65_536
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP")  # of JPEG, of JPEG 2000, of its file format
_RLE_HEADER = 64  # bytes, at whose end the first segment starts (PS3.5 annex G)


@dataclass(frozen=True)
class Fragments:
    """The contents of the items, the offset table's among them, and where the sequence ends in the data."""

    contents: tuple[bytes, ...]
    end: int


def find_fragments(data: bytes, start: int, *, little: bool, name: str) -> Fragments:
    """Walk the items from `start` to the delimiter, or, where there is none, to what is no item.

    An item that is longer than the data ends with them, and an item of odd length may be followed by a byte of padding:
    whether a picture is whole is for its codestream to tell.

    Raises:
        UnreadableImageError: more items than any picture has.
    """
    contents: list[bytes] = []
    layout, position = struct.Struct("<HHL" if little else ">HHL"), start
    while position + _ITEM_HEADER <= len(data):
        tag, length = _item(layout, data, position)
        if tag != _ITEM and contents and len(contents[-1]) % 2:
            position += 1
            if position + _ITEM_HEADER > len(data):
                break
            tag, length = _item(layout, data, position)
        if tag != _ITEM:
            return Fragments(tuple(contents), position + (_ITEM_HEADER if tag == _SEQUENCE_END else 0))
        if len(contents) == _MOST_FRAGMENTS:
            raise UnreadableImageError(f"{name}: the pixel data have more than {_MOST_FRAGMENTS:,} fragments")
        position += _ITEM_HEADER
        contents.append(data[position : position + length])
        position += len(contents[-1])
    return Fragments(tuple(contents), len(data))


def _item(layout: struct.Struct, data: bytes, position: int) -> tuple[int, int]:
    group, element, length = layout.unpack_from(data, position)
    return group << 16 | element, length


def join_frame(fragments: Fragments, name: str) -> bytes:
    """The one frame that the fragments hold.

    Raises:
        UnreadableImageError: no fragment at all.
        UnusableImageError: fragments of a second frame.
    """
    # the first item is the offset table, except where a writer left it out
    table, *rest = fragments.contents or (b"",)
    parts = [part for part in ([table, *rest] if table.startswith(_STARTS) or not rest else rest) if part]
    if not parts:
        raise UnreadableImageError(f"{name}: the DICOM file ends early, before its pixels; send it again")
    first = parts[0]
    is_rle = int.from_bytes(first[4:8], "little") == _RLE_HEADER
    if any(part.startswith(_STARTS) or (is_rle and part[:8] == first[:8]) for part in parts[1:]):
        raise UnusableImageError(
            f"{name}: expected one picture, found several in the compressed pixel data; export the one to score",
            "several-frames",
        )
    return first if len(parts) == 1 else b"".join(parts)
