"""The metadata on top of a model card, as the Hugging Face hub reads them: YAML between two lines of ``---``.

Source: Hugging Face hub documentation, "Model cards", and the specification of ``model-index`` in its modelcard.md.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pocketcxr.reporting import cohort
from pocketcxr.reporting.reported_metrics import classes, name_of, reported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.reporting.reported_metrics import Reported
    from pocketcxr.reporting.run_record import RunRecord

LICENCE_NAME = "pocketcxr-research-only"
LICENCE_FILE = "LICENSE.md"

METRICS = {
    "auroc": "roc_auc",
    "auroc_macro": "roc_auc",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "brier": "brier_score",
    "ece": "expected_calibration_error",
    "sensitivity@screening": "sensitivity",
    "specificity@screening": "specificity",
    "sensitivity@confirming": "sensitivity",
    "specificity@confirming": "specificity",
}
"""Figures of the evaluation that go into the metadata, with the hub's type of metric."""


def metadata(record: RunRecord) -> dict[str, Any]:
    """Metadata of a card; values of the figures are those of the record, to the last digit."""
    found = reported(record)
    table: dict[str, Any] = {
        "language": ["en"],
        "license": "other",
        "license_name": LICENCE_NAME,
        "license_link": LICENCE_FILE,
        "library_name": "onnx" if record.bundle else "timm",
        "pipeline_tag": "image-classification",
        "tags": _tags(record),
    }
    sources = source_names(record)
    if sources:
        table["datasets"] = [_slug(source) for source in sources]
    if found is not None:
        table["metrics"] = sorted({METRICS[name] for name in METRICS if _measured(found.figures, name)})
        table["model-index"] = [{"name": model_name(record), "results": _results(record, found)}]
    return table


def front_matter(record: RunRecord) -> str:
    """The metadata as YAML, with the lines of ``---`` around."""
    return "\n".join(["---", *_yaml(metadata(record), ""), "---"])


def model_name(record: RunRecord) -> str:
    """Name of the model: the bundle's, else the run's."""
    return record.bundle.manifest.name if record.bundle else record.name or "pocketcxr model"


def source_names(record: RunRecord) -> list[str]:
    """Sources of the images used, from the run's table or from the bundle."""
    used = cohort.used_rows(record.rows)
    if used or record.bundle is None:
        return sorted({row.source for row in used})
    return sorted(record.bundle.manifest.data.get("sources", ()))


def _tags(record: RunRecord) -> list[str]:
    student = record.student.get("backbone", "")
    own = [_slug(student)] if student else []
    drawn = ["synthetic-drawings"] if record.drawn else []
    task = record.evaluation.get("task", {}).get("name") or (record.manifest.task if record.manifest else "")
    return [
        "chest-x-ray",
        "radiology",
        "medical-imaging",
        "covid-19",
        *(["onnx"] if record.bundle else []),
        "pocketcxr",
        "research-only",
        *(["knowledge-distillation"] if record.taught else []),
        *own,
        *([_slug(task)] if task else []),
        *drawn,
    ]


def _results(record: RunRecord, found: Reported) -> list[dict[str, Any]]:
    sources = source_names(record)
    whole = ", ".join(sources)
    results = [_result(record, found, found.figures, name=whole, kind=_slug(whole), images=found.images)]
    if len(found.per_source) > 1:
        results += [
            _result(record, found, figures, name=source, kind=_slug(source), images=_test_images(record, source))
            for source, figures in found.per_source.items()
        ]
    return [result for result in results if result["metrics"]]


def _result(
    record: RunRecord,
    found: Reported,
    figures: Mapping[str, Estimate],
    *,
    name: str,
    kind: str,
    images: int | None,
) -> dict[str, Any]:
    labels, positive = classes(record)
    drawn = " (drawings, no patients)" if record.drawn else ""
    told = [metric for metric in METRICS if _measured(figures, metric)]
    if len(labels) == 2 and "auroc" in told:  # noqa: PLR2004  # then the mean of classes is the same number
        told = [metric for metric in told if metric != "auroc_macro"]
    args: dict[str, Any] = {"interval": found.interval}
    args |= {"images": images, "patients": found.patients if figures is found.figures else None}
    return {
        "task": {"type": "image-classification", "name": f"Chest X-ray: {', '.join(labels)}"},
        "dataset": {
            "name": f"{name}{drawn}",
            "type": kind or "not-on-record",
            "split": found.split,
            "args": {key: value for key, value in args.items() if value},
        },
        "metrics": [
            {
                "type": METRICS[metric],
                "value": figures[metric].value,
                "name": name_of(metric, positive),
                "args": _bounds(figures[metric]),
            }
            for metric in told
        ],
    }


def _test_images(record: RunRecord, source: str) -> int:
    counts = record.evaluation.get("data", {}).get("counts", ())
    return sum(one["images"] for one in counts if (one["split"], one["source"]) == ("test", source))


def _bounds(figure: Estimate) -> dict[str, Any]:
    if figure.low is None or figure.high is None:
        return {"interval": figure.why or "none"}
    return {"low": figure.low, "high": figure.high, "level": 0.95}


def _measured(figures: Mapping[str, Estimate], name: str) -> bool:
    return name in figures and figures[name].value is not None


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.")


def _yaml(value: Any, indent: str) -> list[str]:
    """Block YAML of dicts, lists and scalars; strings in double quotes as JSON writes them, which YAML reads alike."""
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            nested = isinstance(inner, (dict, list)) and inner
            lines += (
                [f"{indent}{key}:", *_yaml(inner, indent + "  ")] if nested else [f"{indent}{key}: {_scalar(inner)}"]
            )
        return lines
    lines = []
    for inner in value:
        if isinstance(inner, dict) and inner:
            first, *rest = _yaml(inner, indent + "  ")
            lines += [f"{indent}- {first.strip()}", *rest]
        else:
            lines.append(f"{indent}- {_scalar(inner)}")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
"""Bare words that YAML 1.1 takes for something else."""
