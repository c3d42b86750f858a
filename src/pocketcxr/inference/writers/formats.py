"""Predictions as a table for people, JSON and JSON lines for programs, CSV for spreadsheets; written as they come."""

from __future__ import annotations

import csv
import json
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from pocketcxr.inference.prediction import ERROR, REFUSED, UNCERTAIN
from pocketcxr.plain_text import one_line, table_cell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from pocketcxr.imaging.folders import PassedOver
    from pocketcxr.inference.prediction import Prediction

FORMATS = ("table", "json", "jsonl", "csv")
_LONGEST_DECISION = len("uncertain")


class Writer(Protocol):
    """Writes predictions one by one; `begin` before the first, `end` after the last."""

    def begin(self) -> None:
        """Write what stands before all predictions."""
        ...

    def write(self, prediction: Prediction) -> None:
        """Write one prediction, at once."""
        ...

    def end(self) -> None:
        """Write what stands after all predictions."""
        ...


def writer_for(
    output_format: str,
    stream: TextIO,
    labels: Sequence[str],
    *,
    heatmaps: bool = False,
    multilabel: bool = False,
    passed_over: PassedOver | None = None,
) -> Writer:
    """Return the writer of a format in `FORMATS`.

    Args:
        output_format: its name.
        stream: where it writes.
        labels: in the bundle's order give the columns.
        heatmaps: CSV has a column for their files.
        multilabel: each label is a finding by itself, which CSV gives a column more.
        passed_over: what the walk of the folders leaves out, for the last lines of a table.
    """
    if output_format == "json":
        return _Json(stream)
    if output_format == "jsonl":
        return _JsonLines(stream)
    if output_format == "csv":
        return _Csv(stream, labels, heatmaps=heatmaps, multilabel=multilabel)
    return _Table(stream, labels, passed_over)


def csv_columns(labels: Sequence[str], *, heatmaps: bool, multilabel: bool = False) -> list[str]:
    """Head of the table: one column per class in the bundle's order, one of `heatmaps` where these are written.

    With `multilabel` also one per label that says whether it is present.
    """
    columns = [f"probability_{label}" for label in labels]
    columns += [f"finding_{label}" for label in labels if multilabel]
    files = ["heatmap_file"] if heatmaps else []
    return ["path", "decision", *columns, "novelty", "reason_codes", "reasons", *files, "bundle"]


class _JsonLines:
    """One object per line; all characters ASCII, so that no file name can break the stream's encoding."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def begin(self) -> None:
        """Nothing stands before the first line."""

    def write(self, prediction: Prediction) -> None:
        self._stream.write(json.dumps(prediction.record()) + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Nothing stands after the last line."""


class _Json:
    """One array; written element by element, so that a million predictions need no memory."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._separator = "[\n"

    def begin(self) -> None:
        """The bracket comes with the first element."""

    def write(self, prediction: Prediction) -> None:
        self._stream.write(self._separator + json.dumps(prediction.record()))
        self._separator = ",\n"

    def end(self) -> None:
        self._stream.write("[]\n" if self._separator == "[\n" else "\n]\n")
        self._stream.flush()


class _Csv:
    """One row per prediction, one column per class; reasons joined by semicolons."""

    def __init__(self, stream: TextIO, labels: Sequence[str], *, heatmaps: bool, multilabel: bool) -> None:
        self._stream, self._labels, self._heatmaps, self._multilabel = stream, labels, heatmaps, multilabel
        self._rows = csv.writer(stream, lineterminator="\n")

    def begin(self) -> None:
        self._rows.writerow(csv_columns(self._labels, heatmaps=self._heatmaps, multilabel=self._multilabel))

    def write(self, prediction: Prediction) -> None:
        probabilities = [_number(prediction.probabilities.get(label), 6) for label in self._labels]
        findings = [prediction.findings.get(label, "") for label in self._labels if self._multilabel]
        codes = "; ".join(reason.code for reason in prediction.reasons)
        words = "; ".join(one_line(reason.words) for reason in prediction.reasons)
        novelty = _number(prediction.novelty, 6)
        path = one_line(prediction.path) if self._stream.isatty() else prediction.path  # a file keeps it as it is
        files = [prediction.heatmap_file or ""] if self._heatmaps else []
        cells = (path, prediction.decision, *probabilities, *findings, novelty, codes, words, *files, prediction.bundle)
        self._rows.writerow([table_cell(cell) for cell in cells])
        self._stream.flush()

    def end(self) -> None:
        """Nothing stands after the last row."""


class _Table:
    """Columns for a person; the file stands last, because only its width is unknown beforehand; then what came out."""

    def __init__(self, stream: TextIO, labels: Sequence[str], passed_over: PassedOver | None) -> None:
        self._stream, self._labels, self._passed_over = stream, labels, passed_over
        self._decisions: Counter[str] = Counter()
        self._decision = max(_LONGEST_DECISION, *map(len, labels))
        self._widths = [max(len(label), 5) for label in labels]
        self._bundle = ""

    def begin(self) -> None:
        self._line("decision", list(self._labels), "novelty", "file")

    def write(self, prediction: Prediction) -> None:
        cells = [_number(prediction.probabilities.get(label), 3) or "-" for label in self._labels]
        self._line(prediction.decision, cells, _number(prediction.novelty, 2) or "-", one_line(prediction.path))
        for reason in prediction.reasons:
            self._stream.write(f"{'':{self._decision}}  {one_line(reason.words)}\n")
        self._bundle = prediction.bundle
        self._decisions[prediction.decision] += 1
        self._stream.flush()

    def end(self) -> None:
        if self._bundle:
            self._stream.write(f"\n{self._summary()}\n{self._bundle}. Research use, not a medical device.\n")
            self._stream.flush()

    def _summary(self) -> str:
        others = {UNCERTAIN: "uncertain", REFUSED: "refused", ERROR: "unreadable"}
        answered = self._decisions.total() - sum(self._decisions[name] for name in others)
        told = [f"{answered:,} answered", *(f"{self._decisions[name]:,} {word}" for name, word in others.items())]
        if self._passed_over is not None and self._passed_over.total:
            return f"{', '.join(told)}, {self._passed_over.total:,} not read ({self._passed_over.reasons()})"
        return f"{', '.join(told)}, 0 not read"

    def _line(self, decision: str, cells: list[str], novelty: str, path: str) -> None:
        columns = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, self._widths, strict=True))
        self._stream.write(f"{decision:<{self._decision}}  {columns}  {novelty:>7}  {path}\n")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
