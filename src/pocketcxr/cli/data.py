"""Commands on data sets: ``deidentify``, ``index``, ``split`` and ``synthetic``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.cli.arguments import (
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
    """Define the commands of this module."""
    _add_deidentify(commands)
    _add_index(commands)
    _add_split(commands)
    _add_synthetic(commands)


def _add_deidentify(commands: Commands) -> None:
    parser = add_command(
        commands,
        "deidentify",
        _deidentify,
        needs=("deidentify",),
        resumes=True,
        summary="write DICOM radiographs without what identifies patients: PS3.15 basic profile, dates shifted",
        examples="  pocketcxr deidentify export/ -o study/ --key ../secret/pseudonyms.key\n"
        "  pocketcxr index study/ -o index.csv",
        exits={
            0: "all images were written",
            1: "some were not: burned-in text, or refused",
            2: "nothing could be done",
        },
    )
    parser.add_argument("sources", nargs="+", type=path_argument, metavar="SOURCE", help="DICOM files and folders")
    parser.add_argument("-o", "--output", type=path_argument, required=True, metavar="FOLDER")
    parser.add_argument(
        "--key",
        type=path_argument,
        required=True,
        metavar="FILE",
        help="key of pseudonyms and shifts of dates, made where it is missing; outside of FOLDER, and not given away",
    )
    parser.add_argument("--keep-text", action="store_true", help="write images with burned-in text, too")


def _deidentify(options: argparse.Namespace) -> int:
    from pocketcxr.data.deidentify.command import deidentify

    counts = deidentify(options.sources, options.output, key=options.key, keep_text=options.keep_text)
    say(counts.line())
    return 1 if counts.refused or (counts.with_text and not options.keep_text) else 0


def _add_index(commands: Commands) -> None:
    parser = add_command(
        commands,
        "index",
        _index,
        needs=("evaluate", "scipy"),
        resumes=True,
        summary="list every image of one or more data sets with its metadata",
        examples="  pocketcxr index siim ieee8023 -o index.csv\n"
        "  pocketcxr index my.csv --layout table --column path=file --column finding=diagnosis -o index.csv\n"
        "  pocketcxr index my.csv --layout table --label-column diagnosis -o index.csv\n"
        "  pocketcxr index my.csv --layout table --label-column Edema,Fracture -o index.csv    a column per finding\n"
        "  pocketcxr index folders/ --alias Gesund=no_finding -o index.csv\n"
        "  pocketcxr index folders/ --patients patients.csv -o index.csv    columns image (or path) and patient",
    )
    parser.add_argument("sources", nargs="+", type=path_argument, metavar="SOURCE")
    parser.add_argument("-o", "--output", type=path_argument, default=Path("index.csv"))
    parser.add_argument("--layout", default="auto", help="the sources' layout (default: recognised)")
    parser.add_argument(
        "--patients", type=path_argument, metavar="TABLE", help="CSV with columns image (or path) and patient"
    )
    parser.add_argument(
        "--key",
        type=path_argument,
        metavar="FILE",
        help="key of the pseudonyms of patients (default: pseudonyms.key beside the index, made where it is missing)",
    )
    add_column_options(parser)
    add_quiet_option(parser)


def _index(options: argparse.Namespace) -> None:
    from pocketcxr.pipeline.prepare import index_sources

    index_sources(
        options.sources,
        options.output,
        layout=options.layout,
        columns=pairs(options.column),
        aliases=pairs(options.alias),
        patients=options.patients,
        key=options.key,
        progress=not options.quiet,
    )


def _add_split(commands: Commands) -> None:
    parser = add_command(
        commands,
        "split",
        _split,
        summary="assign train, calibration and test by patient and near-duplicate group",
        examples="  pocketcxr split index.csv --task covid-3class -o splits.csv\n"
        "  pocketcxr split index.csv --task siim-appearance --folds 5 -o folds.csv\n"
        "  pocketcxr split index.csv --classes normal,pneumothorax -o splits.csv\n"
        "  pocketcxr split siim.csv --as splits.csv -o siim_splits.csv    each image in its split in splits.csv\n"
        "  pocketcxr split mine.csv --find-persons -o splits.csv    show who may stand in two splits\n"
        "  pocketcxr split mine.csv --same-person splits.persons.csv -o splits_2.csv    keep those persons together",
    )
    parser.add_argument("index", type=path_argument)
    add_task_options(parser, default="covid-3class")
    parser.add_argument("-o", "--output", type=path_argument, default=Path("splits.csv"))
    parser.add_argument("--fractions", nargs=3, type=float, default=(0.7, 0.1, 0.2), metavar=("TRAIN", "CAL", "TEST"))
    parser.add_argument("--folds", type=int, default=0, help="number of cross-validation folds instead of one split")
    parser.add_argument("--level", choices=("patient", "image"), default="patient", help="what a fold keeps together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adults-only", action="store_true", help="leave out children; unknown ages are kept, counted")
    parser.add_argument(
        "--find-persons",
        action="store_true",
        help="compare the images in two splits whose patients the table does not name, and show the pairs that are "
        "probably one person (NAME.persons.html, NAME.persons.csv; reads all images)",
    )
    parser.add_argument(
        "--same-person",
        nargs="+",
        type=path_argument,
        default=(),
        metavar="PAIRS",
        help="tables of pairs of images of one patient, as --find-persons writes them; delete the pairs of two persons "
        "from them first",
    )
    parser.add_argument(
        "--as",
        dest="like",
        type=path_argument,
        metavar="SPLITS",
        help="assign nothing at random: take every image's split from this table",
    )
    add_quiet_option(parser)


def _split(options: argparse.Namespace) -> None:
    from pocketcxr.errors import require_extra
    from pocketcxr.labels import load_task
    from pocketcxr.pipeline.prepare import show_persons, split_index

    if options.find_persons:
        require_extra("evaluate", "jinja2")  # for the page
    text = split_index(
        options.index,
        load_task(options.task),
        options.output,
        fractions=tuple(options.fractions),
        seed=options.seed,
        folds=options.folds,
        level=options.level,
        like=options.like,
        same_person=options.same_person,
        adults_only=options.adults_only,
    )
    say(text)
    if options.find_persons:
        say(show_persons(options.output, progress=not options.quiet))


def _add_synthetic(commands: Commands) -> None:
    parser = add_command(
        commands,
        "synthetic",
        _synthetic,
        summary="draw synthetic chest X-rays of patients who do not exist, from several hospitals",
        examples="  pocketcxr synthetic -o drawings --patients 120\n"
        "  pocketcxr synthetic -o confounded --confounded    one hospital holds one class: an audit must notice",
    )
    parser.add_argument("-o", "--output", type=path_argument, required=True, metavar="FOLDER")
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--size", type=int, default=320, help="side in pixels (default 320)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--confounded", action="store_true", help="let the hospital tell the class")


def _synthetic(options: argparse.Namespace) -> None:
    from pocketcxr.data.synthetic.generate import draw_synthetic_xrays

    draw_synthetic_xrays(
        options.output, patients=options.patients, seed=options.seed, size=options.size, confounded=options.confounded
    )
    say(f"drawings: {options.output}")
