"""A file of predictions that grows line by line and continues after a kill: nothing scored twice, nothing lost.

A prediction is appended whole, with one write. A process that is killed can leave half a last line, no more: that is
cut off, and its file scored again. Which files have a prediction is kept as 8 bytes of a hash each, so that a million
take 8 MB. Parquet cannot grow, so predictions are collected as JSON lines beside it until all are there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import ConfigError, require_extra
from pocketcxr.files import open_private
from pocketcxr.inference.prediction import ERROR
from pocketcxr.plain_text import cell_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

FORMAT_OF_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
"""What ``-o FILE`` writes, by the file's name."""


@dataclass(frozen=True, eq=False)
class Finished:
    """The predictions that a file holds already: sorted hashes of their paths, how many, and how many are errors."""

    digests: array[int]
    errors: int

    def __len__(self) -> int:
        return len(self.digests)

    def __contains__(self, name: object) -> bool:
        digest = _digest(str(name))
        position = bisect_left(self.digests, digest)
        return position < len(self.digests) and self.digests[position] == digest


def scores_format(path: Path, asked: str | None) -> str:
    """Format of a file of predictions, by its suffix.

    Raises:
        ConfigError: another suffix, or one that contradicts the format asked for.
        MissingExtraError: Parquet without the extra.
    """
    found = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if found is None:
        raise ConfigError(f"{path}: expected a name that ends in {', '.join(FORMAT_OF_SUFFIX)}")
    if asked not in {None, found}:
        raise ConfigError(f"{path}: its name says {found}, --format says {asked}; leave one out")
    if found == "parquet":
        require_extra("parquet", "pyarrow")
    return found


def collected_in(path: Path) -> Path:
    """Name of the file that grows: the file itself, or the JSON lines beside one of Parquet."""
    return path.with_name(path.name + ".partial.jsonl") if path.suffix.lower() == ".parquet" else path


def open_scores(
    path: Path, *, identity: str, labels: Sequence[str], heatmaps: bool = False, multilabel: bool = False
) -> tuple[TextIOWrapper, Finished]:
    """Open a file to append predictions to, cut off a half last line, and tell which predictions it holds.

    Args:
        path: from `collected_in`; made where it is missing.
        identity: of the bundle; a file with predictions of another one is refused.
        labels: of the bundle, which give a CSV file its columns.
        heatmaps: whether these are written; a CSV file has a column for them.
        multilabel: of the bundle.

    Raises:
        ConfigError: predictions of another bundle, a damaged line, another process that writes to it.
        OSError: it cannot be opened or written.
    """
    if path.exists() and not path.is_file():  # a pipe or device can neither be read back nor cut
        raise ConfigError(f"{path}: expected a regular file to append predictions to")
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = open(path, "a+b", opener=open_private)  # noqa: SIM115  # Path.open has no opener
    try:
        _lock(raw, path)
        raw.seek(0)
        is_csv = path.suffix.lower() == ".csv"
        digests, errors, whole = array("Q"), 0, 0
        for number, (line, end) in enumerate(_whole_lines(raw, quoted=is_csv), start=1):
            whole = end
            if is_csv and number == 1:
                _check_columns(line, labels, path, heatmaps=heatmaps, multilabel=multilabel)
                continue
            name, decision, bundle = _fields(line, is_csv=is_csv, where=f"{path}, record {number}")
            if bundle != identity:
                raise ConfigError(f"{path} holds predictions of {bundle}, this bundle is {identity}: name another file")
            digests.append(_digest(name))
            errors += decision == ERROR
        raw.truncate(whole)
        raw.seek(0, os.SEEK_END)
    except BaseException:
        raw.close()
        raise
    return TextIOWrapper(raw, encoding="utf-8", newline=""), Finished(array("Q", sorted(digests)), errors)


def finish_on_disk(stream: TextIOWrapper) -> None:
    """Make sure that all predictions survive a power cut, too."""
    stream.flush()
    os.fsync(stream.fileno())


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _whole_lines(raw: BinaryIO, *, quoted: bool) -> Iterator[tuple[bytes, int]]:
    """Every complete record and where it ends; in CSV, a line break inside quotes does not end one."""
    pending, end = b"", 0
    for line in raw:
        pending += line
        end += len(line)
        if line.endswith(b"\n") and not (quoted and pending.count(b'"') % 2):
            yield pending, end
            pending = b""


def _fields(line: bytes, *, is_csv: bool, where: str) -> tuple[str, str, str]:
    """Path, decision and bundle of one record."""
    try:
        if is_csv:
            cells = next(csv.reader([line.decode()]))
            return cell_value(cells[0]), cells[1], cells[-1]
        record: dict[str, Any] = json.loads(line)
        return record["path"], record["decision"], record["bundle"]
    except (ValueError, KeyError, IndexError, TypeError, StopIteration) as error:
        raise ConfigError(f"{where}: expected a prediction of pocketcxr predict, found something else") from error


def _check_columns(line: bytes, labels: Sequence[str], path: Path, *, heatmaps: bool, multilabel: bool) -> None:
    from pocketcxr.inference.writers.formats import csv_columns

    text = line.decode("utf-8", "replace").strip()
    if text.startswith(("\ufeff", "sep=", "path;", '"path"', "path\t", "\ufffd")):
        raise ConfigError(
            f"{path}: a spreadsheet program has saved this file again, so nothing is added to it; name another file"
        )
    if text.split(",") == csv_columns(labels, heatmaps=not heatmaps, multilabel=multilabel):
        found = "without" if heatmaps else "with"
        raise ConfigError(f"{path} was begun {found} --heatmaps: go on so, or name another file")
    if text.split(",") != csv_columns(labels, heatmaps=heatmaps, multilabel=multilabel):
        raise ConfigError(f"{path} holds columns of another bundle or program: name another file")


def _lock(raw: BinaryIO, path: Path) -> None:
    """Two processes that append to one file would score everything twice."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"{path}: another process is writing to it; wait for it or name another file") from None
    except OSError:  # a file system without locks
        return
