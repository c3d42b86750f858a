"""Self-contained HTML page of an audit: conclusions, then criteria, then every section; no script, no request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pocketcxr.audit.criteria import FAILED, limit_words
from pocketcxr.files import write_text
from pocketcxr.report.page import render

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pocketcxr.audit.record import AuditRecord
    from pocketcxr.report.types import Measure

_MAIN = (
    "composition.images", "composition.patients", "scorecard.auroc", "scorecard.auroc_same_source",
    "unseen.accuracy_drop", "shortcuts.kept_without_lungs", "calibration.ece_positive", "robustness.worst_drop",
    "gate.films_refused", "leaks.patients", "leaks.near_duplicates", "confounding.source", "cues.file", "cues.border",
)  # fmt: skip
"""Figures of the first screen, the most important first: those of the model where there is one, then of the data."""

_MOST_FIGURES, _MOST_FAILURES = 8, 6


def write_audit_report(record: AuditRecord, path: Path) -> None:
    """Write the page; the file appears whole or not at all."""
    results = {result.criterion.key: result for result in record.criteria}
    page = render(
        "report/templates/audit.html.j2",
        limit_words=limit_words,
        record=record,
        counts=record.counts(),
        criteria=_by_outcome(record),
        results=results,
        failed_keys={key for key, result in results.items() if result.outcome == FAILED},
        main_figures=_main_figures(record),
        most_failures=_MOST_FAILURES,
        subject=_flat(record.subject),
    )
    write_text(path, page)


def _main_figures(record: AuditRecord) -> list[Measure]:
    """Those of the main figures that were measured, at most as many as the first screen has room for."""
    found = [one for section in record.sections for one in section.measures if one.value is not None]
    # a measure of one of several findings has the finding behind its key
    return [one for key in _MAIN for one in found if one.key.partition("/")[0] == key][:_MOST_FIGURES]


def _by_outcome(record: AuditRecord) -> list[Any]:
    order = {"failed": 0, "not measurable": 1, "passed": 2}
    return sorted(record.criteria, key=lambda result: order[result.outcome])


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested tables as lines of name and value."""
    lines: list[tuple[str, str]] = []
    for name, value in table.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{name} ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            lines.append((f"{prefix}{name}".replace("_", " "), text))
    return lines
