"""Statements on networks, training and results that need more than one text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pocketcxr.report.formatting import percent
from pocketcxr.reporting.reported_metrics import classes, figure_words, final_model, reported
from pocketcxr.reporting.statements.known import items, manifest_source, settings_source
from pocketcxr.reporting.statements.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pocketcxr.reporting.run_record import RunRecord

LOSSES = {
    "ce": "cross-entropy on the labels",
    "kd": "the teacher's softened predictions (Hinton 2015)",
    "standardised": "softened predictions of standardised logits (Sun 2024)",
    "dkd": "target and non-target classes apart (Zhao 2022)",
    "multilevel": "predictions by image, batch and class (Jin 2023)",
    "dist": "correlation within images and classes (Huang 2022)",
    "embedding": "cosine to the teacher's embedding",
    "similarity": "similarities between the images of a batch (Tung & Mori 2019)",
    "contrastive": "same image found among the batch (after Tian 2020)",
}
"""Parts of the loss in words; the names are those of the experiment file."""

OVERALL = ("auroc", "auroc_macro", "average_precision", "accuracy", "balanced_accuracy", "brier", "ece")
DIAGNOSTIC = tuple(
    f"{kind}@{point}" for point in ("screening", "confirming") for kind in ("sensitivity", "specificity", "ppv", "npv")
)
PER_SOURCE = ("auroc", "accuracy")
_OPTIMISATION = {
    "epochs": "epochs",
    "batch size": "batch_size",
    "learning rate": "learning_rate",
    "weight decay": "weight_decay",
    "warm-up epochs": "warmup_epochs",
    "averaging": "ema_decay",
    "label smoothing": "label_smoothing",
    "clipping at": "gradient_clip",
    "dropout": "dropout",
    "seed": "seed",
}
_SELECTED_BY = {"auroc": "macro AUROC", "cross-entropy": "cross-entropy"}


def thresholds(record: RunRecord) -> Statement | None:
    """Operating points and where they were chosen."""
    if record.manifest is None or not record.manifest.operating_points:
        return None
    lines = items(
        f"{point.name}: probability of {point.label} ≥ {point.threshold:.3f}, chosen on the {point.chosen_on} "
        f"(sensitivity {percent(point.sensitivity)}, specificity {percent(point.specificity)} there)"
        for point in record.manifest.operating_points
    )
    asked, wanted = "", record.settings.get("evaluation", {})
    if wanted:
        asked = f" Asked for: sensitivity {percent(wanted['screening_sensitivity'])} (screening), specificity "
        asked += f"{percent(wanted['confirming_specificity'])} (confirming)."
    return Statement(f"Thresholds.{asked}{lines}", manifest_source(record))


def software(record: RunRecord) -> Statement | None:
    """Programs and versions."""
    trained, evaluated = record.environment, record.evaluation.get("environment", {})
    packages = {name: version for name, version in trained.get("packages", {}).items() if version}
    python, source, commit = trained.get("python"), "environment.json of the last stage trained", trained.get("commit")
    if packages:
        packages = {"pocketcxr": trained.get("pocketcxr", ""), **packages}
    else:
        packages = {name: version for name, version in evaluated.items() if name not in ("python", "machine")}
        python, source, commit = evaluated.get("python"), "evaluation/evaluation.json", None
    listed = ", ".join(f"{name} {version}" for name, version in packages.items())
    text = f"Python {python}; {listed}{f'; source commit {commit}' if commit else ''}."
    return Statement(text, source) if packages else None


def training(record: RunRecord) -> Statement | None:
    """Optimiser and settings of what was trained."""
    lines = [f"student: {_optimisation(record.student)}"] if record.student else []
    if record.teacher:
        staged = "; each backbone with a head of its own, then the fusion" if record.teacher.get("staged") else ""
        lines.append(f"teacher: {_optimisation(record.teacher)}{staged}")
    precision = record.stages.get("student-distilled", {}).get("precision")
    lead = f"Networks trained: {', '.join(sorted(record.trained))}. AdamW, linear warm-up, cosine decay, gradient "
    lead += f"clipping, averaged weights.{f' Arithmetic: {precision}.' if precision else ''} Settings:"
    return Statement(f"{lead}{items(lines)}", settings_source(record)) if lines else None


def distillation(record: RunRecord) -> Statement | None:
    """What the student learns from."""
    if not record.distilled:
        return None
    losses = record.student["losses"].items()
    parts = ", ".join(f"{weight:g} × {LOSSES.get(name, name)}" for name, weight in losses if weight > 0)
    views = record.settings.get("views", {})
    outputs = record.stages.get("student-distilled", {}).get("teacher", {}).get("answers", "")
    seen = f" Teacher and student see the same {views['count']:,} augmented views of each image" if views else ""
    kept = f" (outputs {outputs})" if outputs and seen else ""
    text = f"Loss: {parts}; temperature {record.student['temperature']:g}.{seen}{kept}{'.' if seen else ''}"
    return Statement(text, settings_source(record))


def selection(record: RunRecord) -> Statement | None:
    """How final weights were chosen, and which epoch they are of."""
    student = record.student
    if not student:
        return None
    best = record.finished.get("student-distilled", {}).get("best_epoch")
    chosen = f" The student's weights are those of epoch {best} of {student['epochs']}." if best else ""
    figure = _SELECTED_BY.get(student["select_by"], student["select_by"])
    text = (
        f"The epoch with the best {figure} on the calibration split, taken with averaged weights; the test split took "
    )
    source = f"{settings_source(record)}{'; student-distilled/finished.json' if best else ''}"
    return Statement(f"{text}no part.{chosen}", source)


def performance(record: RunRecord) -> Statement | None:
    """The final model's figures."""
    return _figures(record, OVERALL)


