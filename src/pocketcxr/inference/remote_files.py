"""Files behind addresses such as ``s3://bucket/key``, by fsspec: what is there, and a copy of one on this machine.

Archives that speak DICOMweb are those of `archive_files`.
"""
# fsspec is optional and has no types:
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false, reportMissingModuleSource=false

from __future__ import annotations

import logging
import re
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import ConfigError, PocketCxrError, require_extra
from pocketcxr.imaging.folders import Entry, PassedOver, claims_image, is_hidden, natural_key
from pocketcxr.inference.archive_files import ArchiveFiles, is_archive
from pocketcxr.inference.batch import find_images
from pocketcxr.plain_text import path_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOGGER = logging.getLogger(__name__)
_REMOTE = re.compile(r"^([a-z][a-z0-9+]+):/+(?=[^/])")  # a path has lost one of the two strokes
_NAMED_FOR_NO_FORMAT = re.compile(r"[^.]*|[0-9.]+")  # DICOM files often have no ending, or are named by a UID


def address_of(path: Path | str) -> str:
    """Return ``s3://bucket/key`` for what a path made ``s3:/bucket/key``, and "" for a file of this machine."""
    text, changed = _REMOTE.subn(r"\1://", path_text(path))
    return text if changed else ""


def find_files(paths: Iterable[Path], *, passed_over: PassedOver | None = None) -> Iterator[Path | str]:
    """As `find_images`, of archives their images, and of other addresses what may be images below them by their names.

    The order is that of `find_images`. Remote files are not opened for it: one without an ending, or named by a UID,
    is taken for an image, one of another ending is passed over.

    Raises:
        ConfigError: an address of a kind that fsspec has no driver for, or of no archive.
        PocketCxrError: a place that cannot be listed.
    """
    remote = PassedOver() if passed_over is None else passed_over
    for path in paths:
        address = address_of(path)
        if not address:
            yield from find_images([path], passed_over=passed_over)
            continue
        if is_archive(address):
            with closing(ArchiveFiles()) as archives:
                yield from archives.find(address)
            continue
        system, place = file_system(address)
        found = False
        for name in _walk(system, place.rstrip("/"), remote):
            found = True
            yield address.rstrip("/") + name.removeprefix(place.rstrip("/"))
        if not found:
            yield address  # an answer that says so, not silence
    line = remote.line()
    if passed_over is None and line:
        _LOGGER.warning("%s", line)


def file_system(address: str) -> tuple[Any, str]:
    """Return fsspec's driver for an address, and the address as the driver wants it.

    Raises:
        ConfigError: there is no driver.
    """
    require_extra("cluster", "fsspec")
    import fsspec

    try:
        return fsspec.url_to_fs(address, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{address}: no driver for this kind of address ({error})") from error


def fetch(address: str, place: Path) -> None:
    """Copy the file behind an address to a place on this machine.

    Raises:
        FileNotFoundError: it is not there.
        PermissionError: access is denied.
        PocketCxrError: the storage does not answer as it should, after the driver has tried again.
    """
    system, name = file_system(address)
    try:
        system.get_file(name, str(place))
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        raise _unanswered(address, error) from error


def _walk(system: Any, place: str, passed_over: PassedOver) -> Iterator[str]:
    try:
        entries = system.ls(place, detail=True)
    except FileNotFoundError:
        return
    except Exception as error:
        raise _unanswered(system.unstrip_protocol(place), error) from error
    names = {PurePosixPath(entry["name"]).name: entry for entry in entries if entry["name"].rstrip("/") != place}
    for entry in entries:
        if entry["name"] == place and entry["type"] == "file":  # the address of one file
            yield entry["name"]
    for name in sorted(names, key=natural_key):
        if is_hidden(name):
            passed_over.add(Entry(Path(name), "hidden"))
        elif names[name]["type"] == "directory":
            yield from _walk(system, names[name]["name"], passed_over)
        elif claims_image(Path(name)) or _NAMED_FOR_NO_FORMAT.fullmatch(name):
            yield names[name]["name"]
        else:
            passed_over.add(Entry(Path(name), "not named as an image"))


def _unanswered(address: str, error: Exception) -> PocketCxrError:
    return PocketCxrError(
        f"{address}: the storage does not answer ({type(error).__name__}); check address and access, and run the same "
        "command again"
    )
