"""Commands that train: a whole run, each of its stages, cross-validation and leave-one-source-out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr.cli.arguments import (
    EXITS,
    add_column_options,
    add_command,
    add_quiet_option,
    add_run_options,
    add_track_option,
    experiment_of,
    pairs,
    path_argument,
    say,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from pocketcxr.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Define the commands of this module."""
    _add_distill(commands)
    _add_demo(commands)
    _add_train_teacher(commands)
    _add_cache_views(commands)
    _add_train_student(commands)
    _add_train_input_filter(commands)
    _add_leave_one_source_out(commands)
    _add_crossval(commands)


def add_training_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], None],
    *,
    summary: str,
    examples: str,
    exits: Mapping[int, str] = EXITS,
) -> argparse.ArgumentParser:
    """Add a command that needs the extra ``train`` and runs with a tuned allocator."""
    parser = add_command(
        commands, name, run, summary=summary, examples=examples, exits=exits, needs=("train",), resumes=True
    )
    parser.set_defaults(trains=True)
    return parser


def add_stage(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], None],
    *,
    summary: str,
    examples: str = "",
    exits: Mapping[int, str] = EXITS,
) -> argparse.ArgumentParser:
    """Add a command that does one stage of a run."""
    examples = examples or f"  pocketcxr {name} --splits splits.csv -o runs/mine"
    parser = add_training_command(commands, name, run, summary=summary, examples=examples, exits=exits)
    parser.add_argument(
        "--splits", type=path_argument, help="a table that `pocketcxr split` wrote (default: the run's own)"
    )
    add_run_options(parser)
    return parser