def diagnostic(record: RunRecord) -> Statement | None:
    """Sensitivity and the like at the thresholds."""
    return _figures(record, DIAGNOSTIC)


def per_source(record: RunRecord) -> Statement | None:
    """Figures of each source."""
    found, positive = reported(record), classes(record)[1]
    if found is None or not found.per_source:
        return None
    lines = items(
        f"{source}: " + ", ".join(figure_words(name, table[name], positive) for name in PER_SOURCE if name in table)
        for source, table in found.per_source.items()
    )
    return Statement(f"By source, {found.split} split:{lines}", found.where)


def failures(record: RunRecord) -> Statement | None:
    """Where the final model went wrong."""
    models, labels = record.evaluation.get("models", {}), classes(record)[0]
    if not models or not labels:
        return None
    name = final_model(models)
    confusion = models[name]["confusion"]
    cells = [(n, i, j) for i, row in enumerate(confusion) for j, n in enumerate(row)]
    wrong = sorted(((n, f"{labels[i]} called {labels[j]}") for n, i, j in cells if i != j and n), reverse=True)
    listed = ", ".join(f"{n:,} {words}" for n, words in wrong) or "none"
    return Statement(
        f"{sum(n for n, _ in wrong):,} of {sum(n for n, _, _ in cells):,} test images wrong: {listed}. Images with "
        "maps are in evaluation/report.html, single predictions in evaluation/predictions/.",
        f"evaluation/evaluation.json, model “{name}”, confusion",
        complete=False,
    )


def _figures(record: RunRecord, names: Iterable[str]) -> Statement | None:
    found, positive = reported(record), classes(record)[1]
    if found is None:
        return None
    lines = items(figure_words(name, found.figures[name], positive) for name in names if name in found.figures)
    lead = f"{found.model.capitalize()}, {found.split} split, {found.size} ({found.interval}):"
    return Statement(f"{lead}{lines}", found.where) if lines else None


def _optimisation(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{words} {config[name]:g}" for words, name in _OPTIMISATION.items())
