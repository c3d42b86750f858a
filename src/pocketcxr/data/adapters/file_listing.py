"""File listing: what every dataset adapter returns, and how folders are walked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from pocketcxr.imaging.folders import PassedOver, is_hidden, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from pocketcxr.data.rows import IndexRow


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


def walk_images(root: Path) -> tuple[list[Path], list[Rejected], tuple[str, ...]]:
    """List the images below a folder in a fixed order, by name.

    Returns:
        The images; the folders that were not read, with the reason; and, as notes for a `Listing`, a line that counts
        what is no image.
    """
    images: list[Path] = []
    rejected: list[Rejected] = []
    passed_over = PassedOver()
    for entry in walk(root):
        if not entry.why:
            images.append(entry.path)
        elif entry.unread:
            rejected.append(Rejected(str(entry.path), "", entry.why))
        else:
            passed_over.add(entry)
    return images, rejected, tuple(filter(None, (passed_over.line(),)))


def by_key(
    images: Iterable[Path], key: Callable[[Path], str], source: str, rejected: list[Rejected]
) -> dict[str, Path]:
    """Images by what a set's table calls them; of several with one name none can be told, so all are rejected."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in images:
        found[key(path)].append(path)
    for same in found.values():
        if len(same) > 1:
            reason = f"{len(same)} files of this set have this name; its table does not say which it means"
            rejected += [Rejected(str(path), source, reason) for path in same]
    return {name: same[0] for name, same in found.items() if len(same) == 1}


def subfolders(root: Path) -> list[Path]:
    """Visible folders directly below, in a fixed order; none where the folder cannot be opened."""
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not is_hidden(path.name))
    except OSError:
        return []


def prefixed(source: str, number: str) -> str:
    """An identifier with its source in front, so that equal numbers of two sets stay two; empty stays empty."""
    return f"{source}:{number}" if number else ""
