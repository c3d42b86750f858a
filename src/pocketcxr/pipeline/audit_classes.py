"""The audit of a table and a model whose classes exclude each other: sections, criteria, record, page, documents."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shlex
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.audit.conclusions import conclude
from pocketcxr.audit.criteria import failed
from pocketcxr.audit.data.data_audit import audit_data
from pocketcxr.audit.describing import NotMeasurable, missing_section
from pocketcxr.audit.model.audited_model import run_model
from pocketcxr.audit.model.model_audit import AuditConfig, audit_model, load_ood
from pocketcxr.audit.model.probes import input_filter
from pocketcxr.audit.page import write_audit_report
from pocketcxr.audit.record import AuditRecord, as_json
from pocketcxr.audit.stored_record import criteria_section
from pocketcxr.data.boxes import on_square
from pocketcxr.data.image_types import input_filter_splits
from pocketcxr.data.ood_images import with_ood_images
from pocketcxr.files import sha256_of_file, write_json
from pocketcxr.pipeline.documents import write_documents
from pocketcxr.pipeline.run import notes
from pocketcxr.report.tables import environment
from pocketcxr.run_folder import student_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.audit.criteria import Criterion, CriterionResult
    from pocketcxr.audit.data.persons import Persons
    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.pipeline.load_audited import AuditTarget, LoadedModel
    from pocketcxr.report.types import Section

REPORT, RECORD = "report.html", "audit.json"


@dataclass(frozen=True)
class AuditResult:
    """Where the report and the JSON are, the criteria that failed, and the outcome in a few lines."""

    report: Path
    record: Path
    failed: tuple[CriterionResult, ...]
    summary: str


@dataclass(frozen=True)
class Audited:
    """What is audited, loaded: rows of the table with their classes, all images small, and the model with its images.

    `persons` are those probably in two splits (`find_persons` on the rows of the thumbnails); None looks for none.
    `without_source` maps a source to a model that never saw it, `rivals` names other models of the run; `ood` are
    folders of images that a model must refuse, `boxes` those around findings, by the path of the image.
    """

    rows: Sequence[IndexRow]
    thumbnails: Dataset
    persons: Persons | None = None
    model: LoadedModel | None = None
    images: Dataset | None = None
    rivals: Mapping[str, Predict] = field(default_factory=dict)
    without_source: Mapping[str, Predict] = field(default_factory=dict)
    ood: Sequence[Path] = ()
    boxes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditSettings:
    """How much is looked at, against which limits, and what shows its progress."""

    limits: tuple[Criterion, ...]
    quick: bool = False
    seed: int = 0
    progress: bool = True


def audit_classes(audited: Audited, settings: AuditSettings) -> tuple[tuple[Section, ...], dict[str, float]]:
    """All sections of the audit, and the seconds that each part took."""
    rows, model, images, seed = audited.rows, audited.model, audited.images, settings.seed
    progress = settings.progress
    clock = [time.perf_counter()]
    embedding = None
    if model and images and model.name == "student":  # a teacher would take longer over all images than the audit
        embedding = run_model(model.predict, images, np.arange(len(images.rows))).embedding
    sections = audit_data(
        rows, audited.thumbnails, persons=audited.persons, embedding=embedding, seed=seed, progress=progress
    )
    clock.append(time.perf_counter())
    if model and images:
        sections += audit_model(
            model.predict,
            images,
            name=model.name,
            rivals=audited.rivals,
            ood=load_ood(audited.ood, rows, size=model.size, aspect=model.aspect, seed=seed),
            config=AuditConfig.quick() if settings.quick else AuditConfig(),
            seed=seed,
            progress=progress,
            without_source=audited.without_source,
            randomised=model.randomised,
            boxes=on_square(audited.boxes, rows, aspect=model.aspect),
        )
        most = 60 if settings.quick else 400
        filtered = _input_filter(model, images, rows, audited.ood, boxes=audited.boxes, most=most, progress=progress)
        sections += (filtered,)
        clock.append(time.perf_counter())
    names = ("data audit", "model audit")
    return sections, {name: end - start for name, start, end in zip(names, clock, clock[1:], strict=False)}


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


def write_audit(
    found: AuditTarget,
    dataset: Dataset,
    sections: tuple[Section, ...],
    limits: Sequence[Criterion],
    *,
    seed: int,
    seconds: dict[str, float],
    model: LoadedModel | None,
    documents: bool = True,
    folders: Mapping[str, str] | None = None,
) -> AuditResult:
    """Evaluate the criteria and write record and page.

    Args:
        found: names the folder of the report.
        dataset: its task and fingerprint stand in the record.
        sections: of the audit.
        limits: the criteria; those of a model only where there is one.
        seed: of everything random.
        seconds: that each part took.
        model: under audit, if any.
        documents: also write model card and checklists of the run.
        folders: name of a finding to the folder of its own report, where an image may have several.
    """
    used = [criterion for criterion in limits if model or criterion.scope == "data"]
    task: dict[str, Any] = {"name": dataset.task.name, "labels": list(dataset.task.labels)}
    task |= {"folders": dict(folders)} if folders else {"positive": dataset.task.positive}
    concluded = conclude(sections, used, with_model=model is not None)
    sections, results, conclusions = concluded.sections, concluded.results, concluded.conclusions
    record = AuditRecord(
        title=f"Audit: {dataset.task.name}",
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        command=shlex.join(["pocketcxr", *sys.argv[1:]]),
        seed=seed,
        task=task,
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
    if found.run is not None and documents:
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
        "table_sha256": sha256_of_file(found.table),
        "images": len(dataset.rows),
        "fingerprint": dataset.fingerprint,
    }
    if model and found.bundle is None:
        subject["model"] = model.name
    if model and found.bundle is not None:
        subject["bundle"] = str(found.bundle)
        subject["bundle_sha256"] = sha256_of_file(found.bundle)
        if found.run and found.bundle == found.run.bundle:
            subject["student_sha256"] = student_sha256(found.run)
    return subject
