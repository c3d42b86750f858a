"""Predictions as a Parquet file, for whoever loads a million of them into a table; needs the extra ``parquet``.

Parquet cannot grow line by line, so predictions are collected as JSON lines first (see `scores_file`).
"""
# PyArrow ships no types:
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from pocketcxr.errors import ConfigError
from pocketcxr.files import open_atomic, open_atomic_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_ROWS_AT_ONCE = 20_000


def write_parquet(collected: Path, path: Path, labels: Sequence[str], *, multilabel: bool = False) -> None:
    """Turn collected JSON lines into a Parquet file, which appears whole or not at all, in constant memory.

    Columns: ``path``, ``decision``, ``probability_<label>``, with `multilabel` ``finding_<label>``, ``novelty``,
    ``reason_codes`` and ``reasons`` (lists of text), ``heatmap_file``, ``bundle``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("path", pa.string()),
            ("decision", pa.string()),
            *((f"probability_{label}", pa.float64()) for label in labels),
            *((f"finding_{label}", pa.string()) for label in labels if multilabel),
            ("novelty", pa.float64()),
            ("reason_codes", pa.list_(pa.string())),
            ("reasons", pa.list_(pa.string())),
            ("heatmap_file", pa.string()),
            ("bundle", pa.string()),
        ]
    )
    with (
        collected.open(encoding="utf-8") as lines,
        open_atomic(path, private=True) as stream,
        pq.ParquetWriter(stream, schema) as writer,
    ):
        rows: list[dict[str, Any]] = []
        for line in lines:
            rows.append(_row(json.loads(line), labels, multilabel=multilabel))
            if len(rows) == _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))
    collected.unlink()


def reopen_parquet(path: Path, collected: Path) -> None:
    """Turn a finished Parquet file back into JSON lines, so that new files can be added to it."""
    if collected.exists() or not path.exists():
        return
    import pyarrow.parquet as pq  # 35 MB that a run needs only at its end

    try:
        with pq.ParquetFile(path) as stored, open_atomic_text(collected, private=True) as lines:
            for batch in stored.iter_batches(_ROWS_AT_ONCE):
                lines.writelines(json.dumps(_record(row)) + "\n" for row in batch.to_pylist())
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{path}: expected predictions of pocketcxr predict, found something else") from error


def _row(record: dict[str, Any], labels: Sequence[str], *, multilabel: bool) -> dict[str, Any]:
    probabilities: dict[str, float] = record["probabilities"]
    return {
        "path": record["path"],
        "decision": record["decision"],
        **{f"probability_{label}": probabilities.get(label) for label in labels},
        **{f"finding_{label}": record.get("findings", {}).get(label) for label in labels if multilabel},
        "novelty": record["novelty"],
        "reason_codes": [reason["code"] for reason in record["reasons"]],
        "reasons": [reason["words"] for reason in record["reasons"]],
        "heatmap_file": record.get("heatmap_file"),
        "bundle": record["bundle"],
    }


def _record(row: dict[str, Any]) -> dict[str, Any]:
    prefix = "probability_"
    probabilities = {
        column.removeprefix(prefix): cast("float", value)
        for column, value in row.items()
        if column.startswith(prefix) and value is not None
    }
    start = "finding_"
    findings = {
        name.removeprefix(start): value for name, value in row.items() if name.startswith(start) and value is not None
    }
    told = {"findings": findings} if findings else {}
    reasons = [{"code": code, "words": words} for code, words in zip(row["reason_codes"], row["reasons"], strict=True)]
    kept = {name: row[name] for name in ("path", "decision", "novelty", "bundle")}
    drawn = {"heatmap_file": row["heatmap_file"]} if row.get("heatmap_file") else {}
    return {**kept, "probabilities": probabilities, "reasons": reasons, **told, **drawn}
