"""What a run's record says of its results: figures with intervals, comparisons, failures, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.reporting.reported_metrics import UNIT_NOTE, classes, figure_words, final_model, reported
from pocketcxr.reporting.statement import Statement, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pocketcxr.reporting.reported_metrics import Reported
    from pocketcxr.reporting.run_record import RunRecord

OVERALL = ("auroc", "auroc_macro", "average_precision", "accuracy", "balanced_accuracy", "brier", "ece")
DIAGNOSTIC = tuple(
    f"{kind}@{point}" for point in ("screening", "confirming") for kind in ("sensitivity", "specificity", "ppv", "npv")
)
PER_SOURCE = ("auroc", "accuracy")
_EVALUATION = "evaluation/evaluation.json"


def headline(record: RunRecord) -> Statement | None:
    """The result in a sentence."""
    text = record.evaluation.get("headline")
    return Statement(text, _EVALUATION, complete=False) if text else None


def questions(record: RunRecord) -> Statement | None:
    """The questions that the evaluation answers."""
    asked = [verdict["question"] for verdict in record.evaluation.get("verdicts", ())]
    return (
        Statement(f"Questions that the run answers: {' '.join(asked)}", _EVALUATION, complete=False) if asked else None
    )


def metrics(record: RunRecord) -> Statement | None:
    """Which figures were computed."""
    found = reported(record)
    if found is None:
        return None
    return Statement(
        "Discrimination: AUROC (the headline figure), average precision. Answers: accuracy, balanced accuracy, "
        "share found "
        "of each class, sensitivity, specificity and predictive values at two thresholds. Calibration: Brier score, "
        "log "
        "loss, calibration error. Conformal sets: coverage and how many hold one class. "
        f"{len(found.figures):,} figures in all.",
        found.where,
    )


def statistics(record: RunRecord) -> Statement | None:
    """Intervals and tests."""
    found = reported(record)
    if found is None:
        return None
    tests = ""
    if record.evaluation.get("comparisons"):
        seed = record.evaluation.get("config", {}).get("seed")
        tests = (
            " Models are compared by paired bootstrap of the difference on the same resamples, McNemar's test of "
            "the answers "
            f"and DeLong's test of the AUROC; seed {seed}. No correction for several comparisons."
        )
    return Statement(f"Intervals: {found.interval}. {UNIT_NOTE}{tests}", found.where)


def internal(record: RunRecord) -> Statement | None:
    """Testing on held-out patients of the same sources."""
    found = reported(record)
    if found is None:
        return None
    if record.folds:
        text = f"Every image was tested once, in {record.folds} folds, by networks not trained on it; {found.size}."
        return Statement(text, found.where)
    return Statement(f"Held-out {found.split} split, {found.size}.", found.where)


def performance(record: RunRecord) -> Statement | None:
    """The final model's figures."""
    found = reported(record)
    text = _told(record, found, OVERALL) if found else ""
    return Statement(text, found.where) if found and text else None


def diagnostic(record: RunRecord) -> Statement | None:
    """Sensitivity and the like at the thresholds."""
    found = reported(record)
    text = _told(record, found, DIAGNOSTIC) if found else ""
    return Statement(text, found.where) if found and text else None


def per_source(record: RunRecord) -> Statement | None:
    """Figures of each source."""
    found = reported(record)
    if found is None or not found.per_source:
        return None
    positive = classes(record)[1]
    lines = [
        f"{source}: " + ", ".join(figure_words(name, table[name], positive) for name in PER_SOURCE if name in table)
        for source, table in found.per_source.items()
    ]
    return Statement(listed(f"By source, {found.split} split:", lines), found.where)


def clusters(record: RunRecord) -> Statement | None:
    """How differences between sources were measured."""
    found = reported(record)
    if found is None or not found.per_source:
        return None
    return Statement(
        f"Sources are the clusters ({len(found.per_source):,}); every figure is given for each with its own "
        "interval. No model "
        "of the differences between them was fitted.",
        found.where,
        complete=False,
    )


def comparison(record: RunRecord) -> Statement | None:
    """Teacher, student alone, distilled, exported: the verdicts."""
    found = record.evaluation.get("verdicts", ())
    if not found:
        return None
    lines = (f"{one['question']} {one['answer'].capitalize()}. {one['words']}" for one in found)
    return Statement(listed("Comparisons on the same images:", lines), _EVALUATION)


def failures(record: RunRecord) -> Statement | None:
    """Where the final model went wrong."""
    models, labels = record.evaluation.get("models", {}), classes(record)[0]
    if not models or not labels:
        return None
    name = final_model(models)
    confusion = models[name]["confusion"]
    total = sum(map(sum, confusion))
    wrong = [
        (confusion[i][j], f"{truth} called {called}")
        for i, truth in enumerate(labels)
        for j, called in enumerate(labels)
        if i != j and confusion[i][j]
    ]
    listed = ", ".join(f"{n:,} {words}" for n, words in sorted(wrong, reverse=True))
    return Statement(
        f"{sum(n for n, _ in wrong):,} of {total:,} test images wrong: {listed or 'none'}. Pictures with maps are in "
        "evaluation/report.html, single answers in evaluation/predictions/.",
        f"{_EVALUATION}, model “{name}”, confusion",
        complete=False,
    )


def limits(record: RunRecord) -> Statement | None:
    """The bundle's own statement of what it cannot be trusted with."""
    if record.bundle is None:
        return None
    return Statement(listed("As the bundle says:", record.bundle.manifest.limits), f"manifest of {record.bundle.name}")


def cautions(record: RunRecord) -> Statement | None:
    """What the evaluation warns of."""
    found = [*record.notes, *record.evaluation.get("cautions", ())]
    return (
        Statement(listed("As the evaluation warns:", found), "notes.txt; evaluation/evaluation.json") if found else None
    )


def details(record: RunRecord) -> Statement | None:
    """The record of the run itself."""
    if record.empty:
        return None
    command = f"Made by: {record.command}. " if record.command else ""
    return Statement(f"{command}Technical details: {', '.join(record.files)}.", "the run's folder", complete=False)


def _told(record: RunRecord, found: Reported, names: Iterable[str]) -> str:
    positive = classes(record)[1]
    told = [figure_words(name, found.figures[name], positive) for name in names if name in found.figures]
    lead = f"{found.model.capitalize()}, {found.split} split, {found.size} ({found.interval}):"
    return listed(lead, told) if told else ""
