"""Recognises what lies in a folder: one known set, several side by side, a table, class folders, DICOM."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pocketcxr.data.adapters.file_listing import LayoutOptions, Listing, Rejected, subfolders
from pocketcxr.data.adapters.own import (
    find_table,
    list_class_folders,
    list_dicom,
    list_loose,
    list_table,
    list_unlabelled,
)
from pocketcxr.data.adapters.public import (
    RSNA_TABLE,
    covidx_lists,
    list_covidx,
    list_ieee8023,
    list_kermany,
    list_radiography,
    list_rsna,
    list_siim,
)
from pocketcxr.data.adapters.several import (
    CHEXPERT_TABLES,
    VINDR_BOXES,
    VINDR_LABELS,
    is_chexpert,
    is_vindr_boxes,
    list_chexpert,
    list_mimic,
    list_nih,
    list_padchest,
    list_vindr,
)
from pocketcxr.data.tables import table_columns
from pocketcxr.errors import DataError
from pocketcxr.imaging.folders import LinkedFolders
from pocketcxr.vocabulary import finding_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LAYOUTS: Mapping[str, Callable[[Path, LayoutOptions], Listing]] = MappingProxyType(
    {
        "siim": list_siim,
        "ieee8023": list_ieee8023,
        "radiography": list_radiography,
        "kermany": list_kermany,
        "covidx": list_covidx,
        "nih": list_nih,
        "rsna": list_rsna,
        "chexpert": list_chexpert,
        "mimic-cxr": list_mimic,
        "padchest": list_padchest,
        "vindr": list_vindr,
        "folders": list_class_folders,
        "table": list_table,
        "dicom": list_dicom,
        "unlabelled": list_unlabelled,
    }
)
"""Every layout by the name that ``--layout`` takes; ``auto`` recognises all but ``unlabelled``."""

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".xlsx", ".xls", ".ods"})
"""Names of files that are taken for tables; those of workbooks are refused where they are read."""

_PARTS = frozenset({"train", "val", "valid", "validation", "test"})


def list_source(root: Path, layout: str, options: LayoutOptions) -> list[tuple[str, Path, Listing]]:
    """List the images of one source given by the user.

    Args:
        root: a folder, or a CSV file for the layout ``table``.
        layout: a name in `LAYOUTS`, or ``auto``, which takes a folder with several sets set by set.
        options: what the user says of the set.

    Returns:
        One entry per set: layout, its folder, its images.

    Raises:
        DataError: no such source or layout, or a table of the set is damaged.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise DataError(f"unknown layout {layout!r}: expected auto or one of {', '.join(LAYOUTS)}")
    if not root.exists():
        raise DataError(f"{root}: there is no such file or folder to index")
    if root.is_file() and root.suffix.lower() not in TABLE_SUFFIXES:
        raise DataError(f"{root}: expected a folder of images or a .csv table; give the folder that holds the image")
    if root.is_file():
        found, unread = [("table", root)], []
    elif layout == "auto":
        found, unread = recognise(root, options)
    else:
        found, unread = [(layout, root)], []
    listed = [(name, folder, _listed(name, folder, options)) for name, folder in found]
    return [*listed, ("loose", root, Listing((), tuple(unread)))] if unread else listed


def _listed(name: str, folder: Path, options: LayoutOptions) -> Listing:
    try:
        return list_loose(folder, options) if name == "loose" else LAYOUTS[name](folder, options)
    except (StopIteration, FileNotFoundError) as error:
        raise DataError(f"{folder}: expected the layout {name}, but its tables are not there") from error


def recognise(root: Path, options: LayoutOptions) -> tuple[list[tuple[str, Path]], list[Rejected]]:
    """Name the layout of a folder, or of each set in it.

    A folder that is no known set is searched downwards. Where nothing below is known either, it is taken as one set
    of class folders, whose adapter keeps DICOM files as unlabelled and rejects the rest with the reason.

    Returns:
        Layouts with their folders, and the links to folders that were not followed between sets.
    """
    unread: list[Rejected] = []
    found = _searched(root, options, LinkedFolders(root), unread)
    sets = [folder for name, folder in found if name != "loose"]  # they tell of the links inside themselves
    return found, [line for line in unread if not any(Path(line.path).is_relative_to(folder) for folder in sets)]


def _searched(
    root: Path, options: LayoutOptions, links: LinkedFolders, unread: list[Rejected]
) -> list[tuple[str, Path]]:
    known = _known(root, options)
    if known:
        return [(known, root)]
    inner: list[tuple[str, Path]] = []
    for child in subfolders(root):
        refusal = links.refusal(child)
        if refusal:
            unread.append(Rejected(str(child), "", refusal))
        else:
            inner += _searched(child, options, links, unread)
    if any(name != "folders" or _names_class(folder, options) for name, folder in inner):
        return [*inner, ("loose", root)]
    return [("folders", root)]


def _known(root: Path, options: LayoutOptions) -> str:
    """Layout of exactly this folder, or "" where it is none by itself."""
    marks: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("siim", lambda: (root / "train_study_level.csv").is_file() and (root / "train_image_level.csv").is_file()),
        ("ieee8023", lambda: {"patientid", "finding", "filename"} <= set(table_columns(root / "metadata.csv"))),
        ("rsna", lambda: {"patientId", "Target"} <= set(table_columns(root / RSNA_TABLE))),
        ("nih", lambda: any(root.glob("Data_Entry_2017*.csv"))),
        ("covidx", lambda: bool(covidx_lists(root))),
        ("chexpert", lambda: any(is_chexpert(root / name) for name in CHEXPERT_TABLES)),
        ("mimic-cxr", lambda: any(root.glob("mimic-cxr-*-chexpert.csv*"))),
        ("padchest", lambda: any(root.glob("PADCHEST*.csv*"))),
        ("vindr", lambda: any((root / name).is_file() for name in VINDR_LABELS) or _has_vindr_boxes(root)),
        ("table", lambda: find_table(root) is not None),
        ("kermany", lambda: _is_kermany(root)),
        ("radiography", lambda: any((child / "images").is_dir() for child in _class_folders(root, options))),
        ("folders", lambda: _names_class(root, options)),
    )
    return next((name for name, is_it in marks if is_it()), "")


def _has_vindr_boxes(root: Path) -> bool:
    return is_vindr_boxes(table_columns(root / VINDR_BOXES))


def _is_kermany(root: Path) -> bool:
    inside = root / "chest_xray" if (root / "chest_xray").is_dir() else root
    parts = [child for child in subfolders(inside) if child.name in _PARTS]
    classes = [child for part in parts for child in subfolders(part) if child.name in {"NORMAL", "PNEUMONIA"}]
    names = (path.name for folder in classes for path in folder.iterdir())
    return any(name.startswith(("person", "IM-", "NORMAL2-IM-")) for name in names)


def _class_folders(root: Path, options: LayoutOptions) -> list[Path]:
    return [child for child in subfolders(root) if finding_of(child.name, options.aliases) is not None]


def _names_class(root: Path, options: LayoutOptions) -> bool:
    """Whether a folder holds class folders, directly or under train, val and test."""
    parts = [child for child in subfolders(root) if child.name.lower() in _PARTS]
    return any(_class_folders(folder, options) for folder in (root, *parts))
