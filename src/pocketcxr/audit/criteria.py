"""Criteria of an audit: limits in a TOML file that anybody can read and change, and their evaluation on the measures.

A figure with an interval is compared by default by its favourable end, so that a criterion fails only where the data
show the fault and chance does not explain it (decision 0004). Without a figure it is *not measurable*, never passed.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pocketcxr.bundle.failures import MEANINGS
from pocketcxr.errors import ConfigError
from pocketcxr.report.formatting import in_unit, with_interval
from pocketcxr.roles import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pocketcxr.report.types import Measure, Section

CRITERIA_FILE = Path(__file__).with_name("criteria.toml")
PASSED, FAILED, NOT_MEASURABLE = "passed", "failed", "not measurable"

Scope = Literal["data", "model"]
_SIGNS = {PASSED: "PASS", FAILED: "FAIL", NOT_MEASURABLE: "NOT MEASURABLE"}
_SCOPES = ("data", "model")
_ENDS = ("favourable", "value", "unfavourable")
_KEYS = frozenset({"key", "title", "fault", "meaning", "why", "scope", "at_most", "at_least", "evaluated_on"})


@dataclass(frozen=True)
class Criterion:
    """One limit on the measure `key`; `title` names the quantity. Exactly one of `at_most`, `at_least` is set.

    `scope` is ``data`` (the images and their table) or ``model`` (what ``pocketcxr export`` checks). `evaluated_on` is
    ``favourable`` (the end of the interval that speaks for passing), ``value`` or ``unfavourable``. `fault` says
    in plain words what is wrong where it fails, `meaning` is the kind of what follows for an image (`MEANINGS`).
    """

    key: str
    title: str
    why: str
    scope: Scope
    at_most: float | None = None
    at_least: float | None = None
    evaluated_on: str = "favourable"
    fault: str = ""
    meaning: str = ""

    @property
    def broken(self) -> str:
        """What is wrong where it fails."""
        return self.fault or f"“{self.title}” is beyond its limit"


@dataclass(frozen=True)
class CriterionResult:
    """Outcome of a criterion: passed, failed or not measurable; `compared` is the number compared with the limit.

    `words` hold value, interval and limit, or the reason why nothing was measured.
    """

    criterion: Criterion
    outcome: str
    words: str
    compared: float | None = None
    measure: Measure | None = None

    @property
    def fault(self) -> str:
        """What is wrong where it fails, and of what."""
        worst = self.measure.worst if self.measure else ""
        return f"{self.criterion.broken} ({worst})" if worst else self.criterion.broken

    @property
    def line(self) -> str:
        """Quantity, value (interval), limit and outcome in one line."""
        return criterion_line(self.criterion.title, self.words, self.outcome)

    @property
    def meaning(self) -> str:
        """What follows for an image that the model answers, in a sentence; empty where the criterion does not say."""
        return MEANINGS.get(self.criterion.meaning, "")


def criterion_line(title: str, words: str, outcome: str) -> str:
    """One criterion as a line: ``quantity: value (interval), limit at most X: FAIL``."""
    return f"{title}: {words}: {_SIGNS.get(outcome, outcome)}"


def load_criteria(path: Path | None = None) -> tuple[Criterion, ...]:
    """Read criteria from a TOML file; None reads those that come with the program.

    Raises:
        ConfigError: the file cannot be read, or a criterion in it is incomplete or contradicts itself.
    """
    path = path or CRITERIA_FILE
    try:
        tables = criteria_tables(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise ConfigError(f"cannot read criteria {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"criteria {path}: not TOML ({error})") from error
    if not isinstance(tables, list) or not tables:
        raise ConfigError(f"criteria {path}: expected at least one [[criterion]] table; see {CRITERIA_FILE}")
    found = tuple(_criterion(table, f"criteria {path}, criterion {number}") for number, table in enumerate(tables, 1))
    keys = [one.key for one in found]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ConfigError(f"criteria {path}: two criteria for {', '.join(sorted(twice))}; keep one each")
    return found


def criteria_tables(table: Mapping[str, Any]) -> Any:
    """The criteria in a criteria file or in an ``audit.json``, under today's key or that of earlier versions."""
    return next((table[name] for name in ("criteria", "criterion", "gates", "gate") if name in table), [])


def evaluate_criteria(sections: Sequence[Section], criteria: Sequence[Criterion]) -> tuple[CriterionResult, ...]:
    """Compare the measure of each criterion's key with its limit, in the order of the criteria."""
    measures = {measure.key: measure for section in sections for measure in section.measures}
    return tuple(_evaluated(criterion, measures.get(criterion.key)) for criterion in criteria)


def failed(results: Sequence[CriterionResult], scope: Scope | None = None) -> tuple[CriterionResult, ...]:
    """The criteria that failed, of one scope or of all."""
    return tuple(r for r in results if r.outcome == FAILED and (scope is None or r.criterion.scope == scope))


def limit_words(criterion: Criterion, unit: str) -> str:
    """The limit, such as ``at most 10.0 %``."""
    if criterion.at_most is not None:
        return f"at most {in_unit(criterion.at_most, unit)}"
    return f"at least {in_unit(criterion.at_least, unit)}"


def _evaluated(criterion: Criterion, measure: Measure | None) -> CriterionResult:
    if measure is None:
        return CriterionResult(criterion, NOT_MEASURABLE, "not part of this audit")
    if measure.value is None:
        why = measure.why or "not measurable on these data"
        return CriterionResult(criterion, NOT_MEASURABLE, why, measure=measure)
    low = measure.value if measure.low is None else measure.low
    high = measure.value if measure.high is None else measure.high
    upper = criterion.at_most is not None
    favourable, unfavourable = (low, high) if upper else (high, low)
    ends = {"favourable": favourable, "value": measure.value, "unfavourable": unfavourable}
    compared = ends[criterion.evaluated_on]
    passed = compared <= (criterion.at_most or 0.0) if upper else compared >= (criterion.at_least or 0.0)
    words = f"{with_interval(measure, unit=measure.unit)}, limit {limit_words(criterion, measure.unit)}"
    return CriterionResult(criterion, PASSED if passed else FAILED, words, compared, measure)


def _criterion(table: dict[str, Any], where: str) -> Criterion:
    table = {"evaluated_on" if name == "judged_on" else name: value for name, value in table.items()}
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
    scope, evaluated_on = table["scope"], table.get("evaluated_on", "favourable")
    if scope not in _SCOPES or evaluated_on not in _ENDS:
        raise ConfigError(
            f"{where} ({table['key']}): expected scope in {_SCOPES} and evaluated_on in {_ENDS}, "
            f"found {scope!r} and {evaluated_on!r}"
        )
    texts = {name: str(table.get(name, "")) for name in ("why", "fault", "meaning")}
    if texts["meaning"] and texts["meaning"] not in MEANINGS:
        raise ConfigError(
            f"{where} ({table['key']}): expected meaning in {', '.join(MEANINGS)}, found {texts['meaning']!r}"
        )
    return Criterion(
        key=canonical(table["key"]), title=table["title"], scope=scope, evaluated_on=evaluated_on, **texts, **limits
    )
