"""``pocketcxr audit``: find the target, audit data and model, evaluate the criteria, write the report."""

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

from pocketcxr.audit.conclusions import draw_conclusions
from pocketcxr.audit.criteria import evaluate_criteria, failed, load_criteria
from pocketcxr.audit.data.data_audit import SIZE, audit_data
from pocketcxr.audit.page import write_audit_report
from pocketcxr.audit.record import AuditRecord, as_json
from pocketcxr.audit.stored_record import criteria_section
from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.rows import read_rows
from pocketcxr.data.splits.assign import label_rows
from pocketcxr.errors import ConfigError, DataError, require_extra
from pocketcxr.files import write_json
from pocketcxr.labels import TASKS, load_task
from pocketcxr.pipeline.documents import write_documents
from pocketcxr.pipeline.load_audited import Questions, audit_loaded, embeddings, load_model
from pocketcxr.pipeline.prepare import index_sources
from pocketcxr.pipeline.run import Run, notes
from pocketcxr.report.formatting import slug
from pocketcxr.report.tables import environment
from pocketcxr.run_folder import student_sha256

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pocketcxr.audit.criteria import CriterionResult
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.labels import Task
    from pocketcxr.pipeline.load_audited import LoadedModel
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


@dataclass(frozen=True)
class _Subject:
    """What is audited: a table, the run it belongs to where there is one, and the bundle where there is one."""

    table: Path
    out: Path
    run: Run | None
    bundle: Path | None
    model: str = ""


def run_audit(
    target: Path,
    *,
    bundle: Path | None = None,
    model: LoadedModel | None = None,
    run: Path | None = None,
    task: str | None = None,
    out: Path | None = None,
    criteria: Path | None = None,
    quick: bool = False,
    data_only: bool = False,
    ood: Sequence[Path] = (),
    seed: int = 0,
    progress: bool = True,
) -> AuditResult:
    """Audit a table of X-rays, and the bundle of a run where there is one.

    Args:
        target: an index or split table (CSV), a run's folder, or a folder of X-rays, which is indexed first.
        bundle: a bundle, or a teacher's or student's checkpoint, to audit on these X-rays; default: the run's bundle.
        model: another classifier instead of a bundle; nothing of a run but its table and cache is used then.
        run: the run whose teacher, baseline student and configuration belong to the bundle.
        task: name or TOML file; default: the run's, else the one whose classes the table has.
        out: folder of the report; default ``RUN/audit`` (``RUN/audit-MODEL`` for another model than the run's bundle),
            or ``NAME-audit`` beside the table.
        criteria: a file of criteria of one's own.
        quick: fewer images for the model.
        data_only: leave the model out.
        ood: folders of out-of-distribution images, which a model must refuse, a folder per kind.
        seed: of everything random.
        progress: show bars on stderr.

    Raises:
        ConfigError: the target is nothing of these, or options contradict one another.
        DataError: no image has a class in the task.
    """
    limits = load_criteria(criteria)
    subject = _find(target, bundle=bundle, run=run, out=out, progress=progress)
    chosen, rows = _labelled(read_rows(subject.table), task, subject.run)
    _LOGGER.info("audit of %s: task %s, report in %s", subject.table, chosen.name, subject.out)
    cache = subject.run.cache if subject.run else subject.out / "cache"
    if model is not None:
        own = (
            subject.out.with_name(f"{subject.out.name}-{slug(model.name)}") if subject.run and not out else subject.out
        )
        subject = dataclasses.replace(subject, out=own, run=None, bundle=None, model=model.name)
    if subject.run is not None:
        require_extra("evaluate", "huggingface_hub")  # for its model card
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    dataset = _pictures(rows, chosen, cache=cache, size=SIZE, aspect="squash", progress=progress)
    seconds["decoding"] = time.perf_counter() - started
    if data_only:
        model = None
    elif model is None and subject.bundle is not None:
        model = load_model(subject.bundle, run=subject.run, seed=seed)
    # a teacher would take longer over all pictures than the audit itself
    embedding = (
        embeddings(model, dataset, cache=cache, progress=progress) if model and model.name == "student" else None
    )
    started = time.perf_counter()
    sections = audit_data(rows, dataset, embedding=embedding, seed=seed, progress=progress)
    seconds["data audit"] = time.perf_counter() - started
    if model:
        started = time.perf_counter()
        asked = Questions(quick=quick, strangers=tuple(ood), seed=seed, progress=progress)
        sections += audit_loaded(model, rows, chosen, run=subject.run, cache=cache, asked=asked)
        seconds["model audit"] = time.perf_counter() - started
    return _written(subject, dataset, sections, limits, seed=seed, seconds=seconds, with_model=model is not None)


