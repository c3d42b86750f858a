"""The command that searches settings of a student."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.cli.arguments import add_track_option, path_argument, say
from pocketcxr.cli.train import add_stage, stage_arguments

if TYPE_CHECKING:
    import argparse

    from pocketcxr.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Define the command of this module."""
    parser = add_stage(
        commands,
        "search",
        _search,
        summary="search settings of the student with Optuna, on the calibration split",
        examples="  pocketcxr search --splits splits.csv --space space.toml --trials 40 -o runs/mine\n"
        "  pocketcxr train-student --experiment runs/mine/search/best.toml --splits splits.csv -o runs/best",
    )
    parser.add_argument(
        "--space", type=path_argument, required=True, metavar="FILE", help="TOML: fields with ranges or choices"
    )
    parser.add_argument(
        "--trials", type=int, default=40, metavar="N", help="how many in all, those of earlier calls included"
    )
    parser.add_argument(
        "--pruner",
        choices=("median", "halving", "none"),
        default="median",
        help="what ends trials that fall behind (default: median)",
    )
    add_track_option(parser)


def _search(options: argparse.Namespace) -> None:
    from pocketcxr.errors import require_extra
    from pocketcxr.pipeline.search import run_search

    require_extra("search")
    say(run_search(**stage_arguments(options), space=options.space, trials=options.trials, pruner=options.pruner))
