"""A sentence made of a run's record, and where the record says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Statement:
    """What the record knows of one matter.

    `text` may hold lines that begin with ``- ``, a list. `source` names the files or commands it is from, separated by
    ``; ``. `complete` is False where the record knows only a part, so that people see what is left for them.
    """

    text: str
    source: str
    complete: bool = True


def sources_of(statements: Iterable[Statement]) -> str:
    """Sources of several statements, each named once."""
    return "; ".join(dict.fromkeys(part for one in statements for part in one.source.split("; ")))
