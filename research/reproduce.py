"""Trains everything that the README speaks of again, from the X-rays to the README: ``make reproduce``.

python research/reproduce.py --list                          # the steps and how long each takes
python research/reproduce.py -o runs/reproduce               # all of them, from $POCKETCXR_DATA
python research/reproduce.py -o runs/reproduce --only shipped int8

Resumable: a step whose result is there is skipped, a step that was stopped goes on where it was (every training does).
The test split is asked by the last steps only: the table's, the evaluation, the audit, int8.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("siim", "ieee8023", "cxnet", "radiography", "kermany")
SEEDS = "0 1 2"
VARIANTS = (
    *("scratch", "scratch-soft", "scratch-embedding", "scratch-both"),
    *("imagenet", "soft", "embedding", "both", "modern", "ensemble"),
)

NARROW = (
    (
        "w050",
        "half as wide",
        "--set student.backbone=mobilenetv2_050 --set student.epochs=6 --set student.learning_rate=1e-3",
    ),
    (
        "w035",
        "0.35 as wide",
        "--set student.backbone=mobilenetv2_035 --set student.epochs=6 --set student.learning_rate=1e-3",
    ),
    # no teacher of 160 px: labels only, from distilled weights
    ("px160", "160 px", "--set data.image_size=160 --set 'student.losses={{ce=1.0}}' --set student.unlabelled=false"),
)


@dataclass(frozen=True)
class Step:
    """One command; `result`, relative to the output folder, exists once it is done; `minutes` on two CPU cores."""

    name: str
    what: str
    minutes: int
    command: str
    result: str


STEPS = (
    Step(
        "index",
        "list every image, hash it, find near duplicates",
        5,
        "pocketcxr index {sources} -o {out}/index.csv",
        "index.csv",
    ),
    Step(
        "split",
        "by patient and duplicate group",
        1,
        "pocketcxr split {out}/index.csv --task covid-3class -o {out}/splits.csv",
        "splits.csv",
    ),
    Step(
        "siim-index",
        "the source whose classes come from the same hospitals",
        2,
        "pocketcxr index {siim} -o {out}/siim_index.csv",
        "siim_index.csv",
    ),
    Step(
        "siim-split",
        "its images in the splits that they have above",
        1,
        "pocketcxr split {out}/siim_index.csv --task {here}/siim_two.toml --as {out}/splits.csv"
        " -o {out}/siim_splits.csv",
        "siim_splits.csv",
    ),
    Step(
        "students",
        "the comparison: ten students, three seeds, their teachers",
        120,
        "bash {here}/students.sh {out}/siim_splits.csv {out}/table '{seeds}'",
        "table/ensemble-s2/student-distilled/finished.json",
    ),
    Step(
        "table",
        "means, intervals, paired tests; opens the test split",
        5,
        "{python} {here}/students_table.py {table} -o {results}/students_table.json --open-test"
        " --teachers {out}/table/teacher {out}/table/teacher-ensemble",
        "students_table.done",
    ),
    *(
        Step(
            f"common-{seed}",
            "common practice on the same split, to be compared with" + (", and a teacher" if seed == "0" else ""),
            15,
            "pocketcxr train-student --no-teacher --splits {out}/siim_splits.csv"
            " --experiment {here}/common_practice.toml"
            f" --set student.seed={seed} --set views.seed={seed} -o {{out}}/common-s{seed}",
            f"common-s{seed}/student-baseline/finished.json",
        )
        for seed in SEEDS.split()
    ),
    Step(
        "expert",
        "another teacher, on SIIM only",
        15,
        "pocketcxr train-student --no-teacher --splits {out}/siim_splits.csv --experiment {here}/siim_expert.toml"
        " -o {out}/expert",
        "expert/student-baseline/finished.json",
    ),
    Step(
        "first",
        "first stage of the student that comes with the package: all sources",
        25,
        "pocketcxr train-student --splits {out}/splits.csv --experiment {here}/shipped.toml"
        " --set student.weights={common} -o {out}/first",
        "first/student-distilled/finished.json",
    ),
    Step(
        "shipped",
        "second stage: distilled from the first and the expert, fused, unlabelled images included",
        45,
        "pocketcxr train-student --splits {out}/splits.csv --experiment {here}/shipped_distilled.toml"
        " --set teacher.weights={teachers} --set teacher.frozen_backbones=true --set student.weights={first}"
        " -o {out}/shipped",
        "shipped/student-distilled/finished.json",
    ),
    Step(
        "baseline",
        "the same second stage without its teacher: what distillation gained",
        20,
        "pocketcxr train-student --no-teacher --splits {out}/splits.csv --experiment {here}/shipped_distilled.toml"
        " --set teacher.weights={teachers} --set teacher.frozen_backbones=true --set student.weights={first}"
        " -o {out}/shipped",
        "shipped/student-baseline/finished.json",
    ),
    Step(
        "input-filter",
        "what is no frontal chest X-ray",
        5,
        "pocketcxr train-input-filter --ood {ood} -o {out}/shipped",
        "shipped/input-filter/input-filter.safetensors",
    ),
    Step(
        "leave-one-source-out",
        "without each source in turn, from ImageNet weights, labels only",
        60,
        "pocketcxr leave-one-source-out -o {out}/shipped --set student.weights=pretrained --set student.epochs=3"
        " --set student.learning_rate=7e-4 --set views.count=8",
        "shipped/leave-one-source-out/students.json",
    ),
    Step(
        "export",
        "float bundle, before its audit",
        5,
        "pocketcxr export -o {out}/shipped --force",
        "shipped/bundle/covid-3class.onnx",
    ),
    Step(
        "audit",
        "data and model against the criteria; a failed criterion is a result",
        20,
        "pocketcxr audit {out}/shipped --ood {ood}",
        "shipped/audit/audit.json",
    ),
    Step(
        "mark",
        "the bundle again, with what the audit found in it",
        5,
        "pocketcxr export -o {out}/shipped --force",
        "mark.done",
    ),
    Step(
        "evaluate",
        "all networks of the run side by side",
        10,
        "pocketcxr evaluate -o {out}/shipped",
        "shipped/evaluation/evaluation.json",
    ),
    Step(
        "against",
        "common practice on the same test images",
        2,
        "{python} {here}/against_common_practice.py {out}/shipped/bundle/covid-3class.onnx {commons}"
        " -o {results}/against_common_practice.json",
        "against.done",
    ),
    Step(
        "int8",
        "search for the fastest int8 file within the limits",
        30,
        "pocketcxr quantise {out}/shipped -o {out}/int8/covid-3class.onnx --table {results}/quantise.json",
        "int8.done",
    ),
    *(
        step
        for name, words, settings in NARROW
        for step in (
            Step(
                name,
                f"the student that ships, {words}, from its weights",
                45,
                "pocketcxr train-student --splits {out}/splits.csv --experiment {here}/shipped_distilled.toml"
                " --set teacher.checkpoint={teacher} --set student.weights={shipped}"
                f" {settings} -o {{out}}/{name}",
                f"{name}/student-distilled/finished.json",
            ),
            Step(
                f"{name}-file",
                "its bundle, never audited: for the frontier",
                5,
                f"pocketcxr export -o {{out}}/{name} --force",
                f"{name}/bundle/covid-3class.onnx",
            ),
        )
    ),
    Step(
        "frontier",
        "accuracy, bytes, milliseconds",
        1,
        "{python} {here}/frontier.py {bundles} -o {results}/frontier.json",
        "frontier.done",
    ),
    Step(
        "costs",
        "what the teacher costs beside the files",
        2,
        "{python} {here}/teacher_costs.py {bundles} -o {results}/teacher_costs.json",
        "costs.done",
    ),
    Step("results", "README.md and MODEL_CARD.md", 1, "{python} {here}/results.py keep {out}/shipped", "results.done"),
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
    seeds = SEEDS.split()
    runs = ("shipped", *(name for name, *_ in NARROW)) if step.name == "frontier" else ("shipped",)
    bundles = [*(out / run / "bundle" / "covid-3class.onnx" for run in runs), out / "int8" / "covid-3class.onnx"]
    first = out / "first" / "student-distilled" / "best.safetensors"
    shipped = out / "shipped" / "student-distilled" / "best.safetensors"
    common, expert = (out / name / "student-baseline" / "best.safetensors" for name in ("common-s0", "expert"))
    words = {
        "out": _quoted(out),
        "results": _quoted(results),
        "here": _quoted(HERE),
        "python": _quoted(Path(sys.executable)),
        "seeds": SEEDS,
        "first": _quoted(first),
        "common": _quoted(common),
        "shipped": _quoted(shipped),
        "teacher": _quoted(out / "shipped" / "teacher" / "teacher.safetensors"),
        "teachers": shlex.quote(json.dumps([str(first), str(expert)])),
        "siim": _quoted(data / "siim"),
        "sources": " ".join(_quoted(data / source) for source in SOURCES),
        "ood": _quoted(data / "not_cxr"),
        "commons": " ".join(_quoted(out / f"common-s{seed}") for seed in seeds),
        "table": " ".join(_quoted(out / "table" / f"{name}-s{seed}") for name in VARIANTS for seed in seeds),
        "bundles": " ".join(
            _quoted(path) for path in bundles if path.exists() or step.name not in {"frontier", "costs"}
        ),
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
