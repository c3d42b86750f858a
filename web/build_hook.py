"""Puts the web page into the package while it is built: one command makes both (hatchling runs this by itself).

A wheel or a source distribution from a clone gets a page that is built now, with Node.js; what is built from a source
distribution takes the page that is in it. Without Node.js, a wheel is built without the page and says so; a source
distribution, which is made for others, is not built.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OLDEST_NODE = (20, 19)
VARIABLE = "POCKETCXR_PAGE"
"""Environment variable; ``none`` builds the package without the page."""


class PageHook(BuildHookInterface):
    """Hatchling's build hook; see ``[tool.hatch.build.hooks.custom]`` in pyproject.toml."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's signature
        """Build the page before the files of a wheel or source distribution are collected."""
        root = Path(self.root)
        page = root / "src" / "pocketcxr" / "serving" / "static"
        if version == "editable":  # `make web` builds it, where somebody wants it
            return
        if (root / "PKG-INFO").is_file():  # a source distribution
            if not (page / "index.html").is_file():
                self.app.abort(f"{page}: this source distribution lacks the web page; take another")
            return
        if os.environ.get(VARIABLE) == "none":
            shutil.rmtree(page, ignore_errors=True)  # one of an earlier build
            self.app.display_warning(f"the web page is left out: {VARIABLE}=none")
            return
        lacking = lacking_node()
        if lacking and self.target_name == "sdist":
            self.app.abort(f"a source distribution holds the web page, and {lacking}")
        if lacking:
            shutil.rmtree(page, ignore_errors=True)
            self.app.display_warning(f"the web page is left out: {lacking}, then build again")
            return
        failure = build_page(root / "web")
        if failure:
            self.app.abort(f"{failure}; {VARIABLE}=none builds the package without the page")


def lacking_node() -> str:
    """What is missing to build the page, and what to do; empty where nothing is."""
    wanted = f"install Node.js {'.'.join(map(str, OLDEST_NODE))} or newer with npm"
    if shutil.which("npm") is None or shutil.which("node") is None:
        return f"building it needs Node.js, which is not there: {wanted}"
    found = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    numbers = re.match(r"v(\d+)\.(\d+)", found)
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST_NODE:
        return f"building it needs a newer Node.js than {found or 'the one that is there'}: {wanted}"
    return ""


def build_page(web: Path) -> str:
    """Install what the page is built with, where that is not done, and build it into the package; say what failed."""
    ready = web / "node_modules" / ".ready"  # the Makefile's mark, too
    lock = web / "package-lock.json"
    steps = [["npm", "run", "--silent", "package"]]
    if not ready.is_file() or ready.stat().st_mtime < lock.stat().st_mtime:
        steps.insert(0, ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"])
    for step in steps:
        done = subprocess.run(step, cwd=web, capture_output=True, text=True, check=False)
        if done.returncode:
            told = (done.stdout + done.stderr).strip()
            return f"{told}\nthe web page could not be built: {' '.join(step)} ended with status {done.returncode}"
        ready.touch()
    return ""
