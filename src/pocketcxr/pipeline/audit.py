"""``pocketcxr audit``: find the target, load data and model once, audit both, evaluate the criteria, write the report.

The steps go one way: target, table, images, model (`load_audited`) -> sections (`pocketcxr.audit`) -> record -> page,
documents. Where an image may have several findings, each is audited by itself (`audit_findings`).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from typing import TYPE_CHECKING, Any

from pocketcxr.audit.criteria import load_criteria
from pocketcxr.audit.data import persons_section
from pocketcxr.audit.data.data_audit import SIZE
from pocketcxr.audit.data.persons import find_persons
from pocketcxr.audit.data.reidentification import embed_rows
from pocketcxr.data.boxes import read_boxes
from pocketcxr.data.rows import read_rows
from pocketcxr.errors import ConfigError
from pocketcxr.pipeline.audit_classes import Audited, AuditResult, AuditSettings, audit_classes, write_audit
from pocketcxr.pipeline.audit_findings import audit_findings
from pocketcxr.pipeline.load_audited import (
    find_target,
    label_table,
    load_left_out,
    load_model,
    load_rivals,
    model_name,
    model_of,
    ood_of_run,
    open_images,
)
from pocketcxr.pipeline.run import log_test_split
from pocketcxr.report.formatting import slug

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LOGGER = logging.getLogger("pocketcxr")


def run_audit(
    target: Path,
    *,
    bundle: Path | None = None,
    model: Any = None,
    labels: Sequence[str] | None = None,
    image_size: int | None = None,
    run: Path | None = None,
    task: str | None = None,
    out: Path | None = None,
    criteria: Path | None = None,
    quick: bool = False,
    data_only: bool = False,
    ood: Sequence[Path] = (),
    boxes: Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AuditResult:
    """Audit a table of X-rays, and a model: the bundle of a run, another file, or a function.

    Args:
        target: an index or split table (CSV), a run's folder, or a folder of X-rays, which is indexed first.
        bundle: a bundle, or a teacher's or student's checkpoint, to audit on these X-rays; default: the run's bundle.
        model: instead of `bundle`, a model that is not ours (see `load_audited.model_of`); of a run only its
            table and cache are used then.
        labels: classes of `model` in order; default: its own, else the task's.
        image_size: side of the images that `model` takes.
        run: the run whose teacher, baseline student and configuration belong to the bundle.
        task: name or TOML file; default: the run's, else the one whose classes the table has.
        out: folder of the report; default ``RUN/audit`` (``RUN/audit-MODEL`` for another model than the run's bundle),
            or ``NAME-audit`` beside the table.
        criteria: a file of your own criteria.
        quick: fewer images for the model.
        data_only: leave the model out.
        ood: folders of out-of-distribution images, which a model must refuse, a folder per kind; default: those that
            the run was given (``input_filter.ood``).
        boxes: a table of boxes around findings (`data.boxes.read_boxes`), beside those of the sets' own tables.
        seed: of everything random.
        progress: show bars on stderr.

    Raises:
        ConfigError: the target is nothing of these, or options contradict one another.
        DataError: no image has a class in the task, or the model's outputs do not fit it.
    """
    limits = load_criteria(criteria)
    other = "" if model is None else slug(model_name(model))
    found = find_target(target, bundle=bundle, run=run, out=out, other=other, progress=progress)
    chosen, rows = label_table(read_rows(found.table), task, found.run)
    _LOGGER.info("audit of %s: task %s, report in %s", found.table, chosen.name, found.out)
    loaded = None
    if model is not None and not data_only:
        loaded = model_of(model, task=chosen, labels=labels, image_size=image_size)
    elif found.bundle is not None and not data_only:
        loaded = load_model(found.bundle, run=found.run, seed=seed)
    if loaded and (loaded.labels, loaded.multilabel) != (chosen.labels, chosen.multilabel):
        kinds = {True: "any number per image", False: "one per image"}
        raise ConfigError(
            f"the {loaded.name} knows the classes {', '.join(loaded.labels)} ({kinds[loaded.multilabel]}), the task "
            f"{chosen.name} has {', '.join(chosen.labels)} ({kinds[chosen.multilabel]}): name another with --task"
        )
    if loaded and found.run:
        log_test_split(found.run.test_split_log, f"audit of the {loaded.name}, report in {found.out.name}")
    begun = time.perf_counter()
    options: dict[str, Any] = {"cache": found.cache, "progress": progress}
    if model is not None:
        found = dataclasses.replace(found, run=None, bundle=None)
    thumbnails = open_images(rows, chosen, size=SIZE, aspect="squash", split="train", **options)
    own = {row.path: row for row in rows}
    thumbnails = dataclasses.replace(thumbnails, rows=tuple(own[row.path] for row in thumbnails.rows))
    persons = find_persons(thumbnails.rows, functools.partial(embed_rows, **options))
    audited = Audited(rows, thumbnails, persons)
    if loaded:
        images = open_images(rows, chosen, size=loaded.size, aspect=loaded.aspect, split="test", **options)
        audited = Audited(
            rows,
            thumbnails,
            persons,
            loaded,
            images,
            rivals=load_rivals(found.run, loaded.name),
            without_source=load_left_out(found.run, images),
            ood=ood or ood_of_run(found.run),
            boxes=read_boxes(rows, boxes),
        )
    pages = found.out / persons_section.PAGE, found.out / persons_section.TABLE
    persons_section.write_pairs(persons, thumbnails.rows, *pages)
    settings = AuditSettings(limits, quick=quick, seed=seed, progress=progress)
    seconds = {"loading": time.perf_counter() - begun}
    if chosen.multilabel:
        return audit_findings(audited, settings, found, seconds=seconds)
    sections, more = audit_classes(audited, settings)
    return write_audit(found, thumbnails, sections, limits, seed=seed, seconds=seconds | more, model=loaded)
