"""Adapters for the user's own X-rays: a folder per class, a table, a folder of DICOM, a folder without labels."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pocketcxr.data.adapters.file_listing import (
    LayoutOptions,
    Listing,
    Rejected,
    prefixed,
    walk_images,
)
from pocketcxr.data.adapters.named_files import NamedFiles
from pocketcxr.data.adapters.statements import of_cells, of_columns
from pocketcxr.data.image_types import modality_and_view_of_folder
from pocketcxr.data.rows import ACQUISITION, SPLITS, IndexRow
from pocketcxr.data.tables import Table, damaged_age, damaged_number, read_table, rounded_numbers, table_columns
from pocketcxr.errors import DataError
from pocketcxr.imaging.folders import is_dicom, is_hidden, is_image
from pocketcxr.vocabulary import UNLABELLED, finding_of, unknown_finding

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

TABLE_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "path": ("path", "filename", "file", "image", "image_path"),
        "finding": ("finding", "label", "class", "diagnosis"),
        "source": ("source", "hospital", "site", "dataset"),
        "patient_id": ("patient_id", "patientid", "patient"),
        "study_id": ("study_id", "study"),
        "view": ("view", "view_position", "projection"),
        "sex": ("sex", "gender"),
        "age": ("age",),
        "modality": ("modality",),
        "licence": ("licence", "license"),
        "location": ("location",),
        "split": ("split",),
        "manufacturer": ("manufacturer",),
        "device_model": ("device_model", "manufacturermodelname", "model"),
        "station": ("station", "stationname"),
        "software": ("software", "softwareversions"),
        "detector": ("detector", "detectortype"),
        "kvp": ("kvp",),
        "exposure": ("exposure", "exposure_mas"),
        "pixel_spacing": ("pixel_spacing", "imagerpixelspacing"),
        "uncertain": ("uncertain",),
        "absent": ("absent",),
    }
)
"""Fields of a table of your own with the column names tried for each, case aside; a mapping overrides them. A mapping
of `finding` may name several columns with commas between them: one per finding, each 1, 0, -1 (uncertain) or empty."""

TABLE_NAMES = ("images.csv", "labels.csv", "table.csv", "phantom.csv")
"""Names under which ``auto`` takes a CSV in a folder for the table of the images beside it."""

_IDENTIFIERS = ("patient_id", "study_id")

_SPLIT_NAMES = MappingProxyType({"": "", "val": "calibration", "valid": "calibration", "validation": "calibration"})


def class_of_folder(path: Path, root: Path, aliases: Mapping[str, str]) -> tuple[str | None, str]:
    """Finding of an image from the nearest folder between it and `root` that names one.

    Returns:
        The finding, or None where no folder names one; and the folder's name (the nearest one where none does).
    """
    names = path.relative_to(root).parts[:-1][::-1]
    for name in names:
        finding = finding_of(name, aliases)
        if finding is not None:
            return finding, name
    return None, names[0] if names else ""


def list_class_folders(root: Path, options: LayoutOptions, *, below: str = "") -> Listing:
    """A folder per class, at any depth: the nearest folder that names a finding gives it.

    A root that holds no class folder, but is named for a finding itself, is one class. DICOM files in no class folder
    are kept as unlabelled material, for their header still says what they are. So are images in folders that say what
    must be refused (``knee_xray``, ``chest_ct_slice``, ``lateral``, ``photograph``): with modality and view, for the
    learned input filter. Others are rejected with the name that is unknown.

    `below`: only images in folders of this name count, the rest are masks.
    """
    images, rejected, notes = walk_images(root)
    found = {path: class_of_folder(path, root, options.aliases) for path in images}
    inside = any(finding is not None for finding, _ in found.values())
    whole = None if inside else finding_of(root.resolve().name, options.aliases)
    source = options.source or (root.resolve().name if whole is None else root.resolve().parent.name)
    rows: list[IndexRow] = []
    supplements = 0
    for path, (named, folder) in found.items():
        finding = whole if named is None else named
        if below and path.parent.name != below:
            supplements += 1
        elif named is None and not is_dicom(path) and (told := modality_and_view_of_folder(_around(path, root))):
            rows.append(IndexRow(str(path), source, UNLABELLED, modality=told[0], view=told[1]))
        elif finding is None and not is_dicom(path):
            reason = unknown_finding(folder, "folder") if folder else "no label: it lies in no class folder"
            rejected.append(Rejected(str(path), source, reason))
        else:
            rows.append(IndexRow(str(path), source, finding or UNLABELLED))
    masks = (f"{supplements} files outside folders named {below} (masks) left out",) if supplements else ()
    return Listing(tuple(rows), tuple(rejected), (*masks, *notes))


def _around(path: Path, root: Path) -> tuple[str, ...]:
    """Names of the folders around an image below the root, the nearest first; the root's own where it lies in it."""
    return path.relative_to(root).parts[:-1][::-1] or (root.resolve().name,)


