"""The figures of a run's final model as they stand in its files, in one shape for checklist and model card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pocketcxr import roles
from pocketcxr.evaluation.intervals import Estimate
from pocketcxr.report.formatting import interval, number, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketcxr.reporting.run_record import RunRecord

PERCENT = frozenset(
    {"accuracy", "balanced_accuracy", "recall", "sensitivity", "specificity", "ppv", "npv", "conformal_coverage"}
    | {"conformal_single"}
)
"""Figures shown in per cent, by the part of their name before ``/`` or ``@``."""


UNIT_NOTE = (
    "Resampled are patients; where a data set names none, the study stands for the patient, then the group of near "
    "duplicates, then the image."
)
"""What the evaluation takes for a patient."""


@dataclass(frozen=True)
class Reported:
    """The final model's figures: which `model`, on which split, how many images and patients, read from where.

    `patients` are the units that were resampled, see `UNIT_NOTE`. `interval` says in words how intervals were made;
    `where` is the file and the place in it.
    """

    model: str
    split: str
    images: int | None
    patients: int | None
    figures: dict[str, Estimate]
    per_source: dict[str, dict[str, Estimate]]
    interval: str
    where: str

    @property
    def size(self) -> str:
        """Number of images and of the units resampled, in words."""
        if not self.images:
            return "number of images not on record"
        return f"{self.images:,} images" + (f" in {self.patients:,} resampled units" if self.patients else "")


def reported(record: RunRecord) -> Reported | None:
    """Figures of the model that users get: of the evaluation, else those that the bundle carries; None without any."""
    models = record.evaluation.get("models", {})
    if models:
        name = final_model(models)
        data, config = record.evaluation.get("data", {}), record.evaluation.get("config", {})
        resamples = f", {config['bootstrap']:,} resamples" if "bootstrap" in config else ""
        return Reported(
            model=name,
            split="test",
            images=data.get("test_images"),
            patients=data.get("test_units", data.get("test_patients")),
            figures=_figures(models[name].get("figures", {})),
            per_source={source: _figures(table) for source, table in models[name].get("per_source", {}).items()},
            interval=f"95 % bootstrap by patient{resamples}",
            where=f"evaluation/evaluation.json, model “{name}”",
        )
    if record.bundle is None or not record.bundle.manifest.metrics:
        return None
    metrics = record.bundle.manifest.metrics
    return Reported(
        model="student as exported",
        split=str(metrics.get("split", "test")),
        images=metrics.get("images"),
        patients=None,
        figures=_figures(metrics.get("overall", {})),
        per_source={source: _figures(table) for source, table in metrics.get("sources", {}).items()},
        interval=str(metrics.get("interval", "")),
        where=f"manifest of {record.bundle.name}, metrics",
    )


def model_figures(model: Mapping[str, Any]) -> dict[str, Estimate]:
    """Figures of one model of ``evaluation.json``."""
    return _figures(model.get("figures", {}))


def final_model(models: Mapping[str, Any]) -> str:
    """Name of the model that users get: the exported file, else the distilled student, else the last one."""
    return next((name for name in (roles.EXPORTED, roles.DISTILLED) if name in models), list(models)[-1])


def classes(record: RunRecord) -> tuple[tuple[str, ...], str]:
    """Labels in their order and the positive one; empty where nothing says."""
    task = record.evaluation.get("task", {})
    if task:
        return tuple(task.get("labels", ())), str(task.get("positive", ""))
    if record.manifest is not None:
        return record.manifest.labels, record.manifest.positive
    return (), ""


def name_of(metric: str, positive: str) -> str:
    """A figure's name for readers: ``sensitivity@screening`` is "sensitivity for covid19, screening threshold"."""
    kind, _, point = metric.partition("@")
    if point:
        words = {"ppv": "positive predictive value", "npv": "negative predictive value"}.get(kind, kind)
        return f"{words} for {positive}, {point} threshold"
    kind, _, label = metric.partition("/")
    known = {
        "auroc": f"AUROC for {label or positive}",
        "auroc_macro": "AUROC, mean of classes",
        "average_precision": f"average precision for {label or positive}",
        "average_precision_macro": "average precision, mean of classes",
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "recall": f"found of {label}",
        "brier": "Brier score",
        "log_loss": "log loss",
        "ece": "calibration error (top class)",
        "ece_positive": f"calibration error ({positive})",
        "conformal_coverage": "truth in the conformal set",
        "conformal_single": "one class left in the conformal set",
    }
    return known.get(kind, metric)


def value_words(metric: str, figure: Estimate) -> str:
    """Value of a figure, with its unit; "not measurable" where there is none."""
    if figure.value is None:
        return "not measurable"
    return percent(figure.value) if _in_percent(metric) else number(figure.value)


def interval_words(metric: str, figure: Estimate) -> str:
    """Interval of a figure, or why it has none."""
    return interval(figure, percent if _in_percent(metric) else number)


def figure_words(metric: str, figure: Estimate, positive: str) -> str:
    """``AUROC for covid19 0.889 (95 % interval 0.862 to 0.914)``."""
    if figure.value is None:
        return f"{name_of(metric, positive)} not measurable ({figure.why})"
    around = interval_words(metric, figure)
    interval = f"95 % interval {around}" if figure.low is not None else around
    return f"{name_of(metric, positive)} {value_words(metric, figure)} ({interval})"


def _in_percent(metric: str) -> bool:
    return metric.replace("@", "/").partition("/")[0] in PERCENT


def _figures(table: Mapping[str, Any]) -> dict[str, Estimate]:
    return {name: _figure(entry) for name, entry in table.items() if isinstance(entry, dict)}


def _figure(entry: Mapping[str, Any]) -> Estimate:
    """One figure of a JSON file. A bound of exactly 0 is left out there, as every 0 is; null is what says "none"."""
    has_interval = "low" in entry or "high" in entry
    low, high = (entry.get(bound, 0.0 if has_interval else None) for bound in ("low", "high"))
    return Estimate(entry.get("value"), low, high, why=str(entry.get("why", "")), skipped=int(entry.get("skipped", 0)))
