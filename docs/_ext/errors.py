"""Reference of failures: exit codes of the command line and the tree of exceptions."""

from __future__ import annotations

import inspect

from commands import subcommands
from markdown import sentence, table

from pocketcxr import cli, errors

MEANING = {
    "EXIT_OK": "done",
    "EXIT_SOME_FAILED": "finished, with something to look at: see the command",
    "EXIT_ERROR": "nothing could be done: one line on standard error says why and what to do",
    "EXIT_INTERNAL": "a fault of pocketcxr itself: one line says in which file the traceback is",
    "EXIT_INTERRUPTED": "interrupted by Ctrl-C; commands that resume continue where this one stopped",
    "EXIT_TERMINATED": "stopped by SIGTERM; as after Ctrl-C",
}
"""Names of the exit codes and what they tell; `exit_codes` refuses a name that is missing here."""


def exit_codes() -> str:
    """Table of exit codes, then what the first three say of each command."""
    names = {name: value for name, value in vars(cli).items() if name.startswith("EXIT_")}
    rows = [(f"`{value}`", sentence(MEANING[name])) for name, value in sorted(names.items(), key=lambda one: one[1])]
    own = []
    for name, parser in subcommands().items():
        exits = parser.get_default("exits")
        own.append((f"[`{name}`](commands.md#pocketcxr-{name})", *(exits.get(code, "–") for code in (0, 1, 2))))
    return "\n\n".join([table(("code", "meaning"), rows), table(("command", "`0`", "`1`", "`2`"), own)])


def exceptions() -> str:
    """Table of all exceptions, each after the one that it is a kind of."""
    return table(("exception", "kind of", "meaning"), _rows(errors.PocketCxrError))


def _rows(kind: type) -> list[tuple[str, str, str]]:
    base = kind.__mro__[1].__name__
    meaning = inspect.getdoc(kind).partition("\n\n")[0].replace("``", "`")
    rows = [(f"`{kind.__name__}`", f"`{base}`", meaning)]
    for below in sorted(kind.__subclasses__(), key=lambda one: inspect.getsourcelines(one)[1]):
        if below.__module__ == errors.__name__:
            rows += _rows(below)
    return rows
