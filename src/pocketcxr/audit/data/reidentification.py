"""Embeddings of chest X-rays in which images of one person lie close: a small re-identification network of our own.

The network (``audit/model/weights/reidentification.onnx``, made by ``research/reidentification.py``) looks at the lungs
and what surrounds them, 138 x 138 pixels, cut out around what the lung segmenter found, so that posture and collimation
matter less than ribs, clavicles, spine and heart. It learned from patients of SIIM-FISABIO-RSNA who have several
studies; how often it is right on patients that it never saw stands in ``docs/results/reidentification.json``.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.lungs import SIZE as LUNG_SIZE
from pocketcxr.audit.model.lungs import WEIGHTS as LUNG_WEIGHTS
from pocketcxr.audit.model.lungs import load_segmenter
from pocketcxr.audit.model.packaged_network import load_packaged_network
from pocketcxr.data.parallel import ordered_map
from pocketcxr.errors import DataError, InputError
from pocketcxr.files import write_bytes
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pocketcxr.audit.model.lungs import Segment
    from pocketcxr.data.rows import IndexRow

    Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]

SIZE = 138
"""Side of the pictures that the network looks at."""

READ_SIZE = 256
"""Side of the whole images that these are cut from; aspect ``squash``."""

DIMENSIONS = 256

MARGIN = 0.168
"""Added on each side of the lungs, as a share of their extent: clavicles, lateral ribs, the diaphragm."""

WEIGHTS = LUNG_WEIGHTS.with_name("reidentification.onnx")

_LEAST_PROBABILITY, _LEAST_MEAN, _TAIL = 0.3, 0.03, 0.01
_BATCH = 32


def embed_rows(rows: Sequence[IndexRow], *, cache: Path, progress: bool = True) -> NDArray[np.float32]:
    """Embeddings of the images of a table, read from their files; kept in `cache` for the next time.

    Args:
        rows: any chest X-rays; other images get an embedding that means nothing.
        cache: folder in which the embeddings of these very files are kept.
        progress: show a bar on stderr.

    Returns:
        float32 [n, DIMENSIONS + 2]: embeddings of length 1, then mean and standard deviation of an image's products
        with the nearest of a cohort of training patients (see `persons.normalised`).

    Raises:
        DataError: a file is gone or cannot be read.
        BundleError: the network's file is missing or damaged.
    """
    unhashed = next((row.path for row in rows if not row.sha256), None)
    if unhashed:
        raise DataError(f"{unhashed}: the index holds no sha256 of this image; run  pocketcxr index  again")
    files = sorted({row.sha256: row for row in rows}.values(), key=lambda row: row.sha256)
    place = {row.sha256: i for i, row in enumerate(files)}
    embed = load_network()
    path = cache / f"reidentification-{_key(files)}.npy"
    found = _kept(path, len(files))
    if found is None:
        found = _embed_files(files, embed, progress=progress)
        stream = io.BytesIO()
        np.save(stream, found)
        write_bytes(path, stream.getvalue())
    return found[[place[row.sha256] for row in rows]]


def read_whole(row: IndexRow) -> NDArray[np.float32]:
    """The whole image, float32 [256, 256] in [0, 1].

    Raises:
        DataError: the file is gone or cannot be read.
    """
    try:
        return resize(read_image(Path(row.path)).pixels, size=READ_SIZE)
    except InputError as error:
        raise DataError(f"{error}; it was readable when indexed: run  pocketcxr index  again") from error


def _embed_files(files: Sequence[IndexRow], embed: Embed, *, progress: bool) -> NDArray[np.float32]:
    segment = load_segmenter()
    batches = [files[start : start + _BATCH] for start in range(0, len(files), _BATCH)]

    def embedded(batch: Sequence[IndexRow]) -> NDArray[np.float32]:
        return embed(cut_out(np.stack([read_whole(row) for row in batch]), segment))

    found = [np.empty((0, DIMENSIONS + 2), np.float32)]
    with (
        Bar(total=len(files), desc="persons", unit="image", disable=not progress) as bar,
        closing(ordered_map(embedded, batches)) as done,
    ):
        for block in done:
            found.append(block)
            bar.update(len(block))
    return np.concatenate(found)


def _key(files: Sequence[IndexRow]) -> str:
    """Changes with the network and with any image."""
    digest = hashlib.sha256(WEIGHTS.read_bytes())
    digest.update("\n".join(row.sha256 for row in files).encode())
    return digest.hexdigest()[:16]


def _kept(path: Path, count: int) -> NDArray[np.float32] | None:
    try:
        kept = np.load(path)
    except (OSError, ValueError):
        return None
    return kept if kept.shape == (count, DIMENSIONS + 2) and kept.dtype == np.float32 else None


def load_network(path: Path = WEIGHTS) -> Embed:
    """Load the network: cut-outs [n, SIZE, SIZE] in [0, 1] to what `embed_rows` returns, in one thread.

    Raises:
        BundleError: the file is missing or no such network.
    """
    run = load_packaged_network(path, what="re-identification network", output="embedding", size=SIZE)
    return lambda images: run(images[:, None])


def cut_out(
    images: NDArray[np.float32], segment: Segment, *, room: float = 0.0, size: int = SIZE
) -> NDArray[np.float32]:
    """Cut out the lungs and their surroundings, each axis stretched on its own.

    Args:
        images: float32 [n, 256, 256] in [0, 1].
        segment: from `load_segmenter`.
        room: added on each side of the cut-out, as a share of it; training turns and shifts within.
        size: side of the result.

    Returns:
        float32 [n, size, size]; what lies outside of the image repeats its edge.
    """
    small = np.stack([resize(image, size=LUNG_SIZE)[None] for image in images])
    return np.stack(
        [
            _cut(image, lung_box(chances), room=room, size=size)
            for image, chances in zip(images, segment(small), strict=True)
        ]
    )


def lung_box(probabilities: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom edge of the lungs as shares of the image; the whole image where none are found.

    Args:
        probabilities: of lung, [rows, columns]. A hundredth of their sum is left out at each edge, against crumbs.
    """
    kept = np.where(probabilities >= _LEAST_PROBABILITY, probabilities, 0)
    if kept.mean() < _LEAST_MEAN:
        return 0.0, 0.0, 1.0, 1.0
    edges: list[tuple[float, float]] = []
    for axis in (0, 1):
        share = np.cumsum(kept.sum(axis=axis))
        share /= share[-1]
        low, high = np.searchsorted(share, _TAIL), np.searchsorted(share, 1 - _TAIL)
        edges.append((float(low) / len(share), float(high + 1) / len(share)))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def _cut(
    image: NDArray[np.float32], box: tuple[float, float, float, float], *, room: float, size: int
) -> NDArray[np.float32]:
    side = len(image)
    left, top, right, bottom = box
    grown: list[int] = []
    for low, high in ((left, right), (top, bottom)):
        half = (high - low) / 2 * (1 + 2 * MARGIN) * (1 + 2 * room)
        middle = (low + high) / 2
        grown += [round((middle - half) * side), round((middle + half) * side)]
    x0, x1, y0, y1 = grown
    over = max(0, -x0, -y0, x1 - side, y1 - side)
    padded = np.pad(image, over, mode="edge")
    return resize(np.ascontiguousarray(padded[y0 + over : y1 + over, x0 + over : x1 + over]), size=size)
