"""Documents that quote tables, commands or names of the program cannot go stale."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest

from pocketcxr.cli import build_parser

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_load_in_the_documents_is_what_was_measured():
    pytest.importorskip("fastapi", reason="needs the extra serve")
    figures = json.loads((ROOT / "docs" / "results" / "serve_load.json").read_text(encoding="utf-8"))
    table = _module(ROOT / "benchmarks" / "serve_load.py").table(figures)
    assert table in (ROOT / "docs" / "how-to" / "serve.md").read_text(encoding="utf-8")


def test_micro_batching_in_the_decision_is_what_was_measured():
    figures = json.loads((ROOT / "docs" / "results" / "micro_batching.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "decisions" / "0009-no-micro-batching.md").read_text(encoding="utf-8")
    for model, words in (("covid-3class, 64 pixels", "64 pixels"), ("student, 224 pixels", "224 pixels")):
        for kind, digits in (("network alone", 2 if "64" in words else 1), ("whole request", 1)):
            row = " | ".join(f"{figures[model][f'{kind}, {batch}']:.{digits}f}" for batch in (1, 4, 8))
            assert any(kind in line and words in line and row in line for line in text.splitlines()), row


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_quoted_command_is_understood_by_the_program(document):
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.strip().startswith("pocketcxr ")]
    for command in commands:
        words = command.split("#")[0].split(">")[0].split()
        options = {word.split("=")[0] for word in words if word.startswith("--")}
        help_text = _help_of(words[1])
        for option in options:
            assert option in help_text, command


def test_every_make_target_in_the_documents_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for document in DOCUMENTS:
        for target in re.findall(r"^make ([a-z-]+)", document.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert target in targets, f"{document.name}: make {target}"


def test_every_link_between_documents_leads_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_experiment_file_is_a_valid_configuration_or_task(monkeypatch):
    pytest.importorskip("torch")
    from pocketcxr.labels import load_task
    from pocketcxr.training.config import load_experiment
    from pocketcxr.training.losses.distillation import check_losses

    files = sorted((ROOT / "research").glob("*.toml"))
    monkeypatch.chdir(ROOT)  # an experiment names its task's file from there
    tasks = [path for path in files if "labels" in tomllib.loads(path.read_text(encoding="utf-8"))]
    assert tasks
    assert len(tasks) < len(files)
    for path in tasks:
        assert len(load_task(path).labels) > 1
    for path in files:
        if path in tasks:
            continue
        experiment = load_experiment(path)
        check_losses(experiment.student.losses, len(load_task(experiment.data.task).labels))


def _help_of(command: str) -> str:
    actions = build_parser()._subparsers._group_actions[0]
    return actions.choices[command].format_help()


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):

    from pocketcxr.data.synthetic.generate import draw_phantom

    draw_phantom(tmp_path / "set", patients=2, seed=0, size=256)
    images = sorted((tmp_path / "set" / "images").iterdir())
    monkeypatch.chdir(tmp_path)
    for name in ("scan.dcm", "scan.png"):  # file types are told by content, not by name
        (tmp_path / name).write_bytes(images[0].read_bytes())
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)[1]
    assert sum(bool(line) for line in code.splitlines()) == 6
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "overlay.png").stat().st_size > 1000
    assert "covid19" in capsys.readouterr().out
