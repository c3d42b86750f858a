"""An audit read back from its ``audit.json``, so that papers can be written long after it, with gates as a section."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import DataError
from pocketcxr.report.types import Measure, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class AuditFile:
    """What an audit left: its sections, the one of the gates first where there are gates, and its command line."""

    sections: tuple[Section, ...]
    command: str


def read_audit(path: Path) -> AuditFile:
    """Read an ``audit.json``; pictures are not in it.

    Raises:
        DataError: the file is damaged or of another program.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        sections = tuple(_section(section) for section in table["sections"])
        gates = table.get("gates", [])
        if gates:
            sections = (gates_section(str(table.get("verdicts", {}).get("headline", "")), gates), *sections)
        return AuditFile(sections, str(table.get("command", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"cannot read audit {path} ({error}): run  pocketcxr audit  again, or remove it") from error


def gates_section(headline: str, gates: Sequence[Mapping[str, Any]]) -> Section:
    """Gates as a section for papers.

    Args:
        headline: the verdict in a sentence.
        gates: of each its `title`, `outcome` (passed, failed, not measurable) and `words`, as in ``audit.json``.
    """
    counts = {name: sum(gate["outcome"] == name for gate in gates) for name in ("passed", "failed", "not measurable")}
    rows = tuple((str(gate["title"]), str(gate["outcome"]), str(gate["words"])) for gate in gates)
    return Section(
        key="gates",
        title="Does it pass the gates?",
        summary=f"{headline} Gates: {', '.join(f'{n} {name}' for name, n in counts.items())}.".strip(),
        tables=(Table("Gates", ("gate", "outcome", "found"), rows),),
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
    )
