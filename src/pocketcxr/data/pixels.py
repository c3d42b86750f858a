"""The pixel store: every image decoded and resized once, then read by memory map in all runs, epochs and tasks.

A store is a folder of three files, named by what it holds (contents of the images, size, aspect)::

    pixels-3f9a0c1d2b4e5f60/
      pixels.npy   uint8 [n, size, size], NumPy's own format
      checks.npy   uint32 [n], CRC-32 of each image's pixels, begun from its sha256; 0 where it is not done
      store.json   what it is, for people

A check that does not fit (killed half way, truncated, a bit flipped) means that this one image is decoded again. Pixels
are rounded to 8 bits, ``floor(255 x + 0.5)``: at most 1/510 from what a prediction sees, and 8 bits are all that JPEG
had; `tests/data/test_pixels.py` holds the bound.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import zlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from pocketcxr.data.dataset import Dataset
from pocketcxr.data.multilabel import is_of_task, label_array
from pocketcxr.data.parallel import ordered_map
from pocketcxr.data.splits.assign import check_leakage
from pocketcxr.errors import CacheError, DataError, InputError
from pocketcxr.files import write_json
from pocketcxr.imaging.reading import read_image_bytes
from pocketcxr.imaging.resize import resize
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import Task

STORE_VERSION = 1
"""Rises when reading, resizing or rounding changes, so that no older store is used."""

_LOG = logging.getLogger(__name__)


def open_dataset(
    rows: Sequence[IndexRow],
    task: Task,
    *,
    size: int,
    aspect: str = "squash",
    cache: Path,
    unlabelled: bool = False,
    also: Collection[str] = (),
    leaks: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Decode what is not decoded yet, and map the images of a task into memory.

    Runs that were killed go on where they stopped. Tasks and splits over the same images share one store.

    Args:
        rows: a split table (from `splits`); rows without a class in the task, and without a split or fold, are left
            out. Their order does not matter: images come in the order of their sha256.
        task: gives the classes.
        size: side in pixels.
        aspect: ``squash`` or ``pad``, as in `imaging.resize`.
        cache: folder of the stores.
        unlabelled: also take the images without a class that have a split; their label is -1.
        also: paths of the images without a class to take where `unlabelled` is not set.
        leaks: take a table in which patients or images stand in two splits: for an audit, which has to find them.
        workers: threads that decode; None takes one per core.
        progress: show a bar on stderr.

    Raises:
        LeakError: a patient or image stands in two splits, and `leaks` is not set.
        DataError: no image is left, or a file changed or vanished since it was indexed.
        CacheError: the disk is full, or the store cannot be written; what is done stays and is used by the next run.
    """
    if not leaks:
        check_leakage(rows)
    placed = [row for row in rows if row.split or row.fold]
    others = set(also)
    used = [
        row for row in placed if is_of_task(row.label, task) or (not row.label and (unlabelled or row.path in others))
    ]
    _check_used(used, task)
    used.sort(key=lambda row: (row.sha256, row.path))
    pixels = _open_store(used, size=size, aspect=aspect, cache=cache, workers=workers, progress=progress)
    return Dataset(task, tuple(used), pixels, label_array(used, task), _fingerprint(used, task, size, aspect))


def _check_used(used: Sequence[IndexRow], task: Task) -> None:
    if not used:
        raise DataError(
            f"task {task.name}: no image has a class and a split; run  pocketcxr split  for this task first"
        )
    unhashed = next((row.path for row in used if not row.sha256), None)
    if unhashed:
        raise DataError(f"{unhashed}: the index holds no sha256 of this image; run  pocketcxr index  again")


def _fingerprint(rows: Sequence[IndexRow], task: Task, size: int, aspect: str) -> str:
    """Changes with any image, label, split, fold, size or aspect, not with folders."""
    lines = [f"{STORE_VERSION} {size} {aspect} {task.name} {list(task.labels)}"]
    lines += [f"uncertain {sorted(task.uncertain.items())}"] if task.multilabel else []
    lines += [f"{row.sha256} {row.label} {row.split} {row.fold}" for row in rows]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _open_store(
    rows: Sequence[IndexRow], *, size: int, aspect: str, cache: Path, workers: int | None, progress: bool
) -> NDArray[np.uint8]:
    """Complete the store of these images and map it: uint8 [n, size, size], read-only."""
    key = "\n".join([f"{STORE_VERSION} {size} {aspect}", *(row.sha256 for row in rows)])
    folder = cache / f"pixels-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    shape = (len(rows), size, size)
    try:
        _prepare(folder, shape, aspect)
        _fill(folder, shape, rows, aspect=aspect, workers=workers, progress=progress)
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise CacheError(_trouble(folder, error)) from error
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise CacheError(f"{folder}: expected uint8 {shape}, found {pixels.dtype} {pixels.shape}; delete this folder")
    return pixels


