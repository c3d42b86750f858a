"""The command line: thin commands, each importing only what it needs, so that ``predict`` starts in a blink."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.errors import ConfigError, PocketCxrError, require_extra
from pocketcxr.export.storages import BYTES, STORAGES
from pocketcxr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.labels import Task
    from pocketcxr.training.config import Experiment

EXIT_OK, EXIT_SOME_FAILED, EXIT_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130
_TRAINING_COMMANDS = (
    "distill",
    "demo",
    "train-teacher",
    "cache-views",
    "train-student",
    "train-gate",
    "leave-source-out",
    "crossval",
    "evaluate",
    "export",
)

_EPILOG = """\
examples:
  pocketcxr predict scan.dcm                           score one picture with the bundled student
  pocketcxr serve                                      the same over HTTP, for programs of this computer
  pocketcxr distill --data X-RAYS --task covid-3class -o runs/mine    everything, resumable
  pocketcxr demo                                       the same on drawn X-rays, in minutes

Research use only; not a medical device.
"""

_STAGE_EXAMPLES = {
    "leave-source-out": "  pocketcxr leave-source-out -o runs/mine\n"
    "  pocketcxr leave-source-out -o runs/mine --set student.weights=pretrained       not from weights that saw them\n"
    "  pocketcxr leave-source-out -o runs/mine --source siim       one of them, another process does the others\n"
    "  pocketcxr leave-source-out -o runs/larger --start-from runs/mine     the second stage of a student\n",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its status: 0 done, 1 some pictures failed, 2 one-line error, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(given[0] if given else "").parse_args(given)
    _log_to_stderr(quiet=getattr(options, "quiet", False))
    if arguments is None and options.command in _TRAINING_COMMANDS:
        _retune_process()
    try:
        return options.run(options)
    except PocketCxrError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of our output, such as head, has gone: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on where this one stopped", EXIT_INTERRUPTED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}; nothing finished was lost, the same command goes on")


def _fail(message: str, status: int = EXIT_ERROR) -> int:
    print(f"pocketcxr: {' '.join(message.split())}", file=sys.stderr)
    return status


def _log_to_stderr(*, quiet: bool) -> None:
    logger = logging.getLogger("pocketcxr")
    for handler in [handler for handler in logger.handlers if handler.name == "stderr"]:
        logger.removeHandler(handler)  # of an earlier call in this process, whose stderr may be gone
    handler = logging.StreamHandler(sys.stderr)
    handler.name = "stderr"
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.setLevel(logging.WARNING if quiet else logging.INFO)  # of the screen; run.log has everything
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _retune_process() -> None:
    """Start the process again with allocator settings that training needs (1.3-2.4 times faster on glibc)."""
    require_extra("train", "torch", "timm")
    from pocketcxr.training.environment import reexec_with_tuned_allocator

    reexec_with_tuned_allocator()


# ---------------------------------------------------------------------------------------------------------- commands


def _predict(options: argparse.Namespace) -> int:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no matrices here, and NumPy starts faster without its threads
    from pocketcxr.inference.command import run_predict

    return run_predict(
        options.paths,
        bundle=options.bundle,
        output_format=options.format,
        heatmaps=options.heatmaps,
        stream=sys.stdout,
        output=options.output,
        workers=options.workers,
        exact=options.exact,
    )


def _doctor(options: argparse.Namespace) -> int:
    from pocketcxr.inference.doctor import run_doctor

    return run_doctor(bundle=options.bundle, as_json=options.json, stream=sys.stdout)


def _serve(options: argparse.Namespace) -> int:
    require_extra("serve", "fastapi", "uvicorn", "python_multipart", "prometheus_client")
    from pocketcxr.serving.command import run_serve
    from pocketcxr.serving.settings import settings_from

    run_serve(settings_from(options))
    return EXIT_OK


def _index(options: argparse.Namespace) -> int:
    from pocketcxr.pipeline.prepare import index_sources

    index_sources(
        options.sources,
        options.output,
        layout=options.layout,
        columns=_pairs(options.column),
        aliases=_pairs(options.alias),
        progress=not options.quiet,
    )
    return EXIT_OK


def _split(options: argparse.Namespace) -> int:
    from pocketcxr.pipeline.prepare import split_index

    text = split_index(
        options.index,
        _task(options.task),
        options.output,
        fractions=tuple(options.fractions),
        seed=options.seed,
        folds=options.folds,
        level=options.level,
        like=options.like,
    )
    print(text)
    return EXIT_OK


def _phantom(options: argparse.Namespace) -> int:
    require_extra("train", "PIL")
    from pocketcxr.data.synthetic.generate import draw_phantom

    draw_phantom(
        options.output, patients=options.patients, seed=options.seed, size=options.size, confounded=options.confounded
    )
    print(f"drawings: {options.output}")
    return EXIT_OK


def _distill(options: argparse.Namespace) -> int:
    require_extra("train", "torch", "timm")
    from pocketcxr.pipeline.distill import run_distill

    result = run_distill(
        options.output,
        _experiment(options),
        sources=options.data,
        splits=options.splits,
        columns=_pairs(options.column),
        aliases=_pairs(options.alias),
        online=options.online,
        progress=not options.quiet,
    )
    print(result.summary)
    return EXIT_OK


def _demo(options: argparse.Namespace) -> int:
    require_extra("train", "torch", "timm")
    from pocketcxr.pipeline.demo import run_demo

    print(run_demo(options.output, progress=not options.quiet).summary)
    return EXIT_OK


def _stage(options: argparse.Namespace) -> int:
    require_extra("train", "torch", "timm")
    from pocketcxr.pipeline.distill import run_stage

    strangers = [str(folder.resolve()) for folder in getattr(options, "strangers", [])]
    if strangers:
        options.set.append(f"gate.strangers={json.dumps(strangers)}")
    print(
        run_stage(
            options.command,
            options.output,
            _experiment(options),
            splits=options.splits,
            alone=getattr(options, "alone", False),
            online=getattr(options, "online", False),
            force=getattr(options, "force", False),
            storage=getattr(options, "storage", BYTES),
            only=getattr(options, "source", ()),
            start_from=getattr(options, "start_from", None),
            progress=not options.quiet,
        )
    )
    return EXIT_OK


def _quantise(options: argparse.Namespace) -> int:
    require_extra("train", "torch", "onnx", "scipy", "sklearn")
    from pocketcxr.export.int8.search import Limits
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
    print(result.summary)
    return EXIT_OK


def _audit(options: argparse.Namespace) -> int:
    require_extra("evaluate", "jinja2", "scipy", "sklearn")
    from pocketcxr.pipeline.audit import run_audit

    result = run_audit(
        options.target,
        bundle=options.bundle,
        run=options.run_folder,
        task=options.task,
        out=options.output,
        criteria=options.criteria,
        quick=options.quick,
        data_only=options.data_only,
        ood=options.ood,
        seed=options.seed,
        progress=not options.quiet,
    )
    print(result.summary)
    return EXIT_SOME_FAILED if result.failed else EXIT_OK


def _crossval(options: argparse.Namespace) -> int:
    require_extra("train", "torch", "timm")
    from pocketcxr.pipeline.crossval import run_crossval

    result = run_crossval(
        options.output,
        _experiment(options),
        sources=options.data,
        index=options.index,
        folds=options.folds,
        level=options.level,
        models=tuple(options.models),
        progress=not options.quiet,
    )
    print(result.summary)
    return EXIT_OK


# ----------------------------------------------------------------------------------------------------------- options


def _task(name: str) -> Task:
    from pocketcxr.labels import load_task

    return load_task(name)


def _experiment(options: argparse.Namespace) -> Experiment:
    from pocketcxr.training.config import load_experiment

    overrides = list(options.set)
    if options.task is not None:
        overrides.append(f'data.task="{options.task}"')
    experiment = options.experiment
    saved = Path(options.output) / "experiment.json"
    if experiment is None and saved.is_file():
        experiment = saved  # resume: what the run was started with, plus today's overrides
    return load_experiment(experiment, overrides)


def _pairs(items: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name or not value:
            raise ConfigError(f"expected NAME=VALUE, found {item!r}")
        pairs[name.strip()] = value.strip()
    return pairs


def _parser(command: str = "") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pocketcxr",
        description="Distil a heavy chest X-ray network into a small one; predict with it; see how far to trust it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pocketcxr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_predict(commands)
    if command == "predict":  # defining the options of all others takes longer than reading the picture's file
        return parser
    _add_doctor(commands)
    _add_serve(commands)
    _add_distill(commands)
    _add_demo_and_phantom(commands)
    _add_index_and_split(commands)
    _add_stages(commands)
    _add_crossval(commands)
    _add_audit(commands)
    _add_quantise(commands)
    return parser


def _command(commands: argparse._SubParsersAction, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_predict(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "predict",
        "score X-rays with a bundle; needs no training framework",
        "  pocketcxr predict scan.dcm\n"
        "  pocketcxr predict studies/ --format jsonl > scores.jsonl\n"
        "  pocketcxr predict *.png --heatmaps maps/ --bundle runs/mine/bundle/student.onnx\n"
        "  pocketcxr predict archive/ -o scores.csv      a million files; the same command goes on after a stop\n\n"
        "exit status: 0 every file was read, 1 some files could not be read, 2 nothing could be done",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="DICOM, PNG or JPEG file, or a folder")
    parser.add_argument("--bundle", type=Path, help="bundle file (default: the student that comes with pocketcxr)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="append answers to .jsonl, .csv or .parquet; skip what it holds",
    )
    parser.add_argument("--format", choices=("table", "json", "jsonl", "csv"), help="on the screen (default: table)")
    parser.add_argument("--heatmaps", type=Path, metavar="DIR", help="write a picture of where the network looked")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one per core, none for few files)"
    )
    parser.add_argument("--exact", action="store_true", help="read every pixel: the slow yardstick of the fast path")
    parser.set_defaults(run=_predict)


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "doctor",
        "say what this machine has for predictions, what is missing and what to do about it",
        "  pocketcxr doctor\n  pocketcxr doctor --bundle student.onnx --json\n\n"
        "exit status: 0 ready to predict, 1 something is at fault",
    )
    parser.add_argument("--bundle", type=Path, help="bundle file (default: the student that comes with pocketcxr)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_doctor)


def _add_serve(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "serve",
        "answer over HTTP with a bundle; needs no training framework",
        "  pocketcxr serve\n"
        "  pocketcxr serve --bundle runs/mine/bundle/student.onnx --port 8080\n"
        "  pocketcxr serve --host 0.0.0.0 --token-file token.txt      reachable by others: a token is needed\n\n"
        "SIGTERM or Ctrl-C: what was accepted is answered, then it stops",
    )
    parser.add_argument("--bundle", type=Path, help="bundle file (default: the student that comes with pocketcxr)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this computer only)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one and says which (default 8000)")
    parser.add_argument("--workers", type=int, help="processes that score (default: one per processor)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="token that clients must send (default: $POCKETCXR_TOKEN)"
    )
    parser.add_argument("--max-file-mb", type=int, default=64, metavar="N", help="largest file (default 64)")
    parser.add_argument("--max-files", type=int, default=16, metavar="N", help="files in one request (default 16)")
    parser.add_argument(
        "--max-megapixels", type=float, default=64, metavar="N", help="largest picture (default 64, which is the most)"
    )
    parser.add_argument(
        "--max-wait", type=float, default=2, metavar="S", help="expected wait beyond which to say 503 (default 2 s)"
    )
    parser.add_argument("--queue", type=int, metavar="N", help="pictures that may wait (default: 64 per worker)")
    parser.add_argument("--timeout", type=float, default=20, metavar="S", help="for one picture (default 20 s)")
    parser.set_defaults(run=_serve)


def _add_distill(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "distill",
        "do everything: index, split, teacher, cached views, students, evaluation, bundle, report",
        "  pocketcxr distill --data X-RAYS -o runs/mine\n"
        "  pocketcxr distill --data siim --task siim-appearance -o runs/siim --set data.image_size=160\n"
        "  pocketcxr distill --data X-RAYS --experiment research/siim_cpu.toml -o runs/siim\n"
        "  pocketcxr distill -o runs/mine            go on where a stopped run was",
    )
    parser.add_argument("--data", nargs="+", type=Path, metavar="SOURCE", help="folders or tables of X-rays")
    parser.add_argument("--splits", type=Path, help="a table that `pocketcxr split` wrote, instead of --data")
    parser.add_argument(
        "--online", action="store_true", help="run the teacher in every step instead of caching its views"
    )
    _add_column_options(parser)
    _add_run_options(parser)
    parser.set_defaults(run=_distill)


def _add_demo_and_phantom(commands: argparse._SubParsersAction) -> None:
    demo = _command(
        commands, "demo", "do everything on X-rays that the program draws itself", "  pocketcxr demo -o runs/demo"
    )
    demo.add_argument("-o", "--output", type=Path, default=Path("runs/demo"), metavar="RUN")
    demo.add_argument("--quiet", action="store_true", help="no progress, only the result")
    demo.set_defaults(run=_demo)
    phantom = _command(
        commands,
        "phantom",
        "draw chest X-rays of patients who do not exist, from several hospitals",
        "  pocketcxr phantom -o drawings --patients 120\n"
        "  pocketcxr phantom -o trap --confounded    one hospital holds one class: an audit must notice",
    )
    phantom.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    phantom.add_argument("--patients", type=int, default=120)
    phantom.add_argument("--size", type=int, default=320, help="side in pixels (default 320)")
    phantom.add_argument("--seed", type=int, default=0)
    phantom.add_argument("--confounded", action="store_true")
    phantom.set_defaults(run=_phantom)


def _add_index_and_split(commands: argparse._SubParsersAction) -> None:
    index = _command(
        commands,
        "index",
        "list every image of one or more data sets with all that they say of it",
        "  pocketcxr index siim ieee8023 -o index.csv\n"
        "  pocketcxr index my.csv --layout table --column path=file --column finding=diagnosis -o index.csv\n"
        "  pocketcxr index folders/ --alias Gesund=no_finding -o index.csv",
    )
    index.add_argument("sources", nargs="+", type=Path, metavar="SOURCE")
    index.add_argument("-o", "--output", type=Path, default=Path("index.csv"))
    index.add_argument("--layout", default="auto", help="the sources' layout (default: recognised)")
    _add_column_options(index)
    index.add_argument("--quiet", action="store_true")
    index.set_defaults(run=_index)
    split = _command(
        commands,
        "split",
        "assign train, calibration and test by patient and near-duplicate group",
        "  pocketcxr split index.csv --task covid-3class -o splits.csv\n"
        "  pocketcxr split index.csv --task siim-appearance --folds 5 -o folds.csv\n"
        "  pocketcxr split siim.csv --as splits.csv -o siim_splits.csv    each image on the side it has in splits.csv",
    )
    split.add_argument("index", type=Path)
    split.add_argument("--task", default="covid-3class", help="name, or a .toml file of your own")
    split.add_argument("-o", "--output", type=Path, default=Path("splits.csv"))
    split.add_argument("--fractions", nargs=3, type=float, default=(0.7, 0.1, 0.2), metavar=("TRAIN", "CAL", "TEST"))
    split.add_argument("--folds", type=int, default=0, help="number of cross-validation folds instead of one split")
    split.add_argument("--level", choices=("patient", "image"), default="patient", help="what a fold keeps together")
    split.add_argument("--seed", type=int, default=0)
    split.add_argument(
        "--as",
        dest="like",
        type=Path,
        metavar="SPLITS",
        help="deal nothing out: take every image's side from this table",
    )
    split.set_defaults(run=_split)


def _add_stages(commands: argparse._SubParsersAction) -> None:
    stages = {
        "train-teacher": "train the heavy network of a run",
        "cache-views": "compute the teacher's answers to every augmented view once",
        "train-student": "train or distil the light network of a run",
        "train-gate": "fit the learned input gate of a run: what is a frontal chest X-ray, what must be refused",
        "leave-source-out": "train the light network again without each source in turn, for the audit",
        "export": "turn the distilled student of a run into a bundle",
        "evaluate": "evaluate all networks of a run side by side and write the report",
    }
    for name, summary in stages.items():
        parser = _command(
            commands,
            name,
            summary,
            _STAGE_EXAMPLES.get(name, f"  pocketcxr {name} --splits splits.csv -o runs/mine"),
        )
        parser.add_argument("--splits", type=Path, help="a table that `pocketcxr split` wrote (default: the run's own)")
        if name == "train-student":
            parser.add_argument("--alone", action="store_true", help="labels only, no teacher")
            parser.add_argument("--online", action="store_true", help="run the teacher in every step")
        if name == "leave-source-out":
            parser.add_argument(
                "--source",
                nargs="+",
                default=(),
                metavar="NAME",
                help="leave out these only, such as one for each of several processes (default: each source in turn)",
            )
            parser.add_argument(
                "--start-from",
                type=Path,
                metavar="RUN",
                help="first weights: the students without the same sources that RUN has; for training in stages",
            )
        if name == "train-gate":
            parser.add_argument(
                "--strangers",
                nargs="+",
                type=Path,
                default=[],
                metavar="DIR",
                help="pictures to refuse, a folder per kind",
            )
        if name == "export":
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
        _add_run_options(parser)
        parser.set_defaults(run=_stage)


def _add_crossval(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "crossval",
        "run a k-fold protocol, every network from scratch in every fold",
        "  pocketcxr crossval --data X-RAYS --folds 5 -o runs/folds\n"
        "  pocketcxr crossval --index index.csv --level image --models student -o runs/published-protocol",
    )
    parser.add_argument("--data", nargs="+", type=Path, metavar="SOURCE")
    parser.add_argument("--index", type=Path, help="an index, instead of --data")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--level", choices=("patient", "image"), default="patient")
    parser.add_argument(
        "--models", nargs="+", choices=("teacher", "student", "distilled"), default=["student", "distilled", "teacher"]
    )
    _add_run_options(parser)
    parser.set_defaults(run=_crossval)


def _add_audit(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "audit",
        "examine X-rays, and a model, for leaks, shortcuts and calibration against criteria; one report",
        "  pocketcxr audit runs/mine                 the data and the bundle of a run\n"
        "  pocketcxr audit splits.csv -o audit       the data alone, before anything is trained\n"
        "  pocketcxr audit X-RAYS --task covid-binary    a folder of X-rays, indexed first\n"
        "  pocketcxr audit other-hospital.csv --bundle student.onnx    a bundle on X-rays that it has never seen\n"
        "  pocketcxr audit runs/mine --bundle runs/mine/teacher/teacher.safetensors    its teacher\n"
        "  pocketcxr audit runs/mine --criteria my-criteria.toml    limits of your own\n\n"
        "exit status: 0 no criterion failed (passed, or not measurable), 1 a criterion failed, 2 nothing could be done",
    )
    parser.add_argument("target", type=Path, metavar="INDEX|SPLITS|RUN|FOLDER", help="what to audit")
    parser.add_argument("--bundle", type=Path, help="bundle or checkpoint to audit too (default: the run's bundle)")
    parser.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="RUN",
        help="run that the bundle, its teacher and rivals are from",
    )
    parser.add_argument(
        "--task", help="name, or a .toml file of your own (default: the run's, or what the table holds)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder of the report (default: RUN/audit)")
    parser.add_argument(
        "--criteria", type=Path, metavar="FILE", help="criteria of your own, as src/pocketcxr/audit/criteria.toml"
    )
    parser.add_argument("--gates", dest="criteria", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="fewer images and resamples: wider intervals, sooner done")
    parser.add_argument("--data-only", action="store_true", help="the data alone, no model")
    parser.add_argument(
        "--ood",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="out-of-distribution images, which a model must refuse, a folder per kind",
    )
    parser.add_argument(
        "--strangers", dest="ood", nargs="+", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress, only the result")
    parser.set_defaults(run=_audit)


def _add_quantise(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "quantise",
        "search for the fastest int8 file of a student that still answers as the float file does",
        "  pocketcxr quantise runs/mine -o student-int8.onnx\n"
        "  pocketcxr quantise student.onnx --run runs/mine -o student-int8.onnx\n\n"
        "exit status: 0 written, 2 no recipe keeps the limits, or nothing could be done",
    )
    parser.add_argument("target", type=Path, metavar="RUN|BUNDLE", help="a run's folder, or a float bundle with --run")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the int8 bundle, ….onnx")
    parser.add_argument(
        "--run", dest="run_folder", type=Path, metavar="RUN", help="run whose X-rays a bundle was made from"
    )
    parser.add_argument("--table", type=Path, metavar="FILE", help="all candidates (default: RUN/quantise.json)")
    parser.add_argument(
        "--vnni-only", action="store_true", help="allow weights that saturate on x86 processors without VNNI"
    )
    parser.add_argument("--no-audit", action="store_true", help="do not hold both files against the audit's gates")
    parser.add_argument("--quick", action="store_true", help="a short search")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the result")
    parser.set_defaults(run=_quantise)


def _add_column_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--column", action="append", default=[], metavar="FIELD=NAME", help="column of a table of yours"
    )
    parser.add_argument("--alias", action="append", default=[], metavar="NAME=FINDING", help="what a class name means")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="the run's folder")
    parser.add_argument("--task", help="name, or a .toml file of your own")
    parser.add_argument("--experiment", type=Path, metavar="FILE", help="experiment file (TOML)")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.FIELD=VALUE", help="override one field")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the result")


if __name__ == "__main__":
    sys.exit(main())
