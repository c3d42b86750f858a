"""Commands on a trained run: ``evaluate``, ``export`` and ``quantise``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.cli.arguments import add_command, add_quiet_option, path_argument, say
from pocketcxr.cli.train import add_stage, stage_arguments
from pocketcxr.errors import expect
from pocketcxr.export.storages import BYTES, STORAGES

if TYPE_CHECKING:
    import argparse

    from pocketcxr.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Define the commands of this module."""
    _add_evaluate(commands)
    _add_export(commands)
    _add_quantise(commands)


def _add_evaluate(commands: Commands) -> None:
    parser = add_stage(
        commands,
        "evaluate",
        _evaluate,
        summary="evaluate all networks of a run side by side, or other classifiers, and write the report",
        examples="  pocketcxr evaluate -o runs/mine\n"
        "  pocketcxr evaluate --model classifier.onnx --splits splits.csv -o report    described in classifier.toml",
    )
    parser.add_argument(
        "--model",
        nargs="+",
        type=path_argument,
        default=[],
        metavar="FILE",
        help="bundles, checkpoints, or ONNX files with a description beside them, instead of the run's networks",
    )
    parser.set_defaults(needs=("evaluate",))


def _evaluate(options: argparse.Namespace) -> None:
    from pocketcxr.api import evaluate

    result = evaluate(
        options.output,
        model={path.stem: path for path in options.model} or None,
        splits=options.splits,
        task=options.task,
        experiment=options.experiment,
        settings=options.set,
        progress=not options.quiet,
    )
    say(result.summary)


def _add_export(commands: Commands) -> None:
    parser = add_stage(
        commands,
        "export",
        _export,
        summary="turn the distilled student of a run into a bundle, and a bundle into another runtime's file",
        examples="  pocketcxr export --splits splits.csv -o runs/mine\n"
        "  pocketcxr export -o runs/mine --format litert                       the bundle, and beside it a .tflite\n"
        "  pocketcxr export --bundle student.onnx --format executorch -o out   out/student.pte",
        exits={0: "written", 2: "the student failed its audit, or nothing could be done"},
    )
    parser.add_argument(
        "--force", action="store_true", help="export a student that failed its audit too, marked as failed"
    )
    parser.add_argument(
        "--storage",
        choices=STORAGES,
        default=BYTES,
        help="of the weights, computed in float32: 8-bit (default) rounds large layers until the file is below "
        "3 MB; half is kept where that would move more than one probability in a hundred by 0.02",
    )
    parser.add_argument(
        "--format",
        choices=("litert", "executorch", "openvino"),
        help="convert the bundle too; written only where it gives the bundle's golden answers",
    )
    parser.add_argument(
        "--bundle",
        type=path_argument,
        metavar="FILE",
        help="convert this bundle, into the folder -o, and export no run",
    )


def _export(options: argparse.Namespace) -> None:
    from pocketcxr.export.runtimes.convert import convert_bundle
    from pocketcxr.pipeline.stages import run_export

    if options.bundle is not None:
        expect(options.format is not None, "--bundle", "a --format to convert it to", None)
        say(convert_bundle(options.bundle, options.format, folder=options.output))
        return
    bundle = run_export(**stage_arguments(options), force=options.force, storage=options.storage)
    say(bundle)
    if options.format:
        say(convert_bundle(bundle, options.format))


def _add_quantise(commands: Commands) -> None:
    parser = add_command(
        commands,
        "quantise",
        _quantise,
        needs=("train",),
        summary="search for the fastest int8 file of a student whose predictions stay within the limits",
        examples="  pocketcxr quantise runs/mine -o student-int8.onnx\n"
        "  pocketcxr quantise student.onnx --run runs/mine -o student-int8.onnx",
        exits={0: "written", 2: "no recipe keeps the limits, or nothing could be done"},
    )
    parser.add_argument(
        "target", type=path_argument, metavar="RUN|BUNDLE", help="a run's folder, or a float bundle with --run"
    )
    parser.add_argument(
        "-o", "--output", type=path_argument, required=True, metavar="FILE", help="the int8 bundle, ….onnx"
    )
    parser.add_argument(
        "--run", dest="run_folder", type=path_argument, metavar="RUN", help="run whose X-rays a bundle was made from"
    )
    parser.add_argument(
        "--table", type=path_argument, metavar="FILE", help="all candidates (default: RUN/quantise.json)"
    )
    parser.add_argument(
        "--vnni-only", action="store_true", help="allow weights that saturate on x86 processors without VNNI"
    )
    parser.add_argument("--no-audit", action="store_true", help="do not compare both files by the audit's criteria")
    parser.add_argument("--quick", action="store_true", help="a short search")
    add_quiet_option(parser)


def _quantise(options: argparse.Namespace) -> None:
    from pocketcxr.export.int8.candidate import Limits
    from pocketcxr.pipeline.quantise import run_quantise

    result = run_quantise(
        options.target,
        out=options.output,
        run=options.run_folder,
        record=options.table,
        limits=Limits(portable_only=not options.vnni_only),
        audit=not options.no_audit,
        quick=options.quick,
        progress=not options.quiet,
    )
    say(result.summary)