def list_loose(root: Path, options: LayoutOptions) -> Listing:
    """Images that lie directly in a folder beside whole sets: they belong to none, and are rejected by name."""
    source = options.source or root.resolve().name
    reason = "it lies beside whole data sets and belongs to none"
    files = [path for path in sorted(root.iterdir()) if not path.is_dir() and not is_hidden(path.name)]
    return Listing((), tuple(Rejected(str(path), source, reason) for path in files if is_image(path)))


def list_dicom(root: Path, options: LayoutOptions) -> Listing:
    """A folder of DICOM files, in class folders or not; patient, study, view, sex and age come from each header."""
    listing = list_class_folders(root, options)
    rows = tuple(row for row in listing.rows if is_dicom(Path(row.path)))
    others = [Rejected(row.path, row.source, "not a DICOM file") for row in set(listing.rows).difference(rows)]
    return Listing(rows, (*listing.rejected, *others), listing.notes)


def list_unlabelled(root: Path, options: LayoutOptions) -> Listing:
    """Every image below a folder, without labels: material for distillation, never for a figure."""
    images, rejected, notes = walk_images(root)
    source = options.source or root.resolve().name
    return Listing(tuple(IndexRow(str(path), source, UNLABELLED) for path in images), tuple(rejected), notes)


def list_table(place: Path, options: LayoutOptions) -> Listing:
    """A table of the user; relative paths start at its folder.

    Args:
        place: the table, or a folder that holds it under one of `TABLE_NAMES`; images of a folder that its table does
            not name are rejected.
        options: columns and aliases of the user.

    Raises:
        DataError: the table cannot be read, has no column for the path or the finding, or a column of identifiers was
            damaged by a spreadsheet program.
    """
    path = (find_table(place) or place / TABLE_NAMES[0]) if place.is_dir() else place
    table = read_table(path)
    columns, findings = _columns(table, options)
    files = NamedFiles()
    rows: list[IndexRow] = []
    rejected: list[Rejected] = []
    lines: dict[str, tuple[int, IndexRow]] = {}
    contradicted: set[str] = set()
    for number, line in table.lines:
        values = {name: line[column] for name, column in columns.items()}
        source = values.get("source") or options.source or path.resolve().parent.name
        told = {column: line[column] for column in findings}
        row, reason = _table_row(values, told, table, source=source, options=options, files=files)
        if reason:
            rejected.append(Rejected(row.path, source, f"{path.name} line {number}: {reason}"))
        elif row.path not in lines:
            lines[row.path] = (number, row)
            rows.append(row)
        elif lines[row.path][1] == row:
            rejected.append(Rejected(row.path, source, f"{path.name} line {number} repeats line {lines[row.path][0]}"))
        else:
            contradicted.add(row.path)
            reason = f"{path.name} lines {lines[row.path][0]} and {number} contradict each other; keep the true one"
            rejected.append(Rejected(row.path, source, reason))
    unnamed, notes = _unnamed(place, path, {*lines, *(line.path for line in rejected)}, options)
    return Listing(tuple(row for row in rows if row.path not in contradicted), (*rejected, *unnamed), notes)


def _unnamed(
    place: Path, table: Path, named: Collection[str], options: LayoutOptions
) -> tuple[list[Rejected], tuple[str, ...]]:
    """Images of a folder that its table does not name, as rejected, and the notes on what is no image there."""
    if not place.is_dir():
        return [], ()
    images, rejected, notes = walk_images(place)
    source = options.source or table.resolve().parent.name
    return [
        *rejected,
        *(Rejected(str(path), source, f"not in {table.name}") for path in images if str(path) not in named),
    ], notes


