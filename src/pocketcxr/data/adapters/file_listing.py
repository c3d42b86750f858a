"""File listing: what every dataset adapter returns, and how folders are walked and tables read."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pocketcxr.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketcxr.data.rows import IndexRow

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dcm", ".dicom", ".dic", ".ima"}
)
"""Names that claim to be an image; a file without any suffix counts where its bytes say DICOM."""

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})


@dataclass(frozen=True)
class Rejected:
    """A file that is not in the index, and why: one plain line."""

    path: str
    source: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The images of one set before any is opened. `notes` are lines about the set as a whole."""

    rows: tuple[IndexRow, ...]
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayoutOptions:
    """What a user may say of a set.

    `aliases` maps the set's own words to findings; `columns` maps fields of `IndexRow` to the columns of a table of
    your own; `source` overrides the set's name.
    """

    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""


def walk_images(root: Path) -> tuple[list[Path], list[Rejected]]:
    """List the images below a folder in a fixed order, by name; hidden folders and files are left out.

    Returns:
        The images, and the folders that could not be opened, with the reason.
    """
    rejected: list[Rejected] = []

    def denied(error: OSError) -> None:
        rejected.append(Rejected(str(error.filename), "", f"folder cannot be opened ({error.strerror}); check access"))

    images: list[Path] = []
    for folder, names, files in os.walk(root, onerror=denied):
        names[:] = sorted(name for name in names if not _hidden(name))
        images += [path for path in (Path(folder) / name for name in sorted(files)) if is_image_name(path)]
    return images, rejected


def is_image_name(path: Path) -> bool:
    """Whether a file claims to be an image, by its suffix or, without one, by DICOM's magic bytes."""
    if _hidden(path.name):
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES or (not path.suffix and is_dicom(path))


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its suffix, or by the ``DICM`` after its 128-byte preamble (DICOM PS3.10, 7.1)."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    if path.suffix:
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def subfolders(root: Path) -> list[Path]:
    """Visible folders directly below, in a fixed order; none where the folder cannot be opened."""
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not _hidden(path.name))
    except OSError:
        return []


def read_table(path: Path, *required: str, delimiter: str = ",") -> list[dict[str, str]]:
    """Read a set's own table; every value is a string without outer blanks.

    Raises:
        DataError: unreadable, or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter=delimiter)
            columns = list(reader.fieldnames or ())
            missing = [column for column in required if column not in columns]
            if missing:
                raise DataError(f"{path}: expected the columns {list(required)}, {missing} missing; found {columns}")
            return [{key: (value or "").strip() for key, value in line.items() if key} for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read table {path}: {error}") from error


def table_columns(path: Path) -> tuple[str, ...]:
    """Column names of a CSV; empty where there is no such table."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return tuple(next(csv.reader(stream), ()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()


def prefixed(source: str, number: str) -> str:
    """An identifier with its source in front, so that equal numbers of two sets stay two; empty stays empty."""
    return f"{source}:{number}" if number else ""


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))
