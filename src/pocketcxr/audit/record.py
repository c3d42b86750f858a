"""All that one audit found, as one value: report, JSON, checklists and model card are made from it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pocketcxr.audit.criteria import FAILED, NOT_MEASURABLE, PASSED, failed
from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from pocketcxr.audit.conclusions import Conclusions
    from pocketcxr.audit.criteria import CriterionResult
    from pocketcxr.report.types import Section

FORMAT_VERSION = 1


@dataclass(frozen=True)
class AuditRecord:
    """One audit.

    `subject` says what was audited (table, images, fingerprint, bundle and student by their hashes);
    `command` and `environment` what made every figure in it.
    """

    title: str
    created: str
    command: str
    seed: int
    task: dict[str, Any]
    subject: dict[str, Any]
    sections: tuple[Section, ...]
    gates: tuple[CriterionResult, ...]
    verdicts: Conclusions
    environment: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
        "environment": record.environment,
        "seconds": record.seconds,
        "notes": list(record.notes),
    }


@dataclass(frozen=True)
class Outcome:
    """What an audit on file came to: what it was of, when, and each gate's scope, title and outcome."""

    subject: dict[str, Any]
    created: str
    gates: tuple[tuple[str, str, str], ...]

    def failed(self, scope: str) -> list[str]:
        """Titles of the gates of a scope that failed."""
        return [title for of, title, outcome in self.gates if of == scope and outcome == FAILED]

    def measured(self, scope: str) -> int:
        """Number of the gates of a scope that passed or failed."""
        return sum(of == scope and outcome != NOT_MEASURABLE for of, _, outcome in self.gates)


def read_outcome(path: Path) -> Outcome:
    """Read what an ``audit.json`` came to.

    Raises:
        ConfigError: the file is damaged or of another program.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        gates = tuple((gate["scope"], gate["title"], gate["outcome"]) for gate in table["gates"])
        return Outcome(dict(table["subject"]), str(table["created"]), gates)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"cannot read audit {path} ({error}): run  pocketcxr audit  again, or remove it") from error


def _gate_json(result: CriterionResult) -> dict[str, Any]:
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
