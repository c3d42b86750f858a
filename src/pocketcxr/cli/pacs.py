"""The command ``pacs``: a worker beside an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.cli.arguments import add_command, add_quiet_option, path_argument, say
from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from pocketcxr.cli.arguments import Commands

_ACTIONS = {  # and the options that each takes
    "check": (),
    "run": (),
    "once": ("study",),
    "backfill": ("first", "last", "per_minute"),
    "retry": ("study", "first", "last", "reason"),
    "export": ("first", "last", "output"),
    "forget": ("patient",),
    "drift": ("first", "last"),
}
_SPELLED = {"first": "--from", "last": "--to", "per_minute": "--per-minute", "patient": "PATIENT"}
_QUIET = ("backfill", "export")


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
        "  pocketcxr pacs backfill worker.toml --from 20200101 --to 20241231 --per-minute 60\n"
        "  pocketcxr pacs retry admin.toml --reason process-ended\n"
        "  pocketcxr pacs export worker.toml --from 20260101 -o results.csv\n"
        "  pocketcxr pacs forget admin.toml -               the patient ID comes from standard input\n",
        exits={
            0: "done, or stopped by SIGTERM or Ctrl-C",
            1: "some images have no result yet, drift was found, or a forgotten patient's images are scored again",
            2: "nothing could be done",
        },
    )
    parser.add_argument(
        "action",
        choices=tuple(_ACTIONS),
        help="check: try settings, bundle and archive; run: go on for ever; once: what is missing in studies of the "
        "last days; backfill: in all studies, or those between two dates; retry: delete reports of images that were "
        "not scored and ask again; export: write all results to a file; forget: delete all results of a patient; "
        "drift: compare each device's weeks with its earlier ones, from stored results",
    )
    parser.add_argument("settings", type=path_argument, metavar="FILE", help="settings of the worker (TOML)")
    parser.add_argument("patient", metavar="PATIENT", nargs="?", help="of forget: the patient ID; - reads it")
    parser.add_argument("--study", metavar="UID", help="of once and retry: this study, however old it is")
    dates = "study date of backfill, retry, export and drift, YYYYMMDD"
    parser.add_argument("--from", dest="first", metavar="DATE", help=f"first {dates}")
    parser.add_argument("--to", dest="last", metavar="DATE", help=f"last {dates}")
    parser.add_argument("--per-minute", type=float, metavar="N", help="of backfill: most images a minute")
    parser.add_argument("--reason", metavar="CODE", help="of retry: only images with this reason, such as view")
    parser.add_argument(
        "-o", "--output", type=path_argument, metavar="FILE", help="of export: a new .csv, .jsonl or .parquet file"
    )
    add_quiet_option(parser)


def _pacs(options: argparse.Namespace) -> int:
    from pocketcxr.pacs.commands import ACTIONS

    action, taken = options.action, _ACTIONS[options.action]
    for name in sorted({name for names in _ACTIONS.values() for name in names}):
        spelled, given = _SPELLED.get(name, f"--{name}"), getattr(options, name) is not None
        if given and name not in taken:
            others = " and ".join(one for one, names in _ACTIONS.items() if name in names)
            raise ConfigError(f"pacs {action}: {spelled} belongs to {others}")
        if not given and name in {"patient", "output"} and name in taken:
            raise ConfigError(f"pacs {action}: expected {spelled}")
    given = {name: getattr(options, name) for name in taken if getattr(options, name) is not None}
    status, lines = ACTIONS[action](options.settings, **given, **({"quiet": options.quiet} if action in _QUIET else {}))
    if lines:
        say("\n".join(lines))
    return status
