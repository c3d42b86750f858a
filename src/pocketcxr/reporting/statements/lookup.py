"""All facts that a checklist item can ask for, by name."""

from __future__ import annotations

import dataclasses
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from pocketcxr.reporting.statement import Statement, listed
from pocketcxr.reporting.statements import data as facts_data
from pocketcxr.reporting.statements import model as facts_model
from pocketcxr.reporting.statements import results as facts_results
from pocketcxr.reporting.statements import splits as facts_splits
from pocketcxr.reporting.statements import training as facts_training

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pocketcxr.report.types import Measure, Section
    from pocketcxr.reporting.run_record import RunRecord

FACTS: Mapping[str, Callable[[RunRecord], Statement | None]] = MappingProxyType(
    {
        "sources": facts_data.sources,
        "licences": facts_data.licences,
        "places": facts_data.places,
        "exclusions": facts_data.exclusions,
        "subsets": facts_data.subsets,
        "missing": facts_data.missing,
        "acquisition": facts_data.acquisition,
        "reference": facts_data.reference,
        "label_origin": facts_data.label_origin,
        "test_labels": facts_data.labels_of_test,
        "label_conflicts": facts_data.label_conflicts,
        "partition": facts_splits.partition,
        "split_sizes": facts_splits.split_sizes,
        "disjoint": facts_splits.disjoint,
        "sample_size": facts_splits.sample_size,
        "flow": facts_splits.flow,
        "events": facts_splits.events,
        "demographics": facts_splits.demographics,
        "split_differences": facts_splits.split_differences,
        "external": facts_splits.external,
        "quality_checks": facts_data.quality_checks,
        "technology": facts_model.technology,
        "task": facts_model.task,
        "intended_use": facts_model.intended_use,
        "goal": facts_model.goal,
        "predictor": facts_model.predictor,
        "preprocessing": facts_model.preprocessing,
        "architecture": facts_model.architecture,
        "teacher": facts_model.teacher,
        "outputs": facts_model.outputs,
        "thresholds": facts_model.thresholds,
        "software": facts_training.software,
        "initialisation": facts_training.initialisation,
        "training": facts_training.training,
        "distillation": facts_training.distillation,
        "augmentation": facts_training.augmentation,
        "selection": facts_training.selection,
        "ensemble": facts_training.ensemble,
        "imbalance": facts_training.imbalance,
        "recalibration": facts_training.recalibration,
        "explanation": facts_model.explanation,
        "specification": facts_model.specification,
        "calculation": facts_model.calculation,
        "input_gate": facts_model.input_gate,
        "users": facts_model.users,
        "code": facts_model.code,
        "availability": facts_model.availability,
        "headline": facts_results.headline,
        "questions": facts_results.questions,
        "metrics": facts_results.metrics,
        "statistics": facts_results.statistics,
        "internal": facts_results.internal,
        "performance": facts_results.performance,
        "diagnostic": facts_results.diagnostic,
        "per_source": facts_results.per_source,
        "clusters": facts_results.clusters,
        "comparison": facts_results.comparison,
        "failures": facts_results.failures,
        "limits": facts_results.limits,
        "cautions": facts_results.cautions,
        "details": facts_results.details,
    }
)
"""Name to the function that makes the fact of a record, or None where the record does not know."""

AUDIT = "audit:"
"""Prefix of a fact that stands in the audit: then an expression for keys of sections and, after ``#``, of measures."""

PLAIN_UNITS = ("share", "count", "auroc")
"""Units of measures that are not written behind the number."""

_MOST_MEASURES = 6


def fact(name: str, record: RunRecord, sections: Sequence[Section]) -> Statement | None:
    """Make a fact by name, or from the audit's sections where the name begins with `AUDIT`.

    Raises:
        KeyError: no such fact; a fault in a checklist file of the program.
    """
    if not name.startswith(AUDIT):
        return FACTS[name](record)
    key, _, measure = name.removeprefix(AUDIT).partition("#")
    found = [_only(section, measure) for section in sections if re.search(key, section.key)]
    found = [section for section in found if section.measures or not measure]
    if not found:
        return None
    return Statement(
        "\n\n".join(f"Audit: {one.title} {section_words(one)}" for one in found),
        "; ".join(f"{record.audit_command or 'pocketcxr audit'}, section {one.key}" for one in found),
        complete=any(map(_measured, found)),
    )


def _only(section: Section, measure: str) -> Section:
    chosen = tuple(one for one in section.measures if re.search(measure, one.key))
    return dataclasses.replace(section, measures=chosen) if measure else section


def _measured(section: Section) -> bool:
    """Whether a section found anything; one that says why it cannot be measured answers nothing."""
    return not section.measures or any(one.value is not None for one in section.measures)


def section_words(section: Section) -> str:
    """A section's answer and its first measures; those that could not be measured are counted."""
    measured = [measure_words(one) for one in section.measures if one.value is not None]
    lines = measured[:_MOST_MEASURES]
    lines += [f"{len(measured) - len(lines)} more in the audit"] if len(measured) > len(lines) else []
    unmeasured = len(section.measures) - len(measured)
    lines += [f"{unmeasured} could not be measured; why, the audit says"] if unmeasured and measured else []
    return listed(section.summary, lines)


def measure_words(measure: Measure) -> str:
    """``near duplicates across splits 0.012 (95 % interval 0.004 to 0.021; 705 images)``."""
    if measure.value is None:
        return f"{measure.title}: not measurable ({measure.why or 'no reason given'})"
    around = []
    if measure.low is not None and measure.high is not None:
        around.append(
            f"95 % interval {measure_number(measure.low, measure.unit)} to {measure_number(measure.high, measure.unit)}"
        )
    if measure.images is not None:
        around.append(f"{measure.images:,} images")
    unit = "" if measure.unit in PLAIN_UNITS else f" {measure.unit}"
    text = f"{measure.title}: {measure_number(measure.value, measure.unit)}{unit}"
    return f"{text} ({'; '.join(around)})" if around else text


def measure_number(value: float, unit: str) -> str:
    """A measure's number as its unit is written: counts whole, the rest with three decimals."""
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:.3f}".replace("-", "−")