def stage_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments that all functions of `pipeline.stages` take, from the options of `add_stage`."""
    return {
        "folder": options.output,
        "experiment": experiment_of(options),
        "splits": options.splits,
        "progress": not options.quiet,
    }


def _add_distill(commands: Commands) -> None:
    parser = add_training_command(
        commands,
        "distill",
        _distill,
        summary="run every stage: index, split, teacher, cached views, students, evaluation, bundle, report",
        examples="  pocketcxr distill --data X-RAYS -o runs/mine\n"
        "  pocketcxr distill --data siim --task siim-appearance -o runs/siim --set data.image_size=160\n"
        "  pocketcxr distill --data mine.csv --classes normal,pneumothorax --label-column diagnosis -o runs/own\n"
        "  pocketcxr distill --data X-RAYS --experiment research/siim_cpu.toml -o runs/siim\n"
        "  pocketcxr distill -o runs/mine            continue a run that was stopped",
    )
    parser.add_argument("--data", nargs="+", type=path_argument, metavar="SOURCE", help="folders or tables of X-rays")
    parser.add_argument("--splits", type=path_argument, help="a table that `pocketcxr split` wrote, instead of --data")
    parser.add_argument(
        "--online", action="store_true", help="run the teacher in every step instead of caching its views"
    )
    add_column_options(parser)
    add_run_options(parser)
    add_track_option(parser)


def _distill(options: argparse.Namespace) -> None:
    from pocketcxr.api import distill

    result = distill(
        options.output,
        data=options.data,
        splits=options.splits,
        task=options.task,
        experiment=options.experiment,
        settings=options.set,
        columns=pairs(options.column),
        aliases=pairs(options.alias),
        online=options.online,
        progress=not options.quiet,
    )
    say(result.summary)


def _add_demo(commands: Commands) -> None:
    parser = add_training_command(
        commands,
        "demo",
        _demo,
        summary="run every stage on synthetic chest X-rays that the program draws itself",
        examples="  pocketcxr demo -o runs/demo",
    )
    parser.add_argument("-o", "--output", type=path_argument, default=Path("runs/demo"), metavar="RUN")
    add_quiet_option(parser)


def _demo(options: argparse.Namespace) -> None:
    from pocketcxr.pipeline.demo import run_demo

    say(run_demo(options.output, progress=not options.quiet).summary)


def _add_train_teacher(commands: Commands) -> None:
    parser = add_stage(
        commands,
        "train-teacher",
        _train_teacher,
        summary="train the teacher of a run",
        examples="  pocketcxr train-teacher --splits splits.csv -o runs/mine\n"
        "  pocketcxr train-teacher -o runs/mine --set teacher.folds=5 --fold 2    one; other machines do the rest",
    )
    parser.add_argument(
        "--fold",
        nargs="+",
        type=int,
        default=(),
        metavar="K",
        help="of a cross-fitted teacher, train only those without these folds, from 1, such as one on each of several "
        "machines (default: all, and their mean)",
    )
    add_track_option(parser)


def _train_teacher(options: argparse.Namespace) -> None:
    from pocketcxr.pipeline.stages import run_train_teacher

    say(run_train_teacher(**stage_arguments(options), folds=options.fold))


def _add_cache_views(commands: Commands) -> None:
    parser = add_stage(
        commands,
        "cache-views",
        _cache_views,
        summary="compute the teacher's outputs for every augmented view once",
        examples="  pocketcxr cache-views --splits splits.csv -o runs/mine\n"
        "  pocketcxr cache-views -o runs/mine --save teacher.npz      one file more, for teacher.outputs",
    )
    parser.add_argument("--save", type=path_argument, metavar="TABLE.npz", help="keep all logits in one file as well")


def _cache_views(options: argparse.Namespace) -> None:
    from pocketcxr.pipeline.stages import run_cache_views

    say(run_cache_views(**stage_arguments(options), save=options.save))


def _add_train_student(commands: Commands) -> None:
    parser = add_stage(commands, "train-student", _train_student, summary="train or distil the student of a run")
    parser.add_argument("--no-teacher", action="store_true", help="the baseline: labels only, no teacher")
    parser.add_argument("--online", action="store_true", help="run the teacher in every step")
    add_track_option(parser)


def _train_student(options: argparse.Namespace) -> None:
    from pocketcxr.pipeline.stages import run_train_student

    say(run_train_student(**stage_arguments(options), teacher=not options.no_teacher, online=options.online))


def _add_train_input_filter(commands: Commands) -> None:
    parser = add_stage(
        commands,
        "train-input-filter",
        _train_input_filter,
        summary="fit the learned input filter of a run: frontal chest X-rays against what must be refused",
    )
    parser.add_argument(
        "--ood", nargs="+", type=path_argument, default=[], metavar="DIR", help="images to refuse, a folder per kind"
    )


def _train_input_filter(options: argparse.Namespace) -> None:
    from pocketcxr.pipeline.stages import run_train_input_filter

    if options.ood:
        options.set.append(f"input_filter.ood={json.dumps([str(folder.resolve()) for folder in options.ood])}")
    say(run_train_input_filter(**stage_arguments(options)) or "no input filter")


def _add_leave_one_source_out(commands: Commands) -> None:
    name = "leave-one-source-out"
    parser = add_stage(
        commands,
        name,
        _leave_one_source_out,
        summary="train the student again without each source in turn, for the audit",
        examples=f"  pocketcxr {name} -o runs/mine\n"
        f"  pocketcxr {name} -o runs/mine --set student.weights=pretrained    from weights that saw none of them\n"
        f"  pocketcxr {name} -o runs/mine --source siim       one source; another process does the others\n"
        f"  pocketcxr {name} -o runs/larger --start-from runs/mine     the second stage of a student",
    )
    parser.add_argument(
        "--source",
        nargs="+",
        default=(),
        metavar="NAME",
        help="leave out these only, such as one for each of several processes (default: each source in turn)",
    )
    parser.add_argument(
        "--start-from",
        type=path_argument,
        metavar="RUN",
        help="first weights: the students without the same sources that RUN has; for training in stages",
    )
    add_track_option(parser)


def _leave_one_source_out(options: argparse.Namespace) -> None:
    from pocketcxr.pipeline.stages import run_leave_one_source_out

    found = run_leave_one_source_out(**stage_arguments(options), only=options.source, start_from=options.start_from)
    say("\n".join(f"without {source}: {path}" for source, path in found.items()))


def _add_crossval(commands: Commands) -> None:
    parser = add_training_command(
        commands,
        "crossval",
        _crossval,
        summary="run a k-fold protocol, every network from scratch in every fold",
        examples="  pocketcxr crossval --data X-RAYS --folds 5 -o runs/folds\n"
        "  pocketcxr crossval --data mine.csv --findings edema,fracture --label-column findings -o runs/own\n"
        "  pocketcxr crossval --index index.csv --level image --models student -o runs/published-protocol",
    )
    parser.add_argument("--data", nargs="+", type=path_argument, metavar="SOURCE")
    parser.add_argument("--index", type=path_argument, help="an index, instead of --data")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--level", choices=("patient", "image"), default="patient")
    parser.add_argument(
        "--models", nargs="+", choices=("teacher", "student", "distilled"), default=["student", "distilled", "teacher"]
    )
    add_column_options(parser)
    add_run_options(parser)
    add_track_option(parser)


def _crossval(options: argparse.Namespace) -> None:
    from pocketcxr.pipeline.crossval import run_crossval

    result = run_crossval(
        options.output,
        experiment_of(options),
        sources=options.data,
        index=options.index,
        columns=pairs(options.column),
        aliases=pairs(options.alias),
        folds=options.folds,
        level=options.level,
        models=tuple(options.models),
        progress=not options.quiet,
    )
    say(result.summary)
