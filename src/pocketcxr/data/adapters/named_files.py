"""Finds the files that a table names, whatever system wrote the names: Windows, macOS, an old archive."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pocketcxr.plain_text import path_of_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_WINDOWS_ROOT = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def same_name(name: str) -> str:
    """What is equal for two spellings of one file name: composed or decomposed accents, letters of either case.

    A name that is no UTF-8 is taken as Windows-1252, in which archives of older Windows hold names.
    """
    raw = os.fsencode(name)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def is_foreign_path(name: str) -> bool:
    """Whether a name begins at a drive or share of Windows, on another system."""
    return os.sep == "/" and bool(_WINDOWS_ROOT.match(name))


def with_slashes(name: str) -> str:
    """A relative name as this system separates folders."""
    return name.replace("\\", "/") if os.sep == "/" else name


class NamedFiles:
    """Files by the names that tables give them; each folder is listed at most once."""

    def __init__(self) -> None:
        """Begin without any folder listed."""
        self._listed: dict[Path, Mapping[str, list[str]]] = {}

    def find(self, name: str, folder: Path) -> tuple[Path, str]:
        """Find a file; relative names start at `folder`.

        Returns:
            The file and "", or the name as a path and the reason why there is no such file.
        """
        literal = Path(path_of_text(str(folder / name)))
        if literal.is_file():
            return literal, ""
        if is_foreign_path(name):
            return literal, "it is a path of a Windows computer; name files relative to the table"
        wanted = PurePosixPath(with_slashes(name)) if os.sep == "/" else Path(name)
        place = Path(wanted.anchor) if wanted.anchor else folder
        for part in wanted.parts[1:] if wanted.anchor else wanted.parts:
            if not (place / part).exists():
                found = self._names(place).get(same_name(part), [])
                if len(found) > 1:
                    return literal, f"it may be {' or '.join(found)}; write the name as it is on disk"
                if not found:
                    return literal, "there is no such file"
                part = found[0]  # noqa: PLW2901
            place /= part
        return (place, "") if place.is_file() else (literal, "there is no such file")

    def _names(self, folder: Path) -> Mapping[str, list[str]]:
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            try:
                for name in sorted(os.listdir(folder)):  # noqa: PTH208
                    names.setdefault(same_name(name), []).append(name)
            except OSError:
                pass
            self._listed[folder] = names
        return self._listed[folder]
