"""What a run's record says of its trainings: first weights, settings, losses, the choice of the final weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pocketcxr.reporting.statement import Statement, listed
from pocketcxr.reporting.statements.model import manifest_source, settings_source, teacher_name

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def software(record: RunRecord) -> Statement | None:
    """Programs and versions."""
    packages = {name: version for name, version in record.environment.get("packages", {}).items() if version}
    if not packages:
        packages = {k: v for k, v in record.evaluation.get("environment", {}).items() if k not in ("python", "machine")}
        python, source = record.evaluation.get("environment", {}).get("python"), "evaluation/evaluation.json"
        commit = None
    else:
        packages = {"pocketcxr": record.environment.get("pocketcxr", ""), **packages}
        python, source = record.environment.get("python"), "environment.json of the last stage trained"
        commit = record.environment.get("commit")
    if not packages:
        return None
    listed = ", ".join(f"{name} {version}" for name, version in packages.items())
    return Statement(f"Python {python}; {listed}{f'; source commit {commit}' if commit else ''}.", source)


def initialisation(record: RunRecord) -> Statement | None:
    """First weights, as loaded and not as asked."""
    lines = [_weights_words(weights) for weights in first_weights(record)]
    if not lines:
        return None
    return Statement("; ".join(lines) + ".", "records of the checkpoints")


def first_weights(record: RunRecord) -> list[Mapping[str, Any]]:
    """What each backbone of teacher and distilled student started from."""
    found = [stage["weights"] for stage in record.stages.get("teacher", {}).get("stages", ()) if "weights" in stage]
    student = record.stages.get("student-distilled", {})
    if not student and record.manifest is not None:
        student = record.manifest.run.get("student", {})
    return [weights for weights in [*found, student.get("weights")] if isinstance(weights, dict)]


def training(record: RunRecord) -> Statement | None:
    """Optimiser and settings of what was trained."""
    lines = [f"student: {_optimisation(record.student)}"] if record.student else []
    if record.teacher:
        staged = "; each backbone with a head of its own, then the fusion" if record.teacher.get("staged") else ""
        lines.append(f"teacher: {_optimisation(record.teacher)}{staged}")
    if not lines:
        return None
    precision = record.stages.get("student-distilled", {}).get("precision")
    arithmetic = f" Arithmetic: {precision}." if precision else ""
    trained = ", ".join(sorted(record.trained))
    lead = (
        f"Networks trained: {trained}. AdamW, linear warm-up, cosine decay, gradient clipping, averaged weights."
        f"{arithmetic} Settings:"
    )
    return Statement(listed(lead, lines), settings_source(record))


def distillation(record: RunRecord) -> Statement | None:
    """What the student learns from."""
    student = record.student
    if not record.taught:
        return None
    parts = [f"{weight:g} × {LOSSES.get(name, name)}" for name, weight in student["losses"].items() if weight > 0]
    views = record.settings.get("views", {})
    answers = record.stages.get("student-distilled", {}).get("teacher", {}).get("answers", "")
    seen = f" Teacher and student see the same {views['count']:,} augmented views of each image" if views else ""
    kept = f" (answers {answers})" if answers and seen else ""
    return Statement(
        f"Loss: {', '.join(parts)}; temperature {student['temperature']:g}.{seen}{kept}{'.' if seen else ''}",
        settings_source(record),
    )


def augmentation(record: RunRecord) -> Statement | None:
    """Ranges of the random changes."""
    found = record.settings.get("views", {}).get("augmentation")
    if not found or not record.trained:
        return None
    named = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in found.items())
    return Statement(
        f"Augmentation of training images, replayed from a seed; ranges: {named}.", settings_source(record)
    )


def selection(record: RunRecord) -> Statement | None:
    """How final weights were chosen, and which epoch they are of."""
    student = record.student
    if not student:
        return None
    best = record.finished.get("student-distilled", {}).get("best_epoch")
    chosen = f" The student's weights are those of epoch {best} of {student['epochs']}." if best else ""
    figure = {"auroc": "macro AUROC", "cross-entropy": "cross-entropy"}.get(student["select_by"], student["select_by"])
    return Statement(
        f"The epoch with the best {figure} on the calibration split, taken with averaged weights; the test split "
        "took no "
        f"part.{chosen}",
        f"{settings_source(record)}{'; student-distilled/finished.json' if best else ''}",
    )


def ensemble(record: RunRecord) -> Statement | None:
    """The shipped network answers alone."""
    if not record.student:
        return None
    joined = f" The teacher joins {teacher_name(record)} in one network." if record.teacher else ""
    return Statement(
        f"None in the final model: one {record.student['backbone']} answers.{joined}", settings_source(record)
    )


def imbalance(record: RunRecord) -> Statement | None:
    """How classes were drawn in training."""
    student = record.student
    if not student:
        return None
    words = {
        "class": "every class is drawn equally often",
        "class-source": "every class is drawn equally often, and within it every source",
        "class-source-sqrt": "every class is drawn equally often, its sources by the square root of their images",
        "uniform": "every image is drawn equally often; classes are not balanced",
    }
    how = words.get(student["sampling"], student["sampling"])
    return Statement(f"In training {how} (sampling “{student['sampling']}”).", settings_source(record))


def recalibration(record: RunRecord) -> Statement | None:
    """Temperature and conformal quantile, fitted apart from the test split."""
    if record.bundle is None:
        return None
    manifest = record.bundle.manifest
    return Statement(
        f"After training, on the calibration split only: one temperature ({manifest.temperature:.3f}), a conformal "
        f"quantile ({manifest.conformal_quantile:.3f}) and the thresholds. The evaluation changes nothing in the "
        "model.",
        manifest_source(record),
    )


def _optimisation(config: Mapping[str, Any]) -> str:
    named = {
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
    return ", ".join(f"{words} {config[name]:g}" for words, name in named.items())


def _weights_words(weights: Mapping[str, Any]) -> str:
    name, source, asked = weights.get("backbone"), weights.get("source"), weights.get("asked")
    if source == "scratch":
        note = " (pretrained weights were asked for and not found)" if asked == "pretrained" else ""
        return f"{name}: random weights{note}"
    where = "timm's hub" if source == "hub" else str(source).rpartition("/")[2]
    return f"{name}: {where}"
