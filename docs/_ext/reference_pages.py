"""Sphinx extension: fills the reference pages from the program itself while the site is built.

A page holds a line ``<!-- generated: NAME -->``; it is replaced by the Markdown that the function of that name returns.
Nothing generated is kept in the repository, so nothing generated can be out of date.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import commands
import configuration
import conformance
import errors
import http_interface
import layout
import python_api
import report_fields
from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

GENERATED = {
    "commands": commands.page,
    "configuration": configuration.page,
    "conformance-attributes": conformance.attributes,
    "conformance-codes": conformance.coded,
    "conformance-objects": conformance.objects,
    "conformance-queried": conformance.queried,
    "conformance-requests": conformance.requests,
    "conformance-settings": conformance.limits,
    "conformance-syntaxes": conformance.syntaxes,
    "criteria": report_fields.criteria,
    "exceptions": errors.exceptions,
    "exit-codes": errors.exit_codes,
    "frameworks": layout.frameworks,
    "http-addresses": http_interface.addresses,
    "http-answers": http_interface.answers,
    "http-content-types": http_interface.content_types,
    "http-headers": http_interface.headers,
    "http-limits": http_interface.limits,
    "http-problems": http_interface.problems,
    "large-folders": layout.large_folders,
    "layers": layout.layers,
    "measures": report_fields.measures,
    "packages": layout.packages,
    "python-api": python_api.page,
    "run-folder": layout.run_folder,
}
"""Placeholder to the function that writes what stands in its place."""

_ADDRESSES: set[tuple[str, str]] = set()
_PLACEHOLDER = re.compile(r"^<!-- generated: ([a-z-]+) -->$", flags=re.MULTILINE)


def fill(text: str) -> str:
    """A page's Markdown with every placeholder replaced.

    Raises:
        KeyError: a placeholder names nothing that can be generated.
    """
    return _PLACEHOLDER.sub(lambda match: GENERATED[match.group(1)](), text)


def _fill_page(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = fill(source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx; pages with a placeholder are read anew in every build."""
    app.connect("source-read", _fill_page)
    app.connect(
        "env-get-outdated",
        lambda app, env, *_: [page for page in env.found_docs if _has_placeholder(app, page)],
    )
    app.connect("doctree-resolved", _collect_addresses)
    app.connect("build-finished", _write_addresses)
    return {"parallel_read_safe": True, "parallel_write_safe": False}


def _has_placeholder(app: Sphinx, page: str) -> bool:
    return bool(_PLACEHOLDER.search(app.env.doc2path(page).read_text(encoding="utf-8")))


def _collect_addresses(_app: Sphinx, doctree: nodes.document, page: str) -> None:
    for link in doctree.findall(nodes.reference):
        address = link.get("refuri", "")
        if address.startswith(("http://", "https://")):
            _ADDRESSES.add((address, page))


def _write_addresses(app: Sphinx, exception: Exception | None) -> None:
    """List all links that leave the site beside it: the build has no network, so they are for a person to check."""
    if exception is None:
        lines = [f"{address}  {page}" for address, page in sorted(_ADDRESSES)]
        (app.outdir / "external-links.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
