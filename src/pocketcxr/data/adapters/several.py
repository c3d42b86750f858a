"""Adapters for public sets whose images have several findings: ChestX-ray14, CheXpert, MIMIC-CXR-JPG, PadChest, VinDr.

Each takes the set's folder and returns its `Listing` without opening an image. What a set calls uncertain stays
uncertain here; what that means is the task's choice (`labels.Task`).
"""

from __future__ import annotations

import ast
import dataclasses
from collections import defaultdict
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pocketcxr.data.adapters.file_listing import LayoutOptions, Listing, Rejected, by_key, prefixed, walk_images
from pocketcxr.data.adapters.named_files import NamedFiles
from pocketcxr.data.adapters.statements import of_columns, of_list
from pocketcxr.data.rows import IndexRow
from pocketcxr.data.tables import read_table, table_columns
from pocketcxr.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

CHEXPERT_FINDINGS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)
"""Columns of CheXpert's labeller, in MIMIC-CXR-JPG too: 1 present, 0 absent, -1 uncertain, empty not mentioned."""

CHEXPERT_TABLES = ("train.csv", "valid.csv", "test.csv")
VINDR_LABELS = ("annotations/image_labels_train.csv", "annotations/image_labels_test.csv")
VINDR_BOXES = "train.csv"

_SPLITS = MappingProxyType({"valid": "calibration", "validate": "calibration"})
_SEXES = MappingProxyType({"male": "M", "female": "F"})
_VINDR_NAMES = MappingProxyType({"Other disease": "Other diseases"})  # one finding, which the test table names so
_NO_FINDINGS = frozenset({"exclude", "suboptimal study", "unchanged"})
"""Entries of PadChest's lists that are no finding; beside the last two, what is not listed may be there too."""


def list_nih(root: Path, options: LayoutOptions) -> Listing:
    """NIH ChestX-ray14: ``Data_Entry_2017*.csv``, findings with bars between them; what is not named is absent."""
    source = options.source or "nih"
    table = _only(root, "Data_Entry_2017*.csv")
    found = _Files(root, source, table)
    for _, line in read_table(table, "Image Index", "Finding Labels", "Patient ID").lines:
        names = [name.strip() for name in line["Finding Labels"].split("|")]
        found.add(
            line["Image Index"],
            partial(of_list, names, options.aliases),
            patient_id=prefixed(source, line["Patient ID"]),
            view=line.get("View Position", ""),
            sex=line.get("Patient Gender", line.get("Patient Sex", "")),
            age=line.get("Patient Age", "").rstrip("Y").lstrip("0"),
            modality="X-ray",
        )
    return found.listing()


def list_chexpert(root: Path, options: LayoutOptions) -> Listing:
    """CheXpert: ``train.csv``, ``valid.csv``, ``test.csv`` with a column per finding; patient and study from the path.

    Paths begin with the name of the set's folder, whatever that is called now. The set's own split is kept in the
    index.
    """
    source = options.source or "chexpert"
    images, denied, notes = walk_images(root)
    files, rows, rejected, named = NamedFiles(), [], list(denied), set[str]()
    for table in (root / name for name in CHEXPERT_TABLES if is_chexpert(root / name)):
        split = _SPLITS.get(table.stem, table.stem)
        for number, line in read_table(table, "Path", *CHEXPERT_FINDINGS).lines:
            inside = line["Path"].replace("\\", "/").partition("/")[2]
            path, missing = files.find(inside or line["Path"], root)
            named.add(str(path))
            patient, study = _folder_named(inside, "patient"), _folder_named(inside, "study")
            view = line.get("AP/PA", "") or line.get("Frontal/Lateral", "")
            row = IndexRow(
                str(path),
                source,
                patient_id=prefixed(source, patient),
                study_id=prefixed(source, f"{patient}/{study}" if patient and study else ""),
                view="Lateral" if line.get("Frontal/Lateral", "") == "Lateral" else view,
                sex=_SEXES.get(line.get("Sex", "").lower(), ""),
                age=line.get("Age", ""),
                modality="X-ray",
                split=split,
            )
            _keep(rows, rejected, row, _Said(line, options, f"{table.name} line {number}", missing))
    rejected += [Rejected(str(path), source, "in no table of CheXpert") for path in images if str(path) not in named]
    return Listing(tuple(rows), tuple(rejected), notes)


