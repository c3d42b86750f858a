"""The tutorials' commands and programs run as they stand, in order, in one empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("[0-9]*.md"))
BLOCK = re.compile(r"^```(sh|python|toml)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def _run_blocks(text: str, folder: Path) -> int:
    """Run every shell and Python block of a page; a TOML block is saved under the name given before it."""
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # each command imports PyTorch: half a minute without byte code
    count = 0
    for block in BLOCK.finditer(text):
        language, code = block.groups()
        if language == "toml":
            name = re.findall(r"`([\w-]+\.toml)`", text[: block.start()])[-1]
            (folder / name).write_text(code, encoding="utf-8")
            continue
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        count += 1
    return count


def _check_report_fields(run: Path) -> None:
    """Every field of both records stands in the reference."""
    page = (ROOT / "docs" / "reference" / "report-fields.md").read_text(encoding="utf-8")
    evaluation = json.loads((run / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    audit = json.loads((run / "audit" / "audit.json").read_text(encoding="utf-8"))
    model = next(iter(evaluation["models"].values()))
    criterion, measure = audit["criteria"][0], audit["sections"][0]["measures"][0]
    for table in (evaluation, audit, model, model["calibration"], criterion, measure, evaluation["comparisons"][0]):
        missing = [name for name in table if f"`{name}`" not in page and f".{name}`" not in page]
        assert not missing, missing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder with a `pocketcxr` of this checkout on the path."""
    folder = tmp_path_factory.mktemp("tutorials")
    program = folder / "bin" / "pocketcxr"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pocketcxr.cli "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return folder


def test_the_tutorials_run_from_beginning_to_end(folder):
    pytest.importorskip("torch", reason="the second tutorial needs the extra train")
    assert len(TUTORIALS) == 3
    for page in TUTORIALS:
        assert _run_blocks(page.read_text(encoding="utf-8"), folder) >= 2, page.name
    _check_report_fields(folder / "runs" / "first")
    answers = (folder / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert len(answers) > 36
    run = folder / "runs" / "first"
    assert set(json.loads((run / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))["models"]) >= {
        "teacher"
    }
    assert (run / "audit" / "report.html").is_file()
    assert json.loads((folder / "confounded-audit" / "audit.json").read_text(encoding="utf-8"))["outcome"]["failed"]
