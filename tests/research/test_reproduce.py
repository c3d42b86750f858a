"""``make reproduce``: every step is a command that the program understands; what is done is not done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketcxr.cli import build_parser
from pocketcxr.labels import load_task

ROOT = Path(__file__).parents[2]


@pytest.fixture
def reproduce(script):
    return script("reproduce")


def test_every_step_is_a_command_that_is_understood(reproduce, tmp_path):
    for step in reproduce.STEPS:
        command = reproduce.command_of(step, tmp_path / "an out", tmp_path / "results", tmp_path / "data")
        if command[0] == "pocketcxr":
            build_parser().parse_args(command[1:])
        else:
            assert Path(command[1]).parent == ROOT / "research"
            assert Path(command[1]).is_file()


def test_done_steps_are_skipped_and_the_failing_one_stops_the_rest(reproduce, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POCKETCXR_DATA", str(tmp_path))
    steps = tuple(
        reproduce.Step(
            name, name, 1, f"{{python}} -c \"open(r'{tmp_path}/log', 'a').write('{name} '); {code}\"", result
        )
        for name, code, result in (
            ("one", "0", "one.done"),
            ("two", "raise SystemExit(3)", "two.done"),
            ("three", "0", "three.done"),
        )
    )
    monkeypatch.setattr(reproduce, "STEPS", steps)
    assert reproduce.main(["-o", str(tmp_path / "out")]) == 1
    assert reproduce.main(["-o", str(tmp_path / "out")]) == 1
    assert (tmp_path / "log").read_text() == "one two two "
    assert "two ended with status 3" in capsys.readouterr().out


def test_without_x_rays_one_line_says_so(reproduce, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("POCKETCXR_DATA", raising=False)
    assert reproduce.main(["-o", str(tmp_path / "out")]) == 2
    assert "expected the folder of the X-rays in POCKETCXR_DATA" in capsys.readouterr().out.splitlines()[-1]


def test_a_run_that_names_a_task_by_its_old_folder_still_finds_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load_task("experiments/siim_two.toml") == load_task("research/siim_two.toml")
