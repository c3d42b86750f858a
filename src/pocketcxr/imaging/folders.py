"""Walks folders: every entry is an image to be read, or named with the reason why it is none."""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.imaging.file_type import foreign_format, is_foreign_picture, looks_like_dicom, raster_format
from pocketcxr.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})

IMAGE_SUFFIXES = DICOM_SUFFIXES | frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp"),
        # not read: an error that names the file is better than silence
        *(".gif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".heic", ".heif", ".avif", ".jxl"),
        *(".pgm", ".ppm", ".pnm"),
    }
)
"""Names that claim to be an image; a file of any other name counts where its first bytes are those of one."""

COMPRESSED_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zst"})

SORTED_AT_ONCE = 20_000
"""Entries of one folder that are sorted together; 20,000 take about 15 MB."""

HEAD_BYTES = 1024
"""Enough for DICM after its preamble of 128, for the first elements of a bare data set, and to tell text."""


@dataclass(frozen=True)
class Entry:
    """Something in a folder: an image where `why` is empty, else the reason why it is passed over.

    `unread` is a folder that cannot be listed, or a link to a folder that is not followed: images may be lost with it.
    """

    path: Path
    why: str = ""
    unread: bool = False


class LinkedFolders:
    """Decides which links to folders are followed: each folder is read once, and a loop of links ends."""

    def __init__(self, top: Path) -> None:
        """Begin below a folder."""
        self._entered = [Path(os.path.realpath(top))]

    def refusal(self, path: Path) -> str:
        """Why a folder is not read here, or "" after it is noted as read; folders that are no links are told apart."""
        if len(self._entered) == 1 and not path.is_symlink():
            return ""
        target = Path(os.path.realpath(path))
        if not path.is_symlink():
            return "a folder that is read through a link already" if target in self._entered else ""
        if self._entered[0].is_relative_to(target):
            return "a link to a folder around it, which is not followed"
        if any(target.is_relative_to(one) for one in self._entered):
            return f"a link to {one_line(target)}, which is read by itself"
        self._entered.append(target)
        return ""


class PassedOver:
    """Counts what a walk passes over, for one line that says so."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._counts: Counter[str] = Counter()

    def add(self, entry: Entry) -> None:
        """Count an entry that is no image."""
        self._counts[entry.why] += 1

    @property
    def total(self) -> int:
        """How many entries were passed over."""
        return self._counts.total()

    def reasons(self) -> str:
        """Say why entries were passed over, and how many for each reason; "" where there were none."""
        return ", ".join(f"{count} {why}" for why, count in self._counts.most_common())

    def line(self) -> str:
        """Say how many entries were passed over, by reason; "" where there were none."""
        if not self._counts:
            return ""
        entries = "entry that is no image" if self.total == 1 else "entries that are no images"
        return f"passed over {self.total} {entries}: {self.reasons()}"


def walk(folder: Path, *, links: LinkedFolders | None = None) -> Iterator[Entry]:
    """Yield every entry below a folder, in natural order (2 before 10); hidden ones are passed over whole.

    Links to folders are followed, unless they lead to what is read anyway. Of a folder with very many entries, portions
    of `SORTED_AT_ONCE` are sorted, in the order in which the system lists them, so that a million names are never held
    at once.

    Args:
        folder: where to begin.
        links: of an outer walk; None begins a new one.
    """
    links = links or LinkedFolders(folder)
    try:
        with os.scandir(folder) as listing:
            while entries := sorted(itertools.islice(listing, SORTED_AT_ONCE), key=lambda one: natural_key(one.name)):
                for entry in entries:
                    yield from _entry(folder / entry.name, links)
    except OSError as error:
        yield Entry(folder, f"a folder that cannot be opened ({error.strerror}); check access", unread=True)


def is_image(path: Path) -> bool:
    """Whether a file claims to be an image by its name, or is one by its first bytes."""
    return claims_image(path) or not _why_no_image(path)


def claims_image(path: Path) -> bool:
    """Whether a file's name claims that it is an image, compressed once more or not."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (
        suffix in COMPRESSED_SUFFIXES and Path(path.stem).suffix.lower() in IMAGE_SUFFIXES
    )


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its name or, where the name says nothing of an image, by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return suffix in DICOM_SUFFIXES
    try:
        return looks_like_dicom(_head(path))
    except OSError:
        return False


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key: runs of digits by their number, the rest without regard to case, ties by the exact name."""
    parts = re.split(r"([0-9]+)", name)
    key = [(1, int(part), "") if part.isdecimal() and part.isascii() else (0, 0, part.lower()) for part in parts]
    return [*key, (0, 0, name)]


def is_hidden(name: str) -> bool:
    """Whether an entry is hidden: a dot in front, or what macOS puts into archives."""
    return name.startswith((".", "__MACOSX"))


def _entry(path: Path, links: LinkedFolders) -> Iterator[Entry]:
    if is_hidden(path.name):
        yield Entry(path, "hidden")
        return
    try:
        mode = path.stat().st_mode
    except OSError as error:
        broken = path.is_symlink() and not claims_image(path)  # where it claims to be an image, it gets its own answer
        yield Entry(path, f"a link to nothing ({error.strerror})" if broken else "")
        return
    if stat.S_ISDIR(mode):
        refusal = links.refusal(path)
        if refusal:
            yield Entry(path, refusal, unread=True)
        else:
            yield from walk(path, links=links)
    elif not stat.S_ISREG(mode):
        yield Entry(path, "a pipe or device")
    else:
        yield Entry(path, "" if claims_image(path) else _why_no_image(path))


def _why_no_image(path: Path) -> str:
    try:
        head = _head(path)
    except OSError:
        return ""  # reading it says what is wrong
    if not head:
        return "an empty file"
    if raster_format(head) or looks_like_dicom(head) or is_foreign_picture(head):
        return ""
    return foreign_format(head)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)
