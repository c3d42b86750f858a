"""The command line as a person meets it: help with examples, one line for an error, the right exit status."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pocketcxr.cli import build_parser, main, with_current_names

COMMANDS = (
    "predict",
    "doctor",
    "serve",
    "distill",
    "demo",
    "synthetic",
    "index",
    "split",
    "train-teacher",
    "cache-views",
    "train-student",
    "train-input-filter",
    "leave-one-source-out",
    "search",
    "export",
    "evaluate",
    "quantise",
    "calibrate",
    "crossval",
    "audit",
)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pocketcxr.cli", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"pocketcxr {command}" in capsys.readouterr().out.partition("examples:")[2]


def test_every_command_says_what_its_exit_status_means(capsys):
    for command in COMMANDS:
        exits = build_parser(command).parse_args(_ANY[command].split()).exits
        assert exits[0]
        with pytest.raises(SystemExit):
            main([command, "--help"])
        told = capsys.readouterr().out.partition("exit status: ")[2]
        assert told.replace("\n", " ").strip() == ", ".join(f"{code} {what}" for code, what in exits.items())


_ANY = {
    **dict.fromkeys(COMMANDS, "COMMAND -o nowhere"),
    "predict": "predict absent.png",
    "doctor": "doctor",
    "serve": "serve --bundle absent.onnx",
    "synthetic": "synthetic -o file",
    "demo": "demo -o file",
    "index": "index absent",
    "split": "split absent.csv",
    "quantise": "quantise absent -o x.onnx",
    "calibrate": "calibrate --data absent --site x -o x.onnx",
    "search": "search --space absent.toml -o nowhere",
    "crossval": "crossval -o run --data absent",
    "audit": "audit absent.csv",
}
"""Arguments with which a command can do nothing (`doctor` can do its work with any)."""
_ANY = {name: line.replace("COMMAND", name) for name, line in _ANY.items()}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "doctor"])
def test_a_command_that_can_do_nothing_ends_with_two(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(_ANY[command].split()) == 2
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    said = [line for line in told.err.splitlines() if line.startswith("pocketcxr: ")]
    assert len(said) == 1 or (command == "predict" and "absent.png" in told.out)


def test_doctor_ends_with_one_where_something_is_at_fault(capsys):
    assert main(["doctor", "--bundle", "absent.onnx"]) == 1
    assert "absent.onnx" in capsys.readouterr().out


def test_overall_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)
    assert "not a medical device" in text


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["predict", "x.png", "--bundle", "missing.onnx"], "missing.onnx"),
        (["split", "missing.csv", "-o", "out.csv"], "missing.csv"),
        (["index", "missing-folder", "-o", "index.csv"], "missing-folder"),
        (["index", ".", "--column", "path", "-o", "index.csv"], "NAME=VALUE"),
        (["split", "missing.csv", "--task", "no-such-task"], "covid-3class"),
        (["distill", "-o", "run"], "--data"),
        (["distill", "-o", "run", "--set", "student.epoch=3"], "student.epoch"),
        (["distill", "-o", "run", "--set", "student.epochs=three"], "student.epochs"),
        (["distill", "-o", "run", "--experiment", "missing.toml"], "missing.toml"),
    ],
)
def test_an_error_is_one_line_that_names_the_cause(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("pocketcxr: ")]
    assert said in line


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["diagnose"], "no command 'diagnose'; pocketcxr --help lists all"),
        (["predcit", "x.png"], "did you mean predict?"),
        (["predict", "x.png", "--heatmap-folder", "y"], "--heatmap-folder; did you mean --heatmaps?"),
        (["audit", "x", "--critera", "y"], "did you mean --criteria?"),
        (["distill", "--data", "x", "--ouput", "y"], "did you mean --output?"),  # not that -o is missing
    ],
)
def test_unknown_command_or_option_exits_with_two_and_names_the_nearest(arguments, said):
    done = _run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    "old, new, field, value",
    [
        ("phantom -o x --patients 3", "synthetic", "patients", 3),
        ("train-gate -o x --strangers a b", "train-input-filter", "ood", [Path("a"), Path("b")]),
        ("leave-source-out -o x", "leave-one-source-out", "source", ()),
        ("train-student -o x --alone", "train-student", "no_teacher", True),
        ("audit x --strangers a", "audit", "ood", [Path("a")]),
        ("audit x --gates=own.toml", "audit", "criteria", Path("own.toml")),
    ],
)
def test_old_names_still_work_and_are_not_in_the_help(old, new, field, value, capsys):
    options = build_parser().parse_args(with_current_names(old.split()))
    assert (options.command, getattr(options, field)) == (new, value)
    with pytest.raises(SystemExit):
        main([new, "--help"])
    shown = capsys.readouterr().out
    renamed = {"phantom", "train-gate", "leave-source-out", "--alone", "--strangers", "--gates"}
    assert not renamed & set(re.findall(r"[\w-]+", shown))


def test_predict_starts_without_any_training_framework():
    program = (
        "import sys; from pocketcxr.cli import main; main(['predict', 'missing.png', '--bundle', 'missing.onnx']);"
        "print([m for m in ('torch', 'timm', 'scipy', 'sklearn', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", ""],
        ["predict", "a.png", "-o", ""],
        ["predict", "a.png", "--bundle", " "],
        ["index", ""],
        ["index", ".", "-o", ""],
        ["audit", ""],
        ["distill", "--data", "", "-o", "run"],
        ["distill", "--data", ".", "-o", ""],
        ["split", "", "-o", "s.csv"],
        ["calibrate", "--data", "", "--site", "x", "-o", "x.onnx"],
    ],
)
def test_an_empty_path_is_refused_and_never_means_the_working_folder(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "expected a path, found an empty one" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["predict", "a.png", "-o", "file/s.csv"], "a file where a folder is needed"),
        (["predict", "a.png", "-o", "dir.csv"], "a folder where a file is needed"),
        (["predict", "a.png", "--heatmaps", "file"], "a file where a folder is needed"),
        (["index", ".", "-o", "file/i.csv"], "a file where a folder is needed"),
        (["split", "file", "-o", "file/s.csv"], "a file where a folder is needed"),
        (["distill", "--data", ".", "-o", "file"], "a file where a folder is needed"),
        (["synthetic", "-o", "file"], "a file where a folder is needed"),
        (["audit", "dir.csv", "-o", "file"], "a file where a folder is needed"),
        (["calibrate", "--data", ".", "--site", "x", "-o", "file/x.onnx"], "a file where a folder is needed"),
        (["index", ".", "-o", "x" * 300], "the name is too long"),
        (["index", ".", "-o", "i.csv"], "i.rejected.csv: Is a directory; it is a folder where a file is needed"),
        *((line.split(), "a file where a folder is needed") for line in (
            "demo -o file/run", "evaluate -o file", "export -o file/run", "train-input-filter -o file",
            "leave-one-source-out -o file/run", "train-teacher -o file/run", "cache-views -o file/run",
            "train-student -o file", "crossval --data . -o file", "distill -o file/run", "audit dir.csv -o file/report",
            "predict a.png --heatmaps file/maps", "synthetic -o file/set",
        )),
        *((line.split(), "a folder where a file is needed") for line in (
            "index . -o dir.csv", "split file -o dir.csv", "calibrate --data . --site x -o dir.csv",
        )),
    ],
)  # fmt: skip
def test_advice_fits_the_cause_where_an_output_cannot_be_written(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "dir.csv").mkdir()
    (tmp_path / "i.rejected.csv").mkdir()
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "goes on" not in told
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dir.csv", "file", "i.rejected.csv"]
    assert told.count("\n") == 1


def test_a_fault_of_the_program_has_a_status_of_its_own_and_says_where_its_traceback_is(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def broken(*_, **__):
        raise ZeroDivisionError("patient 4711")

    monkeypatch.setattr("pocketcxr.pipeline.prepare.split_index", broken)
    (tmp_path / "index.csv").touch()
    assert main(["split", str(tmp_path / "index.csv")]) == 70
    told = capsys.readouterr().err
    (trace,) = tmp_path.glob("pocketcxr-error-*.txt")
    assert told.count("\n") == 1
    assert "4711" not in told
    assert f"(ZeroDivisionError): the traceback is in {trace};" in told
    text = trace.read_text()
    assert "in broken" in text
    assert "ZeroDivisionError: patient 4711" in text
    assert trace.stat().st_mode & 0o077 == 0


def test_the_output_of_a_training_is_checked_before_its_settings_and_leaves_no_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for command in ("distill --data .", "train-teacher", "crossval --data .", "evaluate"):
        line = [*command.split(), "--set", "student.epoch=3", "-o"]
        assert main([*line, "file/run"]) == 2
        assert "a file where a folder is needed" in capsys.readouterr().err
        assert main([*line, "deep/run"]) == 2
        assert "did you mean epochs" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_hostile_name_in_an_error_does_not_reach_the_terminal(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["index", "a\x1b[31m\nforged\u202e"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_a_screen_that_cannot_show_a_name_ends_no_work(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pocketcxr.cli", "predict", "M\u00fcller.png", b"r\xf6ntgen.png"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"M\\xfcller.png" in done.stdout
    assert b"r\\xf6ntgen.png" in done.stdout
