"""The command ``pacs``: a worker beside an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.cli.arguments import add_command, add_quiet_option, path_argument, say
from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from pocketcxr.cli.arguments import Commands

_ACTIONS = ("check", "run", "once", "backfill", "drift")
_OPTIONS = {
    "study": ("once",),
    "first": ("backfill", "drift"),
    "last": ("backfill", "drift"),
    "per_minute": ("backfill",),
}
_SPELLED = {"first": "from", "last": "to", "per_minute": "per-minute"}


def add_commands(commands: Commands) -> None:
    """Define the command of this module."""
    parser = add_command(
        commands,
        "pacs",
        _pacs,
        needs=("pacs",),
        resumes=True,
        summary="score the radiographs of a DICOMweb archive and store the results there; needs no training framework",
        examples="  pocketcxr pacs check worker.toml                 are settings, bundle and archive usable?\n"
        "  pocketcxr pacs run worker.toml                   score what comes, until SIGTERM or Ctrl-C\n"
        "  pocketcxr pacs once worker.toml --study 1.2.3    what is missing in one study\n"
        "  pocketcxr pacs backfill worker.toml --from 20200101 --to 20241231 --per-minute 60\n",
        exits={
            0: "done, or stopped by SIGTERM or Ctrl-C",
            1: "some images have no result yet, or drift was found",
            2: "nothing could be done",
        },
    )
    parser.add_argument(
        "action",
        choices=_ACTIONS,
        help="check: try settings, bundle and archive; run: go on for ever; once: what is missing in studies of the "
        "last days; backfill: in all studies, or those between two dates; "
        "drift: compare each device's weeks with its earlier ones, from stored results",
    )
    parser.add_argument("settings", type=path_argument, metavar="FILE", help="settings of the worker (TOML)")
    parser.add_argument("--study", metavar="UID", help="of once: this study, however old it is")
    parser.add_argument(
        "--from", dest="first", metavar="DATE", help="of backfill and drift: first study date, YYYYMMDD"
    )
    parser.add_argument("--to", dest="last", metavar="DATE", help="of backfill and drift: last study date, YYYYMMDD")
    parser.add_argument("--per-minute", type=float, metavar="N", help="of backfill: most images a minute")
    add_quiet_option(parser)


def _pacs(options: argparse.Namespace) -> int:
    from pocketcxr.pacs import commands

    for name, actions in _OPTIONS.items():
        if getattr(options, name) is not None and options.action not in actions:
            raise ConfigError(f"pacs {options.action}: --{_SPELLED.get(name, name)} belongs to {' and '.join(actions)}")
    if options.action == "check":
        for line in commands.check(options.settings):
            say(line)
        return 0
    if options.action == "run":
        return commands.run_for_ever(options.settings)
    if options.action == "drift":
        status, lines = commands.drift(options.settings, first=options.first or "", last=options.last or "")
        say("\n".join(lines))
        return status
    if options.action == "once":
        status, line = commands.run_once(options.settings, study=options.study or "")
    else:
        status, line = commands.backfill(
            options.settings,
            first=options.first or "",
            last=options.last or "",
            per_minute=options.per_minute or 0.0,
            quiet=options.quiet,
        )
    say(line)
    return status
