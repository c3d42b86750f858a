"""Adapters for public sets with one finding per image: SIIM, ieee8023, COVID-19 Radiography, Kermany, COVIDx, RSNA.

Each takes the set's folder and returns its `Listing` without opening an image. Identifiers get the source in front.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from pocketcxr.data.adapters.file_listing import (
    LayoutOptions,
    Listing,
    Rejected,
    by_key,
    prefixed,
    walk_images,
)
from pocketcxr.data.adapters.named_files import NamedFiles
from pocketcxr.data.adapters.own import list_class_folders
from pocketcxr.data.rows import IndexRow
from pocketcxr.data.tables import read_table, table_text
from pocketcxr.imaging.folders import claims_image
from pocketcxr.vocabulary import UNLABELLED, aliased, finding_of, unknown_finding

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIIM_APPEARANCES: Mapping[str, str] = MappingProxyType(
    {
        "Negative for Pneumonia": "no_pneumonia",
        "Typical Appearance": "typical_appearance",
        "Indeterminate Appearance": "indeterminate_appearance",
        "Atypical Appearance": "atypical_appearance",
    }
)
"""Columns of SIIM's study table; the consensus wording of Litmanovich et al., J Thorac Imaging 2020."""

IEEE8023_FINDINGS: tuple[tuple[str, str], ...] = (
    ("Pneumonia/Viral/COVID-19", "covid19"),
    ("Pneumonia/Viral", "viral_pneumonia"),
    ("Pneumonia/Bacterial", "bacterial_pneumonia"),
    ("Pneumonia/Fungal", "fungal_pneumonia"),
    ("Pneumonia", "pneumonia"),
    ("Tuberculosis", "tuberculosis"),
    ("No Finding", "no_finding"),
    ("todo", UNLABELLED),
    ("Unknown", UNLABELLED),
)
"""Findings of ieee8023's metadata.csv, a hierarchy cut by slashes: the first that a finding begins with counts."""

RSNA_TABLE = "stage_2_train_labels.csv"

COVIDX_CLASSES: Mapping[str, str] = MappingProxyType(
    # The binary lists' "negative" mixes normal and pneumonia: no task of ours may take it for either.
    {
        "normal": "no_finding",
        "pneumonia": "pneumonia",
        "covid-19": "covid19",
        "positive": "covid19",
        "negative": "other",
    }
)


def list_siim(root: Path, options: LayoutOptions) -> Listing:
    """SIIM-FISABIO-RSNA COVID-19 Detection 2021, as Kaggle ships it; finding per study, `test/` without labels.

    Kaggle's tables name studies only, and a third of the patients have several. Where a table ``patients.csv`` (columns
    image, patient, study) lies beside them, patients are taken from it, for `test/` too.
    """
    source = options.source or "siim"
    patients: dict[str, dict[str, str]] = {}
    if (root / "patients.csv").is_file():
        told = read_table(root / "patients.csv", "image", "patient", "study")
        patients = {line["image"]: line for _, line in told.lines}

    def row_of(path: Path, finding: str, study: str = "") -> IndexRow:
        known = patients.get(path.stem, {})
        patient_id, study_id = (prefixed(source, name) for name in (known.get("patient", ""), study))
        return IndexRow(str(path), source, finding, patient_id=patient_id, study_id=study_id)

    findings: dict[str, str] = {}
    for _, line in read_table(root / "train_study_level.csv", "id", *SIIM_APPEARANCES).lines:
        told = [finding for column, finding in SIIM_APPEARANCES.items() if line[column] == "1"]
        findings[line["id"].removesuffix("_study")] = told[0] if len(told) == 1 else UNLABELLED
    images, rejected, notes = walk_images(root / "train")
    files = by_key(images, lambda path: path.stem, source, rejected)
    rows: list[IndexRow] = []
    for _, line in read_table(root / "train_image_level.csv", "id", "StudyInstanceUID").lines:
        path = files.pop(line["id"].removesuffix("_image"), None)
        if path is None:
            rejected.append(Rejected(str(root / "train" / line["id"]), source, "in train_image_level.csv, but no file"))
            continue
        study = line["StudyInstanceUID"]
        rows.append(row_of(path, findings.get(study, UNLABELLED), study))
    rejected += [Rejected(str(path), source, "not in train_image_level.csv") for path in files.values()]
    unlabelled, denied, others = walk_images(root / "test") if (root / "test").is_dir() else ([], [], ())
    rows += [row_of(path, UNLABELLED, patients.get(path.stem, {}).get("study", "")) for path in unlabelled]
    return Listing(tuple(rows), (*rejected, *denied), (*notes, *others))


