"""Boxes that radiologists drew around findings, read from a set's own tables beside its images, or from one table.

SIIM's and RSNA's tables give boxes in pixels of the originals; as shares of width and height they fit every copy of the
image, whatever its size. An image that no table names has no entry: nothing is known of it, it is not "no finding". An
image that a table names without a box has an empty entry; in SIIM only one image of a study has boxes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.adapters.patients import image_named, images_by_name
from pocketcxr.data.adapters.public import RSNA_TABLE
from pocketcxr.data.tables import read_table, table_columns
from pocketcxr.errors import DataError
from pocketcxr.imaging.folders import is_dicom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow

    Boxes = NDArray[np.float64]
    Corners = tuple[float, float, float, float]
    Sizes = Mapping[str, tuple[float, float]]

SIIM_TABLE = "train_image_level.csv"
BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max", "width", "height")
"""Columns of a table of boxes beside ``image`` or ``path``: corners, width and height of the image in pixels."""

_RSNA_SIZE = 1024.0  # pixels, width and height of every original
_TOLERANCE = 0.01  # of a side that a box may reach beyond the image: drawn by hand


def read_boxes(rows: Sequence[IndexRow], table: Path | None = None) -> dict[str, Boxes]:
    """Boxes of the images of an index.

    Args:
        rows: of the index; the tables are looked for in the folders around each image.
        table: a table of your own, with a line per box: ``image`` or ``path``, and `BOX_COLUMNS`, the six of them
            empty for an image without a box. Images are named as in a table of patients; what it says of an image
            counts more than the set's own table.

    Returns:
        Path of the image, as in the row, to its boxes [k, 4]: x0, y0, x1, y1 as shares of width and height, in [0, 1].

    Raises:
        DataError: a table cannot be read, a box has no area or lies outside its image, or `table` names none of the
            images or one that may be several.
    """
    found: dict[str, Boxes] = {}
    tables: dict[Path, dict[str, Boxes]] = {}
    folders: dict[Path, tuple[Path, Callable[[Path, Sizes], dict[str, Boxes]]] | None] = {}
    dicom: dict[str, tuple[float, float]] = {
        Path(row.path).stem: (row.width, row.height)
        for row in rows
        if row.width and row.height and is_dicom(Path(row.path))
    }
    for row in rows:
        path = Path(row.path)
        if path.parent not in folders:
            folders[path.parent] = _set_table(path.parent)
        own = folders[path.parent]
        if own is None:
            continue
        place, read = own
        if place not in tables:
            tables[place] = read(place, dicom)
        if path.stem in tables[place]:
            found[row.path] = tables[place][path.stem]
    return found if table is None else {**found, **_own_table(rows, table)}


def known_boxes(boxes: Mapping[str, Boxes], rows: Iterable[IndexRow]) -> dict[str, Boxes]:
    """Boxes of the images of which it is known where there are opacities, and where none.

    An image without a box is left out where another image of its study has boxes: they were drawn on one image of a
    study, so that nobody has said what the others show.
    """
    rows = list(rows)
    drawn = {row.study_id for row in rows if row.study_id and len(boxes.get(row.path, ()))}
    studies = {row.path: row.study_id for row in rows}
    return {path: own for path, own in boxes.items() if len(own) or studies.get(path, "") not in drawn}


def on_square(boxes: Mapping[str, Boxes], rows: Iterable[IndexRow], *, aspect: str) -> dict[str, Boxes]:
    """Boxes as shares of the square that a network takes: moved where the image was padded to it, else as they are.

    Args:
        boxes: from `read_boxes`.
        rows: with width and height; images without them are left out where the image is padded.
        aspect: ``squash`` or ``pad``; see `imaging.resize`.
    """
    if aspect == "squash":
        return dict(boxes)
    moved = {}
    for row in rows:
        if row.path in boxes and row.width and row.height:
            sides = np.array([row.width, row.height] * 2, dtype=np.float64)
            moved[row.path] = (boxes[row.path] * sides + (sides.max() - sides) / 2) / sides.max()
    return moved


def box_mask(boxes: Boxes, side: int) -> NDArray[np.bool_]:
    """Pixels [side, side] that the boxes [k, 4] touch, taken together."""
    mask = np.zeros((side, side), dtype=bool)
    for x0, y0, x1, y1 in boxes * side:
        mask[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] = True
    return mask


def _set_table(folder: Path) -> tuple[Path, Callable[[Path, Sizes], dict[str, Boxes]]] | None:
    for place in (folder, *folder.parents):
        for name, read in ((SIIM_TABLE, _siim), (RSNA_TABLE, _rsna)):
            if (place / name).is_file():
                return place / name, read
    return None


def _siim(table: Path, dicom: Sizes) -> dict[str, Boxes]:
    """Boxes from the column ``label``; the original's size from ``patients.csv``, or of the file where it is DICOM."""
    sizes, sizes_table = dict(dicom), table.with_name("patients.csv")
    if {"original_width", "original_height"} <= set(table_columns(sizes_table)):
        given = read_table(sizes_table, "image")
        for number, line in given.lines:
            words = [given.number(line[name]) for name in ("original_width", "original_height")]
            if any(words):
                width, height = _numbers(words, f"{sizes_table}, line {number}")
                sizes[line["image"]] = (width, height)
    found: dict[str, Boxes] = {}
    for number, line in read_table(table, "id", "label").lines:
        where, name = f"{table}, line {number}", line["id"].removesuffix("_image")
        words = line["label"].split()
        if len(words) % 6:
            raise DataError(f"{where}: expected six words per box in column label, found {len(words)}; correct it")
        corners = [_numbers(words[i + 2 : i + 6], where) for i in range(0, len(words), 6) if words[i] == "opacity"]
        if name in sizes:
            found[name] = _shares(corners, [sizes[name]] * len(corners), where)
    return found