def _prepare(folder: Path, shape: tuple[int, int, int], aspect: str) -> None:
    """Create what is missing, and give damaged files their header and length back; contents are checked later."""
    folder.mkdir(parents=True, exist_ok=True)
    what = {"version": STORE_VERSION, "images": shape[0], "size": shape[1], "aspect": aspect}
    if not (folder / "store.json").is_file():  # processes of one training open the store at the same time
        write_json(folder / "store.json", what)
    for name, dtype, extent in (("pixels.npy", np.uint8, shape), ("checks.npy", np.uint32, shape[:1])):
        header = _npy_header(np.dtype(dtype), extent)
        length = len(header) + int(np.prod(extent)) * np.dtype(dtype).itemsize
        path = folder / name
        path.touch()
        with path.open("r+b") as stream:
            if stream.read(len(header)) != header:
                stream.seek(0)
                stream.write(header)
            stream.truncate(length)


def _npy_header(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    """The header that NumPy writes for such an array (NEP 1); it depends on nothing else."""
    stream = io.BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue()


def _fill(
    folder: Path,
    shape: tuple[int, int, int],
    rows: Sequence[IndexRow],
    *,
    aspect: str,
    workers: int | None,
    progress: bool,
) -> None:
    """Decode every image whose check does not fit. Written with `write`, since a full disk kills a memory map."""
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    checks = np.load(folder / "checks.npy")
    fits = list(ordered_map(lambda i: _check(rows[i], pixels[i]) == checks[i], range(len(rows)), workers=workers))
    missing = [i for i, good in enumerate(fits) if not good]
    damaged = int(np.count_nonzero(checks[missing]))
    if damaged:
        _LOG.warning("%s: %d of %d images are damaged and are decoded again", folder, damaged, len(rows))
    if not missing:
        return
    size = shape[1]
    bar = Bar(total=len(rows), initial=len(rows) - len(missing), desc="decode", unit="image", disable=not progress)
    decoding = closing(ordered_map(lambda i: _decode(rows[i], size, aspect), missing, workers=workers))
    starts = [len(_npy_header(np.dtype(np.uint8), shape)), len(_npy_header(np.dtype(np.uint32), shape[:1]))]
    with (
        bar,
        decoding as images,
        (folder / "pixels.npy").open("r+b", 0) as store,
        (folder / "checks.npy").open("r+b", 0) as ledger,
    ):
        for i, image in zip(missing, images, strict=True):
            _write(store, starts[0] + i * size * size, image.tobytes())
            _write(ledger, starts[1] + 4 * i, np.uint32(_check(rows[i], image)).tobytes())
            bar.update()


def _write(stream: BinaryIO, position: int, data: bytes) -> None:
    """Write all bytes at a position; an unbuffered `write` may take only a part when the disk fills up."""
    stream.seek(position)
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def _check(row: IndexRow, image: NDArray[np.uint8]) -> int:
    """CRC-32 of an image's pixels, begun from its file's sha256; never 0, which stands for not done."""
    return zlib.crc32(np.ascontiguousarray(image).data, zlib.crc32(row.sha256.encode())) or 1


def _decode(row: IndexRow, size: int, aspect: str) -> NDArray[np.uint8]:
    """Read one image as the index knew it: uint8 [size, size]."""
    path = Path(row.path)
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise DataError(f"{path}: the file changed since it was indexed; run  pocketcxr index  and  split  again")
        image = resize(read_image_bytes(data, str(path)).pixels, size=size, aspect=aspect)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); run  pocketcxr index  again") from error
    except InputError as error:
        raise DataError(f"{error}; it was readable when indexed: run  pocketcxr index  again") from error
    return np.floor(image * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _trouble(folder: Path, error: Exception) -> str:
    """One line on why a store could not be written, with the space that is left."""
    free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free
    why = error.strerror if isinstance(error, OSError) else str(error)
    return (
        f"pixel store {folder}: {why} ({free / 2**20:,.0f} MiB free there); what is decoded stays: make room or choose "
        "another cache folder, and run again"
    )
