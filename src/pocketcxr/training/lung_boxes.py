"""Boxes around the lungs of training images, for views that are cut out around them."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.model.lungs import WEIGHTS, find_lungs, load_segmenter
from pocketcxr.files import write_bytes
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset

WHOLE = (0.0, 0.0, 1.0, 1.0)
_BATCH = 32


def lung_boxes(dataset: Dataset, *, cache: Path, progress: bool = True) -> NDArray[np.float32]:
    """Find the lungs of the images of the training split; kept in `cache`.

    Args:
        dataset: its pixels.
        cache: folder of a run in which the boxes of these very images are kept.
        progress: show a bar on stderr.

    Returns:
        float32 [n, 4]: left, top, right and bottom edge as shares of the square; the whole square for images of other
        splits and those in which the segmenter finds no plausible lungs (`find_lungs`).

    Raises:
        BundleError: the segmenter's file is missing or damaged.
    """
    key = hashlib.sha256(WEIGHTS.read_bytes() + dataset.fingerprint.encode()).hexdigest()[:16]
    path = cache / f"lungs-{key}.npy"
    try:
        kept = np.load(path)
    except (OSError, ValueError):
        kept = None
    if kept is not None and kept.shape == (len(dataset.rows), 4):
        return kept
    found = np.tile(np.array(WHOLE, dtype=np.float32), (len(dataset.rows), 1))
    train = np.array([i for i, row in enumerate(dataset.rows) if row.split == "train"], dtype=np.int64)
    segment = load_segmenter()
    for start in Bar(range(0, len(train), _BATCH), desc="lungs", unit="batch", disable=not progress):
        batch = train[start : start + _BATCH]
        lungs = find_lungs(dataset.images(batch), segment)
        for position, mask, trusted in zip(batch, lungs.masks, lungs.trusted, strict=True):
            if trusted:
                found[position] = _edges(mask)
    stream = io.BytesIO()
    np.save(stream, found)
    write_bytes(path, stream.getvalue())
    return found


def _edges(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    columns, rows = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    side = len(mask)
    return columns[0] / side, rows[0] / side, (columns[-1] + 1) / side, (rows[-1] + 1) / side
