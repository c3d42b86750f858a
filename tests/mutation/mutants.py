"""Change the modules that decide, one place at a time, and see whether their tests notice: ``make mutants``.

Cosmic Ray makes the changes and runs the tests, in a copy of the tree below ``build/mutants``; results are kept there,
and a run that was stopped goes on where it was. `modules.toml` says which tests answer for which module,
`explained.toml` which changes no test can notice. More than one survivor in fifty without an explanation is a failure.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / "build" / "mutants"
COPIED = ("src", "tests", "benchmarks", "research", "docs", "pyproject.toml")

OPERATORS = frozenset(
    [
        *("AddNot", "ExceptionReplacer", "NumberReplacer", "ZeroIterationForLoop", "ReplaceBreakWithContinue"),
        *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
        *("ReplaceContinueWithBreak", "ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_USub"),
        *("ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Delete_Invert"),
    ]
    + [f"ReplaceComparisonOperator_{pair}" for pair in
       ("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
        "Is_IsNot", "IsNot_Is")]
    + [f"ReplaceBinaryOperator_{pair}" for pair in
       ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_Mul", "Pow_Mul", "RShift_LShift",
        "LShift_RShift", "BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd")]
)  # fmt: skip
"""One or two replacements per kind of operator: the boundary and the negation of a comparison, the inverse of a sum.

