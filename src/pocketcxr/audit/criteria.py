"""Gates: limits in a file that anybody can read and change, against which an audit's figures are held.

A figure with an interval is judged by default on its favourable end, so that a gate fails only where the data show the
fault and chance alone does not (decision 0004). A gate whose figure was not measured is *not measurable*, never passed.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.report.types import Measure, Section

CRITERIA_FILE = Path(__file__).with_name("criteria.toml")
PASSED, FAILED, NOT_MEASURABLE = "passed", "failed", "not measurable"

Scope = Literal["data", "model"]
_SCOPES = ("data", "model")
_ENDS = ("favourable", "value", "unfavourable")
_KEYS = frozenset({"key", "title", "fault", "why", "scope", "at_most", "at_least", "judged_on"})


@dataclass(frozen=True)
class Criterion:
    """One limit on the measure `key`. Exactly one of `at_most`, `at_least` is set.

    `scope` is ``data`` (the images and their table) or ``model`` (what ``pocketcxr export`` asks about). `judged_on` is
    ``favourable`` (the end of the interval that speaks for passing), ``value`` or ``unfavourable``. `fault` says
    in plain words what is wrong where it fails.
    """

    key: str
    title: str
    why: str
    scope: Scope
    at_most: float | None = None
    at_least: float | None = None
    judged_on: str = "favourable"
    fault: str = ""

    @property
    def broken(self) -> str:
        """What is wrong where it fails, in words."""
        return self.fault or f"it fails “{self.title}”"


@dataclass(frozen=True)
class CriterionResult:
    """What became of a gate: `outcome` is passed, failed or not measurable; `judged` is the number that decided."""

    gate: Criterion
    outcome: str
    words: str
    judged: float | None = None
    measure: Measure | None = None


def load_criteria(path: Path | None = None) -> tuple[Criterion, ...]:
    """Read gates from a TOML file; None reads those that come with the program.

    Raises:
        ConfigError: the file cannot be read, or a gate in it is incomplete or contradicts itself.
    """
    path = path or CRITERIA_FILE
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("gate", [])
    except OSError as error:
        raise ConfigError(f"cannot read gates {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"gates {path}: not TOML ({error})") from error
    if not isinstance(tables, list) or not tables:
        raise ConfigError(f"gates {path}: expected at least one [[gate]] table; see {CRITERIA_FILE}")
    gates = tuple(_gate(table, f"gates {path}, gate {number}") for number, table in enumerate(tables, start=1))
    twice = {gate.key for gate in gates if sum(other.key == gate.key for other in gates) > 1}
    if twice:
        raise ConfigError(f"gates {path}: two gates for {', '.join(sorted(twice))}; keep one each")
    return gates


def evaluate_criteria(sections: Sequence[Section], gates: Sequence[Criterion]) -> tuple[CriterionResult, ...]:
    """Hold every gate against the measure of its key, in the order of the gates."""
    measures = {measure.key: measure for section in sections for measure in section.measures}
    return tuple(_judged(gate, measures.get(gate.key)) for gate in gates)


def failed(results: Sequence[CriterionResult], scope: Scope | None = None) -> tuple[CriterionResult, ...]:
    """The gates that failed, of one scope or of all."""
    return tuple(r for r in results if r.outcome == FAILED and (scope is None or r.gate.scope == scope))


def in_unit(value: float | None, unit: str) -> str:
    """A figure as a reader wants it: shares in per cent, counts whole, the rest with three digits."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{100 * value:.1f} %".replace("-", "−")
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:.3f}".replace("-", "−")


def with_interval(measure: Measure) -> str:
    """A figure with its interval in words."""
    text = in_unit(measure.value, measure.unit)
    if measure.low is None or measure.high is None:
        return text
    return f"{text} ({in_unit(measure.low, measure.unit)} to {in_unit(measure.high, measure.unit)})"


def limit_words(gate: Criterion, unit: str) -> str:
    """The limit in words."""
    if gate.at_most is not None:
        return f"at most {in_unit(gate.at_most, unit)}"
    return f"at least {in_unit(gate.at_least, unit)}"


def _judged(gate: Criterion, measure: Measure | None) -> CriterionResult:
    if measure is None:
        return CriterionResult(gate, NOT_MEASURABLE, "this audit did not look at it")
    if measure.value is None:
        return CriterionResult(gate, NOT_MEASURABLE, measure.why or "not measurable on these data", measure=measure)
    low = measure.value if measure.low is None else measure.low
    high = measure.value if measure.high is None else measure.high
    if gate.at_most is not None:
        judged = {"favourable": low, "value": measure.value, "unfavourable": high}[gate.judged_on]
        passed = judged <= gate.at_most
    else:
        judged = {"favourable": high, "value": measure.value, "unfavourable": low}[gate.judged_on]
        passed = judged >= (gate.at_least or 0.0)
    words = f"{with_interval(measure)}, limit {limit_words(gate, measure.unit)}"
    return CriterionResult(gate, PASSED if passed else FAILED, words, judged, measure)


def _gate(table: dict[str, Any], where: str) -> Criterion:
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise ConfigError(f"{where}: unknown field {unknown[0]!r}; expected {', '.join(sorted(_KEYS))}")
    missing = [name for name in ("key", "title", "scope") if not isinstance(table.get(name), str)]
    if missing:
        raise ConfigError(f"{where}: expected text in {', '.join(missing)}")
    limits = {name: table[name] for name in ("at_most", "at_least") if name in table}
    if len(limits) != 1 or not all(
        isinstance(limit, int | float) and not isinstance(limit, bool) for limit in limits.values()
    ):
        raise ConfigError(f"{where} ({table['key']}): expected one number, at_most or at_least, found {limits}")
    scope, judged_on = table["scope"], table.get("judged_on", "favourable")
    if scope not in _SCOPES or judged_on not in _ENDS:
        raise ConfigError(
            f"{where} ({table['key']}): expected scope in {_SCOPES} and judged_on in {_ENDS}, "
            f"found {scope!r} and {judged_on!r}"
        )
    words = {name: str(table.get(name, "")) for name in ("why", "fault")}
    return Criterion(key=table["key"], title=table["title"], scope=scope, judged_on=judged_on, **words, **limits)
