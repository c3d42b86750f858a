"""Trains everything that the README speaks of again, from the X-rays to the README: ``make reproduce``.

python research/reproduce.py --list                          # the steps and how long each takes
python research/reproduce.py -o runs/reproduce               # all of them, from $POCKETCXR_DATA
python research/reproduce.py -o runs/reproduce --only shipped int8

Resumable: a step whose result is there is skipped, a step that was stopped goes on where it was (every training does).
The test split is asked by the table, every export, the audit, the evaluation and int8; nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tables

HERE = Path(__file__).parent
SHIPPED = f"{tables.SHIPPED}-w{tables.SHIPPED_WIDTH}-s0"
"""The student of the study ``all`` that ships, chosen on the calibration split."""
FRONTIER = ("c-w050-s0",)
"""Others of it whose files stand beside it."""


@dataclass(frozen=True)
class Step:
    """One command; `result`, relative to the output folder, exists once it is done; `minutes` on two CPU cores."""

    name: str
    what: str
    minutes: int
    command: str
    result: str


STUDIES = (
    ("siim", "typical appearance against negative", "100 050 035", 240, 1800),
    ("all", "three classes, adults of all sources", "100 050", 60, 900),
)
"""Name, what it is, widths, minutes of the teachers and of the students of ``distillation.py``."""
STEPS = (
    *(
        step
        for study, what, widths, teaching, training in STUDIES
        for step in (
            Step(
                f"teach-{study}",
                f"{what}: cross-fitted teachers",
                teaching,
                f"{{python}} {{here}}/distillation.py teach --study {study} --data {{data}} --kept {{out}}"
                f" -o {{out}}/{study}",
                f"teach-{study}.done",
            ),
            Step(
                f"students-{study}",
                f"{what}: students with and without a teacher, five seeds",
                training,
                f"{{python}} {{here}}/distillation.py train --study {study} --width {widths} --data {{data}}"
                f" --kept {{out}} -o {{out}}/{study}",
                f"students-{study}.done",
            ),
        )
    ),
    Step(
        "table",
        "means, intervals, paired tests; opens the test split",
        5,
        "{python} {here}/distillation.py table --open-test siim all --kept {out} -o {results}/distillation_study.json",
        "table.done",
    ),
    Step(
        "input-filter",
        "what is no frontal chest X-ray",
        5,
        "pocketcxr train-input-filter --ood {ood} -o {shipped}",
        "input-filter.done",
    ),
    Step(
        "leave-one-source-out",
        "the student that ships without each source in turn, labels only",
        40,
        "pocketcxr leave-one-source-out -o {shipped} --set student.epochs=4 --set student.unlabelled=false",
        "leave-one-source-out.done",
    ),
    Step(
        "local-calibration",
        "calibration on a few images of a source left out",
        5,
        "{python} {here}/local_calibration.py {shipped} -o {results}/local_calibration.json",
        "local-calibration.done",
    ),
    Step(
        "export",
        "float bundle, before its audit",
        5,
        "pocketcxr export -o {shipped} --force",
        "export.done",
    ),
    Step(
        "audit",
        "data and model against the criteria; a failed criterion is a result",
        20,
        "pocketcxr audit {shipped} --ood {ood}",
        "audit.done",
    ),
    Step(
        "mark",
        "the bundle again, with what the audit found in it",
        5,
        "pocketcxr export -o {shipped} --force",
        "mark.done",
    ),
    Step(
        "evaluate",
        "all networks of the run side by side",
        10,
        "pocketcxr evaluate -o {shipped}",
        "evaluate.done",
    ),
    Step(
        "int8",
        "search for the fastest int8 file within the limits",
        30,
        "pocketcxr quantise {shipped} -o {out}/int8/covid-3class.onnx --table {results}/quantise.json",
        "int8.done",
    ),
    *(
        Step(
            name,
            "the bundle of another student, never audited: for the frontier",
            5,
            f"pocketcxr export -o {{out}}/all/{name} --force",
            f"{name}.done",
        )
        for name in FRONTIER
    ),
    Step(
        "frontier",
        "accuracy, bytes, milliseconds",
        1,
        "{python} {here}/frontier.py {bundles} {frontier} -o {results}/frontier.json",
        "frontier.done",
    ),
    Step(
        "costs",
        "what the teacher costs beside the files",
        2,
        "{python} {here}/teacher_costs.py {bundles} -o {results}/teacher_costs.json",
        "costs.done",
    ),
    Step("results", "README.md and MODEL_CARD.md", 1, "{python} {here}/results.py keep {shipped}", "results.done"),
)
_MAY_FAIL = {"audit": (0, 1), "int8": (0, 2)}  # a failed criterion, no recipe within the limits: results, not faults


def main(arguments: list[str] | None = None) -> int:
    """Run the steps in order and stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--results", type=Path, default=HERE.parent / "docs" / "results")
    parser.add_argument("--list", action="store_true", help="say the steps and their time, do nothing")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS])
    options = parser.parse_args(arguments)
    chosen = [step for step in STEPS if options.only is None or step.name in options.only]
    left = [step for step in chosen if not (options.output / step.result).exists()]
    for step in chosen:
        state = "to do" if step in left else "done "
        _say(f"{state}  {step.name:<9} {step.minutes:>4} min  {step.what}")
    _say(f"about {sum(step.minutes for step in left) / 60:.1f} hours left on two CPU cores")
    if options.list:
        return 0
    data = os.environ.get("POCKETCXR_DATA", "")
    if not data or not Path(data).is_dir():
        _say(
            "reproduce: expected the folder of the X-rays in POCKETCXR_DATA, found "
            + (repr(data) if data else "nothing")
        )
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    for step in left:
        status = _run(step, options.output, options.results, Path(data))
        if status not in _MAY_FAIL.get(step.name, (0,)):
            _say(f"reproduce: {step.name} ended with status {status}; the same command goes on from here")
            return 1
        if step.result.endswith(".done"):
            (options.output / step.result).touch()
    return 0


def command_of(step: Step, out: Path, results: Path, data: Path) -> list[str]:
    """The command of a step, with its places filled in."""
    shipped = out / "all" / SHIPPED
    others = (out / "all" / name / "bundle" / "covid-3class.onnx" for name in FRONTIER)
    bundles = [shipped / "bundle" / "covid-3class.onnx"]
    if (int8 := out / "int8" / "covid-3class.onnx").is_file():
        bundles.append(int8)
    words = {
        "out": _quoted(out),
        "results": _quoted(results),
        "here": _quoted(HERE),
        "python": _quoted(Path(sys.executable)),
        "data": _quoted(data),
        "shipped": _quoted(shipped),
        "ood": _quoted(data / "not_cxr"),
        "bundles": " ".join(map(_quoted, bundles)),
        "frontier": " ".join(map(_quoted, others)),
    }
    return shlex.split(step.command.format(**words))


def _run(step: Step, out: Path, results: Path, data: Path) -> int:
    command = command_of(step, out, results, data)
    _say(f"\n== {step.name} ({step.minutes} min): {shlex.join(command)}")
    own = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # `pocketcxr` of this environment
    return subprocess.run(command, env={**os.environ, "PATH": own}, check=False).returncode


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _say(words: str) -> None:
    print(words, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
