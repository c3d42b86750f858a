"""Names of the roles that models play in a run: the same in files, tables and sentences."""

from __future__ import annotations

from typing import Any, TypeVar

TEACHER = "teacher"
BASELINE = "baseline student"
DISTILLED = "distilled student"
EXPORTED = "exported file"

_FORMER = {"student alone": BASELINE, "student_alone": BASELINE.replace(" ", "_")}

Stored = TypeVar("Stored")


def canonical(stored: Stored) -> Stored:
    """A name, a sentence or a whole table read from JSON, with roles under their present names.

    Records of earlier versions call the baseline student "student alone".
    """
    return _renamed(stored)


def _renamed(value: Any) -> Any:
    if isinstance(value, str):
        for former, name in _FORMER.items():
            value = value.replace(former, name)
    elif isinstance(value, dict):
        return {_renamed(key): _renamed(one) for key, one in value.items()}
    elif isinstance(value, list):
        return [_renamed(one) for one in value]
    return value
