"""Images behind addresses such as ``dicomweb+https://archive.example/dicom-web``: which are there, and a copy of one.

Listed by QIDO-RS, a page of studies at a time, and copied by WADO-RS. The name of an image is its own address.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pocketcxr.errors import ArchiveError, ConfigError, UnreadableImageError, require_extra

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from pocketcxr.dicomweb.client import Archive

MODALITIES = frozenset({"CR", "DX"})
"""Of the series that are listed."""

WAITS_S = (0.5, 1.0, 2.0, 4.0)
"""An archive that is away or busy is asked again after each of these."""

_ADDRESS = re.compile(
    r"dicomweb\+(?P<root>https?://[^?]+?)/*"
    r"(/studies/(?P<study>[0-9.]+)(/series/(?P<series>[0-9.]+)(/instances/(?P<image>[0-9.]+))?)?/*"
    r"|\?StudyDate=(?P<dates>[0-9]*-?[0-9]*))?"
)
_OK, _FORBIDDEN, _INTERNAL = 200, 403, 500
_MISSING = frozenset({404, 410})
_OF_ALL_IMAGES = frozenset({401, 407, 408, 429})  # of 4xx; the others are about the image that was asked for


def is_archive(address: str) -> bool:
    """Whether an address is one of DICOMweb."""
    return address.startswith("dicomweb")


class ArchiveFiles:
    """Connections to archives, one to each; for one thread at a time."""

    def __init__(self) -> None:
        """Begin without a connection."""
        self._archives: dict[str, Archive] = {}

    def close(self) -> None:
        """Close the connections."""
        for archive in self._archives.values():
            archive.close()

    def find(self, address: str) -> Iterator[str]:
        """Addresses of the CR and DX images below an address: of an archive, a study or a series; or of one image.

        ``?StudyDate=20250101-20251231`` behind that of an archive takes the studies of these days. The order is that of
        the archive.

        Raises:
            ConfigError: no address of an archive, or settings in the environment that do not fit.
            ArchiveError: the archive cannot be reached or does not answer as it should, after it was asked again.
        """
        parts = _parts(address)
        archive = self._archive(parts["root"])
        found = False
        try:
            for study, series, image in _images(archive, parts):
                found = True
                yield f"dicomweb+{parts['root']}/studies/{study}/series/{series}/instances/{image}"
        except ArchiveError as error:
            raise _of_archive(parts["root"], error) from None
        if not found:
            yield address  # an answer that says so, not silence

    def fetch(self, address: str, place: Path) -> None:
        """Copy an image to a place on this machine, as the archive holds it.

        Raises:
            FileNotFoundError: it is not there, or the address is none of an image.
            PermissionError: access is denied.
            UnreadableImageError: the archive answers, but does not give it.
            ConfigError, ArchiveError: as for `find`.
        """
        parts = _parts(address)
        if not parts["image"]:
            raise FileNotFoundError(address)
        try:
            data = self._archive(parts["root"]).retrieve(parts["study"], parts["series"], parts["image"])
        except ArchiveError as error:
            if error.status in _MISSING:
                raise FileNotFoundError(address) from None
            if error.status == _FORBIDDEN:
                raise PermissionError(address) from None
            of_image = _OK <= error.status <= _INTERNAL and error.status // 100 != 3  # noqa: PLR2004
            if of_image and error.status not in _OF_ALL_IMAGES:
                raise UnreadableImageError(str(error), "unreadable") from None
            raise _of_archive(parts["root"], error) from None
        place.write_bytes(data)

    def _archive(self, root: str) -> Archive:
        if root not in self._archives:
            require_extra("cluster", "requests")
            from pocketcxr.dicomweb.client import Archive
            from pocketcxr.dicomweb.settings import settings_of

            self._archives[root] = Archive(*settings_of(root), waits_s=WAITS_S)
        return self._archives[root]


def _parts(address: str) -> dict[str, str]:
    """Root of the services, UIDs of study, series and image, and dates, "" where the address has none."""
    found = _ADDRESS.fullmatch(address)
    if not found:
        raise ConfigError(
            "expected an archive as dicomweb+https://host/path, ?StudyDate=YYYYMMDD-YYYYMMDD or /studies/UID behind it "
            "or neither, found another address of this kind"
        )
    return found.groupdict("")


def _images(archive: Archive, parts: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """UIDs of study, series and image of what an address names."""
    if parts["image"]:
        yield parts["study"], parts["series"], parts["image"]
        return
    asked = {"StudyInstanceUID": parts["study"], "StudyDate": parts["dates"]}
    seen: set[int] = set()  # about 70 bytes each; an archive may have a study of two patients, on pages far apart
    for row in archive.studies(**{name: value for name, value in asked.items() if value}):
        study = _uid(row, "Study", parts["study"])
        if study and hash(study) not in seen and MODALITIES & set(row.get("ModalitiesInStudy") or MODALITIES):
            seen.add(hash(study))
            for below in archive.series(study):
                series = _uid(below, "Series", parts["series"])
                if series and MODALITIES & set(below.get("Modality") or ()):
                    images = (_uid(one, "SOP") for one in archive.instances(study, series))
                    yield from ((study, series, image) for image in images if image)


def _uid(row: Mapping[str, Any], level: str, wanted: str = "") -> str:
    """UID of a row, "" where it is none that may stand in an address, or another than the one that is wanted."""
    from pocketcxr.dicomweb.client import is_uid, value_of

    found = value_of(row, f"{level}InstanceUID")
    return found if is_uid(found) and wanted in {"", found} else ""


def _of_archive(root: str, error: ArchiveError) -> ArchiveError:
    return ArchiveError(f"dicomweb+{root}: {error}; run the same command again")
