"""What ``pocketcxr predict`` takes from standard input: one image, or a list of paths."""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path

from pocketcxr.errors import ConfigError
from pocketcxr.imaging.radiograph import MAX_FILE_BYTES
from pocketcxr.plain_text import path_text

STANDARD_INPUT = Path("-")
"""Stands for one image from standard input among the paths of a command."""

STANDARD_INPUT_NAME = "standard input"
"""The name that its answer has."""


def standard_input() -> bytes:
    """Read all of standard input.

    Raises:
        ConfigError: it is a terminal, where nothing is to come.
    """
    if sys.stdin.isatty():
        raise ConfigError("expected an image on standard input, found a terminal: add  < FILE, or name the file")
    return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)  # one more than is read, so that more is refused


def listed_paths(file: Path) -> list[Path]:
    """Paths from a list: one a line, or each with a NUL behind it, as ``find -print0`` writes them.

    Args:
        file: the list; `STANDARD_INPUT` for standard input.

    Raises:
        ConfigError: it cannot be read, or holds no path.
    """
    name = STANDARD_INPUT_NAME if file == STANDARD_INPUT else path_text(file)
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror}); expected a list of paths, one a line") from error
    data = data.removeprefix(codecs.BOM_UTF8)
    names = [one for one in (data.split(b"\0") if b"\0" in data else data.splitlines()) if one.strip()]
    if not names:
        raise ConfigError(f"{name}: expected paths, one a line, found none")
    return [Path(os.fsdecode(one)) for one in names]