Cosmic Ray has eleven for every sum; most of them fail in the first test, and each costs a run."""

MOST_UNEXPLAINED = 1 / 50


@dataclasses.dataclass(frozen=True)
class Survivor:
    """A change that no test noticed: the module, the number of the line, the line before and after."""

    module: str
    line: int
    was: str
    becomes: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one module: the mutants there are, those tried, and the survivors among them."""

    module: str
    what: str
    mutants: int
    tried: int
    survivors: tuple[Survivor, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, print the table, and return 1 where too many survive."""
    options = _options(arguments)
    plan = tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8"))
    unknown = sorted(set(options.module) - set(plan))
    if unknown:
        print(f"no such module in {HERE / 'modules.toml'}: {', '.join(unknown)}", file=sys.stderr)
        return 2
    explained = read_explained()
    outcomes = []
    if not options.report and not _own_copy():
        return 2
    for module, entry in plan.items():
        if not options.module or module in options.module:
            tests = [f"tests/{test}" for test in entry["tests"]]
            outcomes.append(_tried(module, entry["what"], tests, options))
            print(table(outcomes[-1:], explained).splitlines()[2], flush=True)
    print("\n" + table(outcomes, explained))
    left = [one for outcome in outcomes for one in outcome.survivors if not is_explained(one, explained)]
    for one in left:
        print(f"\nsrc/pocketcxr/{one.module}:{one.line}\n- {one.was}\n+ {one.becomes}")
    if options.write:
        Path(options.write).write_text(page(outcomes, explained), encoding="utf-8")
    tried = sum(outcome.tried for outcome in outcomes)
    if not passes(len(left), tried):
        print(f"\n{len(left)} of {tried} mutants survive without an explanation, at most 1 in 50 may", file=sys.stderr)
        return 1
    return 0


def passes(unexplained: int, tried: int) -> bool:
    """Whether at most one mutant in fifty survives without an explanation."""
    return unexplained <= tried * MOST_UNEXPLAINED


def read_explained(path: Path = HERE / "explained.toml") -> list[dict[str, str]]:
    """Entries ``module``, ``was``, ``becomes`` and ``why``."""
    return tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", [])


def is_explained(survivor: Survivor, explained: Iterable[dict[str, str]]) -> bool:
    """Whether this very change of this line of this module has a reason in the list."""
    found = (survivor.module, survivor.was, survivor.becomes)
    return any((one["module"], one["was"], one["becomes"]) == found and one["why"] for one in explained)


def table(outcomes: Sequence[Outcome], explained: Sequence[dict[str, str]]) -> str:
    """Markdown table of all modules, with a last row of the sums where there are several."""
    lines = ["| module | what | mutants | tried | killed | survived | explained |", "|---|---|--:|--:|--:|--:|--:|"]
    rows = []
    for one in outcomes:
        known = sum(is_explained(survivor, explained) for survivor in one.survivors)
        rows.append((one.mutants, one.tried, one.tried - len(one.survivors), len(one.survivors), known))
        lines.append(f"| `{one.module}` | {one.what} | " + " | ".join(map(str, rows[-1])) + " |")
    if len(rows) > 1:
        lines.append("| **all** | | " + " | ".join(str(sum(column)) for column in zip(*rows, strict=True)) + " |")
    return "\n".join(lines)


def page(outcomes: Sequence[Outcome], explained: Sequence[dict[str, str]]) -> str:
    """The page of results, with the command that made it."""
    left = [one for outcome in outcomes for one in outcome.survivors if not is_explained(one, explained)]
    known = [
        one
        for one in explained
        if any(is_explained(survivor, [one]) for outcome in outcomes for survivor in outcome.survivors)
    ]
    how = "All were tried"
    if any(one.tried < one.mutants for one in outcomes):
        how = "Where fewer were tried than there are, a seed drew them (`--sample N --seed S`)"
    return "\n".join(
        [
            "# Mutants of the modules that decide",
            "",
            "Written by `make mutants`. A mutant is one change of one place of the code: a number, a comparison, an",
            f"operator, a condition, a loop. {how}; the tests named in",
            "`tests/mutation/modules.toml` had to notice.",
            "",
            table(outcomes, explained),
            "",
            "## Survivors without an explanation",
            *(f"\n`{one.module}`, line {one.line}:\n\n```diff\n- {one.was}\n+ {one.becomes}\n```" for one in left),
            *([] if left else ["", "None."]),
            "",
            "## Survivors that no test can notice",
            *(f"\n- `{one['module']}`: `{one['was']}` as `{one['becomes']}`: {one['why']}" for one in known),
            *([] if known else ["", "None."]),
            "",
        ]
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("module", nargs="*", help="modules of modules.toml, such as bundle/format.py; none: all")
    parser.add_argument("--sample", type=int, default=0, help="try at most so many mutants of each module; 0: all")
    parser.add_argument("--again", action="store_true", help="tests were added: try the survivors again, no others")
    parser.add_argument("--report", action="store_true", help="try nothing: show what was found so far")
    parser.add_argument("--seed", type=int, default=0, help="of the sample; a larger sample holds the smaller one")
    parser.add_argument(
        "--python", default=str(ROOT / ".venv" / "bin" / "python"), help="interpreter that runs the tests"
    )
    parser.add_argument("--write", help="also write the table and the survivors to this page")
    return parser.parse_args(arguments)


def _own_copy() -> bool:
    """Copy the tree, unless another run is at work there; the lock ends with this process."""
    WORK.mkdir(parents=True, exist_ok=True)
    lock = os.open(WORK / "lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another run changes the copy in {WORK}: wait for it", file=sys.stderr)
        return False
    _copy_tree()
    return True


def _copy_tree() -> None:
    """Copy what the tests need: mutants are written there, never here."""
    tree = WORK / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for name in COPIED:
        skip = shutil.ignore_patterns("__pycache__", "static", "weights")
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=skip)
        else:
            shutil.copy2(ROOT / name, tree / name)
    weights = Path("src/pocketcxr/bundle/weights")
    (tree / weights).symlink_to(ROOT / weights)


def _tried(module: str, what: str, tests: Sequence[str], options: argparse.Namespace) -> Outcome:
    """Try the mutants of a module that were not tried yet, and take up what is known of the others."""
    from cosmic_ray.commands import execute
    from cosmic_ray.config import ConfigDict
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome

    source = (ROOT if options.report else WORK / "tree") / "src" / "pocketcxr" / module
    wanted = _mutants(source)
    chosen = sorted(wanted, key=lambda item: _drawn(item, options.seed))[: options.sample or None]
    session = _session(module, source, tests, options)
    if not options.report:
        os.chdir(WORK / "tree")
    os.environ |= {"PYTHONPATH": str(WORK / "tree" / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [options.python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests]
    with use_db(str(session), WorkDB.Mode.create) as found:
        held = {_name(item): item.job_id for item in found.work_items}
        if not options.report:
            found.add_work_items(item for item in chosen if _name(item) not in held)
        if len(found.pending_work_items) and not options.report:
            seconds = _seconds(command)
            about = {
                "test-command": shlex.join(command),
                "timeout": max(30.0, 5 * seconds),
                "distributor": ConfigDict({"name": "local"}),
            }
            execute(found, ConfigDict(about))
        mine = {_name(item) for item in wanted}
        done = [(item, result) for item, result in found.completed_work_items if _name(item) in mine]
        results = [(item, result) for item, result in done if result.worker_outcome == WorkerOutcome.NORMAL]
    survivors = [_survivor(module, item, result) for item, result in results if not result.is_killed]
    ordered = tuple(sorted(survivors, key=lambda one: (one.line, one.becomes)))
    return Outcome(module, what, len(wanted), len(results), ordered)


def _session(module: str, source: Path, tests: Sequence[str], options: argparse.Namespace) -> Path:
    """File of results for this very source; those of other tests go, or with `again` those of survivors only."""
    folder = WORK / "sessions"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{module.replace('/', '-')}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    path, known = folder / f"{name}.sqlite", folder / f"{name}.tests"
    if options.report:
        return path
    digest = hashlib.sha256("".join(tests).encode())
    for test in tests:
        digest.update((WORK / "tree" / test.partition("::")[0]).read_bytes())
    if path.exists() and (not known.exists() or known.read_text() != digest.hexdigest()):
        with contextlib.closing(sqlite3.connect(path)) as base, base:
            base.execute("DELETE FROM work_results" + (" WHERE test_outcome = 'SURVIVED'" if options.again else ""))
    known.write_text(digest.hexdigest())
    return path


def _mutants(source: Path) -> list[Any]:
    """Cosmic Ray's work items for a module, those of `OPERATORS` that change what runs, in the order of the places."""
    from cosmic_ray.commands.init import _all_work_items

    code = source.read_text(encoding="utf-8")
    skipped, lines = unexecuted(code), code.splitlines()
    items = [
        item
        for item in _all_work_items([source], {})
        for change in item.mutations
        if change.operator_name.removeprefix("core/") in OPERATORS
        and not any(first <= change.start_pos < last for first, last in skipped)
        and not lines[change.start_pos[0] - 1][change.start_pos[1] :].startswith("*,")  # keywords from here on
    ]
    return sorted(items, key=lambda item: (item.mutations[0].start_pos, _name(item)))


def unexecuted(code: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Spans (line, column) of what never runs or only describes: annotations, decorators, ``if TYPE_CHECKING``."""
    spans = []
    for node in ast.walk(ast.parse(code)):
        parts: list[ast.expr | ast.If | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = [node.returns, *node.decorator_list]
        elif isinstance(node, ast.ClassDef):
            parts = list(node.decorator_list)
        elif isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            parts = [node]
        spans += [
            ((part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0)) for part in parts if part
        ]
    return spans


def _name(item: Any) -> tuple[str, int]:
    """What identifies a work item within a module."""
    (change,) = item.mutations
    return change.operator_name, change.occurrence


def _drawn(item: Any, seed: int) -> str:
    """A number drawn for a mutant by the seed: the same whatever other mutants there are."""
    return hashlib.sha256(f"{seed} {_name(item)}".encode()).hexdigest()


def _seconds(command: Sequence[str]) -> float:
    """How long the tests take on the code as it is, which they must pass."""
    started = time.monotonic()
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        print(found.stdout[-3000:], found.stderr[-3000:], file=sys.stderr)
        raise SystemExit(f"these tests fail before anything was changed: {shlex.join(command)}")
    return time.monotonic() - started


def _survivor(module: str, item: Any, result: Any) -> Survivor:
    (change,) = item.mutations
    lines = result.diff.splitlines()
    was = [line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("---")]
    becomes = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]
    return Survivor(module, change.start_pos[0], " ".join(was), " ".join(becomes))


if __name__ == "__main__":
    sys.exit(main())
