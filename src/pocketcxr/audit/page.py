"""Self-contained HTML page of an audit: conclusions, then criteria, then every section; no script, no request."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import jinja2

from pocketcxr.audit.criteria import in_unit, limit_words, with_interval
from pocketcxr.report.tables import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pocketcxr.audit.record import AuditRecord
    from pocketcxr.report.types import Picture


def write_audit_report(record: AuditRecord, path: Path) -> None:
    """Write the page; the file appears whole or not at all."""
    jinja = jinja2.Environment(
        loader=jinja2.PackageLoader("pocketcxr.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {"cell": _cell, "interval": with_interval, "unit": in_unit, "uri": _uri}
    jinja.globals["limit_words"] = limit_words
    outcomes = {result.criterion.key: result.outcome for result in record.criteria}
    page = jinja.get_template("audit.html.j2").render(
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


def _cell(value: str | float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}".replace("-", "−")


def _uri(picture: Picture) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode('ascii')}"


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