def list_ieee8023(root: Path, options: LayoutOptions) -> Listing:
    """ieee8023/covid-chestxray-dataset; CT slices and laterals stay, with modality and view, for the input filter."""
    source = options.source or "ieee8023"
    rows: list[IndexRow] = []
    rejected: list[Rejected] = []
    named: set[Path] = set()
    files = NamedFiles()
    for _, line in read_table(root / "metadata.csv", "patientid", "finding", "filename", "view", "modality").lines:
        path, missing = files.find(line["filename"], root / (line.get("folder") or "images"))
        named.add(path)
        finding = _ieee8023_finding(line["finding"], options)
        if finding is None:
            rejected.append(Rejected(str(path), source, unknown_finding(line["finding"])))
        elif missing:
            rejected.append(Rejected(str(path), source, f"in metadata.csv, but {missing}"))
        else:
            rows.append(
                IndexRow(
                    str(path),
                    source,
                    finding,
                    patient_id=prefixed(source, line["patientid"]),
                    view=line["view"],
                    sex=line.get("sex", ""),
                    age=line.get("age", "").removesuffix(".0"),
                    modality=line["modality"],
                    licence=line.get("license", ""),
                    location=line.get("location", ""),
                )
            )
    present, denied, rest = walk_images(root)
    others = [path for path in present if path not in named]
    # Nothing is known of these, not even whether they are radiographs: unlike "todo", they are no training material.
    unnamed = [path for path in others if path.parent == root / "images"]
    rejected += [Rejected(str(path), source, "not in metadata.csv") for path in unnamed]
    supplements = len(others) - len(unnamed)
    notes = (f"{supplements} files outside the folder images (annotations, masks) left out",) if supplements else ()
    return Listing(tuple(rows), (*rejected, *denied), (*notes, *rest))


def _ieee8023_finding(name: str, options: LayoutOptions) -> str | None:
    own = aliased(name, options.aliases)
    if own is not None:
        return own
    return next((finding for start, finding in IEEE8023_FINDINGS if name.startswith(start)), finding_of(name))


def list_radiography(root: Path, options: LayoutOptions) -> Listing:
    """COVID-19 Radiography Database: ``Class/images/*.png`` beside ``Class/masks``; no patient identifiers."""
    options = LayoutOptions(options.aliases, options.columns, options.source or "radiography")
    return list_class_folders(root, options, below="images")


def list_kermany(root: Path, options: LayoutOptions) -> Listing:
    """Kermany's paediatric set; patient and cause stand in the file names.

    PNEUMONIA numbers persons (``person12_bacteria_3``), NORMAL numbers examinations in two series of its own
    (``IM-0122-0001``, ``NORMAL2-IM-1167-0001-0002``): three numberings, so each gets a prefix.
    """
    source = options.source or "kermany"
    images, rejected, notes = walk_images(root)
    rows: list[IndexRow] = []
    for path in images:
        person = re.match(r"(person\d+)_(bacteria|virus)_", path.name)
        examination = re.match(r"((?:NORMAL2-)?IM-\d+)-", path.name)
        if path.parent.name == "PNEUMONIA" and person:
            finding = "bacterial_pneumonia" if person[2] == "bacteria" else "viral_pneumonia"
            rows.append(IndexRow(str(path), source, finding, patient_id=prefixed(source, person[1])))
        elif path.parent.name == "NORMAL" and examination:
            rows.append(IndexRow(str(path), source, "no_finding", patient_id=prefixed(source, examination[1])))
        elif path.parent.name in {"NORMAL", "PNEUMONIA"}:
            finding = "no_finding" if path.parent.name == "NORMAL" else "pneumonia"
            rows.append(IndexRow(str(path), source, finding))
        else:
            rejected.append(Rejected(str(path), source, "outside the folders NORMAL and PNEUMONIA"))
    return Listing(tuple(rows), tuple(rejected), notes)


