"""Reference of the audit's criteria, from the file that holds their limits."""

from __future__ import annotations

from markdown import sentence, table

from pocketcxr.audit.criteria import load_criteria

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
