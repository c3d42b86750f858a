"""Completion in real shells: a terminal, a line, the Tab key."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

WAIT_S = 180  # a busy machine
BASH = 'PS1=; bind "set bell-style none"; bind "set show-all-if-ambiguous on"; eval "$({register} pocketcxr)"'
ZSH = 'PS1=; autoload -U compinit && compinit -u; eval "$({register} pocketcxr)"'
FISH = "{register} --shell fish pocketcxr | source; function fish_prompt; end"
SHELLS = {"bash": (["--norc", "-i"], BASH), "zsh": (["-f", "-i"], ZSH), "fish": (["--no-config", "-i"], FISH)}


@pytest.fixture
def programs(tmp_path):
    """A folder with `pocketcxr`, as an installation puts it there, that runs this tree."""
    program = tmp_path / "bin" / "pocketcxr"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom pocketcxr.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    return program.parent


class Terminal:
    """A shell in a terminal of its own: what is typed, and what came until some words did."""

    def __init__(self, shell, folder, programs):
        flags, start = SHELLS[shell]
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "xterm", "HOME": str(folder)}
        self._end, end = pty.openpty()
        self._process = subprocess.Popen(
            [shell, *flags],
            stdin=end,
            stdout=end,
            stderr=end,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # which fish asks for
        )
        os.close(end)
        register = Path(sys.executable).with_name("register-python-argcomplete")
        self.type(start.format(register=register) + "\n")
        self.type("echo READ''Y\n")
        self.until("READY")

    def type(self, text):
        os.write(self._end, text.encode())

    def until(self, words):
        seen, until = "", time.monotonic() + WAIT_S
        while words not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen):
            assert time.monotonic() < until, seen
            if select.select([self._end], [], [], 1)[0]:
                seen += os.read(self._end, 65536).decode(errors="replace")
        return seen

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._end)


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_commands_options_values_fields_and_files(shell, tmp_path, programs):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "thorax.dcm").touch()
    terminal = Terminal(shell, tmp_path, programs)
    try:
        for typed, completed in (
            ("pocketcxr predi", "pocketcxr predict "),
            ("pocketcxr predict --heat", "--heatmaps "),
            ("pocketcxr predict --format jsonl tho", "thorax.dcm "),
            ("pocketcxr export --storage floa", "float32 "),
            ("pocketcxr split index.csv --task covid-3", "covid-3class "),
            ("pocketcxr distill --set student.epo", "student.epochs="),
        ):
            terminal.type(f"{typed}\t")
            rest = completed.strip()[len(typed.split()[-1]) :] if completed.startswith(typed.split()[-1]) else "ct"
            terminal.until(rest)
            terminal.type("\x15")  # Ctrl-U
    finally:
        terminal.close()


def ask(line, programs):
    """What the program answers when a shell asks, as argcomplete defines it."""
    environment = {
        **os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(programs / "answer"), "_ARGCOMPLETE_COMP_WORDBREAKS": "",
    }  # fmt: skip
    done = subprocess.run([programs / "pocketcxr"], capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout, done.stderr) == ("", "")
    return [one.strip() for one in (programs / "answer").read_text().split("\n")]


def test_a_shell_that_asks_gets_names_of_today_and_of_one_command_only(programs):
    assert ask("pocketcxr tr", programs) == ["train-teacher", "train-student", "train-input-filter"]
    assert "phantom" not in ask("pocketcxr ", programs)
    assert {"--help", "--bundle", "--port"} <= set(ask("pocketcxr serve --", programs))
    assert "--heatmaps" not in ask("pocketcxr serve --", programs)
    assert ask("pocketcxr predict --format j", programs) == ["json", "jsonl"]
