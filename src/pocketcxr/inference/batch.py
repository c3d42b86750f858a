"""Score files and folders of any number in constant memory; a bad file becomes a record and stops no other."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.errors import InputError, UnreadableImageError
from pocketcxr.imaging.file_type import looks_like_dicom, raster_format
from pocketcxr.imaging.input_checks import Reason
from pocketcxr.inference.inputs import printable
from pocketcxr.inference.prediction import ERROR, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from pocketcxr.imaging.reading import Radiograph
    from pocketcxr.inference.predictor import Predictor

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".webp"})
"""In a folder, files of these names are always tried; others only where their first bytes are those of an image."""

FEW = 8
"""Up to so many files are scored by this process itself: others would not be ready before it is done."""

SORTED_AT_ONCE = 20_000
"""Entries of one folder that are sorted together; 20,000 take about 15 MB."""

_HEAD_BYTES = 512  # enough for DICM after its preamble of 128, or for the first two elements of a bare data set


@dataclass(frozen=True, eq=False)
class Predictions:
    """One prediction with the image it was given for; `radiograph` is None where the file could not be read."""

    prediction: Prediction
    radiograph: Radiograph | None


def predict_paths(predictor: Predictor, paths: Iterable[Path]) -> Iterator[Predictions]:
    """Score files and folders one by one, in the order of `find_images`, holding one image at a time.

    A file that cannot be read gives the decision ``error`` with the reason, and the next file is scored.
    """
    for path in find_images(paths):
        yield score(predictor, path)


def predict_files(
    files: Iterator[Path],
    *,
    start_here: Callable[[], Callable[[Path], Prediction]],
    bundle: tuple[Path, str],
    exact: bool = False,
    heatmaps: Path | None = None,
    workers: int | None = None,
) -> Generator[Prediction]:
    """Score files in this process where that is quicker, otherwise in several; predictions in the order of the files.

    Args:
        files: as `find_images` yields them.
        start_here: makes the function that scores one file in this process; called only where that is done.
        bundle: file and identity, for other processes.
        exact: read every pixel; see `pocketcxr.inference.predictor.Predictor`.
        heatmaps: folder that other processes write heatmaps to, or None.
        workers: processes; None takes this one for up to `FEW` files, otherwise one per core.
    """
    first = list(itertools.islice(files, FEW + 1))
    if not first:
        return
    if workers is None and len(first) <= FEW:
        score_here = start_here()
        for path in first:
            yield score_here(path)
        return
    from pocketcxr.inference.processes.pool import PoolOptions, default_workers, predict_in_processes

    workers = min(workers or default_workers(), len(first))
    options = PoolOptions(*bundle, exact=exact, heatmaps=heatmaps)
    yield from predict_in_processes(itertools.chain(first, files), options, workers=workers)


def find_images(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield named files as they are, and the images in named folders recursively, in natural order (2 before 10).

    In folders, hidden entries and files that are no image are passed over, and links to folders are not followed.
    Of a folder with very many entries, portions of `SORTED_AT_ONCE` are sorted, in the order in which the system lists
    them, so that a million names are never held at once. A folder that cannot be listed or holds no image is yielded
    itself, so that it gives an error record and not silence.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = False
        for image in _walk(path):
            found = True
            yield image
        if not found:
            yield path


def named_once(paths: Iterable[Path]) -> list[Path]:
    """Leave out what was named before, and images that stand in a named folder and are found there."""
    named = [(path, Path(os.path.abspath(path))) for path in paths]  # noqa: PTH100  # a link is a file of its own
    folders = {place for _, place in named if place.is_dir()}
    seen: set[Path] = set()
    kept: list[Path] = []
    for path, place in named:
        found = folders.intersection(place.parents) and (place in folders or place.suffix.lower() in IMAGE_SUFFIXES)
        if place not in seen and not found:
            kept.append(path)
        seen.add(place)
    return kept


def _walk(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as listing:
            visible = (entry for entry in listing if not entry.name.startswith("."))
            while entries := sorted(itertools.islice(visible, SORTED_AT_ONCE), key=_natural):
                for entry in entries:
                    yield from _pictures_of(folder, entry)
    except OSError:
        yield folder


def _pictures_of(folder: Path, entry: os.DirEntry[str]) -> Iterator[Path]:
    path = folder / entry.name
    if entry.is_dir(follow_symlinks=False):
        yield from _walk(path)
    elif entry.is_file() and (path.suffix.lower() in IMAGE_SUFFIXES or _begins_like_a_picture(path)):
        yield path


def _natural(entry: os.DirEntry[str]) -> list[tuple[int, int, str]]:
    """Sort key: runs of digits by their number, the rest without regard to case, ties by the exact name."""
    parts = re.split(r"([0-9]+)", entry.name)
    key = [(1, int(part), "") if part.isdigit() else (0, 0, part.lower()) for part in parts]
    return [*key, (0, 0, entry.name)]


def _begins_like_a_picture(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return False
    return bool(raster_format(head)) or looks_like_dicom(head)


def score(predictor: Predictor, path: Path) -> Predictions:
    """Score one file; one that cannot be read gives the decision ``error`` with the reason."""
    name = printable(path)
    try:
        if path.is_dir():
            raise UnreadableImageError(
                f"{name}: expected pictures in this folder, found none that can be listed and read",
                "empty-folder",
            )
        return Predictions(*predictor.read_and_predict(path, name))
    except InputError as error:
        reason = Reason(error.category, str(error))
    return Predictions(Prediction(name, ERROR, {}, None, (reason,), predictor.bundle.identity), None)
