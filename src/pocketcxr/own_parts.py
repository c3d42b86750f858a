"""Parts of one's own: teachers, losses and students of installed packages, by entry point, or of Python, by name.

A package adds a part in its ``pyproject.toml``::

    [project.entry-points."pocketcxr.losses"]
    focal = "mypackage.losses:focal"

A part given in Python is named ``module:name``. Such a name is looked up among the modules that are imported already,
and imports nothing: files that name parts run no code by it.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import sys
from importlib.metadata import EntryPoint, entry_points, packages_distributions, version
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

TEACHERS, LOSSES, STUDENTS = "pocketcxr.teachers", "pocketcxr.losses", "pocketcxr.students"
"""Groups of entry points."""


def installed(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name, as installed packages state them; none is loaded.

    Raises:
        ConfigError: two packages that add a part of the same name.
    """
    found: dict[str, EntryPoint] = {}
    for one in entry_points(group=group):
        if one.name in found and found[one.name].value != one.value:
            raise ConfigError(
                f"{group}: {one.name!r} comes from two packages, {found[one.name].value} and {one.value}: "
                "remove one of them"
            )
        found[one.name] = one
    return found


def is_python(name: str) -> bool:
    """Whether a name is that of a part given in Python."""
    return ":" in name


def load_part(group: str, name: str, *, known: Collection[str] = ()) -> Any:
    """What an entry point, or a name of Python, names.

    Args:
        group: of entry points.
        name: of the part.
        known: names of the parts that come with the program, for the message.

    Raises:
        ConfigError: there is no such part, or its package cannot be imported.
    """
    if is_python(name):
        return _of_python(group, name)
    parts = installed(group)
    if name not in parts:
        near = difflib.get_close_matches(name, [*known, *parts], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        names = ", ".join([*known, *parts]) or "none: no installed package adds one"
        raise ConfigError(f"unknown part {name!r}{hint}: expected some of {names}")
    try:
        return parts[name].load()
    except Exception as error:  # a package of others may raise anything while it is imported
        raise ConfigError(f"{group}: {name!r} ({parts[name].value}) cannot be loaded: {error}") from error


def name_in_python(part: object) -> str:
    """The name ``module:name`` under which a function or class is found again.

    Raises:
        ConfigError: a part that is in no module under its own name, such as one inside a function.
    """
    module, name = getattr(part, "__module__", ""), getattr(part, "__qualname__", "")
    if not name or _attribute(module, name) is not part:
        raise ConfigError(
            f"{part!r}: expected a function or class at the top of a module, so that its name finds it again; "
            "move it out of what it stands in"
        )
    return f"{module}:{name}"


def argument_names(function: Callable[..., Any], known: Collection[str], what: str) -> tuple[str, ...]:
    """Names of the arguments that a function takes among those that can be given.

    Raises:
        ConfigError: an argument without a default that cannot be given.
    """
    names: list[str] = []
    for one in inspect.signature(function).parameters.values():
        if one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD}:
            continue
        if one.name in known and one.kind != one.POSITIONAL_ONLY:
            names.append(one.name)
        elif one.default is one.empty:
            raise ConfigError(f"{what}: expected arguments among {', '.join(known)}, found {one.name}")
    return tuple(names)


def provenance(part: object) -> dict[str, str]:
    """Where a part comes from, for records and identities: module and name, package and version, hash of its source.

    The hash is that of the object's own lines; what they call is not in it.
    """
    named = part if inspect.isfunction(part) or inspect.isclass(part) else type(part)
    packages = packages_distributions().get(named.__module__.partition(".")[0], [])
    try:
        source = hashlib.sha256(inspect.getsource(named).encode()).hexdigest()
    except (OSError, TypeError):
        source = ""
    return {
        "object": f"{named.__module__}:{named.__qualname__}",
        "package": packages[0] if packages else "",
        "version": version(packages[0]) if packages else "",
        "source_sha256": source,
    }


def _of_python(group: str, name: str) -> Any:
    module, _, path = name.partition(":")
    found = _attribute(module, path)
    if found is None:
        raise ConfigError(
            f"{name} was given in Python: import {module} and go on from there, or let its package name it among the "
            f"entry points {group}"
        )
    return found


def _attribute(module: str, path: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found
