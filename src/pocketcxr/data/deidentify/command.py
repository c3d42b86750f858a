"""``pocketcxr deidentify``: every DICOM radiograph of folders, without what identifies its patient."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pocketcxr.data.deidentify.header import deidentified
from pocketcxr.data.deidentify.text import found_text
from pocketcxr.data.pseudonyms import read_key
from pocketcxr.errors import ConfigError, PocketCxrError
from pocketcxr.files import write_bytes
from pocketcxr.imaging.folders import is_dicom, walk
from pocketcxr.imaging.reading import read_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LOGGER = logging.getLogger(__name__)


@dataclass
class Counts:
    """Files that were written, that were there already, and that were not written because of text or another reason."""

    written: int = 0
    there: int = 0
    with_text: int = 0
    refused: int = 0

    def line(self) -> str:
        """Say all counts."""
        seen = f"burned-in text {self.with_text}, refused {self.refused}"
        return f"written {self.written}, there already {self.there}, {seen}"


def deidentify(sources: Sequence[Path], output: Path, *, key: Path, keep_text: bool) -> Counts:
    """Write files under pseudonyms; a run that was stopped goes on where it was. The log names files not written.

    Args:
        sources: files and folders.
        output: folder, by patient; it may not lie in a source, or hold one.
        key: of the pseudonyms; made where it is missing.
        keep_text: write images with burned-in text, too.

    Raises:
        PocketCxrError: sources and output lie in each other, or the key cannot be used.
    """
    for source in sources:
        one, other = source.resolve(), output.resolve()
        if one == other or one in other.parents or other in one.parents:
            raise ConfigError(f"{output}: expected a folder outside {source}, and not around it")
    if output.resolve() in key.resolve().parents:
        raise ConfigError(f"{key}: expected a key outside {output}: who has both can find the patients")
    secret, counts = read_key(key), Counts()
    for path in _files(sources):
        try:
            _one(path, output, secret, counts, keep_text=keep_text)
        except (PocketCxrError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            counts.refused += 1
            _LOGGER.warning("%s: refused: %s", path, reason)
    return counts


def _one(path: Path, output: Path, key: bytes, counts: Counts, *, keep_text: bool) -> None:
    patient, image, data = deidentified(path.read_bytes(), key)
    target = output / patient / f"{image}.dcm"
    if target.exists():
        counts.there += 1
        return
    texts = found_text(read_image(path).pixels)
    counts.with_text += bool(texts)
    if texts:
        _LOGGER.warning("%s: burned-in text at %d places%s", path, len(texts), "" if keep_text else ": not written")
    if not texts or keep_text:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, data)
        counts.written += 1


def _files(sources: Sequence[Path]) -> Iterator[Path]:
    for source in sources:
        if source.is_dir():
            yield from (entry.path for entry in walk(source) if not entry.why and is_dicom(entry.path))
        else:
            yield source
