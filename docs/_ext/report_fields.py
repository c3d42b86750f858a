"""Reference of the audit's criteria, from the file that holds their limits."""

from __future__ import annotations

from markdown import sentence, table

from pocketcxr.audit.criteria import load_criteria


def criteria() -> str:
    """Table of all criteria: the measure, its limit and the reason for it."""
    rows = (
        (f"`{one.key}`", sentence(one.title), _limit(one.at_most, one.at_least), one.scope, sentence(one.why))
        for one in load_criteria()
    )
    return table(("measure", "criterion", "limit", "scope", "reason"), rows)


def _limit(at_most: float | None, at_least: float | None) -> str:
    return f"at most {at_most:g}" if at_least is None else f"at least {at_least:g}"
