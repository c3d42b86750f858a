"""``pocketcxr audit``: find the target, load data and model once, audit both, evaluate the criteria, write the report.

The steps go one way: target, table, images, model (`load_audited`) -> sections (`pocketcxr.audit`) -> record -> page,
documents.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import logging
import shlex
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.audit.conclusions import conclude
from pocketcxr.audit.criteria import failed, load_criteria
from pocketcxr.audit.data.data_audit import SIZE, audit_data
from pocketcxr.audit.describing import NotMeasurable, missing_section
from pocketcxr.audit.model.audited_model import run_model
from pocketcxr.audit.model.model_audit import AuditConfig, audit_model, load_ood
from pocketcxr.audit.model.probes import input_filter
from pocketcxr.audit.page import write_audit_report
from pocketcxr.audit.record import AuditRecord, as_json
from pocketcxr.audit.stored_record import criteria_section
from pocketcxr.data.boxes import on_square, read_boxes
from pocketcxr.data.image_types import input_filter_splits
from pocketcxr.data.ood_images import with_ood_images
from pocketcxr.data.rows import read_rows
from pocketcxr.errors import ConfigError
from pocketcxr.files import write_json
from pocketcxr.pipeline.documents import write_documents
from pocketcxr.pipeline.load_audited import (
    AuditTarget,
    LoadedModel,
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
from pocketcxr.pipeline.run import notes
from pocketcxr.report.formatting import slug
from pocketcxr.report.tables import environment
from pocketcxr.run_folder import student_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.audit.criteria import Criterion, CriterionResult
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.report.types import Section

_LOGGER = logging.getLogger("pocketcxr")

REPORT, RECORD = "report.html", "audit.json"


@dataclass(frozen=True)
class AuditResult:
    """Where the report and the JSON are, the criteria that failed, and the outcome in a few lines."""

    report: Path
    record: Path
    failed: tuple[CriterionResult, ...]
    summary: str


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
    if loaded and loaded.labels != chosen.labels:
        raise ConfigError(
            f"the {loaded.name} knows the classes {', '.join(loaded.labels)}, the task {chosen.name} has "
            f"{', '.join(chosen.labels)}: name another with --task"
        )
    ood = ood or (ood_of_run(found.run) if loaded else ())
    drawn = read_boxes(rows, boxes) if loaded else {}
    clock = [time.perf_counter()]
    options: dict[str, Any] = {"cache": found.cache, "progress": progress}
    if model is not None:
        found = dataclasses.replace(found, run=None, bundle=None)
    thumbnails = open_images(rows, chosen, size=SIZE, aspect="squash", split="train", **options)
    own = {row.path: row for row in rows}
    thumbnails = dataclasses.replace(thumbnails, rows=tuple(own[row.path] for row in thumbnails.rows))
    images = embedding = None
    if loaded:
        images = open_images(rows, chosen, size=loaded.size, aspect=loaded.aspect, split="test", **options)
        if loaded.name == "student":  # a teacher would take longer over all images than the audit itself
            embedding = run_model(loaded.predict, images, np.arange(len(images.rows))).embedding
    clock.append(time.perf_counter())
    sections = audit_data(rows, thumbnails, embedding=embedding, seed=seed, progress=progress)
    clock.append(time.perf_counter())
    if loaded and images:
        config = AuditConfig.quick() if quick else AuditConfig()
        sections += audit_model(
            loaded.predict,
            images,
            name=loaded.name,
            rivals=load_rivals(found.run, loaded.name),
            ood=load_ood(ood, rows, size=loaded.size, aspect=loaded.aspect, seed=seed),
            config=config,
            seed=seed,
            progress=progress,
            without_source=load_left_out(found.run, images),
            randomised=loaded.randomised,
            boxes=on_square(drawn, rows, aspect=loaded.aspect),
        )
        most = 60 if quick else 400
        sections += (_input_filter(loaded, images, rows, ood, boxes=drawn, most=most, progress=progress),)
        clock.append(time.perf_counter())
    names = ("loading", "data audit", "model audit")
    seconds = {name: end - start for name, start, end in zip(names, clock, clock[1:], strict=False)}
    return _written(found, thumbnails, sections, limits, seed=seed, seconds=seconds, model=loaded)


def _input_filter(
    model: LoadedModel,
    images: Dataset,
    rows: Sequence[IndexRow],
    ood: Sequence[Path],
    *,
    boxes: Mapping[str, NDArray[np.float64]],
    most: int,
    progress: bool,
) -> Section:
    """The whole decision; of a bundle with a learned input filter, on OOD images of the filter's test split only."""
    foreign, note = with_ood_images(rows, ood), ""
    if model.has_input_filter:
        splits = input_filter_splits(foreign)
        foreign = [row for row, split in zip(foreign, splits, strict=True) if split == "test"]
        note = "Images of the input filter's own train and calibration split were left out."
    radiographs = [images.rows[i] for i in images.positions("test")]
    try:
        found = input_filter.measure(
            model.decide,
            radiographs,
            foreign,
            most=most,
            note=note,
            progress=progress,
            positive=images.task.positive,
            labels=model.labels,
            boxes=boxes,
        )
    except NotMeasurable as error:
        return missing_section("gate", str(error))
    return input_filter.describe(found)


def _written(
    found: AuditTarget,
    dataset: Dataset,
    sections: tuple[Section, ...],
    limits: Sequence[Criterion],
    *,
    seed: int,
    seconds: dict[str, float],
    model: LoadedModel | None,
) -> AuditResult:
    used = [criterion for criterion in limits if model or criterion.scope == "data"]
    concluded = conclude(sections, used, with_model=model is not None)
    sections, results, conclusions = concluded.sections, concluded.results, concluded.conclusions
    record = AuditRecord(
        title=f"Audit: {dataset.task.name}",
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        command=shlex.join(["pocketcxr", *sys.argv[1:]]),
        seed=seed,
        task={"name": dataset.task.name, "labels": list(dataset.task.labels), "positive": dataset.task.positive},
        subject=_subject(found, dataset, model),
        sections=sections,
        criteria=results,
        conclusions=conclusions,
        environment=environment(),
        seconds=seconds,
        notes=notes(found.run) if found.run else (),
    )
    report, path = found.out / REPORT, found.out / RECORD
    write_json(path, as_json(record))  # whatever becomes of the documents
    if found.run is not None:
        outcomes = criteria_section(conclusions.headline, as_json(record)["criteria"])
        checklists = write_documents(found.run.folder, (outcomes, *sections), found.out, command=record.command)
        record = dataclasses.replace(record, sections=(*sections, checklists))
        write_json(path, as_json(record))
    write_audit_report(record, report)
    bad = failed(results)
    lines = [conclusions.headline, *(r.line for r in bad), f"report: {report}"]
    return AuditResult(report, path, bad, "\n".join(lines))


def _subject(found: AuditTarget, dataset: Dataset, model: LoadedModel | None) -> dict[str, Any]:
    """Enough to tell later whether an audit is of these very images and this very student."""
    subject: dict[str, Any] = {
        "table": str(found.table),
        "table_sha256": hashlib.sha256(found.table.read_bytes()).hexdigest(),
        "images": len(dataset.rows),
        "fingerprint": dataset.fingerprint,
    }
    if model and found.bundle is None:
        subject["model"] = model.name
    if model and found.bundle is not None:
        subject["bundle"] = str(found.bundle)
        subject["bundle_sha256"] = hashlib.sha256(found.bundle.read_bytes()).hexdigest()
        if found.run and found.bundle == found.run.bundle:
            subject["student_sha256"] = student_sha256(found.run)
    return subject
