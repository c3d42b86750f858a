"""Reads tables of others: CSV with any separator and encoding that spreadsheet programs write, or one line why not."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import logging
import re
import unicodedata
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pocketcxr.errors import DataError
from pocketcxr.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LOGGER = logging.getLogger(__name__)

LARGEST_TABLE = 2**30
"""Bytes of a table that is packed with gzip; the largest of the public sets have a third of it."""

_SEPARATORS = ",;\t|"
_LOOKED_AT = 50  # records from which the separator is told

_NO_TABLES = (
    (b"PK\x03\x04", "an Excel workbook or another archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"<", "a web page or XML"),
)
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SAVE_AGAIN = 'save it again as "CSV UTF-8"'

_SHORTENED = re.compile(r"[0-9][.,][0-9]+E\+[0-9]{2,}")
_EXACT_DIGITS = 15  # of a number that a spreadsheet program keeps
_FEWEST_ROUNDED = 3  # numbers that end in zeros behind those digits; fewer may be chance
_MONTHS = (
    *("jan", "feb", "mar", "mär", "mrz", "apr", "mai", "may", "jun", "jul", "aug", "sep", "okt", "oct", "nov", "dez"),
    *("dec", "fév", "fev", "avr", "jui", "aoû", "déc", "ene", "abr", "ago", "dic", "gen", "mag", "giu", "lug", "set"),
    *("ott", "out"),
)
_DATE = re.compile(
    r"[0-9]{1,4}([./-])[0-9]{1,2}\1[0-9]{1,4}"
    rf"|[0-9]{{1,2}}[. -]+({'|'.join(_MONTHS)})[^\W\d]*\.?"
    rf"|({'|'.join(_MONTHS)})[^\W\d]*\.?[. -]+[0-9]{{2,4}}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Table:
    """A table as text: `lines` hold the number of each line in the file and its cells by column, without outer blanks.

    `separator` is what stood between cells; `doubt` says, for messages on names that are not found, what was supposed
    of the encoding.
    """

    path: Path
    columns: tuple[str, ...]
    lines: tuple[tuple[int, dict[str, str]], ...]
    separator: str = ","
    doubt: str = ""

    def number(self, text: str) -> str:
        """A number with a point for a decimal comma, where a comma is not what separates cells."""
        return text if self.separator == "," else text.replace(",", ".")

    def require(self, *columns: str) -> None:
        """Refuse a table that lacks a column, or holds it twice.

        Raises:
            DataError: naming them.
        """
        missing = [column for column in columns if column not in self.columns]
        if missing:
            raise DataError(
                f"{self.path}: expected the columns {list(columns)}, {missing} missing; found {list(self.columns)}"
            )
        twice = [column for column in columns if self.columns.count(column) > 1]
        if twice:
            raise DataError(f"{self.path}: the columns {twice} stand there twice; keep the right one of each")


def read_table(path: Path, *required: str) -> Table:
    """Read a table with a line of column names.

    Separators are comma, semicolon, tab and bar, as the table itself shows or its first line ``sep=`` says. Encodings
    are UTF-8, UTF-16 and, where it is neither, Windows-1252 (or Mac Roman, by its line ends), which is logged. Empty
    lines, and empty columns behind the last, are left out.

    Raises:
        DataError: unreadable, no table, a line with more cells than columns, or a required column is missing.
    """
    text, doubt = _read(path)
    try:
        table = _parsed(text, path, doubt)
    except csv.Error as error:
        raise DataError(f"cannot read table {path}: {error}; {_SAVE_AGAIN}") from error
    table.require(*required)
    return table


def table_text(path: Path) -> str:
    """Text of a list of a set's own, in any encoding that `read_table` reads.

    Raises:
        DataError: unreadable, or no text.
    """
    return _read(path)[0]


def table_columns(path: Path) -> tuple[str, ...]:
    """Column names of a table; empty where there is none that can be read."""
    try:
        return _parsed(_decoded(_bytes(path), path)[0], path, "", most=0).columns
    except (OSError, DataError, csv.Error):
        return ()


def damaged_number(text: str) -> str:
    """Why a cell is no longer what was written into it, where a spreadsheet program shows that; else ""."""
    if _SHORTENED.fullmatch(text):
        return f"{text} is a number that a spreadsheet program has shortened: format the column as text, enter it again"
    return ""


def damaged_age(text: str) -> str:
    """Why an age is none, where a spreadsheet program has made a date of it; else ""."""
    if _DATE.fullmatch(text):
        return f"age {text!r} is a date that a spreadsheet program has made of a number; enter years as text"
    return ""


def rounded_numbers(values: Iterable[str]) -> str:
    """Why a column of identifiers is damaged as a whole; else "".

    A spreadsheet program keeps 15 digits: where all longer numbers of a column end in zeros behind those, they were
    rounded, and several identifiers may have become one.
    """
    long = {value for value in values if value.isdecimal() and len(value) > _EXACT_DIGITS}
    if len(long) >= _FEWEST_ROUNDED and not any(value[_EXACT_DIGITS:].strip("0") for value in long):
        return (
            f"all its numbers of more than {_EXACT_DIGITS} digits end in zeros, such as {min(long)}: a spreadsheet "
            "program has rounded them; format the column as text, enter it again"
        )
    return ""


def _read(path: Path) -> tuple[str, str]:
    """Text of a table, and what was supposed of its encoding, which is logged."""
    try:
        data = _bytes(path)
    except OSError as error:
        raise DataError(f"cannot read table {path}: {error.strerror}") from error
    text, supposed = _decoded(data, path)
    doubt = f"the table is no UTF-8 and was read as {supposed}; {_SAVE_AGAIN}" if supposed else ""
    if doubt:
        _LOGGER.warning("%s: %s where names with accents are not found", path, doubt)
    return text, doubt


def _bytes(path: Path) -> bytes:
    """Bytes of a table; those packed with gzip, as public sets ship large ones, are unpacked, up to `LARGEST_TABLE`."""
    with path.open("rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            return path.read_bytes()
    try:
        with gzip.open(path) as unpacked:
            data = unpacked.read(LARGEST_TABLE + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"cannot read table {path}: expected a whole gzip file ({error}); download it again") from error
    if len(data) > LARGEST_TABLE:
        raise DataError(f"cannot read table {path}: it unpacks to more than {LARGEST_TABLE:,} bytes")
    return data


def _decoded(data: bytes, path: Path) -> tuple[str, str]:
    """Text of a table, and the encoding that was supposed ("" where it is certain)."""
    for signature, what in _NO_TABLES:
        if data.lstrip().startswith(signature):
            raise DataError(f'cannot read table {path}: expected CSV, found {what}; save the sheet as "CSV UTF-8"')
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "") or _utf_16_without_mark(data)
    try:
        text, supposed = data.decode(encoding or "utf-8"), ""
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        broken = f"cannot read table {path}: line {line} holds bytes that are no {error.encoding.upper()}"
        if encoding or _has_utf_8(data):
            raise DataError(f"{broken}, though other lines are; {_SAVE_AGAIN}") from error
        supposed = "Mac Roman" if b"\r" in data and b"\n" not in data else "Windows-1252"
        try:
            text = data.decode({"Mac Roman": "mac_roman", "Windows-1252": "cp1252"}[supposed])
        except UnicodeDecodeError:
            raise DataError(f"{broken} and no Windows-1252 either; {_SAVE_AGAIN}") from error
    if "\0" in text:
        raise DataError(f"cannot read table {path}: expected CSV, found a file that is no text; {_SAVE_AGAIN}")
    return text, supposed


def _utf_16_without_mark(data: bytes) -> str:
    """The order of UTF-16 without a byte-order mark: letters of most tables have a zero byte on one side."""
    head = data[:1000]
    zeros = [head[0::2].count(0), head[1::2].count(0)]
    if max(zeros) * 4 < len(head) or min(zeros) * 4 > max(zeros):
        return ""
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def _has_utf_8(data: bytes) -> bool:
    return any(one > "\x7f" for one in data.decode("utf-8", "ignore"))


def _parsed(text: str, path: Path, doubt: str, *, most: int | None = None) -> Table:
    told = re.match(r'"?sep=(.)"?[^\S\r\n]*(\r\n|\r|\n)', text, re.IGNORECASE)
    separator = told[1] if told else _separator(text)
    body = text[told.end() :] if told else text
    records = _records(body, separator, first=2 if told else 1)
    number, head = next(records, (0, []))
    columns = tuple(unicodedata.normalize("NFC", name) for name in _without_empty_end(head))
    if not columns:
        raise DataError(f"cannot read table {path}: expected CSV with a line of column names")
    lines: list[tuple[int, dict[str, str]]] = []
    for number, record in itertools.islice(records, most):
        cells = _without_empty_end(record)
        if len(cells) > len(columns):
            raise DataError(
                f"{path}, line {number}: {len(cells)} cells, but {len(columns)} columns; put cells that hold a "
                f"{_name(separator)} in quotes"
            )
        cells += [""] * (len(columns) - len(cells))
        lines.append((number, {name: cell for name, cell in zip(columns, cells, strict=True) if name}))
    return Table(path, columns, tuple(lines), separator, doubt)


def _records(text: str, separator: str, *, first: int = 1) -> Iterator[tuple[int, list[str]]]:
    """Records that hold something, each with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    number = first
    for record in reader:
        cells = [cell.strip() for cell in record]
        if any(cells):
            yield number, cells
        number = first + reader.line_num


def _separator(text: str) -> str:
    """The separator that gives the first line several columns, and as many to most of those that follow."""
    best, found = (0.0, 1), ","
    for separator in _SEPARATORS:
        records = [record for _, record in itertools.islice(_records(text, separator), _LOOKED_AT)]
        widths = Counter(map(len, records))
        columns = len(records[0]) if records else 0
        quality = (widths[columns] / max(1, len(records)), columns)
        if columns > 1 and quality > best:
            best, found = quality, separator
    return found


def _without_empty_end(cells: list[str]) -> list[str]:
    end = len(cells)
    while end and not cells[end - 1]:
        end -= 1
    return cells[:end]


def _name(separator: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}.get(separator, one_line(separator))
