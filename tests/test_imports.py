"""Imports form no circles, neither between modules nor parts of a package; imports for types do not count.

Scripts beside the package import what is there: no type checker reads them, and not every one is run by a test.
"""

import ast
import graphlib
import importlib
from collections import defaultdict
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for folder in ("benchmarks", "research") for path in (ROOT / folder).glob("*.py"))
GRAPH = grimp.build_graph("pocketcxr", exclude_type_checking_imports=True, cache_dir=None)
PACKAGES = sorted({name.rpartition(".")[0] for name in GRAPH.modules if "." in name})


def parts_imported(package):
    """Name of each part of a package to the parts that it or anything inside it imports."""
    found = defaultdict(set)
    for module in sorted(GRAPH.modules):
        for imported in GRAPH.find_modules_directly_imported_by(module):
            one, other = (_part(name, package) for name in (module, imported))
            if one and other and one != other:
                found[one].add(other)
    return found


def _part(module, package):
    inside = module.startswith(package + ".")
    return module[len(package) + 1 :].partition(".")[0] if inside else ""


@pytest.mark.parametrize("package", PACKAGES)
def test_parts_of_a_package_import_each_other_without_circles(package):
    try:
        graphlib.TopologicalSorter(parts_imported(package)).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"{package}: circle {' -> '.join(reversed(error.args[1]))}")


def test_a_circle_would_be_seen():
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
    assert "metrics" in parts_imported("pocketcxr.evaluation")["model_result"]


def missing_names(text):
    """What a script imports from the package and is not there."""
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    named = [
        (node.module, one.name) for node in imports if (node.module or "").startswith("pocketcxr") for one in node.names
    ]
    return [f"{module}.{name}" for module, name in named if not _is_there(module, name)]


def _is_there(module, name):
    return f"{module}.{name}" in GRAPH.modules or (
        module in GRAPH.modules and hasattr(importlib.import_module(module), name)
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_what_is_there(script):
    assert missing_names(script.read_text(encoding="utf-8")) == []


def test_a_name_that_is_gone_would_be_seen():
    text = "def f():\n    from pocketcxr.errors import DataError, Gone\n    from pocketcxr.gone import DataError\n"
    assert missing_names(text) == ["pocketcxr.errors.Gone", "pocketcxr.gone.DataError"]
