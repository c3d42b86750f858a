"""The command ``audit``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.cli.arguments import add_command, add_quiet_option, add_task_options, path_argument, say

if TYPE_CHECKING:
    import argparse

    from pocketcxr.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Define the command of this module."""
    parser = add_command(
        commands,
        "audit",
        _audit,
        needs=("evaluate",),
        summary="examine X-rays, and a model, for leaks, shortcuts and calibration against criteria; one report",
        examples="  pocketcxr audit runs/mine                 the data and the bundle of a run\n"
        "  pocketcxr audit splits.csv -o audit       the data only, before anything is trained\n"
        "  pocketcxr audit X-RAYS --task covid-binary    a folder of X-rays, indexed first\n"
        "  pocketcxr audit other-hospital.csv --bundle student.onnx    a bundle on X-rays that it has never seen\n"
        "  pocketcxr audit runs/mine --bundle runs/mine/teacher/teacher.safetensors    its teacher\n"
        "  pocketcxr audit splits.csv --model classifier.onnx    any ONNX classifier, described in classifier.toml\n"
        "  pocketcxr audit runs/mine --criteria my-criteria.toml    limits of your own",
        exits={
            0: "no criterion failed (passed, or not measurable)",
            1: "a criterion failed",
            2: "nothing could be done",
        },
    )
    parser.add_argument("target", type=path_argument, metavar="INDEX|SPLITS|RUN|FOLDER", help="what to audit")
    parser.add_argument(
        "--model",
        "--bundle",
        type=path_argument,
        help="bundle, checkpoint, or ONNX file with a description beside it (default: the run's bundle)",
    )
    parser.add_argument(
        "--run",
        dest="run_folder",
        type=path_argument,
        metavar="RUN",
        help="run that the bundle, its teacher and its baseline student are from",
    )
    add_task_options(parser, unsaid="the run's, or what the table holds")
    parser.add_argument(
        "-o", "--output", type=path_argument, metavar="DIR", help="folder of the report (default: RUN/audit)"
    )
    parser.add_argument(
        "--criteria",
        type=path_argument,
        metavar="FILE",
        help="criteria of your own, as src/pocketcxr/audit/criteria.toml",
    )
    parser.add_argument("--quick", action="store_true", help="fewer images and resamples: wider intervals, sooner done")
    parser.add_argument("--data-only", action="store_true", help="the data only, no model")
    parser.add_argument(
        "--ood",
        nargs="+",
        type=path_argument,
        default=[],
        metavar="DIR",
        help="out-of-distribution images, which a model must refuse, a folder per kind (default: the run's)",
    )
    parser.add_argument(
        "--boxes",
        type=path_argument,
        metavar="TABLE",
        help="boxes around findings: image or path, x_min, y_min, x_max, y_max, width, height in pixels "
        "(SIIM's and RSNA's own tables are found without it)",
    )
    parser.add_argument("--seed", type=int, default=0)
    add_quiet_option(parser)


def _audit(options: argparse.Namespace) -> int:
    from pocketcxr.api import audit

    result = audit(
        options.target,
        model=options.model,
        run=options.run_folder,
        task=options.task,
        output=options.output,
        criteria=options.criteria,
        ood=options.ood,
        boxes=options.boxes,
        quick=options.quick,
        data_only=options.data_only,
        seed=options.seed,
        progress=not options.quiet,
    )
    say(result.summary)
    return 1 if result.failed else 0
