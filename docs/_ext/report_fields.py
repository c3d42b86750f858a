"""Reference of the audit's measures and criteria, from the files that hold their texts and limits."""

from __future__ import annotations

import re

from markdown import sentence, table

from pocketcxr.audit.criteria import load_criteria
from pocketcxr.audit.describing import TEXTS

SCOPES = {"data": "Of the data", "model": "Of the model, which `pocketcxr export` checks"}


def criteria() -> str:
    """Tables of all criteria by scope: the quantity and its measure, the limit and the reason for it."""
    parts = []
    for scope, title in SCOPES.items():
        rows = (
            (f"{one.title} (`{one.key}`)", _limit(one.at_most, one.at_least), sentence(one.why))
            for one in load_criteria()
            if one.scope == scope
        )
        parts += [f"### {title}", table(("quantity (measure)", "limit", "reason"), rows)]
    return "\n\n".join(parts)


def _limit(at_most: float | None, at_least: float | None) -> str:
    return f"≤ {at_most:g}" if at_least is None else f"≥ {at_least:g}"


def measures() -> str:
    """Table of all measures with their units, in the order of the sections."""
    rows = ((f"`{key}`", _without_blanks(text["title"]), text.get("unit", "share")) for key, text in TEXTS.items())
    return table(("key", "measure", "unit"), rows)


def _without_blanks(title: str) -> str:
    """A title without the words that a section fills in."""
    return re.sub(r"(?:\{[^}]*\})+", "…", title)
