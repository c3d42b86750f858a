"""The index: one row per image, with all that its data set says of it, as a plain CSV that people can open."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pocketcxr.data.tables import damaged_age, damaged_number, read_table, rounded_numbers
from pocketcxr.errors import DataError
from pocketcxr.files import cannot_write, write_csv
from pocketcxr.plain_text import cell_value, one_line, path_of_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ALL_OTHERS = "*"
"""In `IndexRow.absent`: all findings that the source names anywhere and this row does not."""

SPLITS = ("train", "calibration", "test")
"""Names of the splits: weights are fitted on the first, choices are made on the second, figures come from the third."""


@dataclass(frozen=True)
class IndexRow:
    """One image. An empty string means that the data set does not say.

    `patient_id`, `study_id` are prefixed with the source (``siim:0fb4``), so that equal numbers of two data sets stay
    two patients. `age` is in years. `sha256` is of the file's bytes; `perceptual_hash` is hexadecimal and survives
    re-encoding and resizing. `width`, `height` are in pixels. `duplicate_group` is shared by near
    duplicates, across sources too. `label`, `fold` are empty until ``pocketcxr split`` has run, and `split` too unless
    the set itself gives one. `location` is the hospital or place.

    From `manufacturer` on: device and exposure, from the DICOM header (`imaging.dicom.acquisition`) or the set's own
    table; `station` from a header is a pseudonym. `kvp` in kilovolts, `exposure` in mAs, `pixel_spacing` in mm.

    `finding` names what is present, `uncertain` what may be, `absent` what is not: names of `pocketcxr.vocabulary` with
    ``|`` between several. ``*`` in `absent` is `ALL_OTHERS`.
    """

    path: str
    source: str
    finding: str = ""
    patient_id: str = ""
    study_id: str = ""
    view: str = ""
    sex: str = ""
    age: str = ""
    modality: str = ""
    licence: str = ""
    sha256: str = ""
    perceptual_hash: str = ""
    width: int = 0
    height: int = 0
    bytes: int = 0
    duplicate_group: str = ""
    label: str = ""
    split: str = ""
    fold: str = ""
    location: str = ""
    manufacturer: str = ""
    device_model: str = ""
    station: str = ""
    software: str = ""
    detector: str = ""
    kvp: str = ""
    exposure: str = ""
    pixel_spacing: str = ""
    uncertain: str = ""
    absent: str = ""

    @property
    def is_unlabelled(self) -> bool:
        """Whether the data set says nothing of any finding."""
        return not (self.finding or self.uncertain or self.absent)


ACQUISITION = ("manufacturer", "device_model", "station", "software", "detector", "kvp", "exposure", "pixel_spacing")
"""Fields of device and exposure."""


XRAY_MODALITIES = frozenset({"", "X-RAY", "XRAY", "XR", "CR", "DX", "DR", "RG"})
"""Modalities of plain radiographs: words of the public sets and DICOM's terms (PS3.3, C.7.3.1.1.1); "" is not said."""

FRONTAL_VIEWS = frozenset({"", "AP", "PA", "FRONTAL"})
"""First word of the views that face the detector ("AP Supine" too); "" is not said. Laterals and CT planes are not."""


def is_frontal_xray(row: IndexRow) -> bool:
    """Whether an image may be scored and trained on: the one rule that keeps CT slices and laterals out of tasks.

    A view or modality that is neither empty nor in the two sets above counts as not frontal: refuse, never guess.
    """
    view = row.view.upper().replace("_", " ").split()
    return row.modality.upper() in XRAY_MODALITIES and (not view or view[0] in FRONTAL_VIEWS)


COLUMNS = tuple(field.name for field in dataclasses.fields(IndexRow))
_INTEGERS = ("width", "height", "bytes")
_IDENTIFIERS = ("patient_id", "study_id")


def write_rows(rows: Iterable[IndexRow], path: Path) -> None:
    """Write an index or split table, which only its owner may read; the file appears whole or not at all.

    Raises:
        DataError: the folder cannot be written, or the disk is full; an older table stays as it was.
    """
    try:
        write_csv(path, COLUMNS, (dataclasses.asdict(row).values() for row in rows), private=True)
    except OSError as error:
        raise DataError(cannot_write(path, error)) from error


def read_rows(path: Path) -> list[IndexRow]:
    """Read an index or split table; paths in it that are not absolute are taken from the table's own folder.

    A table that a spreadsheet program has saved again is read too (see `tables`).

    Raises:
        DataError: the file is missing, is no index, names an image twice, or identifiers in it are damaged.
    """
    table = read_table(path)
    missing = {"path", "source", "finding"} - set(table.columns)
    if missing:
        raise DataError(f"{path}: expected an index with columns {', '.join(COLUMNS[:3])}…; {sorted(missing)} missing")
    table.require(*(name for name in COLUMNS if name in table.columns))
    rows: list[IndexRow] = []
    seen: dict[str, int] = {}
    for number, line in table.lines:
        row = _row(line, path, number)
        if row.path in seen:
            raise DataError(f"{path}: lines {seen[row.path]} and {number} both name {one_line(row.path)}; keep one")
        seen[row.path] = number
        rows.append(row)
    for name in _IDENTIFIERS:
        rounded = rounded_numbers(getattr(row, name) for row in rows)
        if rounded:
            raise DataError(f"{path}, column {name}: {rounded}")
    return rows


def _row(record: dict[str, str], path: Path, number: int) -> IndexRow:
    values: dict[str, str | int] = {name: cell_value(record.get(name, "")) for name in COLUMNS}
    for name in _INTEGERS:
        text = record.get(name) or "0"
        if not (text.isdecimal() and text.isascii()):
            raise DataError(f"{path}, line {number}: expected a whole number in column {name}, found {text!r}")
        values[name] = int(text)
    values["age"] = str(values["age"]).replace(",", ".")
    damaged = damaged_age(str(values["age"])) or next(
        filter(None, (damaged_number(str(values[name])) for name in (*_IDENTIFIERS, "sha256"))), ""
    )
    if damaged:
        raise DataError(f"{path}, line {number}: {damaged}")
    values["path"] = path_of_text(str(path.parent / str(values["path"])))
    return IndexRow(**values)  # pyright: ignore[reportArgumentType]  # columns are the fields
