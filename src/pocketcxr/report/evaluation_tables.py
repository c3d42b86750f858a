"""Tables of the evaluation page: which figures stand in which row, and what each of them means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.report.formatting import amount, number, percent
from pocketcxr.report.types import Cell, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.costs import Costs
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.labels import Task
    from pocketcxr.report.evaluate import Evaluation
    from pocketcxr.report.formatting import Show


def cell(figure: Estimate | None, show: Show = number) -> Cell:
    """Show a figure with its interval; not measurable ones say so, and why."""
    if figure is None or figure.value is None:
        return Cell("not measurable", figure.why if figure else "", missing=True)
    if figure.low is None or figure.high is None:
        return Cell(show(figure.value), figure.why)
    return Cell(show(figure.value), f"{show(figure.low)} – {show(figure.high)}")


_Definition = tuple[str, str, str, "Show"]


def figure_sections(evaluation: Evaluation) -> list[tuple[str, list[Row]]]:
    """The main table, grouped by what a reader wants to know."""
    task, config = evaluation.task, evaluation.config
    several = len(task.labels) > 2  # noqa: PLR2004
    others = [label for label in task.labels if several and label != task.positive]
    discrimination: list[_Definition] = [
        (
            "auroc",
            f"AUROC, {task.positive}",
            "chance that a random image with it scores higher than one without",
            number,
        ),
        *((f"auroc/{label}", f"AUROC, {label}", "", number) for label in others),
        *([("auroc_macro", "AUROC, mean of classes", "", number)] if several else []),
        ("average_precision", f"Average precision, {task.positive}", "area under precision-recall", number),
        *([("average_precision_macro", "Average precision, mean of classes", "", number)] if several else []),
    ]
    classification: list[_Definition] = [
        ("accuracy", "Accuracy", "most probable class is the true one", percent),
        ("balanced_accuracy", "Balanced accuracy", "mean over classes of the recall", percent),
        *((f"recall/{label}", f"Recall, {label}", "", percent) for label in task.labels),
    ]
    calibration: list[_Definition] = [
        ("brier", "Brier score", "mean squared distance from the truth", number),
        ("log_loss", "Log loss", "mean negative log probability of the truth", number),
        ("ece", "Calibration error, top class", "gap between confidence and accuracy", number),
        ("ece_positive", f"Calibration error, {task.positive}", "gap between probability and frequency", number),
    ]
    conformal: list[_Definition] = [
        ("conformal_coverage", "Coverage", "share of the sets that hold the true class", percent),
        ("conformal_single", "Sets of one class", "the others are “uncertain”", percent),
    ]
    sections = [
        ("Discrimination", discrimination),
        ("Classification", classification),
        *(
            (f"{point.capitalize()} threshold ({aim} asked for, chosen on the calibration split)", _at(point, task))
            for point, aim in (
                ("screening", f"sensitivity of {percent(config.screening_sensitivity, 0)}"),
                ("confirming", f"specificity of {percent(config.confirming_specificity, 0)}"),
            )
        ),
        ("Calibration (smaller is better)", calibration),
        (f"Conformal prediction sets (coverage of {percent(config.coverage, 0)} asked for)", conformal),
    ]
    return [(title, rows) for title, definitions in sections if (rows := _rows(evaluation, definitions))]


def _at(point: str, task: Task) -> list[_Definition]:
    return [
        (f"sensitivity@{point}", "Sensitivity", f"share of {task.positive} that is called", percent),
        (f"specificity@{point}", "Specificity", "share of the others that is not", percent),
        (f"ppv@{point}", "Positive predictive value", "at the prevalence in these images", percent),
        (f"npv@{point}", "Negative predictive value", "at the prevalence in these images", percent),
    ]


def _rows(evaluation: Evaluation, definitions: Sequence[_Definition]) -> list[Row]:
    rows = []
    for metric, name, meaning, show in definitions:
        figures = [one.figures.get(metric) for one in evaluation.models]
        if any(figure is not None for figure in figures):
            rows.append(Row(name, meaning, tuple(cell(figure, show) for figure in figures)))
    return rows


def source_rows(evaluation: Evaluation) -> list[tuple[str, str, list[Row]]]:
    """Per source: name, its test images by class, and a row per figure."""
    task = evaluation.task
    others = [label for label in task.labels if label != task.positive] if len(task.labels) > 2 else []  # noqa: PLR2004
    definitions: list[tuple[str, str, Show]] = [
        ("auroc", f"AUROC, {task.positive}", number),
        *((f"auroc/{label}", f"AUROC, {label}", number) for label in others),
        ("accuracy", "Accuracy", percent),
        ("sensitivity@screening", "Sensitivity, screening threshold", percent),
        ("specificity@screening", "Specificity, screening threshold", percent),
    ]
    found = []
    for source in evaluation.models[0].per_source:
        counts = {label: evaluation.counts.get(("test", source, label), 0) for label in task.labels}
        images = ", ".join(f"{n:,} {label}" for label, n in counts.items() if n)
        rows = []
        for metric, name, show in definitions:
            figures = [one.per_source[source].get(metric) for one in evaluation.models]
            present = any(figure is not None for figure in figures)
            measured = any(figure is not None and figure.value is not None for figure in figures)
            if measured or (present and "/" not in metric):  # other classes only where there is something to say
                rows.append(Row(name, "", tuple(cell(figure, show) for figure in figures)))
        found.append((source, images, rows))
    return found


def cost_rows(evaluation: Evaluation) -> list[Row]:
    """Costs of all models; each figure also as a share of the most expensive model's."""
    measured = [evaluation.costs.get(one.name) for one in evaluation.models]
    definitions: tuple[tuple[str, str, Callable[[Costs], float | None], Callable[[float], str]], ...] = (
        ("Parameters", "", lambda c: c.parameters, amount),
        ("Multiply-accumulates", "per image", lambda c: c.macs, amount),
        ("File", "as shipped", lambda c: c.bytes, lambda v: amount(v) + "B"),
        (
            "Time per image",
            "one image, one thread, median; below: middle 80 % of runs",
            lambda c: c.latency.median_ms if c.latency else None,
            lambda v: f"{v:.3g} ms",
        ),
        ("Peak memory", "fresh process, runtime included", lambda c: c.peak_memory_bytes, lambda v: amount(v) + "B"),
    )
    rows = []
    for name, meaning, take, show in definitions:
        values = [take(cost) if cost else None for cost in measured]
        largest = max((value for value in values if value), default=None)
        cells = []
        for value, cost in zip(values, measured, strict=True):
            if value is None or largest is None:
                cells.append(Cell("not measured", missing=True))
                continue
            below = f"1/{largest / value:.3g}" if largest / value >= 1.05 else ""  # noqa: PLR2004
            if name == "Time per image" and cost and cost.latency:
                spread = f"{cost.latency.p10_ms:.3g} – {cost.latency.p90_ms:.3g} ms"
                below = f"{below} · {spread}" if below else spread
            cells.append(Cell(show(value), below))
        if largest is not None:
            rows.append(Row(name, meaning, tuple(cells)))
    if any(cost and cost.runtime for cost in measured):
        rows.append(Row("Runtime", "", tuple(Cell(cost.runtime if cost else "–") for cost in measured)))
    return rows


def data_rows(evaluation: Evaluation) -> list[tuple[str, str, list[int]]]:
    """Images by source and class in every split: source, class, counts of train, calibration and test."""
    splits = ("train", "calibration", "test")
    keys = sorted({(source, label) for _, source, label in evaluation.counts})
    return [
        (source, label, [evaluation.counts.get((split, source, label), 0) for split in splits])
        for source, label in keys
    ]


def licences(dataset: Dataset, positions: NDArray[np.int64]) -> list[str]:
    """Licences that the data sets state for the test images, which a report that shows some of them must name."""
    return sorted({dataset.rows[i].licence for i in positions} - {""})
