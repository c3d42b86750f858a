"""The command ``calibrate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.cli.arguments import (
    add_bundle_option,
    add_column_options,
    add_command,
    add_quiet_option,
    add_task_options,
    pairs,
    path_argument,
    say,
)

if TYPE_CHECKING:
    import argparse

    from pocketcxr.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Define the command of this module."""
    parser = add_command(
        commands,
        "calibrate",
        _calibrate,
        needs=("evaluate",),
        summary="fit a bundle's probabilities, operating points and prediction sets to 50 to 200 local X-rays",
        examples='  pocketcxr calibrate --data LOCAL --site "St. Elsewhere" -o student-local.onnx\n'
        '  pocketcxr calibrate --bundle student.onnx --data index.csv --site "ward 3, unit B" -o local.onnx\n'
        '  pocketcxr calibrate --data LOCAL --alias sick=covid19 --site "St. Elsewhere" -o local.onnx\n'
        "  pocketcxr predict --bundle local.onnx scan.dcm       the new bundle is used like any other",
    )
    add_bundle_option(parser)
    parser.add_argument(
        "--data",
        type=path_argument,
        required=True,
        metavar="LOCAL",
        help="folder, index or split table of labelled X-rays",
    )
    parser.add_argument("--site", required=True, metavar="NAME", help="where the images come from, for the manifest")
    parser.add_argument(
        "-o", "--output", type=path_argument, required=True, metavar="FILE", help="the new bundle, ….onnx"
    )
    add_task_options(parser, unsaid="the bundle's")
    parser.add_argument(
        "--sensitivity", type=float, default=0.95, help="least sensitivity of the operating point screening"
    )
    parser.add_argument(
        "--specificity", type=float, default=0.95, help="least specificity of the operating point confirming"
    )
    add_column_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the cross-validation")
    add_quiet_option(parser)


def _calibrate(options: argparse.Namespace) -> None:
    from pocketcxr.pipeline.calibrate import run_calibrate

    result = run_calibrate(
        options.data,
        out=options.output,
        site=options.site,
        bundle=options.bundle,
        task=options.task,
        columns=pairs(options.column),
        aliases=pairs(options.alias),
        sensitivity=options.sensitivity,
        specificity=options.specificity,
        seed=options.seed,
        progress=not options.quiet,
    )
    say(result.summary)
