"""Pictures that a chest X-ray model must not answer: photographs, knees, CT slices, laterals."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.image_types import image_type_of
from pocketcxr.errors import DataError, PocketCxrError
from pocketcxr.imaging.folders import PassedOver, walk
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow


_LOGGER = logging.getLogger(__name__)


def load_ood(
    folders: Iterable[Path],
    rows: Sequence[IndexRow] = (),
    *,
    size: int,
    aspect: str = "squash",
    most: int = 120,
    seed: int = 0,
) -> dict[str, NDArray[np.float32]]:
    """Read out-of-distribution images as the model sees them.

    Args:
        folders: each with one folder per kind (``knee_xray``, ``photograph``), in which images lie at any depth; a
            folder that holds images itself is a kind of its own name.
        rows: of an index; those whose modality and view say that they must be refused, under their kind (``lateral``).
        size: side in pixels of the model's input.
        aspect: as the model wants it, see `imaging.resize`.
        most: images per kind, drawn at random where there are more.
        seed: of the draw.

    Returns:
        Kind to float32 [n, 1, size, size] in [0, 1]. Pictures that cannot be read are left out, for the reading refuses
        them already; a kind of which none is left is not there.

    Raises:
        DataError: a folder that does not exist.
    """
    paths: dict[str, list[Path]] = {}
    passed_over = PassedOver()
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"out-of-distribution images: expected a folder with a folder per kind, found no {folder}")
        for entry in walk(folder):
            if not entry.why:
                kind = entry.path.relative_to(folder).parts[:-1] or (folder.resolve().name,)
                paths.setdefault(kind[0], []).append(entry.path)
            else:
                passed_over.add(entry)
    if passed_over.line():
        _LOGGER.warning("out-of-distribution images: %s", passed_over.line())
    for row in rows:
        kind = image_type_of(row)
        if kind not in ("", "frontal"):
            paths.setdefault(kind, []).append(_path(row))
    rng = np.random.default_rng(seed)
    found_images = {}
    for kind, files in sorted(paths.items()):
        chosen = np.sort(rng.permutation(len(files))[:most])
        images = [image for i in chosen if (image := _read(files[i], size=size, aspect=aspect)) is not None]
        if images:
            found_images[kind] = np.stack(images)[:, None]
    return found_images


def _path(row: IndexRow) -> Path:
    from pathlib import Path

    return Path(row.path)


def _read(path: Path, *, size: int, aspect: str) -> NDArray[np.float32] | None:
    try:
        return resize(read_image(path).pixels, size=size, aspect=aspect)
    except PocketCxrError:
        return None
