"""Reading of an ``audit.json``, with its criteria as a section, for documents that are written later."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pocketcxr.audit.criteria import criteria_tables
from pocketcxr.errors import DataError
from pocketcxr.report.types import Measure, Section, Table
from pocketcxr.roles import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class AuditFile:
    """Sections of an audit, that of the criteria first where there are any, and its command line."""

    sections: tuple[Section, ...]
    command: str


def read_audit(path: Path) -> AuditFile:
    """Read an ``audit.json`` of this version or of an earlier one; pictures are not in it.

    Raises:
        DataError: the file is damaged or of another program.
    """
    try:
        table = canonical(json.loads(path.read_text(encoding="utf-8")))
        sections = tuple(_section(section) for section in table["sections"])
        criteria = criteria_tables(table)
        if criteria:
            sections = (criteria_section(headline_of(table), criteria), *sections)
        return AuditFile(sections, str(table.get("command", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"cannot read audit {path} ({error}): run  pocketcxr audit  again, or remove it") from error


def headline_of(table: Mapping[str, Any]) -> str:
    """The headline in an ``audit.json``, under today's key or that of earlier versions."""
    return str((table.get("conclusions") or table.get("verdicts") or {}).get("headline", ""))


def criteria_section(headline: str, criteria: Sequence[Mapping[str, Any]]) -> Section:
    """Criteria as a section for documents.

    Args:
        headline: the conclusion in a sentence.
        criteria: of each its `title`, `outcome` (passed, failed, not measurable) and `words`, as in ``audit.json``.
    """
    counts = {name: sum(one["outcome"] == name for one in criteria) for name in ("passed", "failed", "not measurable")}
    rows = tuple((str(one["title"]), str(one["outcome"]), str(one["words"])) for one in criteria)
    return Section(
        key="gates",  # the name by which checklists of earlier versions ask for it
        title="Criteria and their outcomes",
        summary=f"{headline} Criteria: {', '.join(f'{n} {name}' for name, n in counts.items())}.".strip(),
        tables=(Table("Criteria", ("quantity", "outcome", "value, interval and limit"), rows),),
    )


def _section(table: Mapping[str, Any]) -> Section:
    return Section(
        key=table["key"],
        title=table["title"],
        summary=table["summary"],
        measures=tuple(Measure(**measure) for measure in table.get("measures", ())),
        tables=tuple(
            Table(one["title"], tuple(one["columns"]), tuple(map(tuple, one["rows"])), one.get("note", ""))
            for one in table.get("tables", ())
        ),
        outcome=table.get("outcome", ""),
    )
