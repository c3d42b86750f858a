"""Self-contained HTML page of an audit: conclusions, then criteria, then every section; no script, no request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pocketcxr.audit.criteria import limit_words
from pocketcxr.files import write_text
from pocketcxr.report.page import render

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pocketcxr.audit.record import AuditRecord


def write_audit_report(record: AuditRecord, path: Path) -> None:
    """Write the page; the file appears whole or not at all."""
    outcomes = {result.criterion.key: result.outcome for result in record.criteria}
    page = render(
        "report/templates/audit.html.j2",
        limit_words=limit_words,
        record=record,
        counts=record.counts(),
        criteria=_by_outcome(record),
        outcomes=outcomes,
        subject=_flat(record.subject),
    )
    write_text(path, page)


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