def list_mimic(root: Path, options: LayoutOptions) -> Listing:
    """MIMIC-CXR-JPG: the tables ``…-chexpert``, ``…-metadata`` and ``…-split`` (CSV, packed or not).

    Findings are the study's. Images of studies without a line in the table of findings are kept as unlabelled. Images
    that are not on disk are counted, not listed: most users have a part of the set.
    """
    source = options.source or "mimic-cxr"
    studies = read_table(_only(root, "mimic-cxr-*-chexpert.csv*"), "subject_id", "study_id", *CHEXPERT_FINDINGS)
    labels = {line["study_id"]: line for _, line in studies.lines}
    splits: dict[str, str] = {}
    for path in sorted(root.glob("mimic-cxr-*-split.csv*"))[:1]:
        splits = {line["dicom_id"]: line["split"] for _, line in read_table(path, "dicom_id", "split").lines}
    rows: list[IndexRow] = []
    images, rejected, notes = walk_images(root)
    files = by_key(images, lambda path: path.stem, source, rejected)
    absent = 0
    metadata = _only(root, "mimic-cxr-*-metadata.csv*")
    for number, line in read_table(metadata, "dicom_id", "subject_id", "study_id", "ViewPosition").lines:
        path = files.pop(line["dicom_id"], None)
        if path is None:
            absent += 1
            continue
        split = splits.get(line["dicom_id"], "")
        row = IndexRow(
            str(path),
            source,
            patient_id=prefixed(source, line["subject_id"]),
            study_id=prefixed(source, line["study_id"]),
            view=line["ViewPosition"],
            modality="X-ray",
            split=_SPLITS.get(split, split),
        )
        _keep(rows, rejected, row, _Said(labels.get(line["study_id"], {}), options, f"{metadata.name} line {number}"))
    rejected += [Rejected(str(path), source, f"not in {metadata.name}") for path in files.values()]
    missing = (f"{absent} images of {metadata.name} are not here",) if absent else ()
    return Listing(tuple(rows), tuple(rejected), (*missing, *notes))


def list_padchest(root: Path, options: LayoutOptions) -> Listing:
    """PadChest: ``PADCHEST_chest_x_ray_images_labels*.csv``; a list of findings per image, which names all there are.

    Images that the set marks ``exclude`` are rejected. Beside ``unchanged`` and ``suboptimal study`` a finding that is
    not listed may be there, so that it is not taken for absent.
    """
    source = options.source or "padchest"
    table = _only(root, "PADCHEST*.csv*")
    found = _Files(root, source, table)
    for _, line in read_table(table, "ImageID", "PatientID", "Projection", "Labels").lines:
        born, taken = line.get("PatientBirth", "").removesuffix(".0"), line.get("StudyDate_DICOM", "")[:4]
        found.add(
            line["ImageID"],
            partial(_of_padchest, line["Labels"], options),
            patient_id=prefixed(source, line["PatientID"]),
            study_id=prefixed(source, line.get("StudyID", "")),
            view=line["Projection"],
            sex=line.get("PatientSex_DICOM", ""),
            age=str(int(taken) - int(born)) if born.isdecimal() and taken.isdecimal() else "",
            modality="X-ray",
            manufacturer=line.get("Manufacturer_DICOM", ""),
        )
    return found.listing()


def _of_padchest(text: str, options: LayoutOptions) -> dict[str, Any]:
    try:
        listed: Any = ast.literal_eval(text) if text and text.lower() != "nan" else []
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise DataError(f"expected a list of findings such as ['cardiomegaly'], found {text[:50]!r}")
    names = [one.strip() for one in listed if one.strip()]
    if "exclude" in names:
        raise DataError("the set marks it as to be excluded")
    told = of_list([name for name in names if name not in _NO_FINDINGS], options.aliases)
    return told if names and _NO_FINDINGS.isdisjoint(names) else {**told, "absent": ""}