def _table_row(
    values: dict[str, str],
    findings: dict[str, str],
    table: Table,
    *,
    source: str,
    options: LayoutOptions,
    files: NamedFiles,
) -> tuple[IndexRow, str]:
    """One line as a row, and the reason to reject it ("" for none); `findings`: cells of a column per finding."""
    path, missing = files.find(values["path"], table.path.parent)
    statements: dict[str, Any] = {}
    unnamed = ""
    try:
        statements = (
            of_columns(findings, options.aliases)
            if findings
            else of_cells(values["finding"], values.get("uncertain", ""), values.get("absent", ""), options.aliases)
        )
    except DataError as error:
        unnamed = str(error)
    split = values.get("split", "").lower()
    split = _SPLIT_NAMES.get(split, split)
    acquisition: dict[str, Any] = {name: values.get(name, "") for name in ACQUISITION}
    row = IndexRow(
        str(path),
        source,
        patient_id=prefixed(source, values.get("patient_id", "")),
        study_id=prefixed(source, values.get("study_id", "")),
        view=values.get("view", ""),
        sex=values.get("sex", ""),
        age=values.get("age", "").replace(",", "."),
        modality=values.get("modality", ""),
        licence=values.get("licence", ""),
        location=values.get("location", ""),
        split=split,
        **acquisition,
        **statements,
    )
    if not values["path"]:
        return row, "no file is named"
    if unnamed:
        return row, unnamed
    if split and split not in SPLITS:
        return row, f"split {split!r}: expected one of {', '.join(SPLITS)} or nothing"
    damaged = damaged_age(values.get("age", "")) or next(
        filter(None, (damaged_number(values.get(name, "")) for name in _IDENTIFIERS)), ""
    )
    if missing and table.doubt and not values["path"].isascii():
        missing = f"{missing}; {table.doubt}"
    return row, damaged or missing


def _columns(table: Table, options: LayoutOptions) -> tuple[dict[str, str], tuple[str, ...]]:
    """Field to column, and the columns that are a finding each where the user names several."""
    own = {name: unicodedata.normalize("NFC", column) for name, column in options.columns.items()}
    present = [column for column in table.columns if column]
    findings: tuple[str, ...] = ()
    if "," in own.get("finding", "") and own["finding"] not in present:
        findings = tuple(column.strip() for column in own.pop("finding").split(","))
    unknown = [name for name in own if name not in TABLE_COLUMNS]
    absent = [column for column in (*own.values(), *findings) if column not in present]
    if unknown or absent:
        raise DataError(
            f"{table.path}: column mapping names {[*unknown, *absent]}; expected fields among {list(TABLE_COLUMNS)} "
            f"and columns among {present}"
        )
    lower = {column.lower(): column for column in reversed(present)}
    found = {name: lower[alias] for name, names in TABLE_COLUMNS.items() for alias in reversed(names) if alias in lower}
    found |= own
    if findings:
        found = {name: column for name, column in found.items() if name not in {"finding", "uncertain", "absent"}}
    for name in ("path",) if findings else ("path", "finding"):
        if name not in found:
            raise DataError(
                f"{table.path}: no column for the {name}; found {present}; name it with a column mapping {name}=COLUMN"
            )
    table.require(*found.values(), *findings)
    for name in _IDENTIFIERS:
        rounded = rounded_numbers(line[found[name]] for _, line in table.lines) if name in found else ""
        if rounded:
            raise DataError(f"{table.path}, column {found[name]}: {rounded}")
    return found, findings


def find_table(root: Path) -> Path | None:
    """The table of the images in a folder, under one of `TABLE_NAMES`, unless it is an index of ours."""
    for name in TABLE_NAMES:
        columns = {column.lower() for column in table_columns(root / name)}
        usable = all(columns.intersection(TABLE_COLUMNS[field]) for field in ("path", "finding"))
        if usable and "perceptual_hash" not in columns:
            return root / name
    return None
