"""Commands that need no more than the base install: ``predict`` and ``doctor``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pocketcxr.cli.arguments import add_bundle_option, add_command, path_argument

if TYPE_CHECKING:
    import argparse

    from pocketcxr.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Define the commands of this module."""
    _add_predict(commands)
    _add_doctor(commands)


def _add_predict(commands: Commands) -> None:
    parser = add_command(
        commands,
        "predict",
        _predict,
        resumes=True,
        summary="score X-rays with a bundle; needs no training framework",
        examples="  pocketcxr predict scan.dcm\n"
        "  pocketcxr predict studies/ --format jsonl > scores.jsonl\n"
        "  curl https://pacs/scan.dcm | pocketcxr predict - --format json\n"
        "  find studies -name '*.dcm' -print0 | pocketcxr predict --paths-from - -o scores.csv\n"
        "  pocketcxr predict *.png --heatmaps maps/ --bundle runs/mine/bundle/covid-3class.onnx\n"
        "  pocketcxr predict archive/ -o scores.csv      a million files; the same command continues after a stop\n"
        "  pocketcxr predict dicomweb+https://pacs/dicom-web --engine ray -o scores.parquet",
        exits={
            0: "every file was read",
            1: "some files could not be read",
            2: "none could be read, or nothing could be done",
        },
    )
    parser.add_argument(
        "paths",
        nargs="*",
        type=path_argument,
        metavar="PATH",
        help="DICOM, PNG or JPEG file, or a folder; - is one image from standard input",
    )
    parser.add_argument(
        "--paths-from",
        type=path_argument,
        metavar="LIST",
        help="further paths, one a line or each with a NUL behind it; - is standard input",
    )
    add_bundle_option(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=path_argument,
        metavar="FILE",
        help="append predictions to .jsonl, .csv or .parquet; skip files that it holds already",
    )
    parser.add_argument("--format", choices=("table", "json", "jsonl", "csv"), help="on the screen (default: table)")
    parser.add_argument(
        "--heatmaps",
        type=path_argument,
        metavar="DIR",
        help="write one heatmap (PNG) per scored image, with class, scale and research mark",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one per core, none for few files)"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray scores on a cluster (RAY_ADDRESS), from folders all machines see, s3:// and the like, and archives "
        "(dicomweb+https://)",
    )
    parser.add_argument(
        "--runtime",
        choices=("onnxruntime", "openvino", "litert", "auto"),
        default="onnxruntime",
        help="what runs the network; auto takes the fastest installed, measured once on this machine",
    )
    parser.add_argument("--exact", action="store_true", help="read every pixel: slower, the reference of the fast path")


def _predict(options: argparse.Namespace) -> int:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no matrices here, and NumPy starts faster without its threads
    from pocketcxr.inference.command import run_predict
    from pocketcxr.inference.standard_input import listed_paths

    listed = listed_paths(options.paths_from) if options.paths_from is not None else []
    return run_predict(
        [*options.paths, *listed],
        bundle=options.bundle,
        output_format=options.format,
        heatmaps=options.heatmaps,
        stream=sys.stdout,
        output=options.output,
        workers=options.workers,
        exact=options.exact,
        runtime=options.runtime,
        engine=options.engine,
    )


def _add_doctor(commands: Commands) -> None:
    parser = add_command(
        commands,
        "doctor",
        _doctor,
        summary="check what this machine has for predictions, what is missing and what to do about it",
        examples="  pocketcxr doctor\n  pocketcxr doctor --bundle student.onnx --json",
        exits={0: "ready to predict", 1: "something is at fault"},
    )
    add_bundle_option(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def _doctor(options: argparse.Namespace) -> int:
    from pocketcxr.inference.doctor.examine import run_doctor

    return run_doctor(bundle=options.bundle, as_json=options.json, stream=sys.stdout)