def list_vindr(root: Path, options: LayoutOptions) -> Listing:
    """VinDr-CXR: several readers per image; ``annotations/image_labels_*.csv``, or Kaggle's ``train.csv`` of boxes.

    A finding that all readers of an image name is present, one that only some name is uncertain, and of the findings of
    the set one that nobody names is absent. The test part has one line per image, the readers' consensus.
    """
    source = options.source or "vindr"
    listings: list[Listing] = []
    tables = [root / name for name in VINDR_LABELS if (root / name).is_file()] or [root / VINDR_BOXES]
    for table in tables:
        part = "test" if table.stem.endswith("test") else "train"
        readers = _votes_by_column(table) if table.parent != root else _votes_by_box(table)
        found = _Files(root / part, source, table, stem=True)
        for image, votes in readers.items():
            every = set[str]().union(*votes.values())
            agreed = every.intersection(*votes.values())
            doubtful = sorted(every - agreed)
            found.add(
                image,
                partial(of_list, sorted(agreed), options.aliases, uncertain=doubtful),
                modality="X-ray",
                split=part,
            )
        listings.append(found.listing())
    return Listing(
        tuple(row for one in listings for row in one.rows),
        tuple(line for one in listings for line in one.rejected),
        tuple(note for one in listings for note in one.notes),
    )


def is_vindr_boxes(columns: Sequence[str]) -> bool:
    """Whether a table is Kaggle's one of VinDr's boxes."""
    return {"image_id", "class_name", "rad_id"} <= set(columns)


def is_chexpert(table: Path) -> bool:
    """Whether a table is one of CheXpert's."""
    return {"Path", "No Finding", "Support Devices"} <= set(table_columns(table))


def _votes_by_column(table: Path) -> dict[str, dict[str, set[str]]]:
    """Image to reader to the findings that the reader names, from a column per finding."""
    found: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for number, line in read_table(table, "image_id", "No finding").lines:
        names = found[line["image_id"]].setdefault(line.get("rad_id", ""), set())
        for column, cell in line.items():
            if column in {"image_id", "rad_id"}:
                continue
            if cell not in {"0", "1", "0.0", "1.0", ""}:
                raise DataError(f"{table}, line {number}, column {column}: expected 0 or 1, found {cell!r}")
            if cell.startswith("1"):
                names.add(_VINDR_NAMES.get(column, column))
    return found


def _votes_by_box(table: Path) -> dict[str, dict[str, set[str]]]:
    """The same from a line per box, or per reader who found nothing."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for _, line in read_table(table, "image_id", "class_name", "rad_id").lines:
        found[line["image_id"]][line["rad_id"]].add(line["class_name"])
    return found


def _only(root: Path, pattern: str) -> Path:
    return next(iter(sorted(root.glob(pattern))))


def _folder_named(path: str, start: str) -> str:
    return next((part for part in path.split("/")[:-1] if part.startswith(start)), "")


class _Said:
    """What a line with a column per finding says, or why it cannot be used."""

    def __init__(self, line: Mapping[str, str], options: LayoutOptions, where: str, missing: str = "") -> None:
        self.refused = f"in {where}, but {missing}" if missing else ""
        self.statements: dict[str, Any] = {}
        try:
            cells = {name: line[name] for name in CHEXPERT_FINDINGS if name in line}
            self.statements = of_columns(cells, options.aliases)
        except DataError as error:
            self.refused = f"{where}: {error}"


def _keep(rows: list[IndexRow], rejected: list[Rejected], row: IndexRow, said: _Said) -> None:
    if said.refused:
        rejected.append(Rejected(row.path, row.source, said.refused))
    else:
        rows.append(dataclasses.replace(row, **said.statements))


class _Files:
    """The images of a folder and the rows that a table gives them, by file name or stem."""

    def __init__(self, root: Path, source: str, table: Path, *, stem: bool = False) -> None:
        self._root, self._source, self._table = root, source, table
        images, self._rejected, self._notes = walk_images(root)
        self._files = by_key(images, lambda path: path.stem if stem else path.name, source, self._rejected)
        self._rows: list[IndexRow] = []

    def add(self, name: str, statements: Callable[[], Mapping[str, Any]], **fields: Any) -> None:
        """Add the row of an image; `statements` gives what is said of its findings."""
        path = self._files.pop(name, None)
        if path is None:
            reason = f"in {self._table.name}, but no file"
            self._rejected.append(Rejected(str(self._root / name), self._source, reason))
            return
        try:
            self._rows.append(IndexRow(str(path), self._source, **statements(), **fields))
        except DataError as error:
            self._rejected.append(Rejected(str(path), self._source, str(error)))

    def listing(self) -> Listing:
        """All rows, and the images that the table does not name as rejected."""
        unnamed = [Rejected(str(path), self._source, f"not in {self._table.name}") for path in self._files.values()]
        return Listing(tuple(self._rows), (*self._rejected, *unnamed), self._notes)