def _rsna(table: Path, _: Sizes) -> dict[str, Boxes]:
    """A line per box with corner and extent; without those columns, which some copies lack, no boxes."""
    columns = ("x", "y", "width", "height")
    if not set(columns) <= set(table_columns(table)):
        return {}
    found: dict[str, list[Boxes]] = defaultdict(list)
    given = read_table(table, "patientId")
    for number, line in given.lines:
        where, words = f"{table}, line {number}", [given.number(line[name]) for name in columns]
        corners = []
        if any(words):
            x, y, width, height = _numbers(words, where)
            corners = [(x, y, x + width, y + height)]
        found[line["patientId"]].append(_shares(corners, [(_RSNA_SIZE, _RSNA_SIZE)], where))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _own_table(rows: Sequence[IndexRow], table: Path) -> dict[str, Boxes]:
    given = read_table(table)
    image = "path" if "path" in given.columns else "image"
    given.require(image, *BOX_COLUMNS)
    by_name = images_by_name(Path(row.path) for row in rows)
    found: dict[str, list[Boxes]] = defaultdict(list)
    for number, line in given.lines:
        where, words = f"{table}, line {number}", [given.number(line[name]) for name in BOX_COLUMNS]
        named = image_named(line[image], by_name, table.parent, where)
        corners, sizes = [], []
        if any(words):
            x0, y0, x1, y1, width, height = _numbers(words, where)
            corners, sizes = [(x0, y0, x1, y1)], [(width, height)]
        boxes = _shares(corners, sizes, where)
        if named is not None:
            found[str(named)].append(boxes)
    if not found:
        raise DataError(f"{table}: none of its lines names an image of this index; name images by path, name or stem")
    return {path: np.concatenate(parts) for path, parts in found.items()}


def _numbers(words: Sequence[str], where: str) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        values = (math.nan,)
    if not all(math.isfinite(value) for value in values):
        raise DataError(f"{where}: expected {len(words)} numbers in pixels, found {' '.join(words)!r}; correct it")
    return values


def _shares(corners: Sequence[Sequence[float]], sizes: Sequence[tuple[float, float]], where: str) -> Boxes:
    if not corners:
        return np.zeros((0, 4))
    for width, height in sizes:
        if width <= 0 or height <= 0:
            raise DataError(f"{where}: expected the image's width and height in pixels, found {width:g} x {height:g}")
    boxes = np.array(corners, dtype=np.float64) / np.array([size * 2 for size in sizes], dtype=np.float64)
    inside = (boxes >= -_TOLERANCE).all(axis=1) & (boxes <= 1 + _TOLERANCE).all(axis=1)
    boxes = boxes.clip(0, 1)
    bad = np.flatnonzero(~inside | (boxes[:, :2] >= boxes[:, 2:]).any(axis=1))
    if len(bad):
        found = " ".join(f"{value:g}" for value in corners[bad[0]])
        width, height = sizes[bad[0]]
        raise DataError(
            f"{where}: expected a box (x0 < x1, y0 < y1) inside an image of {width:g} x {height:g} pixels, "
            f"found {found}; is it the original's size?"
        )
    return boxes
