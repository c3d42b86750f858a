"""Reference of the experiment file, from the configuration's dataclasses: fields, types, defaults, allowed values."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import sys
import textwrap
from typing import Any, get_type_hints

from markdown import table

from pocketcxr.training.config import Experiment


def page() -> str:
    """Every table of an experiment file; what several tables share is described once."""
    shared: dict[type, list[str]] = {}
    sections = [
        _section(name, kind, shared)
        for name, kind in get_type_hints(Experiment).items()
        if dataclasses.is_dataclass(kind)
    ]
    commons = [_common(kind, names) for kind, names in shared.items()]
    return "\n\n".join([*sections, *commons])


def tables() -> dict[str, type]:
    """Dotted table name to its dataclass, nested tables included."""
    found: dict[str, type] = {}
    for name, kind in get_type_hints(Experiment).items():
        found[name] = kind
        found |= {
            f"{name}.{field}": nested
            for field, nested in get_type_hints(kind).items()
            if dataclasses.is_dataclass(nested)
        }
    return found


def _section(name: str, kind: type, shared: dict[type, list[str]]) -> str:
    parts = [f"## `[{name}]`", _prose(kind)]
    own = own_fields(kind)
    nested = {field: hint for field, hint in get_type_hints(kind).items() if dataclasses.is_dataclass(hint)}
    parts.append(_table(kind, [field for field in own if field.name not in nested]))
    for base in kind.__mro__[1:]:
        if dataclasses.is_dataclass(base):
            shared.setdefault(base, []).append(name)
            title = _title(base)
            parts.append(f"Further fields of this table: [{title}](#{_anchor(title)}).")
    for field, hint in nested.items():
        parts += [f"### `[{name}.{field}]`", _prose(hint), _table(hint, own_fields(hint))]
    return "\n\n".join(parts)


def _common(kind: type, names: list[str]) -> str:
    where = " and ".join(f"`[{name}]`" for name in names)
    return "\n\n".join([f"## {_title(kind)}", f"In {where}.", _prose(kind), _table(kind, own_fields(kind))])


def _title(kind: type) -> str:
    words = re.sub(r"(?<!^)([A-Z])", r" \1", kind.__name__.removesuffix("Config")).lower()
    return f"Fields of {words}"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def own_fields(kind: type) -> list[dataclasses.Field[Any]]:
    """Fields that a dataclass adds to those that it inherits."""
    return [field for field in dataclasses.fields(kind) if field.name in kind.__annotations__]


def _prose(kind: type) -> str:
    """The class's docstring as Markdown: double backticks become single ones."""
    return inspect.getdoc(kind).replace("``", "`")


def _table(kind: type, fields: list[dataclasses.Field[Any]]) -> str:
    hints, allowed = get_type_hints(kind), limits(kind)
    rows = (
        (
            f"`{field.name}`",
            _type(hints[field.name]),
            f"`{_default(field)}`",
            *([allowed.get(field.name, "")] if allowed else []),
        )
        for field in fields
    )
    return table(("field", "type", "default", *(["allowed"] if allowed else [])), rows)


def _type(hint: Any) -> str:
    name = hint.__name__ if isinstance(hint, type) and not getattr(hint, "__args__", None) else str(hint)
    words = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
    if name in words:
        return words[name]
    if name.startswith("tuple"):
        inner = hint.__args__
        return (
            f"list of {words[inner[0].__name__]}s" if Ellipsis in inner else f"{len(inner)} {words[inner[0].__name__]}s"
        )
    if name.startswith("dict"):
        return "table of name = number"
    return f"`{name}`"


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {json.dumps(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


def limits(kind: type) -> dict[str, str]:
    """What each field must be, from the checks ``_expect(holds, "field", "what is allowed", found)``."""
    if "__post_init__" not in kind.__dict__:
        return {}
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind.__post_init__)))
    names = {**vars(sys.modules[kind.__module__]), "self": kind()}
    found: dict[str, str] = {}
    for call in ast.walk(tree):
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id.startswith(("_expect", "expect"))
        ):
            continue
        field, expected = call.args[1], call.args[2]
        if isinstance(field, ast.Constant):
            text = eval(compile(ast.Expression(expected), "limits", "eval"), names)  # noqa: S307 (our own source)
            found[str(field.value)] = re.sub(
                r"\('(.*)'\)", lambda match: match.group(1).replace("', '", ", "), str(text)
            )
    return found
