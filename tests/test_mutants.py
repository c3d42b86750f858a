"""The list of modules and explanations of ``make mutants`` fits the tree, and its verdict is the promised one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mutation.mutants import HERE, Outcome, Survivor, is_explained, page, passes, read_explained, table, unexecuted

ROOT = Path(__file__).parents[1]
PLAN = tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8"))


def test_every_module_and_every_test_is_there():
    for module, entry in PLAN.items():
        assert (ROOT / "src" / "pocketcxr" / module).is_file(), module
        assert entry["tests"], module
        for test in entry["tests"]:
            path, _, function = test.partition("::")
            assert (ROOT / "tests" / path).is_file(), test
            assert not function or f"def {function}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), test
    kinds = {"losses", "splits", "calibration", "operating points", "grey scale", "limits", "seal"}
    assert {entry["what"] for entry in PLAN.values()} == kinds


def test_every_explanation_is_of_a_line_that_is_there_and_gives_a_reason():
    for one in read_explained():
        assert set(one) == {"module", "was", "becomes", "why"}
        assert one["module"] in PLAN
        lines = (ROOT / "src" / "pocketcxr" / one["module"]).read_text(encoding="utf-8").splitlines()
        assert one["was"] in {line.strip() for line in lines}, one["was"]
        assert one["becomes"] != one["was"]
        assert len(one["why"]) > 20


@pytest.mark.parametrize(
    "unexplained, tried, good", [(0, 10, True), (1, 50, True), (1, 49, False), (2, 100, True), (3, 149, False)]
)
def test_at_most_one_survivor_in_fifty_may_be_unexplained(unexplained, tried, good):
    assert passes(unexplained, tried) is good


def test_a_survivor_is_explained_by_its_very_change_only():
    survivor = Survivor("a.py", 3, "x < 1", "x <= 1")
    entry = {"module": "a.py", "was": "x < 1", "becomes": "x <= 1", "why": "x is never 1"}
    assert is_explained(survivor, [entry])
    for name in ("module", "was", "becomes"):
        assert not is_explained(survivor, [entry | {name: "other"}])
    assert not is_explained(survivor, [entry | {"why": ""}])
    outcomes = [Outcome("a.py", "seal", 9, 5, (survivor,)), Outcome("b.py", "limits", 4, 4, ())]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(outcomes, [entry]).splitlines()]
    assert rows[0][2:] == ["mutants", "tried", "killed", "survived", "explained"]
    assert [row[2:] for row in rows[2:]] == [
        ["9", "5", "4", "1", "1"],
        ["4", "4", "4", "0", "0"],
        ["13", "9", "8", "1", "1"],
    ]


def test_the_page_lists_survivors_with_and_without_a_reason():
    one, other = Survivor("a.py", 3, "x < 1", "x <= 1"), Survivor("a.py", 9, "y + 1", "y - 1")
    entry = {"module": "a.py", "was": "x < 1", "becomes": "x <= 1", "why": "x is never 1"}
    text = page([Outcome("a.py", "seal", 9, 5, (one, other))], [entry])
    assert "`a.py`, line 9:\n\n```diff\n- y + 1\n+ y - 1\n```" in text
    assert "- `a.py`: `x < 1` as `x <= 1`: x is never 1" in text
    assert "a seed drew them" in text
    assert "line 3" not in text
    assert page([Outcome("a.py", "seal", 5, 5, ())], [entry]).count("None.") == 2


def test_annotations_decorators_and_imports_for_types_are_left_out():
    code = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import x\n"
        "@dataclass(frozen=True)\n"
        "class A:\n    limit: int | None = 3\n"
        "def f(a: int | str = 1) -> int | None:\n    return a | 2\n"
    )
    lines = code.splitlines()
    cut = ["".join(lines[a[0] - 1][a[1] : b[1]]) for a, b in unexecuted(code) if a[0] == b[0]]
    assert sorted(cut) == ["dataclass(frozen=True)", "int | None", "int | None", "int | str"]
    assert ((2, 0), (3, 12)) in unexecuted(code)
