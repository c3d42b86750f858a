"""Reference of the Python interface: the public names of the package, from their docstrings."""

from __future__ import annotations

import inspect

import pocketcxr
from pocketcxr import api


def page() -> str:
    """Functions first, then classes with their members, then errors."""
    public = {name: _named(name) for name in pocketcxr.__all__ if not name.startswith("__")}
    groups = {
        "Functions": [name for name, value in public.items() if inspect.isroutine(value)],
        "Classes": [
            name for name, value in public.items() if inspect.isclass(value) and not issubclass(value, Exception)
        ],
        "Errors": [name for name, value in public.items() if inspect.isclass(value) and issubclass(value, Exception)],
    }
    parts = []
    for title, names in groups.items():
        if names:
            parts.append(f"## {title}")
            parts += [_directive(public[name]) for name in names]
    return "\n\n".join(parts)


def _named(name: str) -> object:
    """What a public name stands for; `audit` is a package that can be called, so the function behind it is shown."""
    value = getattr(pocketcxr, name)
    return getattr(api, name) if inspect.ismodule(value) else value


def _directive(value: object) -> str:
    kind = "autofunction" if inspect.isroutine(value) else "autoclass"
    members = "" if kind == "autofunction" or issubclass(value, Exception) else "\n   :members:"
    return f"```{{eval-rst}}\n.. {kind}:: {value.__module__}.{value.__qualname__}{members}\n```"
