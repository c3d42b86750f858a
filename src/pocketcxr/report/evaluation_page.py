"""The evaluation as one self-contained HTML page: no script, no request to anywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pocketcxr.evaluation.operating_points import predictive_values
from pocketcxr.files import write_text
from pocketcxr.report import evaluation_charts as charts
from pocketcxr.report import evaluation_tables as rows
from pocketcxr.report.images import common_root, examples
from pocketcxr.report.page import render
from pocketcxr.report.tables import environment
from pocketcxr.report.training_curves import training_charts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.model_result import ModelResult
    from pocketcxr.report.evaluate import Evaluation

PREVALENCES = (0.01, 0.05, 0.2, 0.5)
"""Shares of patients with the disease for which predictive values are worked out (Bayes' rule)."""

_WRONG, _RIGHT = 12, 6


def write_report(
    evaluation: Evaluation,
    dataset: Dataset,
    *,
    curves: Mapping[str, Path],
    command: str = "",
    settings: Mapping[str, object] | None = None,
) -> None:
    """Write the report to ``evaluation.report``; the file appears whole or not at all.

    Args:
        evaluation: all results.
        dataset: the images, for the gallery.
        curves: model name to run folder with ``metrics.csv``.
        command: the command line that made this.
        settings: the whole effective configuration.
    """
    shown, models = evaluation.primary, evaluation.models
    page = render(
        "report/templates/evaluation.html.j2",
        evaluation=evaluation,
        task=evaluation.task,
        models=models,
        primary=shown,
        sections=rows.figure_sections(evaluation),
        overview=charts.overview(models, evaluation.task),
        charts=charts.curves_of_models(models, evaluation.task) + charts.curves_of_classes(shown, evaluation.task),
        training=training_charts(curves),
        prevalence=prevalence_rows(shown),
        prevalences=PREVALENCES,
        costs=rows.cost_rows(evaluation),
        sources=rows.source_rows(evaluation),
        data_rows=rows.data_rows(evaluation),
        right=examples(shown, models, dataset, right=True, most=_RIGHT),
        wrong=examples(shown, models, dataset, right=False, most=_WRONG),
        wrong_total=int((shown.predicted != shown.predictions.labels).sum()),
        licences=rows.licences(dataset, shown.predictions.positions),
        root=common_root(dataset),
        command=command,
        settings=json.dumps(settings or {}, indent=1, ensure_ascii=False, default=str),
        environment=environment(),
    )
    write_text(evaluation.report, page)


def prevalence_rows(shown: ModelResult) -> list[dict[str, Any]]:
    """Predictive values of one model at other shares of disease than the test split's, by Bayes' rule."""
    rows = []
    for point in shown.calibration.operating_points:
        sensitivity = shown.figures[f"sensitivity@{point.name}"].value
        specificity = shown.figures[f"specificity@{point.name}"].value
        if sensitivity is not None and specificity is not None:
            values = [predictive_values(sensitivity, specificity, share) for share in PREVALENCES]
            rows.append({"point": point, "sensitivity": sensitivity, "specificity": specificity, "values": values})
    return rows