def list_covidx(root: Path, options: LayoutOptions) -> Listing:
    """COVIDx: ``train*.txt``, ``val*.txt``, ``test*.txt`` with patient, file, class and origin; the split is kept."""
    source = options.source or "covidx"
    rows: list[IndexRow] = []
    images, rejected, notes = walk_images(root)
    named: set[Path] = set()
    files = NamedFiles()
    for table in covidx_lists(root):
        part = re.match(r"[a-z]+", table.name.lower())
        folder = part[0] if part else ""
        for line in table_text(table).splitlines():
            if len(line.split()) < 3:  # noqa: PLR2004
                continue
            patient, name, word = _covidx_fields(line, options)
            path, missing = files.find(name, root / folder)
            named.add(path)
            own = aliased(word, options.aliases)
            finding = COVIDX_CLASSES.get(word.lower()) if own is None else own
            if finding is None:
                rejected.append(Rejected(str(path), source, unknown_finding(word)))
            elif missing:
                rejected.append(Rejected(str(path), source, f"in {table.name}, but {missing}"))
            else:
                split = "calibration" if folder == "val" else folder
                rows.append(IndexRow(str(path), source, finding, patient_id=prefixed(source, patient), split=split))
    rejected += [Rejected(str(path), source, "not in the lists of COVIDx") for path in images if path not in named]
    return Listing(tuple(rows), tuple(rejected), notes)


def _covidx_fields(line: str, options: LayoutOptions) -> tuple[str, str, str]:
    """Patient, file and class of a line; later versions name the origin behind the class. A file may hold blanks."""
    patient, *fields = line.split()
    known = [i for i in (len(fields) - 1, len(fields) - 2) if i > 0 and _is_covidx_class(fields[i], options)]
    end = known[0] if known else 1
    return patient, " ".join(fields[:end]), fields[end]


def _is_covidx_class(word: str, options: LayoutOptions) -> bool:
    return word.lower() in COVIDX_CLASSES or aliased(word, options.aliases) is not None


def covidx_lists(root: Path) -> list[Path]:
    """COVIDx list files directly in a folder: their first line names an image behind the patient."""
    lists: list[Path] = []
    for path in sorted(root.glob("*.txt")):
        if not re.match(r"(train|val|test)", path.name, re.IGNORECASE):
            continue
        with path.open(encoding="utf-8", errors="replace") as stream:
            fields = stream.readline().split()
        if len(fields) >= 3 and any(claims_image(root / field) for field in fields[1:]):  # noqa: PLR2004
            lists.append(path)
    return lists


def list_rsna(root: Path, options: LayoutOptions) -> Listing:
    """RSNA Pneumonia Detection Challenge 2018: ``stage_2_train_labels.csv`` with a line per box, one image a patient.

    Target 1 is an opacity suspicious for pneumonia; without one, other findings are possible.
    """
    source = options.source or "rsna"
    images, rejected, notes = walk_images(root)
    files = by_key(images, lambda path: path.stem, source, rejected)
    findings = {
        line["patientId"]: "lung_opacity" if line["Target"] == "1" else "no_pneumonia"
        for _, line in read_table(root / RSNA_TABLE, "patientId", "Target").lines
    }
    rejected += [
        Rejected(str(root / name), source, f"in {RSNA_TABLE}, but no file") for name in findings.keys() - files.keys()
    ]
    rejected += [
        Rejected(str(path), source, f"not in {RSNA_TABLE}") for name, path in files.items() if name not in findings
    ]
    rows = [
        IndexRow(str(path), source, findings[name], patient_id=prefixed(source, name))
        for name, path in files.items()
        if name in findings
    ]
    return Listing(tuple(rows), tuple(sorted(rejected, key=lambda entry: entry.path)), notes)
