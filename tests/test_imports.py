"""Imports form no circles, neither between modules nor parts of a package; imports for types do not count."""

import graphlib
from collections import defaultdict

import grimp
import pytest

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
