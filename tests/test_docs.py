"""Documents that quote tables, commands or names of the program cannot go stale."""

import argparse
import importlib.util
import json
import re
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from pocketcxr import cli, errors
from pocketcxr.cli import build_parser
from pocketcxr.version import __version__

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference():
    """The extension that fills the reference pages."""
    pytest.importorskip("torch", reason="the reference of losses and commands needs the extra train")
    pytest.importorskip("docutils", reason="needs the group docs")
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    yield importlib.import_module("reference_pages")
    sys.path.remove(str(ROOT / "docs" / "_ext"))


def test_every_placeholder_is_filled_and_every_generator_is_used(reference):
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
    used = set(re.findall(r"^<!-- generated: ([a-z-]+) -->$", "\n".join(pages), flags=re.MULTILINE))
    assert used == set(reference.GENERATED)
    with pytest.raises(KeyError):
        reference.fill("<!-- generated: nothing -->")


def test_the_reference_of_commands_names_every_option_that_help_shows(reference):
    page = reference.GENERATED["commands"]()
    commands = next(one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction))
    shown = {one.dest for one in commands._choices_actions if one.help != argparse.SUPPRESS}
    assert shown >= {"predict", "distill", "audit", "serve"}
    for name in shown:
        section = page.split(f"## `pocketcxr {name}`\n")[1].split("\n## ")[0]
        for action in commands.choices[name]._actions:
            hidden = action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction)
            row = f"| `{', '.join(action.option_strings) or action.metavar or action.dest}"
            assert (row in section.replace("\\|", "|")) != hidden, f"{name} {row}"


def test_the_reference_of_the_configuration_names_every_field_with_its_limits(reference):
    page = reference.GENERATED["configuration"]()
    tables = reference.configuration.tables()
    assert len(tables) >= 7
    for name, kind in tables.items():
        assert f"`[{name}]`" in page
        for field in reference.configuration.own_fields(kind):
            assert f"`{field.name}`" in page or f"{name}.{field.name}" in tables, f"{name}.{field.name}"
    assert re.search(r"\| `batch_size` \| integer \| `32` \| at least 2 \(batch norm\) \|", page)
    assert re.search(r"\| `precision` \| text \| `\"auto\"` \| one of \(?auto, fp32", page)


def test_the_reference_of_errors_names_every_exit_code_and_exception(reference):
    codes, tree = reference.GENERATED["exit-codes"](), reference.GENERATED["exceptions"]()
    for name, value in vars(cli).items():
        if name.startswith("EXIT_"):
            assert f"| `{value}` |" in codes
    commands = next(one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction))
    for one in commands._choices_actions:
        exits = commands.choices[one.dest].get_default("exits")
        cells = " | ".join(exits.get(code, "–") for code in (0, 1, 2))
        assert f"| [`{one.dest}`](commands.md#pocketcxr-{one.dest}) | {cells} |" in codes
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.PocketCxrError):
            assert f"`{value.__name__}`" in tree


def test_the_reference_of_python_has_every_public_name(reference):
    import pocketcxr

    page = reference.GENERATED["python-api"]()
    shown = re.findall(r"^\.\. auto(?:function|class):: pocketcxr\.[\w.]*?(\w+)$", page, flags=re.MULTILINE)
    assert sorted(shown) == sorted(name for name in pocketcxr.__all__ if name != "__version__")


def test_the_reference_of_the_audit_names_every_measure_that_a_criterion_limits(reference):
    from pocketcxr.audit.criteria import load_criteria

    measures, criteria = reference.GENERATED["measures"](), reference.GENERATED["criteria"]()
    keys = re.findall(r"^\| `([^`]+)` \|", measures, flags=re.MULTILINE)
    for one in load_criteria():
        assert any(fnmatch(one.key, key) for key in keys), one.key
        assert f"(`{one.key}`)" in criteria


def test_every_folder_holds_at_most_twelve_files_or_is_explained(reference):
    unexplained = [name for name, _ in reference.layout.counted() if name not in reference.layout.REASONS]
    assert not unexplained, f"split, or give the reason in docs/_ext/layout.py: {unexplained}"


def test_the_citation_names_this_version_and_the_paper():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in text
    assert "arXiv:2301.02735" in text


def test_the_workflow_runs_the_one_test_command():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert re.search(r"^ +- run: make test$", text, flags=re.MULTILINE)
    assert re.search(r"^test: .*\bdocs\b", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert 'python-version: "3.11"' in text


def test_issue_templates_are_sound_and_warn_of_patient_data():
    yaml = pytest.importorskip("yaml", reason="needs the group docs")
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    forms = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in templates if path.stem != "config"}
    assert set(forms) == {"bug", "feature", "data-or-model"}
    for name, form in forms.items():
        assert {"name", "description", "body"} <= set(form), name
    for name in ("bug", "data-or-model"):
        assert "Never attach patient data" in json.dumps(forms[name])


def test_documents_use_the_words_of_the_glossary():
    former = re.compile(r"\b(strangers?|lessons?|judged|untaught|dealt out|by lot|in whatever dress)\b", re.IGNORECASE)
    for path in DOCUMENTS:
        found = former.findall(path.read_text(encoding="utf-8"))
        assert not found, f"{path.name}: {found}"


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
    example = (ROOT / "web" / "public" / "example.png").read_bytes()
    monkeypatch.chdir(tmp_path)
    for name in ("scan.dcm", "scan.png"):  # file types are told by content, not by name
        (tmp_path / name).write_bytes(example)
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)[1]
    assert sum(bool(line) for line in code.splitlines()) == 6
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "overlay.png").stat().st_size > 1000
    assert "covid19" in capsys.readouterr().out
