"""The audit where an image may have several findings: each by itself, present against absent, and one page of all."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.audit.criteria import evaluate_criteria
from pocketcxr.data.multilabel import label_array, texts_of
from pocketcxr.evaluation.calibration import two_columns
from pocketcxr.evaluation.label_wise import dataset_of_label, task_of_label
from pocketcxr.pipeline.audit_classes import Audited, AuditResult, AuditSettings, audit_classes, write_audit
from pocketcxr.plain_text import one_line
from pocketcxr.report.label_wise import label_folders
from pocketcxr.report.types import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pocketcxr.audit.criteria import Criterion
    from pocketcxr.bundle.contract import ModelOutputs, Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.imaging.radiograph import Radiograph
    from pocketcxr.inference.prediction import Prediction
    from pocketcxr.labels import Task
    from pocketcxr.pipeline.load_audited import AuditTarget, LoadedModel
    from pocketcxr.report.types import Measure

_LOGGER = logging.getLogger("pocketcxr")


def audit_findings(
    audited: Audited, settings: AuditSettings, target: AuditTarget, *, seconds: Mapping[str, float]
) -> AuditResult:
    """Audit every finding over the images of which it is known, each in a folder of its own, and put all on one page.

    The page and its record have every criterion once per finding, under its key with ``/FINDING`` behind it; a
    criterion on the data that has the same value for all findings stands there once.
    """
    task, folders, taken = audited.thumbnails.task, label_folders(audited.thumbnails.task), dict(seconds)
    found: dict[str, tuple[Section, ...]] = {}
    for number, label in enumerate(task.labels):
        _LOGGER.info("audit of %s (%d of %d)", one_line(label), number + 1, len(task.labels))
        one = _of_finding(audited, task, number)
        sections, parts = audit_classes(one, settings)
        place = dataclasses.replace(target, out=target.out / folders[label])
        write_audit(
            place,
            one.thumbnails,
            sections,
            settings.limits,
            seed=settings.seed,
            seconds=parts,
            model=one.model,
            documents=False,
        )
        found[label] = sections
        taken |= {f"{name}, {label}": value for name, value in parts.items()}
    sections, limits = _together(found, settings.limits, folders)
    return write_audit(
        target,
        audited.thumbnails,
        sections,
        limits,
        seed=settings.seed,
        seconds=taken,
        model=audited.model,
        folders=folders,
    )


def _of_finding(audited: Audited, task: Task, number: int) -> Audited:
    """The same with the labels of one finding, and models that answer absent or present."""

    def dataset(whole: Dataset) -> Dataset:
        return dataclasses.replace(dataset_of_label(whole, number), rows=tuple(_rows(whole.rows, task, number)))

    def models(whole: Mapping[str, Predict]) -> dict[str, Predict]:
        return {name: _predict(one, number) for name, one in whole.items()}

    return dataclasses.replace(
        audited,
        rows=_rows(audited.rows, task, number),
        thumbnails=dataset(audited.thumbnails),
        model=None if audited.model is None else _model(audited.model, task, number),
        images=None if audited.images is None else dataset(audited.images),
        rivals=models(audited.rivals),
        without_source=models(audited.without_source),
    )


def _rows(rows: Sequence[IndexRow], task: Task, number: int) -> list[IndexRow]:
    """Rows whose label is that of one finding, "" where it is uncertain or not known."""
    known = label_array(rows, task)[:, number]
    texts = texts_of(np.where(known < 0, -1, known), task_of_label(task, number))
    return [dataclasses.replace(row, label=text) for row, text in zip(rows, texts, strict=True)]


def _model(model: LoadedModel, task: Task, number: int) -> LoadedModel:
    randomised, decide = model.randomised, model.decide

    def each_randomised() -> Iterator[tuple[str, Predict]]:
        assert randomised is not None
        for what, one in randomised():
            yield what, _predict(one, number)

    def decide_one(radiograph: Radiograph) -> tuple[Prediction, ModelOutputs | None]:
        assert decide is not None
        prediction, outputs = decide(radiograph)
        return prediction, None if outputs is None else _outputs(outputs, number)

    return dataclasses.replace(
        model,
        predict=_predict(model.predict, number),
        labels=task_of_label(task, number).labels,
        multilabel=False,
        randomised=None if randomised is None else each_randomised,
        decide=None if decide is None else decide_one,
    )


def _predict(predict: Predict, number: int) -> Predict:
    def one(images: np.ndarray[Any, np.dtype[np.float32]], /) -> ModelOutputs:
        return _outputs(predict(images), number)

    return one


def _outputs(outputs: ModelOutputs, number: int) -> ModelOutputs:
    """Outputs for absent and present: logits (0, z), a map of the evidence for present and none for absent."""
    present, maps = outputs.probabilities[:, number], outputs.saliency
    if maps is not None:
        maps = np.stack([np.zeros_like(maps[:, number]), maps[:, number]], axis=1)
    return dataclasses.replace(
        outputs,
        probabilities=np.stack([1 - present, present], axis=1),
        logits=two_columns(outputs.logits[:, number]).astype(np.float32),
        saliency=maps,
    )


def _together(
    found: Mapping[str, tuple[Section, ...]], limits: Sequence[Criterion], folders: Mapping[str, str]
) -> tuple[tuple[Section, ...], tuple[Criterion, ...]]:
    """Sections with the figures of all findings that a criterion is set on, and the criteria for them."""
    results = {label: evaluate_criteria(sections, limits) for label, sections in found.items()}
    criteria: list[Criterion] = []
    shown: dict[str, list[Measure]] = {}
    for number, criterion in enumerate(limits):
        each = {label: own[number] for label, own in results.items()}
        if criterion.scope == "data" and len({(one.outcome, one.words) for one in each.values()}) == 1:
            each = {"": next(iter(each.values()))}
        for label, result in each.items():
            key, named = (f"{criterion.key}/{label}", f"{label}: ") if label else (criterion.key, "")
            fault = criterion.fault and f"{named}{criterion.fault}"
            criteria.append(dataclasses.replace(criterion, key=key, title=f"{named}{criterion.title}", fault=fault))
            if result.measure is not None:
                measure = dataclasses.replace(result.measure, key=key, title=f"{named}{result.measure.title}")
                shown.setdefault(criterion.key.partition(".")[0], []).append(measure)
    first = next(iter(found.values()))
    where = ", ".join(f"{folder}/report.html" for folder in folders.values())
    summary = f"Figures with a criterion, for each finding by itself; everything else is in {where}."
    sections = tuple(Section(one.key, one.title, summary, tuple(shown[one.key])) for one in first if one.key in shown)
    return sections, tuple(criteria)
