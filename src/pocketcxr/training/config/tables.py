"""Frozen dataclasses from plain nested tables and from overrides, with messages that name the field."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from typing import Any, get_type_hints

from pocketcxr.errors import ConfigError
from pocketcxr.former_names import current_name, with_current_names


def apply_override(table: dict[str, Any], override: str) -> None:
    """Set one value of a nested table, in place, from ``table.field=value``; the value is TOML or a bare word.

    Raises:
        ConfigError: no such form, or a table where the path has a value.
    """
    key, separator, text = override.partition("=")
    names = [current_name(name) for name in key.strip().split(".")]
    if not separator or len(names) < 2:  # noqa: PLR2004
        raise ConfigError(f"override {override!r}: expected table.field=value, such as student.epochs=40")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word, such as data.task=siim-appearance
    set_field(table, names, with_current_names(value))


def set_field(table: dict[str, Any], names: list[str], value: Any) -> None:
    """Set one value of a nested table, in place, by the names that lead to it.

    Raises:
        ConfigError: a value where the path has a table.
    """
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{'.'.join(names)}: {name} is a value, not a table")
    table[names[-1]] = value


def toml_tables(config: Any, default: Any, place: str = "") -> list[str]:
    """Lines of TOML with the fields of a dataclass, and of those inside it, that are not as in `default`."""
    lines, inner = list[str](), list[str]()
    for field in dataclasses.fields(config):
        value, before = (getattr(one, field.name) for one in (config, default))
        if dataclasses.is_dataclass(value):
            inner += toml_tables(value, before, f"{place}.{field.name}" if place else field.name)
        elif value != before:
            lines.append(f"{field.name} = {_toml(value)}")
    return ([f"[{place}]", *lines, ""] if lines else []) + inner


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {json.dumps(one)}" for name, one in value.items()) + "}"
    return json.dumps(value)


def build(kind: type[Any], table: Any, where: str = "") -> Any:
    """Make a dataclass, and those inside it, of a plain table; fields that are missing keep their defaults.

    Raises:
        ConfigError: an unknown field, a value of another type, or one that the dataclass refuses.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{where or 'experiment'}: expected a table, found {table!r}")
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in table.items():
        place = f"{where}.{name}" if where else name
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"unknown field {place!r}{hint}: expected one of {', '.join(hints)}")
        values[name] = _convert(hints[name], value, place)
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}" if where else str(error)) from error


def _convert(hint: Any, value: Any, place: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, place)
    text = str(hint)
    if text.startswith("tuple") and isinstance(value, list):
        kinds = {"str": str, "int": int, "float": (int, float)}[text.removeprefix("tuple[").partition(",")[0]]
        if not all(isinstance(one, kinds) and not isinstance(one, bool) for one in value):
            raise ConfigError(f"{place}: expected a list of {'names' if kinds is str else 'numbers'}, found {value!r}")
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if text.startswith("dict[str, str]") and isinstance(value, dict):
        if not all(isinstance(name, str) for name in value.values()):
            raise ConfigError(f"{place}: expected names, found {value!r}")
        return dict(value)
    if text.startswith("dict") and isinstance(value, dict):
        if not all(isinstance(weight, (int, float)) and not isinstance(weight, bool) for weight in value.values()):
            raise ConfigError(f"{place}: expected numbers, found {value!r}")
        return {str(key): float(weight) for key, weight in value.items()}
    if isinstance(hint, type) and not text.startswith(("tuple", "dict")) and type(value) is hint:
        return value
    raise ConfigError(f"{place}: expected {getattr(hint, '__name__', hint)}, found {value!r}")