def _written(
    subject: _Subject,
    dataset: Dataset,
    sections: tuple[Section, ...],
    limits: Sequence[Any],
    *,
    seed: int,
    seconds: dict[str, float],
    with_model: bool,
) -> AuditResult:
    used = [criterion for criterion in limits if with_model or criterion.scope == "data"]
    results = evaluate_criteria(sections, used)
    conclusions = draw_conclusions(results, with_model=with_model)
    record = AuditRecord(
        title=f"Audit: {dataset.task.name}",
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        command=shlex.join(["pocketcxr", *sys.argv[1:]]),
        seed=seed,
        task={"name": dataset.task.name, "labels": list(dataset.task.labels), "positive": dataset.task.positive},
        subject=_facts(subject, dataset, with_model=with_model),
        sections=sections,
        criteria=results,
        conclusions=conclusions,
        environment=environment(),
        seconds=seconds,
        notes=notes(subject.run) if subject.run else (),
    )
    report, path = subject.out / REPORT, subject.out / RECORD
    write_json(path, as_json(record))  # whatever becomes of the documents
    if subject.run is not None:
        outcomes = criteria_section(conclusions.headline, as_json(record)["criteria"])
        checklists = write_documents(subject.run.folder, (outcomes, *sections), subject.out, command=record.command)
        record = dataclasses.replace(record, sections=(*sections, checklists))
        write_json(path, as_json(record))
    write_audit_report(record, report)
    bad = failed(results)
    lines = [conclusions.headline, *(r.line for r in bad), f"report: {report}"]
    return AuditResult(report, path, bad, "\n".join(lines))


def _facts(subject: _Subject, dataset: Dataset, *, with_model: bool) -> dict[str, Any]:
    """Enough to tell later whether an audit speaks of these very images and this very student."""
    facts: dict[str, Any] = {
        "table": str(subject.table),
        "table_sha256": hashlib.sha256(subject.table.read_bytes()).hexdigest(),
        "images": len(dataset.rows),
        "fingerprint": dataset.fingerprint,
    }
    if with_model and subject.model:
        facts["model"] = subject.model
    if with_model and subject.bundle is not None:
        facts["bundle"] = str(subject.bundle)
        facts["bundle_sha256"] = hashlib.sha256(subject.bundle.read_bytes()).hexdigest()
        if subject.run and subject.bundle == subject.run.bundle:
            facts["student_sha256"] = student_sha256(subject.run)
    return facts


def _find(target: Path, *, bundle: Path | None, run: Path | None, out: Path | None, progress: bool) -> _Subject:
    """Recognise a run's folder, a table, or a folder of X-rays."""
    if not target.exists():
        raise ConfigError(
            f"{target}: expected an index or split table, a run's folder or a folder of X-rays; not there"
        )
    if target.is_dir() and (target / "experiment.json").is_file():
        found = _run_of(target, progress=progress)
        table = found.splits
        if not table.is_file():
            raise ConfigError(f"{target} holds no splits.csv yet: run  pocketcxr distill -o {target}  first")
        own = found.bundle if found.bundle.is_file() else None
        other = f"-{bundle.parent.name}" if bundle is not None and bundle != own else ""
        return _Subject(table, out or target / f"audit{other}", found, bundle or own)
    owner = _run_of(run, progress=progress) if run else None
    own = owner.bundle if owner and owner.bundle.is_file() else None
    name = target.stem if target.is_file() else target.resolve().name
    out = out or target.absolute().parent / f"{name}-audit"
    if target.is_dir():
        table = out / "index.csv"
        index_sources([target], table, progress=progress)
        return _Subject(table, out, owner, bundle or own)
    return _Subject(target, out, owner, bundle or own)


def _run_of(folder: Path, *, progress: bool) -> Run:
    from pocketcxr.training.config import load_experiment

    if not (folder / "experiment.json").is_file():
        raise ConfigError(f"{folder}: expected the folder of a run (with experiment.json)")
    return Run(folder, load_experiment(folder / "experiment.json", []), progress)


def _labelled(rows: list[IndexRow], name: str | None, run: Run | None) -> tuple[Task, list[IndexRow]]:
    """The task, and the rows with its classes; labels that stand in the table are kept."""
    if name is None and run is not None:
        name = run.experiment.data.task
    task = load_task(name) if name else _guessed(rows)
    has_labels = any(row.label for row in rows)
    if has_labels and {row.label for row in rows if row.label} <= set(task.labels):
        return task, rows
    labelled = [dataclasses.replace(row, label=row.label) for row in label_rows(rows, task)]
    if not any(row.label for row in labelled):
        findings = sorted({row.finding or "unlabelled" for row in rows})
        raise DataError(
            f"task {task.name}: no image has one of its classes; the table's findings are {', '.join(findings[:8])}: "
            "name another with --task"
        )
    return task, labelled


def _guessed(rows: Sequence[IndexRow]) -> Task:
    """The task whose classes the table has, and of those the one that uses most images."""
    said = {row.label for row in rows if row.label}
    fitting = [task for task in TASKS.values() if said == set(task.labels)]
    if fitting:
        return fitting[0]
    if said:
        raise ConfigError(f"the table's classes {', '.join(sorted(said))} fit no task known here: name it with --task")
    counts = {
        name: len([row for row in rows if task.label_of(row.finding)])
        for name, task in TASKS.items()
        if {task.label_of(row.finding) for row in rows} >= set(task.labels)
    }
    if not counts:
        raise DataError(
            f"no task has all its classes in this table: name one of {', '.join(TASKS)}, or a file, with --task"
        )
    return TASKS[max(counts, key=lambda name: counts[name])]


def _pictures(rows: Sequence[IndexRow], task: Task, *, cache: Path, size: int, aspect: str, progress: bool) -> Dataset:
    """Decode all rows, leaks and tables without splits included; the dataset's rows stay as the table has them."""
    placed = [dataclasses.replace(row, split=row.split or "train") for row in rows if row.label or row.split]
    dataset = open_dataset(
        placed, task, size=size, aspect=aspect, cache=cache, unlabelled=True, leaks=True, progress=progress
    )
    own = {row.path: row for row in rows}
    return dataclasses.replace(dataset, rows=tuple(own[row.path] for row in dataset.rows))
