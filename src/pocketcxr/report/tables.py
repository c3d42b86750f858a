"""Results as files that other programs read: one JSON with everything, tables and predictions as CSV."""

from __future__ import annotations

import dataclasses
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pocketcxr.evaluation.model_result import calibration_json
from pocketcxr.files import write_csv, write_json
from pocketcxr.report.conclusions import FORMER_TITLES
from pocketcxr.report.formatting import slug
from pocketcxr.roles import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.evaluation.model_result import ModelResult
    from pocketcxr.report.evaluate import Evaluation

FORMAT_VERSION = 1

_FORMER_FIELDS = {"question": "title", "answer": "outcome", "words": "text"}


def write_tables(
    evaluation: Evaluation, dataset: Dataset, *, out: Path, command: str, settings: Mapping[str, object]
) -> None:
    """Write ``evaluation.json``, ``tables/*.csv`` and ``predictions/*.csv``; every file appears whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    table = as_json(evaluation) | {"command": command, "settings": settings, "environment": environment()}
    write_json(out / "evaluation.json", table, allow_nan=False)
    write_csv(
        out / "tables" / "figures.csv",
        ("model", "source", "figure", "value", "low", "high", "skipped", "why"),
        _figure_rows(evaluation),
    )
    write_csv(
        out / "tables" / "comparisons.csv",
        ("first", "second", "figure", "difference", "low", "high", "p_bootstrap", "p_mcnemar", "p_delong", "why"),
        _comparison_rows(evaluation),
    )
    labels = evaluation.task.labels
    write_csv(
        out / "tables" / "confusion.csv",
        ("model", "truth", *(f"predicted {label}" for label in labels)),
        ((one.name, label, *one.confusion[i]) for one in evaluation.models for i, label in enumerate(labels)),
    )
    write_csv(
        out / "tables" / "data.csv",
        ("split", "source", "label", "images"),
        ((*key, images) for key, images in evaluation.counts.items()),
    )
    write_csv(
        out / "tables" / "costs.csv",
        ("model", "parameters", "macs", "bytes", "latency_ms", "latency_p10_ms", "latency_p90_ms", "peak_memory_bytes"),
        _cost_rows(evaluation),
    )
    for one in evaluation.models:
        _write_predictions(out / "predictions" / f"{slug(one.name) or 'model'}.csv", one, evaluation, dataset)


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything measured, as plain values; a figure that does not exist is null with its reason in ``why``."""
    return {
        "format_version": FORMAT_VERSION,
        "title": evaluation.title,
        "headline": evaluation.headline,
        "task": {
            "name": evaluation.task.name,
            "labels": list(evaluation.task.labels),
            "positive": evaluation.task.positive,
        },
        "conclusions": [dataclasses.asdict(conclusion) for conclusion in evaluation.conclusions],
        "next_steps": list(evaluation.next_steps),
        "cautions": list(evaluation.cautions),
        "notes": list(evaluation.notes),
        "models": {
            one.name: {
                "calibration": calibration_json(one.calibration),
                "figures": _figures(one.figures),
                "per_source": {source: _figures(table) for source, table in one.per_source.items()},
                "confusion": one.confusion.tolist(),
                "costs": evaluation.costs[one.name].as_json() if one.name in evaluation.costs else None,
            }
            for one in evaluation.models
        },
        "comparisons": [pair.as_json() for pair in evaluation.comparisons],
        "data": {
            "fingerprint": evaluation.fingerprint,
            "test_images": len(evaluation.members),
            "test_patients": evaluation.known_patients,
            "test_units": evaluation.units,
            "patients_or_duplicates_in_train_and_test": evaluation.shared_patients,
            "counts": [
                {"split": split, "source": source, "label": label, "images": images}
                for (split, source, label), images in evaluation.counts.items()
            ],
        },
        "config": dataclasses.asdict(evaluation.config),
    }


def present(record: Mapping[str, Any]) -> dict[str, Any]:
    """An ``evaluation.json``, or what was kept of one, of this version or an earlier one, under present names."""
    table = canonical(dict(record))
    found = table.pop("verdicts", None) or table.get("conclusions")
    if found is not None:
        table["conclusions"] = [{_FORMER_FIELDS.get(name, name): one[name] for name in one} for one in found]
        for one in table["conclusions"]:
            one["title"] = FORMER_TITLES.get(one["title"], one["title"])
    return table


def environment() -> dict[str, str]:
    """Versions of what made the figures, and the kind of machine."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for package in ("pocketcxr", "numpy", "scipy", "onnxruntime", "pillow", "torch", "timm"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _figures(table: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: figure.as_json() for name, figure in table.items()}


def _figure_rows(evaluation: Evaluation) -> Iterable[Sequence[object]]:
    for one in evaluation.models:
        for source, table in (("all", one.figures), *one.per_source.items()):
            for name, figure in table.items():
                yield (one.name, source, name, figure.value, figure.low, figure.high, figure.skipped, figure.why)


def _comparison_rows(evaluation: Evaluation) -> Iterable[Sequence[object]]:
    for pair in evaluation.comparisons:
        for found in pair.differences:
            figure = found.figure
            yield (
                pair.first,
                pair.second,
                found.metric,
                figure.value,
                figure.low,
                figure.high,
                found.p,
                pair.mcnemar.p if found.metric == "accuracy" else None,
                pair.delong.p if found.metric == "auroc" else None,
                figure.why,
            )


def _cost_rows(evaluation: Evaluation) -> Iterable[Sequence[object]]:
    for one in evaluation.models:
        cost = evaluation.costs.get(one.name)
        if cost is not None:
            latency = cost.latency
            times = (latency.median_ms, latency.p10_ms, latency.p90_ms) if latency else (None, None, None)
            yield (one.name, cost.parameters, cost.macs, cost.bytes, *times, cost.peak_memory_bytes)


def _write_predictions(path: Path, one: ModelResult, evaluation: Evaluation, dataset: Dataset) -> None:
    """One line per test image; `patient` is a number of this table: enough to recompute intervals, and no name."""
    labels = evaluation.task.labels
    write_csv(
        path,
        ("path", "source", "patient", "label", "predicted", *(f"p_{label}" for label in labels)),
        (
            (
                dataset.rows[position].path,
                dataset.rows[position].source,
                patient,
                labels[truth],
                labels[int(row.argmax())],
                *(f"{p:.7g}" for p in row),
            )
            for position, patient, truth, row in zip(
                one.predictions.positions, evaluation.members, one.predictions.labels, one.probabilities, strict=True
            )
        ),
        private=True,  # file names may name a patient
    )
