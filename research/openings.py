"""The log of every look at the test split, one file beside the results."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def log_beside(output: Path) -> Path:
    """Where the log of a result lies."""
    return output.with_name("test_split_opened.log")


def log_opening(output: Path, what: str) -> None:
    """Add a line with the date to the log beside `output`; to be called before anything of the split is seen."""
    output.parent.mkdir(parents=True, exist_ok=True)
    stamp = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    with log_beside(output).open("a", encoding="utf-8") as stream:
        stream.write(f"{stamp} test split opened for {what}\n")
