"""Arrays that are computed view by view, image by image, and survive whatever stops the computation."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.errors import CacheError
from pocketcxr.files import sha256_of_file, write_json
from pocketcxr.progress import Bar
from pocketcxr.training.distributed.processes import accelerator, from_main, main_first, to_main

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
_DESCRIPTION, _SEAL = "store.json", "complete.json"


@dataclass(frozen=True)
class ViewStore:
    """Memory-mapped arrays [views, images, …], one per name, with a flag per (view, image) that says what is there.

    `positions` [images] are the rows of the data set, ascending. `folder` carries the key in its name, so that a store
    of other inputs is another folder and can never be taken for this one.
    """

    folder: Path
    key: str
    positions: NDArray[np.int64]
    arrays: dict[str, NDArray[Any]]
    done: NDArray[np.uint8]

    @property
    def missing(self) -> int:
        """How many (view, image) pairs are still to be computed."""
        return int(self.done.size - np.count_nonzero(self.done))

    def rows_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Second index into the arrays of images given by their position in the data set."""
        rows = np.searchsorted(self.positions, positions)
        if (rows >= len(self.positions)).any() or (
            self.positions[np.minimum(rows, len(self.positions) - 1)] != positions
        ).any():
            raise CacheError(f"{self.folder}: asked for an image that is not in this cache")
        return rows


def open_store(
    parent: Path,
    key: str,
    *,
    positions: NDArray[np.int64],
    views: int,
    shapes: Mapping[str, tuple[type, tuple[int, ...]]],
) -> ViewStore:
    """Open the store ``parent/key``, or make it; a damaged one is made anew, with a line that says so.

    Args:
        parent: folder of all stores of this kind.
        key: fingerprint of everything the content depends on.
        positions: [images] in the data set, ascending.
        views: how many views per image.
        shapes: per array its dtype and the shape of one entry.

    Raises:
        CacheError: no space, or no permission to write.
    """
    with main_first():
        return _open_store(parent / key, positions=positions, views=views, shapes=shapes)


def _open_store(
    folder: Path, *, positions: NDArray[np.int64], views: int, shapes: Mapping[str, tuple[type, tuple[int, ...]]]
) -> ViewStore:
    key = folder.name
    description = {
        "key": key,
        "views": views,
        "images": len(positions),
        "positions": hashlib.sha256(positions.tobytes()).hexdigest(),
        "arrays": {name: [np.dtype(kind).str, list(shape)] for name, (kind, shape) in shapes.items()},
    }
    if (folder / _DESCRIPTION).exists():
        damage = _damage(folder, description)
        if damage is None:
            return _map(folder, key, positions, tuple(shapes))
        _log.warning("cache %s is damaged (%s); computing it again", folder, damage)
        shutil.rmtree(folder)
    try:
        _create(folder, description, views, len(positions), shapes)
    except OSError as error:
        raise CacheError(
            f"cannot make cache {folder}: {error.strerror or error}; free some space or choose another folder"
        ) from error
    return _map(folder, key, positions, tuple(shapes))


