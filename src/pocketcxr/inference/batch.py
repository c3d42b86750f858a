"""Score files and folders of any number in constant memory; a bad file becomes a record and stops no other."""

from __future__ import annotations

import itertools
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.errors import InputError, UnreadableImageError
from pocketcxr.imaging.folders import PassedOver, is_image, walk
from pocketcxr.imaging.input_checks import Reason
from pocketcxr.inference.prediction import ERROR, Prediction
from pocketcxr.inference.standard_input import STANDARD_INPUT, STANDARD_INPUT_NAME, standard_input
from pocketcxr.plain_text import path_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from pocketcxr.imaging.reading import Radiograph
    from pocketcxr.inference.predictor import Predictor

FEW = 8
"""Up to so many files are scored by this process itself: others would not be ready before it is done."""

_LOGGER = logging.getLogger(__name__)


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
    runtime: str = "onnxruntime",
) -> Generator[Prediction]:
    """Score files in this process where that is quicker, otherwise in several; predictions in the order of the files.

    Args:
        files: as `find_images` yields them.
        start_here: makes the function that scores one file in this process; called only where that is done.
        bundle: file and identity, for other processes.
        exact: read every pixel; see `pocketcxr.inference.predictor.Predictor`.
        heatmaps: folder that other processes write heatmaps to, or None.
        workers: processes; None takes this one for up to `FEW` files, otherwise one per core.
        runtime: of other processes; see `pocketcxr.inference.session.load_bundle`.
    """
    first = list(itertools.islice(files, FEW + 1))
    if not first:
        return
    if workers is None and len(first) <= FEW:
        score_here = start_here()
        for path in first:
            yield score_here(path)
        return
    from pocketcxr.data.parallel import default_workers
    from pocketcxr.inference.processes.pool import PoolOptions, predict_in_processes

    workers = min(workers or default_workers(), len(first))
    options = PoolOptions(*bundle, exact=exact, heatmaps=heatmaps, runtime=runtime)
    yield from predict_in_processes(itertools.chain(first, files), options, workers=workers)


def find_images(paths: Iterable[Path], *, passed_over: PassedOver | None = None) -> Iterator[Path]:
    """Yield named files as they are, and the images in named folders recursively, in natural order (2 before 10).

    What counts as an image, and which links are followed, says `pocketcxr.imaging.folders`. Entries that are no images
    are passed over, and counted in `passed_over`, or in one line of the log at the end where that is None. A folder
    that cannot be listed or holds no image is yielded itself, so that it gives an error record and not silence.
    """
    told = passed_over is None
    passed_over = PassedOver() if passed_over is None else passed_over
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = False
        for entry in walk(path):
            if not entry.why or (entry.unread and not entry.path.is_symlink()):
                found = True
                yield entry.path
            else:
                passed_over.add(entry)
        if not found:
            yield path
    line = passed_over.line()
    if told and line:
        _LOGGER.warning("%s", line)


def named_once(paths: Iterable[Path]) -> list[Path]:
    """Leave out what was named before, and images that stand in a named folder and are found there."""
    named = [(path, Path(os.path.abspath(path))) for path in paths]  # noqa: PTH100  # a link is a file of its own
    folders = {place for _, place in named if place.is_dir()}
    seen: set[Path] = set()
    kept: list[Path] = []
    for path, place in named:
        found = folders.intersection(place.parents) and (place in folders or is_image(place))
        if place not in seen and not found:
            kept.append(path)
        seen.add(place)
    return kept


def score(predictor: Predictor, path: Path) -> Predictions:
    """Score one file; one that cannot be read gives the decision ``error`` with the reason."""
    name = path_text(path)
    try:
        if path == STANDARD_INPUT:
            name = STANDARD_INPUT_NAME
            return Predictions(*predictor.read_bytes_and_predict(standard_input(), name))
        if path.is_dir():
            raise UnreadableImageError(
                f"{name}: expected pictures in this folder, found none that can be listed and read",
                "empty-folder",
            )
        return Predictions(*predictor.read_and_predict(path, name))
    except InputError as error:
        reason = Reason(error.category, path_text(str(error)))
    return Predictions(Prediction(name, ERROR, {}, None, (reason,), predictor.bundle.identity), None)
