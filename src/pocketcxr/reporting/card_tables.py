"""Tables of figures in a model card, each with the file it was read from and the command that made it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pocketcxr.report.formatting import amount
from pocketcxr.reporting import cohort
from pocketcxr.reporting.markdown import plain, table
from pocketcxr.reporting.reported_metrics import (
    UNIT_NOTE,
    classes,
    interval_words,
    model_figures,
    name_of,
    reported,
    value_words,
)
from pocketcxr.reporting.statements.lookup import measure_cells
from pocketcxr.reporting.statements.model import DIAGNOSTIC, OVERALL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.report.types import Section
    from pocketcxr.reporting.reported_metrics import Reported
    from pocketcxr.reporting.run_record import RunRecord

_TABLES_TOLD = re.compile("gate|verdict|scorecard")
_DATA_HEAD = ("Split", "Images", "Patients named", "Studies without a patient", "Images naming neither")
_BY_SOURCE = ("auroc", "accuracy", "sensitivity@screening", "specificity@screening")
_BY_MODEL = ("auroc_macro", "accuracy", "ece")


def source(record: RunRecord, where: str) -> str:
    """The line below a figure: file, and command where the record knows it."""
    made_by = record.command_of(where)
    command = f" Made by `{made_by}`." if made_by else ""
    return f"<sub>Source: {plain(where)}.{command}</sub>"


def results(record: RunRecord, positive: str) -> str:
    """All tables of results; empty where no figure is on record."""
    found = reported(record)
    if found is None:
        return ""
    parts = [
        f"**{plain(found.model.capitalize())}, {_size(found)}.** {plain(found.interval)}. {UNIT_NOTE}",
        table(("Figure", "Value", "95 % interval"), _figure_rows(record, found.figures, positive)),
        source(record, found.where),
    ]
    if len(found.per_source) > 1:
        names = [name for name in _BY_SOURCE if any(name in figures for figures in found.per_source.values())]
        parts += [
            "**By source.** " + _source_sizes(record),
            table(
                ("Source", *(name_of(name, positive) for name in names)),
                [
                    (one, *(_both(name, figures.get(name)) for name in names))
                    for one, figures in found.per_source.items()
                ],
            ),
            source(record, found.where),
        ]
    parts += _models(record, found, positive)
    return "\n\n".join(parts)


def speeds(record: RunRecord) -> str:
    """Costs of every model; empty where none was measured."""
    models = record.evaluation.get("models", {})
    rows = [(name, *_cost_cells(one["costs"])) for name, one in models.items() if one.get("costs")]
    if not rows:
        return ""
    head = ("Model", "Parameters", "MACs per image", "File", "Time per image", "Peak memory", "Runtime")
    note = "Time: one image, one thread, median (middle 80 % of runs)."
    return "\n\n".join([table(head, rows), f"{note}\n\n{source(record, 'evaluation/evaluation.json, costs')}"])


def data_table(record: RunRecord) -> str:
    """Images and patients of each split by class; empty without a split."""
    parts = cohort.parts(record.rows)
    if not parts:
        return ""
    labels = classes(record)[0] or tuple(parts[-1].labels)
    rows = [
        (
            one.name,
            one.images,
            one.patients or None,
            one.studies or None,
            one.anonymous,
            *(one.labels.get(label, 0) for label in labels),
            ", ".join(sorted(one.sources)),
        )
        for one in parts
    ]
    head = (*_DATA_HEAD, *labels, "Sources")
    return f"{table(head, rows)}\n\n{source(record, record.rows_file)}"


def section_words(record: RunRecord, section: Section) -> str:
    """A section of the audit: its answer, its measures, and the tables of those that decide or tell groups apart."""
    parts = [plain(section.summary)]
    if any(one.value is not None for one in section.measures):
        rows = [(one.title, *measure_cells(one), one.images) for one in section.measures]
        parts.append(table(("Measure", "Value", "95 % interval", "Images"), rows))
    if _TABLES_TOLD.search(section.key):
        for one in section.tables:
            note = [plain(one.note)] if one.note else []
            parts += [f"**{plain(one.title)}**", table(one.columns, one.rows), *note]
    return "\n\n".join(
        [*parts, f"<sub>Source: section {plain(section.key)} of `{record.audit_command or 'pocketcxr audit'}`.</sub>"]
    )


def _figure_rows(record: RunRecord, figures: Mapping[str, Estimate], positive: str) -> list[tuple[str, str, str]]:
    shown = [*OVERALL, *DIAGNOSTIC, "conformal_coverage", "conformal_single"]
    return [
        (name_of(name, positive), value_words(name, figures[name]), interval_words(name, figures[name]))
        for name in shown
        if name in figures and not (name == "auroc_macro" and len(classes(record)[0]) == 2)  # noqa: PLR2004  # the same
    ]


def _models(record: RunRecord, found: Reported, positive: str) -> list[str]:
    models = record.evaluation.get("models", {})
    if len(models) < 2:  # noqa: PLR2004
        return []
    area = "auroc" if len(classes(record)[0]) == 2 else "auroc_macro"  # noqa: PLR2004
    names = (area, *_BY_MODEL[1:])
    rows = []
    for model, one in models.items():
        figures = model_figures(one)
        rows.append((model, *(_both(name, figures.get(name)) for name in names)))
    return [
        f"**Beside the others**, {_size(found)}.",
        table(("Model", *(name_of(name, positive) for name in names)), rows),
        source(record, "evaluation/evaluation.json, models"),
    ]


def _both(name: str, figure: Estimate | None) -> str:
    if figure is None:
        return ""
    if figure.value is None:
        return f"not measurable: {figure.why}"
    return f"{value_words(name, figure)} ({interval_words(name, figure)})"


def _source_sizes(record: RunRecord) -> str:
    counts: dict[str, int] = {}
    for one in record.evaluation.get("data", {}).get("counts", ()):
        if one["split"] == "test":
            counts[one["source"]] = counts.get(one["source"], 0) + one["images"]
    return plain(f"Test images: {', '.join(f'{n:,} of {name}' for name, n in counts.items())}." if counts else "")


def _cost_cells(costs: Mapping[str, Any]) -> tuple[str, ...]:
    latency = costs.get("latency") or {}
    time = ""
    if latency:
        time = f"{latency['median_ms']:.3g} ms ({latency['p10_ms']:.3g} to {latency['p90_ms']:.3g})"
    return (
        amount(costs["parameters"]) if costs.get("parameters") else "",
        amount(costs["macs"]) if costs.get("macs") else "",
        f"{amount(costs['bytes'])}B" if costs.get("bytes") else "",
        time,
        f"{amount(costs['peak_memory_bytes'])}B" if costs.get("peak_memory_bytes") else "",
        str(costs.get("runtime") or ""),
    )


def _size(found: Reported) -> str:
    return f"{found.split} split, {found.size}"
