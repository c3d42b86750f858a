"""The web page and the package are built by one command; without Node.js, or without the page, a line says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="needs the group dev, to build a package")
pytest.importorskip("build", reason="needs the group dev, to build a package")

ROOT = Path(__file__).parents[1]
PAGE = "src/pocketcxr/serving/static/index.html"


@pytest.fixture
def clone(tmp_path):
    """What a build reads of the tree: settings, the hook and a package without its modules."""
    clone = tmp_path / "clone"
    licences = list((ROOT / "src").rglob("LICENSE-WEIGHTS.md"))
    names = ["pyproject.toml", "README.md", "LICENSE", ".gitignore", "web/build_hook.py", "web/package.json"]
    for path in [*(ROOT / name for name in names), ROOT / "src/pocketcxr/version.py", *licences]:
        copy = clone / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    (clone / "src/pocketcxr/__init__.py").touch()
    return clone


@pytest.fixture
def build(tmp_path):
    """Function: folder, kind, programs that lie in PATH -> the finished process and the files that it made."""

    def build(folder, kind, *, programs=(), **variables):
        place, made = tmp_path / "programs", tmp_path / "made"
        place.mkdir(exist_ok=True)
        for name, text in programs:
            (place / name).write_text(f"#!/bin/sh\n{text}\n")
            (place / name).chmod(0o755)
        command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(made), str(folder)]
        environment = {**os.environ, "PATH": str(place), **variables}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        return done, sorted(made.iterdir()) if made.exists() else []

    return build


def with_page(folder):
    (folder / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text("the page")
    return folder


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.mark.parametrize(
    "programs, said",
    [
        ((), "needs Node.js, which is not there: install Node.js 20.19 or newer with npm"),
        ((("npm", "exit 1"), ("node", "echo v18.4.0")), "needs a newer Node.js than v18.4.0"),
    ],
)
def test_without_nodejs_a_wheel_lacks_the_page_and_a_source_distribution_is_not_made(clone, build, programs, said):
    with_page(clone)  # of an earlier build: nobody knows whether it is that of these sources
    done, (wheel,) = build(clone, "wheel", programs=programs)
    assert done.returncode == 0
    assert said in done.stdout + done.stderr
    assert "pocketcxr/version.py" in names_in(wheel)
    assert not any("static" in name for name in names_in(wheel))
    wheel.unlink()
    done, made = build(clone, "sdist", programs=programs)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert not made


def test_a_page_that_cannot_be_built_ends_the_build_and_one_variable_leaves_it_out(clone, build):
    (clone / "web/package-lock.json").touch()
    programs = (("npm", "echo 'no such registry' >&2; exit 7"), ("node", "echo v22.1.0"))
    done, made = build(clone, "wheel", programs=programs)
    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert not made
    assert "no such registry" in told
    assert "npm ci --no-audit --no-fund --loglevel=error ended with status 7; POCKETCXR_PAGE=none builds" in told
    done, (wheel,) = build(clone, "wheel", programs=programs, POCKETCXR_PAGE="none")
    assert done.returncode == 0
    assert not any("static" in name for name in names_in(wheel))


def test_a_source_distribution_brings_its_page_and_one_without_is_refused(clone, build):
    (clone / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: pocketcxr\nVersion: 0.1.0\n")
    done, made = build(clone, "wheel")
    assert done.returncode != 0
    assert "this source distribution lacks the web page" in done.stdout + done.stderr
    assert not made
    with_page(clone)
    _, (wheel,) = build(clone, "wheel")
    assert "pocketcxr/serving/static/index.html" in names_in(wheel)
    wheel.unlink()
    _, (archive,) = build(clone, "sdist")
    with tarfile.open(archive) as opened:
        assert any(name.endswith(PAGE) for name in opened.getnames())