def fill_store(
    store: ViewStore,
    compute: Callable[[NDArray[np.int64], int], dict[str, NDArray[Any]]],
    *,
    batch_size: int,
    progress: bool,
    title: str,
) -> ViewStore:
    """Compute what is missing, batch by batch; each batch is on disk before its flags say so.

    Of several processes each computes every so many-th batch, and the main one writes what all have computed, for on a
    network file system no two machines can write into one memory map.

    Args:
        store: from `open_store`.
        compute: (positions [n], view) -> entries [n, …] per array.
        batch_size: how many images at once; what a kill can lose.
        progress: show a bar with rate and time left.
        title: of the bar.

    Returns:
        The store, complete; mapped anew where another process has filled it.

    Raises:
        CacheError: a result is not finite, or the disk refuses it; what is done stays.
    """
    views, images = store.done.shape
    batches = [
        (view, start + np.flatnonzero(store.done[view, start : start + batch_size] == 0))
        for view in range(views)
        for start in range(0, images, batch_size)
    ]
    missing = from_main([(view, rows) for view, rows in batches if len(rows)])
    together, rank = accelerator().num_processes, accelerator().process_index
    total, there = len(batches) * batch_size, (len(batches) - len(missing)) * batch_size
    with Bar(total=total, initial=there, desc=title, unit="image", disable=not progress) as bar:
        for first in range(0, len(missing), together):
            own = missing[first + rank : first + together : together]
            computed = [(view, rows, compute(store.positions[rows], view)) for view, rows in own]
            for view, rows, results in itertools.chain(*to_main(computed)):
                _write(store, rows, view, results)
                bar.update(batch_size)
    seal = store.folder / _SEAL
    if accelerator().is_main_process and store.missing == 0 and not seal.exists():
        write_json(seal, {name: sha256_of_file(store.folder / f"{name}.npy") for name in store.arrays})
    accelerator().wait_for_everyone()
    if accelerator().is_main_process:
        return store
    return _map(store.folder, store.key, store.positions, tuple(store.arrays))


def _write(store: ViewStore, rows: NDArray[np.int64], view: int, results: dict[str, NDArray[Any]]) -> None:
    for name, values in results.items():
        array = store.arrays[name]
        narrowed = values.astype(array.dtype)
        if not np.isfinite(narrowed).all():
            raise CacheError(f"{store.folder}: {name} of view {view} is not finite; is the teacher's training sound?")
        array[view, rows] = narrowed
    try:
        for array in store.arrays.values():
            array.flush()  # pyright: ignore[reportAttributeAccessIssue]  # a memmap
        store.done[view, rows] = 1
        store.done.flush()  # pyright: ignore[reportAttributeAccessIssue]
    except OSError as error:
        raise CacheError(f"cannot write cache {store.folder}: {error.strerror or error}; what is done stays") from error


def _create(
    folder: Path,
    description: dict[str, Any],
    views: int,
    images: int,
    shapes: Mapping[str, tuple[type, tuple[int, ...]]],
) -> None:
    """Make all files at their full size before any work: on a full disk a sparse file would kill the process later."""
    partial = folder.with_name(f"{folder.name}.{_process()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, (kind, shape) in {**shapes, "done": (np.uint8, ())}.items():
            _write_zeros(partial / f"{name}.npy", np.dtype(kind), (views, images, *shape))
        write_json(partial / _DESCRIPTION, description)
        if not folder.exists():  # another command may have been first
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _process() -> int:
    import os

    return os.getpid()


def _write_zeros(path: Path, kind: np.dtype[Any], shape: tuple[int, ...]) -> None:
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        )
        left = math.prod(shape) * kind.itemsize
        block = bytes(1 << 20)
        while left > 0:
            left -= stream.write(block[: min(left, len(block))])


def _damage(folder: Path, description: dict[str, Any]) -> str | None:
    """One phrase when a store's files are not what its description and its seal say; None where they are."""
    try:
        found = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        if found != description:
            return f"its {_DESCRIPTION} describes other content"
        for name, (kind, shape) in {**description["arrays"], "done": ["|u1", []]}.items():
            array = np.load(folder / f"{name}.npy", mmap_mode="r")
            if array.dtype.str != kind or array.shape != (description["views"], description["images"], *shape):
                return f"{name}.npy has another shape"
        seal = folder / _SEAL
        if seal.exists():
            for name, digest in json.loads(seal.read_text(encoding="utf-8")).items():
                if sha256_of_file(folder / f"{name}.npy") != digest:
                    return f"{name}.npy was changed after it was complete"
    except (OSError, ValueError, AttributeError) as error:
        return str(error) or type(error).__name__
    return None


def _map(folder: Path, key: str, positions: NDArray[np.int64], names: tuple[str, ...]) -> ViewStore:
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in (*names, "done")}
    except (OSError, ValueError) as error:
        raise CacheError(f"cannot open cache {folder}: {error}; delete the folder to compute it again") from error
    return ViewStore(folder, key, positions, arrays, arrays.pop("done"))
