"""Builds the index: one row per image of all sources, and the reason for each file that is left out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from pocketcxr.data.adapters.file_listing import LayoutOptions, Rejected, prefixed
from pocketcxr.data.adapters.patients import with_patients
from pocketcxr.data.adapters.recognise import list_source
from pocketcxr.data.duplicates.grouping import with_duplicate_groups
from pocketcxr.data.duplicates.hashing import perceptual_hash, thumbnail
from pocketcxr.data.parallel import ordered_map
from pocketcxr.data.pseudonyms import KEY_FILE, pseudonym, read_key
from pocketcxr.data.rows import ACQUISITION
from pocketcxr.errors import DataError, InputError, require_extra
from pocketcxr.files import cannot_write, open_private, write_text
from pocketcxr.imaging.header_terms import known_start, known_term, quoted_term
from pocketcxr.imaging.reading import read_image_bytes
from pocketcxr.progress import Bar
from pocketcxr.vocabulary import checked_aliases

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pocketcxr.data.rows import IndexRow

_MEMORY_VERSION = 2
"""Rises when reading or hashing changes, so that nothing remembered from before is used."""

_SEXES = {"M", "F", "O"}  # PS3.3 C.7.1.1

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Index:
    """Every image found. `notes` are lines about whole sets; `rows` and `rejected` together name every image."""

    rows: tuple[IndexRow, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...] = ()


def build_index(
    sources: Sequence[Path],
    *,
    layout: str = "auto",
    finding_aliases: Mapping[str, str] = _NONE,
    columns: Mapping[str, str] = _NONE,
    patients: Path | None = None,
    memory: Path | None = None,
    key: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Index:
    """Index the X-rays of one or more sources: one row per image with all that its set and its header say.

    Near duplicates are grouped over all sources together, since public sets copy one another.

    Images whose set holds them without a label (SIIM's test folder, ieee8023's "todo", loose DICOM) stay as rows with
    an empty finding, counted in the notes: they may serve distillation. Unreadable files, unknown labels and images
    that no table names are rejected with the reason.

    Args:
        sources: folders, or CSV tables of your own.
        layout: a name in `adapters.recognise.LAYOUTS`; ``auto`` recognises each set.
        finding_aliases: the set's own words to findings, also of your own; an empty finding means unlabelled.
        columns: fields of `IndexRow` to the columns of a table of your own.
        patients: table that gives images their patients, see `adapters.patients`; it counts more than the set's own.
        memory: file that remembers what was read of each path, size and time of change; a run that was killed goes on
            from there, and a second run reads only what is new.
        key: file with the key of the pseudonyms, see `pseudonyms`; None takes the one beside `memory`, which is made
            where it is missing, or without memory a key that nobody keeps.
        workers: threads that read and decode; None takes one per core.
        progress: show a bar on stderr.

    Raises:
        DataError: a source is missing, an alias or column is unknown, a line of the patient table names no image
            or several, or no image could be used at all.
    """
    require_extra("evaluate", "scipy")  # for the search for copies, which comes last
    finding_aliases = checked_aliases(finding_aliases)
    # Absolute, for a table may be written anywhere and its relative paths would start there.
    roots = [Path(source).absolute() for source in sources]
    listed, rejected, notes = _list_all(roots, layout, finding_aliases, columns)
    if patients is not None:
        listed = with_patients(listed, patients.absolute(), rejected=[line.path for line in rejected])
    kept: list[IndexRow] = []
    place = memory.with_name(KEY_FILE) if key is None and memory else key
    made = [path for path in (place, memory) if path] if place and not place.exists() else []
    remembered = _Memory(memory, read_key(place))
    reading = ordered_map(lambda row: remembered.reading(Path(row.path)), listed, workers=workers)
    with remembered, closing(reading) as found:
        for row, metadata in zip(listed, _bar(found, len(listed), progress), strict=True):
            remembered.keep(metadata)
            if "error" in metadata:
                rejected.append(Rejected(row.path, row.source, metadata["error"]))
            else:
                kept.append(_with_reading(row, metadata))
        if progress and kept:
            Bar.write("comparing the images for copies, cropped and mirrored ones too", file=sys.stderr)
        kept = remembered.grouped(kept, progress=progress)
    if not kept:
        for path in made:  # a key that no index needs
            path.unlink(missing_ok=True)
        files = [line.reason for line in rejected if not line.reason.startswith("a link to a folder")]
        reasons = Counter(files or (line.reason for line in rejected)).most_common(1)
        why = f"; {reasons[0][1]} times: {reasons[0][0]}" if reasons else ": no image there"
        raise DataError(f"no usable image in {', '.join(str(source) for source in sources)}{why}")
    return Index(tuple(kept), tuple(rejected), (*notes, *_unlabelled_notes(kept)))


def _list_all(
    sources: Sequence[Path], layout: str, aliases: Mapping[str, str], columns: Mapping[str, str]
) -> tuple[list[IndexRow], list[Rejected], list[str]]:
    """List every set once; two sets with one name get numbers, and a file found twice is kept once."""
    named: dict[str, list[IndexRow]] = defaultdict(list)
    rejected: list[Rejected] = []
    notes: list[str] = []
    folders: dict[str, Path] = {}
    for root in sources:
        for name, folder, first in list_source(root, layout, LayoutOptions(aliases, columns)):
            listing = first
            own = next((row.source for row in (*first.rows, *first.rejected)), "")
            source = own if name == "loose" else _free_name(own, folder.resolve(), folders)
            if source != own:
                ((_, _, listing),) = list_source(folder, name, LayoutOptions(aliases, columns, source))
            folders.setdefault(source, folder.resolve())
            rejected += [line if line.source else dataclasses.replace(line, source=source) for line in listing.rejected]
            notes += [f"{source}: {note}" for note in listing.notes]
            for row in listing.rows:
                named[str(Path(row.path).resolve())].append(row)
    kept, contradicted = _one_row_each(named)
    own = {line.path for line in rejected if str(Path(line.path).resolve()) not in named} | {row.path for row in kept}
    return kept, [*(line for line in rejected if line.path in own), *contradicted], notes


def _one_row_each(named: Mapping[str, Sequence[IndexRow]]) -> tuple[list[IndexRow], list[Rejected]]:
    """The row of each file, a labelled one first; a file with two findings is rejected, by each of its names."""
    kept: list[IndexRow] = []
    contradicted: list[Rejected] = []
    for rows in named.values():
        told = {(row.finding, row.uncertain, row.absent) for row in rows if not row.is_unlabelled}
        if len(told) > 1:
            findings = sorted(finding or "no finding that is present" for finding, _, _ in told)
            reason = f"the same file is named as {' and as '.join(findings)}; keep the true one"
            contradicted += [Rejected(row.path, row.source, reason) for row in rows]
        else:
            kept.append(next((row for row in rows if not row.is_unlabelled), rows[0]))
    return kept, contradicted


def _free_name(name: str, folder: Path, taken: Mapping[str, Path]) -> str:
    number, free = 2, name
    while free and taken.get(free, folder) != folder:
        free, number = f"{name}-{number}", number + 1
    return free


def _with_reading(row: IndexRow, reading: Mapping[str, Any]) -> IndexRow:
    """Complete a row with what the file itself says; what its set says counts more than a header."""
    known = {name: reading[name] for name in ("modality", "view", "sex", "age", *ACQUISITION)}
    known |= {name: prefixed(row.source, reading[name]) for name in ("patient_id", "study_id")}
    said = {name: value for name, value in known.items() if value and not getattr(row, name)}
    measured = {name: reading[name] for name in ("sha256", "perceptual_hash", "width", "height", "bytes")}
    return dataclasses.replace(row, **said, **measured)


def _foreign_body_part(part: str) -> str:
    chest = not part or any(word in part.upper() for word in ("CHEST", "THORAX", "LUNG"))
    return "" if chest else f"the DICOM header says body part {quoted_term(part)}, expected CHEST"


def read_metadata(path: Path, key: bytes) -> dict[str, Any]:
    """Read one image file: sha256 and perceptual hash, size, and what its header says.

    DICOM identifiers are replaced by their pseudonyms under a key (see `pseudonyms`): enough to group by.

    Returns:
        JSON-ready metadata, or ``{"error": reason}`` for a file that cannot be used.
    """
    try:
        data = path.read_bytes()
        radiograph = read_image_bytes(data, path.name)
    except OSError as error:
        return {"error": f"cannot be read ({error.strerror})"}
    except InputError as error:
        return {"error": f"{error.category}: {error}"}
    metadata = radiograph.metadata
    foreign = _foreign_body_part(metadata.body_part)
    if foreign:
        return {"error": foreign}
    acquisition = dict(metadata.acquisition)
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "perceptual_hash": perceptual_hash(thumbnail(radiograph.pixels)),
        "width": metadata.width,
        "height": metadata.height,
        "bytes": len(data),
        "modality": known_term(metadata.modality),
        "view": known_start(metadata.view),
        "sex": metadata.sex if metadata.sex in _SEXES else "",
        "age": metadata.age,
        "patient_id": pseudonym(metadata.patient_id, key),
        "study_id": pseudonym(metadata.study_id, key),
        **{name: acquisition.get(name, "") for name in ACQUISITION},
        "station": pseudonym(acquisition.get("station", ""), key),
    }


class _Memory:
    """What earlier runs read: one JSON line per file, appended as it comes, so that a kill costs at most one line."""

    def __init__(self, path: Path | None, key: bytes) -> None:
        self._path, self._key = path, key
        self._version = [_MEMORY_VERSION, pseudonym("memory", key)]
        remembered = dict(_remembered(path)) if path else {}
        self._known = {name: found for name, found in remembered.items() if json.loads(name)[:2] == self._version}
        self._stale = len(remembered) > len(self._known)
        self._stream = None

    def __enter__(self) -> Self:
        if self._path:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                if self._stale:  # what was read under another key or version is not left lying about
                    kept = [json.dumps({**found, "key": name}) + "\n" for name, found in self._known.items()]
                    write_text(self._path, "".join(kept), private=True)
                self._stream = open(self._path, "a", encoding="utf-8", buffering=1, opener=open_private)
                if self._stream.tell():
                    self._stream.write("\n")  # a killed run may have left half a line
            except OSError as error:
                raise DataError(cannot_write(self._path, error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream:
            self._stream.close()

    def reading(self, path: Path) -> dict[str, Any]:
        """Metadata of a file, from memory where its size and time of change are as they were; safe from threads."""
        try:
            status = path.stat()
        except OSError as error:
            return {"error": f"cannot be read ({error.strerror})"}
        key = json.dumps([*self._version, str(path), status.st_size, status.st_mtime_ns])
        known = self._known.get(key)
        return known if known is not None else {**read_metadata(path, self._key), "key": key}

    def keep(self, reading: Mapping[str, Any]) -> None:
        """Remember a reading that is new; from one thread only."""
        if not self._stream or "key" not in reading:
            return
        try:
            self._stream.write(json.dumps(reading) + "\n")
        except OSError as error:
            raise DataError(f"{cannot_write(Path(self._stream.name), error)}; what is read stays") from error

    def grouped(self, rows: Sequence[IndexRow], *, progress: bool) -> list[IndexRow]:
        """Rows with their groups of near duplicates, from memory where the very same images were compared before."""
        contents = "\n".join(sorted(row.sha256 for row in rows))
        key = json.dumps([*self._version, "copies", hashlib.sha256(contents.encode()).hexdigest()])
        if key in self._known:
            groups = self._known[key]["groups"]
            return [dataclasses.replace(row, duplicate_group=groups[row.sha256]) for row in rows]
        result = with_duplicate_groups(rows, progress=progress)
        self.keep({"groups": {row.sha256: row.duplicate_group for row in result}, "key": key})
        return result


def _remembered(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                metadata = json.loads(line)
                key = metadata.pop("key")
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # half a line of a run that was killed, or an empty one
            yield key, metadata


def _unlabelled_notes(rows: Iterable[IndexRow]) -> list[str]:
    counts = Counter(row.source for row in rows if row.is_unlabelled)
    return [f"{source}: {count} images without a label, kept as unlabelled" for source, count in sorted(counts.items())]


def _bar(items: Iterable[dict[str, Any]], total: int, shown: bool) -> Iterable[dict[str, Any]]:
    return Bar(items, desc="index", total=total, unit="image", disable=not shown, mininterval=0.5)
