"""Types and ranges of a manifest, checked before anything of it is used; the page has the same (`manifest.ts`).

A sealed file can still say anything: a limit below zero, a number in quotes, a label that reads like a decision.
"""

from __future__ import annotations

import reprlib
import unicodedata
from typing import TYPE_CHECKING, Any, cast

from pocketcxr.errors import BundleError
from pocketcxr.labels import NO_LABELS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Rule = tuple[str, Callable[[Any], bool]]

LONGEST_MANIFEST = 4 * 2**20
"""Characters of the JSON text."""

DEEPEST_MANIFEST = 32
"""Levels of tables and lists inside each other."""

_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # Unicode Annex 9
_LONGEST_NAME, _LONGEST_TEXT, _MOST = 200, 100_000, 1000
_SMALLEST_IMAGE, _LARGEST_IMAGE = 8, 4096


def check_manifest(fields: Mapping[str, Any]) -> None:
    """Refuse a manifest with a field that is missing, unknown, of another type or outside its range.

    Args:
        fields: what the JSON text holds, of a format version that can be read.

    Raises:
        BundleError: naming the field, what was expected and what was found.
    """
    if _depth(fields) > DEEPEST_MANIFEST:
        raise BundleError(f"bundle manifest: expected at most {DEEPEST_MANIFEST} levels, found more: export it again")
    _check_table(fields, _MANIFEST, "", may_lack=(*_FREE, "findings"))
    labels: list[str] = fields["labels"]
    label: Rule = (f"one of {', '.join(labels)}", lambda value: value in labels)
    several = "findings" in fields
    if several != (fields["format_version"] == _MULTILABEL_VERSION):
        raise _refused(f"findings belong to format version {_MULTILABEL_VERSION}")
    if several:
        _check_findings(fields)
    else:
        _check(fields["positive"], label, "positive")
    _check_table(fields["preprocessing"], _PREPROCESSING, "preprocessing.")
    for number, point in enumerate(fields["operating_points"]):
        place = f"operating_points[{number}]."
        _check(point, _TABLE, place.rstrip("."))
        _check_table(point, {**_OPERATING_POINT, "label": label}, place)
    names = [(point["label"], point["name"]) for point in fields["operating_points"]]
    _check(names, ("different names", lambda value: len(set(value)) == len(value)), "operating_points")
    if fields.get("input_gate") is not None:
        _check(fields["input_gate"], _TABLE, "input_gate")
        _check_table(fields["input_gate"], _INPUT_FILTER, "input_gate.")


def _check_findings(fields: Mapping[str, Any]) -> None:
    for name, value in (("positive", ""), ("temperature", 1), ("conformal_quantile", 1)):
        _check(fields[name], (f"{value!r} beside findings", lambda found, value=value: found == value), name)
    for number, finding in enumerate(fields["findings"]):
        place = f"findings[{number}]."
        _check(finding, _TABLE, place.rstrip("."))
        _check_table(finding, _FINDING, place)
    same = [finding["label"] for finding in fields["findings"]] == fields["labels"]
    _check(same, ("the labels in their order", bool), "findings")


def _check_table(
    table: Mapping[str, Any], rules: Mapping[str, Rule], place: str, *, may_lack: tuple[str, ...] = ()
) -> None:
    if unknown := sorted(set(table) - set(rules)):
        raise _refused(f"{place}{reprlib.repr(unknown[0])} is no field of it")
    for key, rule in rules.items():
        if key in table:
            _check(table[key], rule, f"{place}{key}")
        elif key not in may_lack:
            raise _refused(f"no {place}{key}")


def _check(value: Any, rule: Rule, place: str) -> None:
    expected, fits = rule
    if not fits(value):
        raise _refused(f"{place}: expected {expected}, found {reprlib.repr(value)}")


def _refused(words: str) -> BundleError:
    return BundleError(f"bundle manifest cannot be read ({words}): export the bundle again")


def _is_name(value: Any) -> bool:
    return _is_text(value, longest=_LONGEST_NAME) and value.strip() != "" and not _has_control(value)


def _has_control(text: str) -> bool:
    """Whether a text has control characters, line ends, or signs that turn the direction of what is shown."""
    return any(unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} or sign in _TURNING for sign in text)


