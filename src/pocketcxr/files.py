"""Atomic writes: text, bytes, JSON, CSV and copies that appear whole or not at all, whatever stops the program.

Beside them what else commands ask of files: hashes, secrets, places to write to.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from pocketcxr.errors import ConfigError
from pocketcxr.plain_text import json_text, one_line, table_cell

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence


@contextmanager
def open_atomic(path: Path, *, sync: bool = False, private: bool = False) -> Generator[BinaryIO]:
    """Open a temporary file beside `path` for writing bytes; it replaces `path` when the block ends without an error.

    The folder is made where it is missing. After an error the temporary file is removed and `path` is as it was.

    Args:
        path: the file to write.
        sync: wait until the bytes are on disk before `path` is replaced, for what must survive a power cut.
        private: only its owner may read it, for what holds identifiers.

    Raises:
        OSError: no space or no permission.
    """
    with _replacing(path, binary=True, private=private) as stream:
        yield stream
        if sync:
            stream.flush()
            os.fsync(stream.fileno())


@contextmanager
def open_atomic_text(path: Path, *, private: bool = False) -> Generator[TextIO]:
    """Like `open_atomic`, for UTF-8 text; line ends are written as they are given."""
    with _replacing(path, binary=False, private=private) as stream:
        yield stream


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes; the file appears whole or not at all."""
    with open_atomic(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write UTF-8 text; the file appears whole or not at all. A `private` one only its owner may read."""
    with open_atomic_text(path, private=private) as stream:
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
    write_text(path, json_text(value, allow_nan=allow_nan))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]], *, private: bool = False) -> None:
    """Write a table with a header line; the file appears whole or not at all.

    Args:
        path: the file to write.
        columns: the header.
        rows: cells; text goes through `pocketcxr.plain_text.table_cell`.
        private: only its owner may read it, for what holds identifiers.
    """
    with open_atomic_text(path, private=private) as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows([table_cell(cell) for cell in row] for row in rows)


def copy_file(source: Path, path: Path) -> None:
    """Copy a file's bytes; the copy appears whole or not at all."""
    with source.open("rb") as given, open_atomic(path) as stream:
        shutil.copyfileobj(given, stream)


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_private(name: str, flags: int) -> int:
    """Open a file that is made for its owner only; an ``opener`` for Python's `open`."""
    descriptor = os.open(name, flags, _OWNER_ONLY)
    if hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):  # another's file, or a file system without modes
            os.fchmod(descriptor, _OWNER_ONLY)  # of a file that was there before, too
    return descriptor


def named_path(given: str | os.PathLike[str]) -> Path:
    """A path that is named: an empty one, as of a variable that is not set, would mean the working folder.

    Raises:
        ConfigError: empty, or nothing but blanks.
    """
    if not os.fspath(given).strip():
        raise ConfigError("expected a path, found an empty one; is a variable not set?")
    return Path(given)


def read_secret(path: Path, what: str) -> str:
    """A token or password from a text file, without the blanks around it.

    Args:
        path: the file.
        what: it is, for messages, which never hold the secret.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    try:
        secret = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what}: {path} cannot be read ({type(error).__name__}); name a text file") from error
    if not secret:
        raise ConfigError(f"{what}: expected text in {path}, found nothing")
    return secret


def check_output(path: Path, *, folder: bool, keep: bool = True) -> None:
    """Refuse, before any work is done, an output that could not be written at its end.

    Args:
        path: the file or folder to write; folders that are missing are made.
        folder: whether `path` is a folder.
        keep: leave the folders that were made.

    Raises:
        ConfigError: naming what is in the way.
    """
    place = path if folder else path.parent
    trial = place / f".pocketcxr-{os.getpid()}.partial"
    try:
        if not folder and path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        made = [one for one in (place, *place.parents) if not one.exists()]
        place.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
        for one in [] if keep else made:
            one.rmdir()
    except OSError as error:
        if error.filename == str(trial):
            error.filename = str(place)
        raise ConfigError(cannot_write(path, error)) from error


def cannot_write(path: Path, error: OSError) -> str:
    """One line on why a file or folder cannot be written, with advice that fits the cause."""
    where = one_line(error.filename or path)
    where = "" if where == one_line(path) else f"{where}: "
    return f"cannot write {one_line(path)}: {where}{error.strerror or error}; {advice_for(error)}"


def advice_for(error: OSError) -> str:
    """What helps where something could not be written or read, in words."""
    return _ADVICE.get(error.errno or 0, "check the place, or name another")


_OWNER_ONLY = 0o600
_ELSEWHERE = "the place is a file where a folder is needed: name another"
_ADVICE = {
    errno.EEXIST: _ELSEWHERE,
    errno.ENOTDIR: _ELSEWHERE,
    errno.EISDIR: "it is a folder where a file is needed: name a file",
    errno.EROFS: "the disk is read-only: name a place on another",
    errno.EACCES: "ask its owner for permission, close programs that have it open, or name another place",
    errno.EPERM: "ask its owner for permission, or name another place",
    errno.ENOSPC: "the disk is full: make room, or name a place on another",
    errno.EDQUOT: "your share of the disk is full: make room, or name a place on another",
    errno.ENAMETOOLONG: "the name is too long: name a shorter one",
    errno.ELOOP: "links there lead in a circle: name another place",
}
"""Why something cannot be written to what helps."""


@contextmanager
def _replacing(path: Path, *, binary: bool, private: bool) -> Generator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    # Lone surrogates, from names that are no UTF-8, must not end hours of work: they are escaped.
    try:
        with open(  # Path.open has no opener
            partial,
            "wb" if binary else "w",
            encoding=None if binary else "utf-8",
            errors=None if binary else "backslashreplace",
            newline=None if binary else "",
            opener=open_private if private else None,
        ) as stream:
            yield stream
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
