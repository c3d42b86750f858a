"""Options that several commands share, and the values that are made of them."""

from __future__ import annotations

import argparse
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from pocketcxr.errors import ConfigError
from pocketcxr.files import named_path
from pocketcxr.plain_text import lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pocketcxr.training.config import Experiment

    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


EXITS: Mapping[int, str] = MappingProxyType({0: "done", 2: "nothing could be done"})
"""What the exit status of a command says, where it says no more; `pocketcxr.cli` adds those of all commands."""


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    *,
    summary: str,
    examples: str,
    exits: Mapping[int, str] = EXITS,
    needs: tuple[str, ...] = (),
    resumes: bool = False,
) -> argparse.ArgumentParser:
    """Add a command whose help ends in examples.

    Args:
        commands: of the main parser.
        name: of the command.
        run: gets the parsed options and returns the exit status, or None for success.
        summary: what it does, in lower case.
        examples: indented lines for the end of the help.
        exits: exit status to what it says.
        needs: the extra that the command takes, and the modules of it where it does not take all.
        resumes: called again after a stop, it goes on where it was.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}\n\nexit status: {', '.join(f'{code} {what}' for code, what in exits.items())}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, parser=parser, exits=exits, needs=needs, resumes=resumes)
    return parser


def add_bundle_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--bundle``."""
    parser.add_argument(
        "--bundle", type=path_argument, help="bundle file (default: the student that comes with pocketcxr)"
    )


def add_quiet_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--quiet``."""
    parser.add_argument("--quiet", action="store_true", help="no progress, only the result")


def add_column_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--column`` and ``--alias``, which say what a table of your own means."""
    parser.add_argument("--column", action="append", default=[], metavar="FIELD=NAME", help="column of your own table")
    parser.add_argument(
        "--label-column",
        action="append",
        dest="column",
        type=lambda name: f"finding={name}",
        metavar="NAME",
        help="column with the findings, or with commas between them a column per finding (1, 0, -1, or empty)",
    )
    parser.add_argument("--alias", action="append", default=[], metavar="NAME=FINDING", help="what a class name means")


def add_task_options(parser: argparse.ArgumentParser, *, default: str | None = None, unsaid: str = "") -> None:
    """Add ``--task`` and its two short forms, of which one may be given; `unsaid` is what holds without them."""
    group = parser.add_mutually_exclusive_group()
    otherwise = f" (default: {unsaid or default})" if unsaid or default else ""
    group.add_argument("--task", default=default, help=f"name, or a .toml file of your own{otherwise}")
    group.add_argument(
        "--classes",
        dest="task",
        type=lambda text: _labels(text, ","),
        metavar="A,B",
        help="classes instead of a task, one per image, named as in the data; the last one is the positive one",
    )
    group.add_argument(
        "--findings",
        dest="task",
        type=lambda text: _labels(text, "+"),
        metavar="A,B",
        help="findings instead of a task, any number per image, named as in the data",
    )


def _labels(text: str, sign: str) -> str:
    """Names with commas between them as `labels.load_task` takes them."""
    names = [name.strip() for name in text.split(",")]
    if len(names) < 2 or not all(names) or "+" in text:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(
            f"expected two or more names with commas between them, found {text!r}; names with a comma or plus sign "
            "need a task file"
        )
    return sign.join(names)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that works in a run's folder."""
    parser.add_argument("-o", "--output", type=path_argument, required=True, metavar="RUN", help="the run's folder")
    add_task_options(parser)
    parser.add_argument("--experiment", type=path_argument, metavar="FILE", help="experiment file (TOML)")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.FIELD=VALUE", help="override one field")
    add_quiet_option(parser)


def add_track_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--track``, which stands for two fields of ``--set``."""
    parser.add_argument(
        "--track",
        dest="set",
        action="extend",
        type=lambda names: [f"{table}.track={names.split(',')}" for table in ("teacher", "student")],
        metavar="NAME,NAME",
        help="send the figures of steps and epochs to tensorboard or mlflow as well",
    )


def path_argument(text: str) -> Path:
    """A path on the command line.

    Raises:
        ArgumentTypeError: an empty one; see `pocketcxr.files.named_path`.
    """
    try:
        return named_path(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def say(text: object) -> None:
    """Print a result, of several processes in the main one; names and headers in it cannot steer the terminal."""
    if is_main_process():
        print(lines(text))


def is_main_process() -> bool:
    """Whether this process is the only one, or the first of those that a launcher started for a training."""
    return os.environ.get("RANK", "0") == "0"


def pairs(items: Sequence[str]) -> dict[str, str]:
    """Split ``NAME=VALUE`` options.

    Raises:
        ConfigError: one of them is no pair.
    """
    found: dict[str, str] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name or not value:
            raise ConfigError(f"expected NAME=VALUE, found {item!r}")
        found[name.strip()] = value.strip()
    return found


def experiment_of(options: argparse.Namespace) -> Experiment:
    """All settings of a run, from the options of `add_run_options`."""
    from pocketcxr.api import read_settings

    return read_settings(options.output, task=options.task, experiment=options.experiment, settings=options.set)
