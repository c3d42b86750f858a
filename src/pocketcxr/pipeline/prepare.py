"""Index, split and decode the images that a run works on; what is already there is kept."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.data.boxes import known_boxes, on_square, read_boxes
from pocketcxr.data.index import build_index
from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.rows import SPLITS, read_rows, write_rows
from pocketcxr.data.splits.adults import adults_only as leave_out_children
from pocketcxr.data.splits.assign import FRACTIONS, LEVELS, assign_folds, assign_splits
from pocketcxr.data.splits.reuse import reuse_splits
from pocketcxr.data.splits.same_person import join_persons
from pocketcxr.data.summary import describe, describe_index
from pocketcxr.errors import ConfigError
from pocketcxr.files import check_output, write_csv, write_json
from pocketcxr.labels import load_task
from pocketcxr.plain_text import one_line
from pocketcxr.training.auxiliary.targets import BOXED, takes_part
from pocketcxr.training.lung_boxes import lung_boxes
from pocketcxr.vocabulary import known_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import Task
    from pocketcxr.pipeline.run import Run

_LOGGER = logging.getLogger("pocketcxr")


def index_sources(
    sources: Sequence[Path],
    output: Path,
    *,
    layout: str = "auto",
    columns: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    patients: Path | None = None,
    key: Path | None = None,
    progress: bool = True,
) -> None:
    """Index data sets into `output`, and list what was left out beside it (``NAME.rejected.csv``).

    Patients and studies of DICOM headers get pseudonyms under `key`, by default the file ``pseudonyms.key`` beside
    `output`, which is made where it is missing. Only their owner may read the files.

    Raises:
        ConfigError: `output` cannot be written.
        DataError: see `build_index`.
    """
    left_out = output.with_suffix(".rejected.csv")
    for path in (output, left_out):
        check_output(path, folder=False)
    index = build_index(
        sources,
        layout=layout,
        columns=columns or {},
        finding_aliases=aliases or {},
        patients=patients,
        memory=output.with_suffix(".memory.jsonl"),
        key=key,
        progress=progress,
    )
    write_rows(index.rows, output)
    rejected = ((one.path, one.source, one_line(one.reason)) for one in index.rejected)
    write_csv(left_out, ("path", "source", "reason"), rejected, private=True)
    _LOGGER.info("%s\nindex: %s; left out, with reasons: %s", describe_index(index), output, left_out)


def split_index(
    index: Path,
    task: Task,
    output: Path,
    *,
    fractions: tuple[float, ...] = FRACTIONS,
    seed: int = 0,
    folds: int = 0,
    level: str = LEVELS[0],
    like: Path | None = None,
    same_person: Sequence[Path] = (),
    adults_only: bool = False,
) -> str:
    """Split an index for a task, or take its sides from the table `like`; return the table of what went where.

    With `adults_only`, children do not stand in the table; see `adults.adults_only`. `same_person` are tables of pairs
    of images that show one person; see `same_person.join_persons`.

    Raises:
        ConfigError: `like` together with a setting that assigns images.
        DataError, LeakError: see `assign_splits`, `assign_folds`, `reuse_splits`, `join_persons`.
    """
    if like is not None and (tuple(fractions), seed, folds, level) != (FRACTIONS, 0, 0, LEVELS[0]):
        raise ConfigError(f"--as takes every side from {like}: leave out --fractions, --seed, --folds and --level")
    check_output(output, folder=False)
    rows, counted = join_persons(read_rows(index), same_person), ""
    if adults_only:
        rows, counted = leave_out_children(rows)
    if like is not None:
        done = reuse_splits(rows, task, read_rows(like), name=str(like))
    elif folds:
        done = assign_folds(rows, task, folds=folds, seed=seed, level=level)
    else:
        done = assign_splits(rows, task, fractions=fractions, seed=seed)
    write_rows(done, output)
    return "\n".join(filter(None, (describe(done, task), counted)))


def show_persons(table: Path, *, progress: bool = True) -> str:
    """Find pairs in two splits of a table that are probably one person; write them beside it, return one line.

    ``NAME.persons.html`` shows the pairs and ``NAME.persons.csv`` lists them; neither is written where there are none.

    Raises:
        DataError: an image is gone or cannot be read.
    """
    from pocketcxr.audit.data.persons import find_persons
    from pocketcxr.audit.data.persons_section import summary, write_pairs  # its page needs the extra evaluate
    from pocketcxr.audit.data.reidentification import embed_rows

    rows = read_rows(table)
    cache = table.absolute().parent / f"{table.stem}-audit" / "cache"  # where an audit of this table looks
    found = find_persons(rows, functools.partial(embed_rows, cache=cache, progress=progress))
    page, pairs = table.with_suffix(".persons.html"), table.with_suffix(".persons.csv")
    write_pairs(found, rows, page, pairs)
    return f"{summary(found)}: {page}, {pairs}" if found.pairs else summary(found)


def read_table(path: Path, *, adults_only: bool) -> tuple[list[IndexRow], str]:
    """Rows of an index or split table, without children if asked; and, then, how many were left out of each source."""
    rows = read_rows(path)
    return leave_out_children(rows) if adults_only else (rows, "")


def prepare(
    run: Run,
    *,
    sources: Sequence[Path] | None = None,
    splits: Path | None = None,
    columns: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Dataset:
    """Index, split and decode what a run works on; afterwards the run's folder alone is enough to go on.

    Raises:
        ConfigError: neither sources nor a table is given and the run has none yet, or they differ from the run's own.
        LeakError: a table of your own has a patient or a duplicate group on two sides.
    """
    config = run.experiment.data
    task = load_task(config.task)
    _remember_sources(run, sources, splits)
    if not run.splits.is_file():
        if splits is not None:
            given, counted = read_table(splits, adults_only=config.adults_only)
            rows = assign_splits(given, task, fractions=config.fractions, seed=config.seed, keep=True)
            write_rows(rows, run.splits)
            _LOGGER.info("%s", "\n".join(filter(None, (describe(rows, task), counted))))
        elif sources:
            index_sources(
                sources,
                run.index,
                layout=config.layout,
                columns=columns,
                aliases=known_words(task.findings, aliases or {}),
                progress=run.progress,
            )
            summary = split_index(
                run.index,
                task,
                run.splits,
                fractions=config.fractions,
                seed=config.seed,
                adults_only=config.adults_only,
            )
            _LOGGER.info("%s", summary)
        else:
            raise ConfigError(f"{run.folder} holds no run yet: name X-rays with --data or a split table with --splits")
    return open_images(run, read_rows(run.splits), task)


def open_images(run: Run, rows: Sequence[IndexRow], task: Task) -> Dataset:
    """Decode the images of a split table that a run works on, auxiliary ones included, with the boxes that it needs.

    Raises:
        DataError, LeakError, CacheError: see `open_dataset` and `read_boxes`.
    """
    config, experiment = run.experiment.data, run.experiment
    parts = {
        name
        for weights in (experiment.teacher.auxiliary, experiment.student.auxiliary)
        for name, weight in weights.items()
        if weight > 0
    }
    boxes = {}
    if not BOXED.isdisjoint(parts):
        known = known_boxes(read_boxes(rows, Path(config.boxes) if config.boxes else None), rows)
        boxes = on_square(known, rows, aspect=config.aspect)
    dataset = open_dataset(
        rows,
        task,
        size=config.image_size,
        aspect=config.aspect,
        cache=run.cache,
        unlabelled=experiment.student.unlabelled,
        also=[row.path for row in rows if row.split == SPLITS[0] and takes_part(row, parts, boxes)],
        progress=run.progress,
    )
    lungs = None
    if experiment.views.augmentation.lungs > 0:
        lungs = lung_boxes(dataset, cache=run.cache, progress=run.progress)
    return dataclasses.replace(dataset, boxes=boxes, lungs=lungs)


def _remember_sources(run: Run, sources: Sequence[Path] | None, splits: Path | None) -> None:
    given = {
        "sources": sorted(str(s.resolve()) for s in sources or ()),
        "splits": str(splits.resolve()) if splits else "",
    }
    saved = run.folder / "sources.json"
    if saved.is_file() and run.splits.is_file():
        before = json.loads(saved.read_text(encoding="utf-8"))
        if (sources or splits) and before != given:
            raise ConfigError(f"{run.folder} holds a run on other X-rays ({saved}): choose another -o folder")
    elif sources or splits:
        write_json(saved, given)
