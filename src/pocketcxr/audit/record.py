"""All that one audit found, as one value: report, JSON, checklists and model card are made from it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pocketcxr.audit.gates import FAILED, NOT_MEASURABLE, PASSED, failed
from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pocketcxr.audit.findings import Section
    from pocketcxr.audit.gates import GateResult
    from pocketcxr.audit.verdict import Verdicts

FORMAT_VERSION = 1


@dataclass(frozen=True)
class AuditRecord:
    """One audit.

    `subject` says what was audited (table, images, fingerprint, bundle and student by their hashes);
    `command` and `environment` what made every figure in it; `checklists` are filled in by `checklist`.
    """

    title: str
    created: str
    command: str
    seed: int
    task: dict[str, Any]
    subject: dict[str, Any]
    sections: tuple[Section, ...]
    gates: tuple[GateResult, ...]
    verdicts: Verdicts
    environment: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    checklists: dict[str, Any] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """How many gates passed, failed and could not be measured."""
        return {name: sum(r.outcome == name for r in self.gates) for name in (PASSED, FAILED, NOT_MEASURABLE)}


def as_json(record: AuditRecord) -> dict[str, Any]:
    """Plain values; pictures stand as title and words only, their bytes are in the report."""
    return {
        "format_version": FORMAT_VERSION,
        "title": record.title,
        "created": record.created,
        "command": record.command,
        "seed": record.seed,
        "task": record.task,
        "subject": record.subject,
        "outcome": {**record.counts(), "failed_gates": [r.gate.key for r in failed(record.gates)]},
        "verdicts": dataclasses.asdict(record.verdicts),
        "gates": [_gate_json(result) for result in record.gates],
        "sections": [_section_json(section) for section in record.sections],
        "checklists": record.checklists,
        "environment": record.environment,
        "seconds": record.seconds,
        "notes": list(record.notes),
    }


def failed_gates(path: Path, scope: str) -> tuple[dict[str, Any], list[str]]:
    """Subject and titles of the failed gates of one scope, from an ``audit.json`` that `as_json` made.

    Raises:
        ConfigError: the file is damaged or of another program.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        titles = [gate["title"] for gate in table["gates"] if gate["scope"] == scope and gate["outcome"] == FAILED]
        return {**table["subject"], "created": table["created"]}, titles
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"cannot read audit {path} ({error}): run  pocketcxr audit  again, or remove it") from error


def scopes_measured(results: Sequence[GateResult]) -> set[str]:
    """Scopes of which at least one gate was measured."""
    return {r.gate.scope for r in results if r.outcome != NOT_MEASURABLE}


def _gate_json(result: GateResult) -> dict[str, Any]:
    gate = dataclasses.asdict(result.gate)
    value = result.measure.value if result.measure else None
    return {**gate, "outcome": result.outcome, "value": value, "judged": result.judged, "words": result.words}


def _section_json(section: Section) -> dict[str, Any]:
    return {
        "key": section.key,
        "title": section.title,
        "summary": section.summary,
        "measures": [dataclasses.asdict(measure) for measure in section.measures],
        "tables": [dataclasses.asdict(table) for table in section.tables],
        "pictures": [
            {"title": picture.title, "alt": picture.alt, "note": picture.note} for picture in section.pictures
        ],
    }
