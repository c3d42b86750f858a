"""Text made safe on its way out: a line for screens and logs, cells of tables, JSON, file names that are no UTF-8.

Names and headers come from others: a file name may hold an escape sequence that recolours a terminal, a line break that
forges a line of a log, a mark that reverses the order of letters, or a formula that a spreadsheet program runs.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import unicodedata
from pathlib import PurePath
from typing import TypeVar

Value = TypeVar("Value")

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")
_FORMULA_SIGNS = "=+\\-@\t\r\uff1d\uff0b\uff0d\uff20"  # the last four: full width, which East Asian versions take too
# At the start, or behind what a spreadsheet program of another country takes for the end of a cell
_FORMULA = re.compile(rf"(^|[,;|\t\r\n])(?='*[{_FORMULA_SIGNS}])")
_GUARDED = re.compile(rf"(^|[,;|\t\r\n])'(?='*[{_FORMULA_SIGNS}])")
_NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", re.IGNORECASE)


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a path as text that any file can hold: bytes that are no UTF-8 are written as backslash escapes."""
    return _SURROGATE.sub(_escape_surrogate, os.fspath(path))


def path_of_text(text: str) -> str:
    r"""Return the path that `path_text` wrote: ``\xf6`` is a byte again where no file has the name as it stands."""
    if os.name == "nt" or "\\x" not in text or os.path.lexists(text):
        return text
    return _ESCAPED_BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def one_line(value: object) -> str:
    """Return text for one line of a screen or log: what would break, colour or reorder the line stands as an escape."""
    return _visible(value, keep="")


def lines(value: object) -> str:
    """Like `one_line`, for text of our own that has several lines."""
    return _visible(value, keep="\n")


class PlainFormatter(logging.Formatter):
    """Formats records of a log for people: paths and errors stay on one line, nothing steers the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        if isinstance(record.args, tuple):
            record = copy.copy(record)
            record.args = tuple(
                one_line(value) if isinstance(value, (PurePath, Exception)) else value for value in record.args or ()
            )
        return lines(super().format(record))


def table_cell(value: Value) -> Value | str:
    """Return a cell for a CSV file that no spreadsheet program takes for a formula; numbers stay as they are.

    A quote goes in front of each sign that begins a formula (OWASP, CSV injection); `cell_value` takes it away again.
    """
    if not isinstance(value, str):
        return value
    text = path_text(value)
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text)


def json_text(value: object, *, allow_nan: bool = True) -> str:
    """Return indented JSON and a line end; what would colour or reorder a screen stands as JSON's own escape.

    Raises:
        ValueError: a number is not finite, and `allow_nan` is False.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=allow_nan, default=str) + "\n"
    if text.isascii():
        return text
    return "".join(one if one == "\n" or _is_shown(one) else json.dumps(one)[1:-1] for one in text)


def cell_value(text: str) -> str:
    """Return what stood in a cell before `table_cell`."""
    return _GUARDED.sub(r"\1", text)


def _visible(value: object, *, keep: str) -> str:
    text = path_text(str(value))
    if text.isprintable():
        return text
    return "".join(one if one in keep or _is_shown(one) else _escape(one) for one in text)


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"  # spaces of all widths do no harm


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _escape_surrogate(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"  # noqa: PLR2004
