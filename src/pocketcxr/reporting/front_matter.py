"""Metadata of a model card as the Hugging Face hub reads them: YAML between two lines of ``---``.

Source: Hugging Face hub documentation, "Model cards", and the specification of ``model-index`` in its modelcard.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import require_extra
from pocketcxr.reporting import cohort
from pocketcxr.reporting.reported_metrics import classes, name_of, reported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import EvalResult, ModelCardData

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
    return _card_data(record).to_dict()


def front_matter(record: RunRecord) -> str:
    """The metadata as YAML, with the lines of ``---`` around."""
    return fenced(_card_data(record))


def fenced(data: ModelCardData) -> str:
    """Metadata as YAML between two lines of ``---``."""
    return f"---\n{data.to_yaml()}\n---"


def _card_data(record: RunRecord) -> ModelCardData:
    require_extra("evaluate", "huggingface_hub")
    from huggingface_hub import ModelCardData

    found, sources = reported(record), source_names(record)
    results = _results(record, found) if found else []
    return ModelCardData(
        language=["en"],
        license="other",
        license_name=LICENCE_NAME,
        license_link=LICENCE_FILE,
        library_name="onnx" if record.bundle else "timm",
        pipeline_tag="image-classification",
        tags=_tags(record),
        datasets=[_slug(source) for source in sources] or None,
        metrics=sorted({one.metric_type for one in results}) or None,
        model_name=model_name(record),
        eval_results=results or None,
    )


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
    task = record.evaluation.get("task", {}).get("name") or (record.manifest.task if record.manifest else "")
    labels = record.evaluation.get("task", {}).get("labels") or (record.manifest.labels if record.manifest else ())
    conditional = {
        "covid-19": any("covid" in label for label in labels),
        "onnx": record.bundle,
        "knowledge-distillation": record.distilled,
        _slug(record.student.get("backbone", "")): True,
        _slug(task): True,
        "synthetic-drawings": record.synthetic,
    }
    fixed = ["chest-x-ray", "radiology", "medical-imaging", "pocketcxr", "research-only"]
    return [*fixed, *(tag for tag, wanted in conditional.items() if tag and wanted)]


def _results(record: RunRecord, found: Reported) -> list[EvalResult]:
    whole = ", ".join(source_names(record))
    sizes = {"images": found.images, "patients": found.patients}
    results = _of_dataset(record, found, found.figures, name=whole, sizes=sizes)
    if len(found.per_source) > 1:
        counts = record.evaluation.get("data", {}).get("counts", ())
        for source, figures in found.per_source.items():
            images = sum(one["images"] for one in counts if (one["split"], one["source"]) == ("test", source))
            results += _of_dataset(record, found, figures, name=source, sizes={"images": images})
    return results


def _of_dataset(
    record: RunRecord, found: Reported, figures: Mapping[str, Estimate], *, name: str, sizes: Mapping[str, int | None]
) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    labels, positive = classes(record)
    told = {metric: one for metric in METRICS if (one := figures.get(metric)) and one.value is not None}
    if len(labels) == 2 and "auroc" in told:  # noqa: PLR2004  # then the mean of classes is the same number
        told.pop("auroc_macro", None)
    return [
        EvalResult(
            task_type="image-classification",
            task_name=f"Chest X-ray: {', '.join(labels)}",
            dataset_name=f"{name}{' (synthetic, no patients)' if record.synthetic else ''}",
            dataset_type=_slug(name) or "not-on-record",
            dataset_split=found.split,
            dataset_args={"interval": found.interval} | {key: value for key, value in sizes.items() if value},
            metric_type=METRICS[metric],
            metric_name=name_of(metric, positive),
            metric_value=one.value,
            metric_args=_bounds(one),
        )
        for metric, one in told.items()
    ]


def _bounds(figure: Estimate) -> dict[str, Any]:
    if figure.low is None or figure.high is None:
        return {"interval": figure.why or "none"}
    return {"low": figure.low, "high": figure.high, "level": 0.95}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-.")
