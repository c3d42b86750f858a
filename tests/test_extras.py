"""A missing extra is told before any work is done, and all of it is looked for."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import pocketcxr.errors as errors_module
from pocketcxr.cli import main
from pocketcxr.data.index import build_index
from pocketcxr.errors import EXTRAS, MissingExtraError, require_extra

EXTRA_LISTS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


def named(extra):
    for requirement in EXTRA_LISTS[extra]:
        name = re.split(r"[<>=]", requirement)[0]
        yield from named(name[len("pocketcxr[") : -1]) if name.startswith("pocketcxr[") else [name]


@pytest.mark.parametrize("extra", EXTRA_LISTS)
def test_every_distribution_of_an_extra_is_looked_for(extra):
    owners = {"mlflow": ["mlflow-skinny"], **packages_distributions()}
    found = {one.lower().replace("_", "-") for module in EXTRAS[extra] for one in owners.get(module, [module])}
    assert found == set(named(extra))


@pytest.fixture
def without(monkeypatch):
    def hide(module):
        real = errors_module.importlib.util.find_spec
        monkeypatch.setattr(
            errors_module.importlib.util, "find_spec", lambda name: None if name == module else real(name)
        )

    return hide


def test_the_first_missing_module_is_named(without):
    without("onnxscript")
    with pytest.raises(MissingExtraError, match=r"needs onnxscript, .* pip install 'pocketcxr\[train\]'"):
        require_extra("train")
    require_extra("evaluate", "scipy")


def test_index_says_so_before_it_reads_a_file(without, tmp_path, capsys):
    without("scipy")
    with pytest.raises(MissingExtraError, match="scipy"):
        build_index([tmp_path / "not even looked for"], progress=False)
    assert main(["index", str(tmp_path), "-o", str(tmp_path / "i.csv")]) == 2
    assert "scipy" in capsys.readouterr().err


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_is_named_before_any_work(without, tmp_path, capsys, tracker):
    without(tracker)
    arguments = ["train-student", "--splits", "absent.csv", "-o", str(tmp_path / "run"), "--track", tracker]
    assert main(arguments) == 2
    assert capsys.readouterr().err.endswith(f"run pip install 'pocketcxr[{tracker}]'\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("module", ["onnxscript", "jinja2", "matplotlib"])
def test_distill_says_so_before_it_trains(without, tmp_path, capsys, module):
    without(module)
    assert main(["distill", "--data", str(tmp_path), "-o", str(tmp_path / "run")]) == 2
    assert module in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
