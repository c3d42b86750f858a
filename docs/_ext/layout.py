"""The architecture page's tables, from the tree itself: packages, import contract, large folders, a run's folder."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections import Counter
from pathlib import Path

from markdown import sentence, table

from pocketcxr.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
LARGEST_FOLDER = 12
SUFFIXES = {".py", ".toml", ".ts", ".css", ".html", ".j2"}

REASONS = {
    "src/pocketcxr": "packages, and the modules that several of them share: errors, files, text, names, progress",
    "src/pocketcxr/audit/data": "one measurement per file, each a section of the audit or its features",
    "src/pocketcxr/audit/model/probes": "one measurement per file, each a section of the audit",
    "src/pocketcxr/cli": "one group of commands per file",
    "src/pocketcxr/data": "one step from folder to split per file",
    "src/pocketcxr/imaging": "one step from file to grey picture per file",
    "src/pocketcxr/imaging/dicom": "one part of a DICOM file or one codec per file",
    "src/pocketcxr/inference": "one class or function of the way from file to answer per file",
    "src/pocketcxr/pipeline": "one stage of a run per file",
    "src/pocketcxr/report": "one kind of page element per file: tables, estimates, charts, pages",
    "src/pocketcxr/serving": "one layer, limit or process of the service per file",
}
"""Folder to the reason for holding more than twelve files; the tests refuse a folder that is missing here."""


def packages() -> str:
    """Table of the packages with the first line of their docstrings, in the order of the import contract."""
    rows = []
    for layer in _layers():
        for name in layer:
            path = ROOT / "src" / "pocketcxr" / name
            module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
            rows.append((f"`{name}`", sentence(text.partition("\n\n")[0].replace("``", "`"))))
    return table(("package or module", "content"), rows)


def layers() -> str:
    """The contract, a layer per line: each imports only from those below it."""
    lines = "\n> ".join(" | ".join(layer) for layer in _layers())
    return f"```text\n  {lines}\n```"


def frameworks() -> str:
    """What the packages that predict must never import."""
    contract = next(one for one in _contracts() if one["type"] == "forbidden")
    names = ", ".join(f"`{name.removeprefix('pocketcxr.')}`" for name in contract["source_modules"])
    return f"{names} never reach {', '.join(f'`{one}`' for one in contract['forbidden_modules'])}, not even indirectly."


def large_folders() -> str:
    """Table of folders with more than twelve files, each with its reason."""
    rows = [(f"`{name}`", str(count), REASONS[name]) for name, count in counted() if name in REASONS]
    return table(("folder", "files", "reason"), rows) if rows else "No folder holds more than twelve files."


def counted() -> list[tuple[str, int]]:
    """Folders of the program with more than twelve files, and how many they hold."""
    files = [path for top in ("src", "web/src") for path in (ROOT / top).rglob("*") if path.suffix in SUFFIXES]
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path in files)
    return sorted((name, count) for name, count in folders.items() if count > LARGEST_FOLDER and "/static" not in name)


def run_folder() -> str:
    """Table of what a run's folder holds, from the paths that the stages use."""
    run = RunFolder(Path())
    rows = [
        (f"`{getattr(run, name).as_posix()}`", inspect.getdoc(value) or "")
        for name, value in vars(RunFolder).items()
        if isinstance(value, property)
    ]
    return table(("path in the run's folder", "content"), rows)


def _contracts() -> list[dict[str, list[str]]]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["tool"]["importlinter"]["contracts"]


def _layers() -> list[list[str]]:
    contract = next(one for one in _contracts() if one["type"] == "layers" and "pocketcxr.cli" in one["layers"])
    return [[name.strip().removeprefix("pocketcxr.") for name in layer.split("|")] for layer in contract["layers"]]
