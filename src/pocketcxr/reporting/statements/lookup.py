"""Statements by name, as checklists and the model card ask for them: of a run's record, or of its audit."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from functools import cached_property
from importlib import resources
from string import Formatter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pocketcxr.reporting.statements import data, model
from pocketcxr.reporting.statements.known import items, known
from pocketcxr.reporting.statements.statement import Statement, sources_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pocketcxr.report.types import Measure, Section
    from pocketcxr.reporting.run_record import RunRecord

TEXTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    tomllib.loads(resources.files("pocketcxr.reporting.statements").joinpath("texts.toml").read_text(encoding="utf-8"))
)
"""Statements that are one text with values of the record in it."""

FUNCTIONS: Mapping[str, Callable[[RunRecord], Statement | None]] = MappingProxyType(
    {
        made.__name__: made
        for made in (
            *(data.sources, data.licences, data.places, data.exclusions, data.reference, data.partition, data.disjoint),
            *(data.split_sizes, data.sample_size, data.flow, data.events, data.demographics, data.split_differences),
            *(data.external, model.thresholds, model.software, model.training, model.distillation, model.selection),
            *(model.performance, model.diagnostic, model.per_source, model.failures),
        )
    }
)
"""Statements that need more than one text; each is None where the record does not know."""

COMBINED: Mapping[str, tuple[str, ...]] = MappingProxyType({"availability": ("code", "specification")})
"""Statements made of others."""

NAMES = frozenset({*TEXTS, *FUNCTIONS, *COMBINED})

AUDIT = "audit:"
"""Prefix of a statement of the audit: then an expression for keys of sections and, after ``#``, of measures."""

PLAIN_UNITS = ("share", "count", "auroc")
"""Units of measures that are not written behind the number."""

_MOST_MEASURES = 6


class Statements:
    """Makes the statements of one record and of the audit's sections; the record is read once."""

    def __init__(self, record: RunRecord, sections: Sequence[Section] = ()) -> None:
        self.record, self.sections = record, sections

    def __call__(self, name: str) -> Statement | None:
        """A statement by name, None where the record or the audit does not know.

        Raises:
            KeyError: no such statement; a fault in a checklist file of the program.
        """
        if name.startswith(AUDIT):
            return self._of_audit(*name.removeprefix(AUDIT).partition("#")[::2])
        if name in COMBINED:
            told = [one for part in COMBINED[name] if (one := self(part))]
            return Statement(" ".join(one.text for one in told), sources_of(told), complete=False) if told else None
        return FUNCTIONS[name](self.record) if name in FUNCTIONS else self._of_text(**TEXTS[name])

    @cached_property
    def _known(self) -> dict[str, Any]:
        return known(self.record)

    def _of_text(self, text: str, source: str, *, complete: bool = True, needs: Sequence[str] = ()) -> Statement | None:
        fields = [field for _, field, _, _ in Formatter().parse(text) if field]
        if any(self._known.get(re.split(r"[.\[]", field)[0]) is None for field in [*fields, *needs]):
            return None
        return Statement(text.format_map(self._known), source.format_map(self._known), complete)

    def _of_audit(self, key: str, measure: str) -> Statement | None:
        found = [_only(section, measure) for section in self.sections if re.search(key, section.key)]
        found = [section for section in found if section.measures or not measure]
        if not found:
            return None
        return Statement(
            "\n\n".join(f"Audit: {one.title} {section_words(one)}" for one in found),
            "; ".join(f"{self.record.audit_command or 'pocketcxr audit'}, section {one.key}" for one in found),
            # a section that says why it cannot be measured answers nothing
            complete=any(not one.measures or any(m.value is not None for m in one.measures) for one in found),
        )


def _only(section: Section, measure: str) -> Section:
    chosen = tuple(one for one in section.measures if re.search(measure, one.key))
    return dataclasses.replace(section, measures=chosen) if measure else section


def section_words(section: Section) -> str:
    """A section's answer and its first measures; those that could not be measured are counted."""
    measured = [measure_words(one) for one in section.measures if one.value is not None]
    lines = measured[:_MOST_MEASURES]
    lines += [f"{len(measured) - len(lines)} more in the audit"] if len(measured) > len(lines) else []
    unmeasured = len(section.measures) - len(measured)
    lines += [f"{unmeasured} could not be measured; the audit gives the reasons"] if unmeasured and measured else []
    return f"{section.summary}{items(lines) or ''}"


def measure_words(measure: Measure) -> str:
    """``Near duplicates across splits: 0.012 (95 % interval 0.004 to 0.021; 705 images)``."""
    value, interval = measure_cells(measure)
    if measure.value is None:
        return f"{measure.title}: not measurable ({measure.why or 'no reason given'})"
    around = [f"95 % interval {interval}"] if interval else []
    around += [f"{measure.images:,} images"] if measure.images is not None else []
    return f"{measure.title}: {value}" + (f" ({'; '.join(around)})" if around else "")


def measure_cells(measure: Measure) -> tuple[str, str | None]:
    """Value and interval of a measure: counts whole, the rest with three decimals, then the unit where it needs one."""

    def shown(value: float) -> str:
        return f"{value:,.0f}" if measure.unit == "count" else f"{value:.3f}".replace("-", "−")

    if measure.value is None:
        return f"not measurable: {measure.why or 'no reason given'}", None
    unit = "" if measure.unit in PLAIN_UNITS else f" {measure.unit}"
    interval = None
    if measure.low is not None and measure.high is not None:
        interval = f"{shown(measure.low)} to {shown(measure.high)}"
    return f"{shown(measure.value)}{unit}", interval
