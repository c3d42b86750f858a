"""Patient table: joins patients to the images of any layout by path, file name or stem."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.data.adapters.file_listing import prefixed
from pocketcxr.data.adapters.named_files import is_foreign_path, same_name, with_slashes
from pocketcxr.data.tables import damaged_number, read_table, rounded_numbers
from pocketcxr.errors import DataError
from pocketcxr.imaging.folders import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pocketcxr.data.rows import IndexRow

_IMAGE_COLUMNS, _PATIENT_COLUMNS = ("image", "path"), ("patient", "patient_id")


def with_patients(rows: Sequence[IndexRow], table: Path, *, rejected: Sequence[str] = ()) -> list[IndexRow]:
    """Set the patient of every image that a table names; other images keep what their data set says.

    A line names an image by its path, absolute or from the table's folder, or by the end of its path with or without
    suffix (``test/a1.png``, ``a1.png``, ``a1``). Identifiers get the table's name in front and not the source's: one
    table has one numbering, so that a patient with images in two sources stays one.

    Args:
        rows: images of all sources.
        table: a CSV with the columns ``image`` or ``path``, and ``patient``.
        rejected: paths of files that are not in the index; the table may name them.

    Raises:
        DataError: a column is missing, a line names no image or several, or two lines give an image two patients.
    """
    lines = read_table(table)
    present = {column.lower(): column for column in lines.columns}
    image, patient = (
        next((present[name] for name in names if name in present), names[0])
        for names in (_IMAGE_COLUMNS, _PATIENT_COLUMNS)
    )
    lines.require(image, patient)
    rounded = rounded_numbers(line[patient] for _, line in lines.lines)
    if rounded:
        raise DataError(f"{table}, column {patient}: {rounded}")
    paths = [Path(path) for path in (*(row.path for row in rows), *rejected)]
    by_name = images_by_name(paths)
    told: dict[str, tuple[int, str]] = {}
    for number, line in lines.lines:
        where = f"{table}, line {number}"
        damaged = damaged_number(line[patient])
        if damaged:
            raise DataError(f"{where}: {damaged}")
        path = str(known_image(line[image], by_name, table.parent, where, lines.doubt))
        before, known = told.setdefault(path, (number, line[patient]))
        if known != line[patient]:
            raise DataError(f"{where}: another patient for {line[image]} than in line {before}; keep the true one")
    source = table.stem
    return [
        dataclasses.replace(row, patient_id=prefixed(source, told[row.path][1]) or row.patient_id)
        if row.path in told
        else row
        for row in rows
    ]


def images_by_name(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Paths by their file name, with and without suffix, for `images_named`."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        for name in {same_name(path.name), same_name(_without_suffix(path).name)}:
            by_name[name].append(path)
    return by_name


def images_named(name: str, by_name: Mapping[str, list[Path]], folder: Path) -> list[Path]:
    """Images that a table in `folder` may mean by a name: a path, or the end of one, with or without suffix."""
    wanted = Path(with_slashes(name))
    alike = [path for path in by_name.get(same_name(wanted.name), ()) if _ends_with(path, wanted, same_name)]
    found = [path for path in alike if _ends_with(path, wanted, str)] or alike if name else []
    exact = {(folder / wanted).absolute(), wanted}
    return [path for path in found if path in exact or _without_suffix(path) in exact] or found


def image_named(name: str, by_name: Mapping[str, list[Path]], folder: Path, where: str) -> Path | None:
    """The one image that a table in `folder` means by a name, as for `images_named`; None where there is none.

    Raises:
        DataError: it may be several; `where` names the line.
    """
    found = images_named(name, by_name, folder)
    if len(found) > 1:
        raise DataError(f"{where}: {name} may be {len(found)} images, such as {found[0]} and {found[1]}; name the path")
    return found[0] if found else None


def known_image(name: str, by_name: Mapping[str, list[Path]], folder: Path, where: str, doubt: str = "") -> Path:
    """The one image that a table in `folder` means by a name, as for `images_named`; `doubt` as of a `tables.Table`.

    Raises:
        DataError: it is none, or may be several; `where` names the line.
    """
    found = image_named(name, by_name, folder, where)
    if found is None:
        raise DataError(f"{where}: {name or 'an empty name'} is no image of these sources; {_what_to_do(name, doubt)}")
    return found


def _what_to_do(name: str, doubt: str) -> str:
    if is_foreign_path(name):
        return "it is a path of a Windows computer: name the file only"
    return doubt if doubt and not name.isascii() else "correct or remove the line"


def _ends_with(path: Path, wanted: Path, spelling: Callable[[str], str]) -> bool:
    end = [spelling(part) for part in wanted.parts]
    return any([spelling(part) for part in one.parts[-len(end) :]] == end for one in (path, _without_suffix(path)))


def _without_suffix(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path
