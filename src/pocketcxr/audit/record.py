"""All results of one audit as one value: report, JSON, checklists and model card are made from it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pocketcxr.audit.criteria import FAILED, NOT_MEASURABLE, PASSED, criteria_tables, failed
from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from pocketcxr.audit.conclusions import Conclusions
    from pocketcxr.audit.criteria import CriterionResult
    from pocketcxr.report.types import Section

FORMAT_VERSION = 1
_FAILURE = (
    "key", "title", "fault", "meaning", "scope", "words", "value", "low", "high", "unit", "at_most", "at_least",
)  # fmt: skip


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
    criteria: tuple[CriterionResult, ...]
    conclusions: Conclusions
    environment: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many criteria passed, failed and could not be measured."""
        return {name: sum(r.outcome == name for r in self.criteria) for name in (PASSED, FAILED, NOT_MEASURABLE)}


def as_json(record: AuditRecord) -> dict[str, Any]:
    """Plain values; of pictures only title and description, their bytes are in the report."""
    return {
        "format_version": FORMAT_VERSION,
        "title": record.title,
        "created": record.created,
        "command": record.command,
        "seed": record.seed,
        "task": record.task,
        "subject": record.subject,
        "outcome": {**record.counts(), "failed_criteria": [r.criterion.key for r in failed(record.criteria)]},
        "conclusions": dataclasses.asdict(record.conclusions),
        "criteria": [_criterion_json(result) for result in record.criteria],
        "sections": [_section_json(section) for section in record.sections],
        "environment": record.environment,
        "seconds": record.seconds,
        "notes": list(record.notes),
    }


@dataclass(frozen=True)
class Outcome:
    """Outcome of an audit on file: what was audited, when, and the criteria as they stand in ``audit.json``."""

    subject: dict[str, Any]
    created: str
    criteria: tuple[dict[str, Any], ...]

    def failed(self, scope: str) -> list[dict[str, Any]]:
        """The criteria of a scope that failed: what a bundle says of them."""
        bad = [one for one in self.criteria if one["scope"] == scope and one["outcome"] == FAILED]
        return [{key: one[key] for key in _FAILURE if one.get(key) is not None} for one in bad]

    def measured(self, scope: str) -> int:
        """Number of the criteria of a scope that passed or failed."""
        return sum(one["scope"] == scope and one["outcome"] != NOT_MEASURABLE for one in self.criteria)


def read_outcome(path: Path) -> Outcome:
    """Read the outcome from an ``audit.json``, of this version or of an earlier one.

    Raises:
        ConfigError: the file is damaged or of another program.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        criteria = tuple(dict(one) for one in criteria_tables(table))
        if any(not isinstance(one[key], str) for one in criteria for key in ("scope", "title", "outcome")):
            raise ValueError("a criterion without scope, title or outcome")
        return Outcome(dict(table["subject"]), str(table["created"]), criteria)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"cannot read audit {path} ({error}): run  pocketcxr audit  again, or remove it") from error


def _criterion_json(result: CriterionResult) -> dict[str, Any]:
    measure = result.measure
    figures = {name: getattr(measure, name, None) for name in ("value", "low", "high", "unit")}
    more = {"outcome": result.outcome, **figures, "compared": result.compared, "words": result.words}
    return dataclasses.asdict(result.criterion) | more


def _section_json(section: Section) -> dict[str, Any]:
    return {
        "key": section.key,
        "title": section.title,
        "summary": section.summary,
        "outcome": section.outcome,
        "measures": [dataclasses.asdict(measure) for measure in section.measures],
        "tables": [dataclasses.asdict(table) for table in section.tables],
        "pictures": [
            {"title": picture.title, "alt": picture.alt, "note": picture.note} for picture in section.pictures
        ],
    }
