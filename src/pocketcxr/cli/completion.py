"""Completion in the shell: what could stand at the cursor, from the same parsers as everything else.

A shell asks by starting the program with its line in the environment, as argcomplete defines it; see
docs/how-to/complete-in-the-shell.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import TYPE_CHECKING

import argcomplete

if TYPE_CHECKING:
    from collections.abc import Iterator


def complete() -> None:
    """Answer the shell, and end the program."""
    from pocketcxr.cli import build_parser

    _, command, *_ = [*os.environ.get("COMP_LINE", "").split(maxsplit=2), "", ""]
    parser = build_parser(command)
    for action in _actions(parser):
        if "--task" in action.option_strings:
            action.completer = _tasks  # type: ignore[attr-defined]  # argcomplete's way
        elif "--set" in action.option_strings:
            action.completer = _fields  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, always_complete_options="long")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every option and argument of a parser and of the commands in it."""
    for action in parser._actions:  # noqa: SLF001  # argparse has no public list
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for one in action.choices.values():
                yield from _actions(one)
        yield action


def _tasks(prefix: str, **_: object) -> list[str]:
    """Names of tasks, and files for one of your own."""
    from pocketcxr.labels import TASKS

    return [*TASKS, *argcomplete.FilesCompleter(allowednames=("toml",))(prefix)]


def _fields(**_: object) -> list[str]:
    """``table.field=`` for every field of an experiment."""
    from pocketcxr.training.config import Experiment

    experiment = Experiment()
    return [
        f"{table.name}.{field.name}="
        for table in dataclasses.fields(experiment)
        for field in dataclasses.fields(getattr(experiment, table.name))
    ]
