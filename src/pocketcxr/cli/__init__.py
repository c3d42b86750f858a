"""The command line: one module per group of commands, of which only the module of the given command is imported."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import logging
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from pocketcxr.cli.arguments import is_main_process
from pocketcxr.errors import PocketCxrError, require_extra
from pocketcxr.files import advice_for
from pocketcxr.plain_text import PlainFormatter, one_line
from pocketcxr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_OK, EXIT_SOME_FAILED, EXIT_ERROR, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 70, 130, 143

_GROUPS = {
    "predict": ("predict", "doctor"),
    "serve": ("serve",),
    "pacs": ("pacs",),
    "data": ("deidentify", "index", "split", "synthetic"),
    "train": (
        "distill",
        "demo",
        "train-teacher",
        "cache-views",
        "train-student",
        "train-input-filter",
        "leave-one-source-out",
        "crossval",
    ),
    "search": ("search",),
    "evaluate": ("evaluate", "export", "quantise"),
    "calibrate": ("calibrate",),
    "audit": ("audit",),
}
"""Module of this package to the commands that it defines."""

_OLD_COMMANDS = {
    "phantom": "synthetic",
    "train-gate": "train-input-filter",
    "leave-source-out": "leave-one-source-out",
}
_OLD_OPTIONS = {"--alone": "--no-teacher", "--strangers": "--ood", "--gates": "--criteria"}

_PASSING = {errno.ENOSPC, errno.EDQUOT}
"""Causes that a user can take away, after which a command goes on."""

_EPILOG = """\
examples:
  pocketcxr predict scan.dcm                           score one image with the bundled student
  pocketcxr serve                                      the same over HTTP, for programs on this computer
  pocketcxr distill --data X-RAYS --task covid-3class -o runs/mine    train, evaluate and export; resumable
  pocketcxr demo                                       the same on synthetic chest X-rays, in minutes

Research use only; not a medical device.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its status: `EXIT_OK` and the like; 143, after SIGTERM, is raised as `SystemExit`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that a screen cannot show end no work
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for what could stand at its cursor
        from pocketcxr.cli.completion import complete

        complete()
    given = with_current_names(sys.argv[1:] if arguments is None else arguments)
    options = _parsed(given)
    _log_to_stderr(quiet=getattr(options, "quiet", False))
    return _run(options, alone=arguments is None)


def _run(options: argparse.Namespace, *, alone: bool) -> int:
    """Run the command, and turn what it raises into one line and a status; `alone`: this process is for it only."""
    try:
        if options.needs:
            require_extra(*options.needs)
        if alone and getattr(options, "trains", False) and not getattr(options, "model", None):
            from pocketcxr.training.environment import reexec_with_tuned_allocator

            reexec_with_tuned_allocator()  # 1.3-2.4 times faster on glibc
        return options.run(options) or EXIT_OK
    except PocketCxrError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of our output, such as head, has gone: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except KeyboardInterrupt:
        again = "; the same command goes on where this one stopped" if _resumes(options) else ""
        return _fail(f"interrupted{again}", EXIT_INTERRUPTED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        again = "; then the same command goes on" if _resumes(options) and error.errno in _PASSING else ""
        return _fail(f"{where}{error.strerror or error}; {advice_for(error)}{again}")
    except Exception as error:  # noqa: BLE001  # a fault of this program: told apart from those of its input
        return _fail(_internal(error), EXIT_INTERNAL)


def _internal(error: Exception) -> str:
    """What to say of a fault of this program: where the traceback is, which may name files and is for its owner."""
    import tempfile
    import traceback

    trace = "".join(traceback.format_exception(error))
    try:
        descriptor, name = tempfile.mkstemp(prefix="pocketcxr-error-", suffix=".txt")  # readable by its owner only
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"pocketcxr {__version__}, Python {sys.version}\n{trace}")
    except OSError:
        print(trace, file=sys.stderr)
        name = "the lines above"
    return (
        f"a fault of pocketcxr itself ({type(error).__name__}): the traceback is in {name}; please report it, after "
        "taking out names of files that tell of patients"
    )


def _resumes(options: argparse.Namespace) -> bool:
    """Whether a command, called again, goes on where it was stopped: those that keep what is done in a file."""
    return options.resumes and (options.command != "predict" or options.output is not None)


class _Parser(argparse.ArgumentParser):
    """A parser whose messages quote names of files on one line."""

    def error(self, message: str) -> NoReturn:
        """Print usage and the message, and end the program."""
        super().error(one_line(message))


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """Parser of one command, or of all where the name is unknown: building all takes longer than reading an image."""
    parser = _Parser(  # those of the commands, too
        prog="pocketcxr",
        description="Distil a heavy chest X-ray network into a small one; predict with it; audit it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pocketcxr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    groups = [group for group, names in _GROUPS.items() if command in names] or list(_GROUPS)
    for group in groups:
        importlib.import_module(f"pocketcxr.cli.{group}").add_commands(commands)
    return parser


def with_current_names(arguments: Sequence[str]) -> list[str]:
    """Replace names of commands and options that were renamed; the old ones are accepted for one more release."""
    given = list(arguments)
    if given:
        given[0] = _OLD_COMMANDS.get(given[0], given[0])
    for position, word in enumerate(given):
        option, separator, value = word.partition("=")
        if option in _OLD_OPTIONS:
            given[position] = f"{_OLD_OPTIONS[option]}{separator}{value}"
    return given


def _parsed(given: list[str]) -> argparse.Namespace:
    """Parse the arguments; an unknown command or option ends the program with the nearest name there is."""
    known = [name for names in _GROUPS.values() for name in names]
    command = given[0] if given else ""
    if command and not command.startswith("-") and command not in known:
        sys.exit(_fail(f"no command {command!r}{_nearest(command, known)}; pocketcxr --help lists all"))
    parser = build_parser(command)
    if command in known:
        _check_options(parser, given)
    options, unknown = parser.parse_known_args(given)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def _check_options(parser: argparse.ArgumentParser, given: list[str]) -> None:
    """End the program at the first unknown option, before argparse complains of what is missing because of it."""
    commands = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))  # noqa: SLF001
    chosen: argparse.ArgumentParser = commands.choices[given[0]]
    there = chosen._option_string_actions  # noqa: SLF001  # argparse has no public list
    for word in given[1:]:
        if word == "--":
            return
        name = word.partition("=")[0]
        if name.startswith("--") and not any(one.startswith(name) for one in there):
            chosen.error(f"unrecognized arguments: {name}{_nearest(name, list(there))}")


def _nearest(name: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, known, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _fail(message: str, status: int = EXIT_ERROR) -> int:
    print(f"pocketcxr: {one_line(' '.join(message.split()))}", file=sys.stderr)
    return status


def _log_to_stderr(*, quiet: bool) -> None:
    logger = logging.getLogger("pocketcxr")
    for handler in [handler for handler in logger.handlers if handler.name == "stderr"]:
        logger.removeHandler(handler)  # of an earlier call in this process, whose stderr may be gone
    handler = logging.StreamHandler(sys.stderr)
    handler.name = "stderr"
    handler.setFormatter(PlainFormatter("%(message)s"))
    level = logging.WARNING if quiet else logging.INFO
    handler.setLevel(level if is_main_process() else logging.ERROR)  # of the screen; run.log has everything
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
