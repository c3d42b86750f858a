"""Atomic writes: text, bytes, JSON, CSV and copies that appear whole or not at all, whatever stops the program."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path


@contextmanager
def open_atomic(path: Path, *, sync: bool = False) -> Generator[BinaryIO]:
    """Open a temporary file beside `path` for writing bytes; it replaces `path` when the block ends without an error.

    The folder is made where it is missing. After an error the temporary file is removed and `path` is as it was.

    Args:
        path: the file to write.
        sync: wait until the bytes are on disk before `path` is replaced, for what must survive a power cut.

    Raises:
        OSError: no space or no permission.
    """
    with _replacing(path, binary=True) as stream:
        yield stream
        if sync:
            stream.flush()
            os.fsync(stream.fileno())


@contextmanager
def open_atomic_text(path: Path) -> Generator[TextIO]:
    """Like `open_atomic`, for UTF-8 text; line ends are written as they are given."""
    with _replacing(path, binary=False) as stream:
        yield stream


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes; the file appears whole or not at all."""
    with open_atomic(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; the file appears whole or not at all."""
    with open_atomic_text(path) as stream:
        stream.write(text)


def write_json(path: Path, value: Any, *, allow_nan: bool = True) -> None:
    """Write a value as indented JSON; the file appears whole or not at all.

    Args:
        path: the file to write.
        value: plain values; anything else is written as its `str`.
        allow_nan: write NaN and infinity as Python's ``json`` reads them; files for other programs refuse them.

    Raises:
        ValueError: a number is not finite, and `allow_nan` is False.
        OSError: no space or no permission.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=allow_nan, default=str) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table with a header line; the file appears whole or not at all."""
    with open_atomic_text(path) as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


def copy_file(source: Path, path: Path) -> None:
    """Copy a file's bytes; the copy appears whole or not at all."""
    with source.open("rb") as given, open_atomic(path) as stream:
        shutil.copyfileobj(given, stream)


@contextmanager
def _replacing(path: Path, *, binary: bool) -> Generator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") if binary else partial.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
