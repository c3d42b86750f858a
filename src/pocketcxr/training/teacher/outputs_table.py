"""A table of a teacher's outputs, kept from a run or written by any other program, in place of a teacher."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.data.adapters.patients import image_named, images_by_name
from pocketcxr.data.tables import read_table
from pocketcxr.errors import CacheError, DataError
from pocketcxr.files import open_atomic
from pocketcxr.training.augmentation import AUGMENTATION_VERSION, augmentation_identity
from pocketcxr.training.run.identity import fingerprint
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.teacher.view_store import fill_store, open_store
from pocketcxr.training.teacher.views import TeacherViews

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.training.config import ViewsConfig

_BATCH = 1024
_ROUNDING = 1e-3  # of probabilities that somebody wrote
_LEAST = np.float32(1e-7)


@dataclass(frozen=True)
class _Table:
    """`logits` float32 [views, n, classes] of n images; `row_of` the row of an image, by its position in the data."""

    logits: NDArray[np.float32]
    row_of: dict[int, int]


def save_outputs(views: TeacherViews, dataset: Dataset, path: Path) -> None:
    """Keep the logits of all views of all training images in one small file, which `views_from_tables` reads.

    A NumPy ``.npz`` without pickles: ``sha256`` [n] of the image files, ``labels`` [classes], ``multilabel`` (whether
    an image may have several of them), ``logits`` float32 [views, n, classes], and ``views``, JSON of what the views
    were made with.

    Raises:
        CacheError: views are missing.
    """
    if views.missing:
        raise CacheError(f"{views.store.folder}: {views.missing} teacher views are still missing: compute them first")
    with open_atomic(path) as stream:
        np.savez_compressed(
            stream,
            sha256=np.array([dataset.rows[position].sha256 for position in views.store.positions]),
            labels=np.array(dataset.task.labels),
            multilabel=np.array(dataset.task.multilabel),
            logits=np.asarray(views.store.arrays["logits"], np.float32),
            views=np.array(json.dumps(_views_identity(dataset, views.config), sort_keys=True)),
        )


def views_from_tables(
    dataset: Dataset, paths: Sequence[Path], config: ViewsConfig, *, out: Path, progress: bool = True
) -> TeacherViews:
    """Take a teacher's logits from files instead of computing them; of several files the mean.

    Args:
        dataset: every image of its split ``train`` must be in each table, those without a label too.
        paths: ``.npz`` as `save_outputs` writes it, for these very views; or a CSV of any origin, with ``path`` or
            ``image`` (named as in a table of patients) and for each class a column ``logit_<class>`` or, for all of
            them, ``probability_<class>``. A CSV has one answer per image, which then holds for all its views.
        config: number of views, seed, augmentation.
        out: folder of all caches of a run.
        progress: show a bar.

    Raises:
        DataError: a table cannot be read, has other classes, or lacks an image.
        CacheError: it was made for other views, or no space.
    """
    positions = training_positions(dataset, unlabelled=True)
    tables: list[_Table] = []
    digests: list[str] = []
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read the table of a teacher's outputs {path}: {error.strerror}") from error
        table = _read_npz(dataset, path, content, config) if path.suffix == ".npz" else _read_csv(dataset, path)
        missing = [position for position in positions.tolist() if position not in table.row_of]
        if missing:
            raise DataError(
                f"{path}: {len(missing)} of {len(positions)} training images are not in this table of a teacher's "
                f"outputs, such as {dataset.rows[missing[0]].path}; add them, or take them out of the split"
            )
        tables.append(table)
        digests.append(hashlib.sha256(content).hexdigest())
    digest = fingerprint("tables", digests)
    key = fingerprint(digest, dataset.fingerprint, _views_identity(dataset, config))
    shapes = {"logits": (np.float32, (len(dataset.task.labels),))}
    store = open_store(out, key, positions=positions, views=config.count, shapes=shapes)

    def look_up(batch: NDArray[np.int64], view: int) -> dict[str, NDArray[Any]]:
        logits = [
            table.logits[view % len(table.logits), [table.row_of[position] for position in batch.tolist()]]
            for table in tables
        ]
        return {"logits": np.stack(logits).mean(axis=0)}

    store = fill_store(store, look_up, batch_size=_BATCH, progress=progress, title="teacher outputs")
    return TeacherViews(store, config, digest, dataset.fingerprint)


def _views_identity(dataset: Dataset, config: ViewsConfig) -> dict[str, Any]:
    return {
        "count": config.count,
        "seed": config.seed,
        "augmentation": augmentation_identity(dataset, config.augmentation),
        "version": AUGMENTATION_VERSION,
    }


def _read_npz(dataset: Dataset, path: Path, content: bytes, config: ViewsConfig) -> _Table:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            sha256, labels = file["sha256"].tolist(), tuple(file["labels"].tolist())
            logits, made = file["logits"].astype(np.float32), json.loads(str(file["views"]))
            several = "multilabel" in file and bool(file["multilabel"])  # tables of before are of one class per image
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected a table of a teacher's outputs (.npz) that `pocketcxr cache-views --save` wrote: {error}"
        ) from error
    _check_labels(path, labels, several, dataset)
    asked = _views_identity(dataset, config)
    if made != asked:
        differs = [name for name in asked if made.get(name) != asked[name]]
        raise CacheError(
            f"{path} was made for other views ({', '.join(differs)}): set [views] as in the run that made it, "
            "or compute the teacher's outputs for these views"
        )
    if logits.shape != (config.count, len(sha256), len(labels)):
        raise DataError(f"{path}: expected logits of {len(sha256)} images, found an array of shape {logits.shape}")
    _check_finite(path, logits)
    row_of = {name: row for row, name in enumerate(sha256)}
    found = {position: row_of[row.sha256] for position, row in enumerate(dataset.rows) if row.sha256 in row_of}
    return _Table(logits, found)


def _read_csv(dataset: Dataset, path: Path) -> _Table:
    table = read_table(path)
    columns, lines = table.columns, table.lines
    image = "path" if "path" in columns else "image"
    kind = "probability" if any(column.startswith("probability_") for column in columns) else "logit"
    wanted = [f"{kind}_{label}" for label in dataset.task.labels]
    table.require(image, *wanted)
    by_name = images_by_name(Path(row.path) for row in dataset.rows)
    position_of = {row.path: position for position, row in enumerate(dataset.rows)}
    values = np.empty((len(lines), len(wanted)), np.float32)
    found: dict[int, int] = {}
    for number, (place, line) in enumerate(lines):
        where = f"{path}, line {place}"
        try:
            values[number] = [float(table.number(line[column])) for column in wanted]
        except ValueError as error:
            raise DataError(f"{where}: expected numbers in {', '.join(wanted)}: {error}") from error
        named = image_named(line[image], by_name, path.parent, where)
        if named is not None and found.setdefault(position_of[str(named)], number) != number:
            raise DataError(f"{where}: {line[image]} is in this table twice; keep one line")
    if kind == "probability":
        values = _logits(values, f"{path}: expected {{}} in {', '.join(wanted)}", several=dataset.task.multilabel)
    _check_finite(path, values)
    return _Table(values[None], found)


def _logits(probabilities: NDArray[np.float32], expected: str, *, several: bool) -> NDArray[np.float32]:
    """Logits [n, labels] of probabilities; `expected` is the message where they are none, with a blank for the words.

    Raises:
        DataError: not from 0 to 1, or, of classes that exclude each other, not 1 in sum.
    """
    inside = np.isfinite(probabilities).all() and (probabilities >= 0).all() and (probabilities <= 1 + _ROUNDING).all()
    if not inside or not (several or np.allclose(probabilities.sum(axis=1), 1, atol=_ROUNDING)):
        raise DataError(expected.format("probabilities from 0 to 1" if several else "probabilities that sum to 1"))
    if not several:
        return np.log(probabilities.clip(_LEAST))
    within = probabilities.clip(_LEAST, 1 - _LEAST)
    return np.log(within) - np.log1p(-within)


def _check_labels(path: Path, labels: tuple[str, ...], several: bool, dataset: Dataset) -> None:
    kinds = {True: "any number per image", False: "one class per image"}
    task = dataset.task
    if (labels, several) != (task.labels, task.multilabel):
        raise DataError(
            f"{path}: expected outputs for {', '.join(task.labels)} ({kinds[task.multilabel]}), found "
            f"{', '.join(labels)} ({kinds[several]})"
        )


def _check_finite(path: Path, logits: NDArray[np.float32]) -> None:
    if not np.isfinite(logits).all():
        raise DataError(f"{path}: expected finite logits, found NaN or infinity")