def _is_text(value: Any, *, longest: int = _LONGEST_TEXT) -> bool:
    return isinstance(value, str) and len(value) <= longest


def _is_list(value: Any, item: Callable[[Any], bool], *, least: int = 0) -> bool:
    if not isinstance(value, list):
        return False
    items = cast("list[Any]", value)
    return least <= len(items) <= _MOST and all(map(item, items))


def _are_names(value: Any) -> bool:
    return _is_list(value, _is_name, least=2) and len(set(cast("list[str]", value))) == len(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _between(low: float, high: float) -> Rule:
    return f"a number from {low:g} to {high:g}", lambda value: _is_number(value) and low <= value <= high


def _inside(low: float, high: float) -> Rule:
    return f"a number between {low:g} and {high:g}", lambda value: _is_number(value) and low < value < high


def _one_of(*choices: str) -> Rule:
    return " or ".join(choices), lambda value: isinstance(value, str) and value in choices


def _are_words(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, cast("dict[str, Any]", value).values()))


_NAME: Rule = (f"a text of 1 to {_LONGEST_NAME} visible characters", _is_name)
_TEXT: Rule = (f"a text of at most {_LONGEST_TEXT:,} characters", _is_text)
_TABLE: Rule = ("a table", lambda value: isinstance(value, dict))
_TWO_NAMES: Rule = ("a list of two or more different texts", _are_names)

_MANIFEST: dict[str, Rule] = {
    "format_version": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "name": _NAME,
    "version": _NAME,
    "created": _NAME,
    "task": _NAME,
    "labels": (
        f"two or more different names, none of them {', '.join(sorted(NO_LABELS))}",
        lambda value: _are_names(value) and not NO_LABELS & set(value),
    ),
    "positive": _TEXT,
    "preprocessing": _TABLE,
    "temperature": _between(0.001, 1000),
    "conformal_quantile": _between(0, 1),
    "conformal_coverage": _inside(0, 1),
    "operating_points": ("a list", lambda value: _is_list(value, lambda _: True)),
    "licence": _TEXT,
    "intended_use": _TEXT,
    "limits": ("a list of texts", lambda value: _is_list(value, _is_text)),
    "metrics": _TABLE,
    "data": _TABLE,
    "teacher": _TABLE,
    "run": _TABLE,
    "input_gate": ("a table or null", lambda value: value is None or isinstance(value, dict)),
    "findings": ("a list", lambda value: _is_list(value, lambda _: True)),
}
_FREE = ("metrics", "data", "teacher", "run", "input_gate")
_MULTILABEL_VERSION = 3
_FINDING: dict[str, Rule] = {
    "label": _NAME,
    "temperature": _between(0.001, 1000),
    "conformal_quantile": _between(0, 1),
}
_PREPROCESSING: dict[str, Rule] = {
    "size": (
        f"a whole number of pixels from {_SMALLEST_IMAGE} to {_LARGEST_IMAGE}",
        lambda value: type(value) is int and _SMALLEST_IMAGE <= value <= _LARGEST_IMAGE,
    ),
    "aspect": _one_of("squash", "pad"),
    "resampling": _one_of("triangle-antialias"),
    "polarity": _one_of("MONOCHROME2"),
}
_OPERATING_POINT: dict[str, Rule] = {
    "name": _NAME,
    "label": _NAME,
    "threshold": _between(0, 1),
    "sensitivity": _between(0, 1),
    "specificity": _between(0, 1),
    "chosen_on": _TEXT,
}
_INPUT_FILTER: dict[str, Rule] = {
    "kinds": ("a list of texts", lambda value: _is_list(value, _is_name)),
    "accept": _NAME,
    "threshold": ("a number", _is_number),
    "words": ("a table of texts", _are_words),
}


def _depth(value: Any) -> int:
    """Levels of tables and lists inside each other, without recursion."""
    level, deepest = [value], 0
    while level and deepest <= DEEPEST_MANIFEST:
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(cast("dict[str, Any]", one).values())
            elif isinstance(one, list):
                inner.extend(cast("list[Any]", one))
        deepest += any(isinstance(one, (dict, list)) for one in level)
        level = inner
    return deepest
