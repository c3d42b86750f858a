"""What a run's record says of its networks: what they are, what they give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pocketcxr import roles
from pocketcxr.report.formatting import amount, percent
from pocketcxr.reporting.reported_metrics import classes
from pocketcxr.reporting.statement import Statement, listed, sources_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketcxr.reporting.run_record import RunRecord


def technology(record: RunRecord) -> Statement | None:
    """The kind of AI."""
    if not record.student:
        return None
    origin = f"distilled from a teacher of {teacher_name(record)}" if record.taught else "trained on labels alone"
    return Statement(
        f"Deep learning: a convolutional network ({record.student['backbone']}), {origin}.", settings_source(record)
    )


def task(record: RunRecord) -> Statement | None:
    """What is told apart."""
    labels, positive = classes(record)
    if not labels:
        return None
    return Statement(
        f"Diagnostic: tells {', '.join(labels)} apart in one frontal chest X-ray; the class of interest is {positive}.",
        _task_source(record),
    )


def intended_use(record: RunRecord) -> Statement | None:
    """The bundle's statement of its own use."""
    if record.bundle is None:
        return None
    return Statement(record.bundle.manifest.intended_use, manifest_source(record))


def goal(record: RunRecord) -> Statement | None:
    """Development with internal comparison, as far as the files show."""
    models = list(record.evaluation.get("models", {}))
    if not models:
        return None
    return Statement(
        f"Development of a small classifier and comparison of {', '.join(models)} on the same test images.",
        "evaluation/evaluation.json",
        complete=False,
    )


def predictor(record: RunRecord) -> Statement | None:
    """The image is the one input."""
    if record.bundle is None:
        return None
    size = record.bundle.manifest.preprocessing.size
    return Statement(
        f"One predictor: the pixels of one frontal chest X-ray, {size} × {size}; no patient data enter. "
        "No predictor was selected or left out beforehand.",
        manifest_source(record),
    )


def preprocessing(record: RunRecord) -> Statement | None:
    """From file to network input."""
    if record.bundle is None:
        return None
    how = record.bundle.manifest.preprocessing
    shape = {"squash": "each axis scaled on its own to a square", "pad": "black borders added to a square"}
    return Statement(
        f"Grey scale in [0, 1], {how.polarity} polarity (DICOM: rescale and window as its header says), resized to "
        f"{how.size} × {how.size} pixels ({shape.get(how.aspect, how.aspect)}; filter {how.resampling}); normalised "
        "inside the network. The same code prepares images for training and for prediction.",
        manifest_source(record),
    )


def architecture(record: RunRecord) -> Statement | None:
    """The network that ships."""
    if not record.student:
        return None
    costs = _costs(record, roles.EXPORTED) or _costs(record, roles.DISTILLED)
    size = record.settings.get("data", {}).get("image_size")
    text = f"{record.student['backbone']} (timm) with one grey channel, global pooling and a linear head"
    text += f"; input {size} × {size} pixels" if size else ""
    if costs.get("parameters"):
        text += f"; {amount(costs['parameters'])} parameters, {amount(costs['macs'])} multiply-accumulates per image"
    if record.bundle is not None:
        text += f"; file of {amount(record.bundle.bytes)}B"
    return Statement(
        text + ".", f"{settings_source(record)}; evaluation/evaluation.json" if costs else settings_source(record)
    )


def teacher(record: RunRecord) -> Statement | None:
    """The heavy network that taught."""
    if not record.teacher:
        return None
    costs = _costs(record, roles.TEACHER)
    size = f"; {amount(costs['parameters'])} parameters" if costs.get("parameters") else ""
    return Statement(
        f"Teacher: {teacher_name(record)}, pooled features concatenated and fused into an embedding of "
        f"{record.teacher['embedding_features']:,} numbers, then a classifier{size}.",
        settings_source(record),
    )


def outputs(record: RunRecord) -> Statement | None:
    """What one forward pass gives."""
    if record.bundle is None:
        return None
    manifest = record.bundle.manifest
    return Statement(
        f"For each image a probability per class ({', '.join(manifest.labels)}), calibrated with temperature "
        f"{manifest.temperature:.3f}; logits; an embedding; a class activation map per class; and a novelty score "
        "(above 1: "
        f"unlike the training images). The answer is a class, “uncertain” where the conformal set (coverage "
        f"{percent(manifest.conformal_coverage)}) holds more than one class or none, or “refused”.",
        manifest_source(record),
    )


def thresholds(record: RunRecord) -> Statement | None:
    """Operating points and where they were chosen."""
    if record.bundle is None or not record.bundle.manifest.operating_points:
        return None
    lines = [
        f"{point.name}: probability of {point.label} ≥ {point.threshold:.3f}, chosen on the {point.chosen_on} "
        f"(sensitivity {percent(point.sensitivity)}, specificity {percent(point.specificity)} there)"
        for point in record.bundle.manifest.operating_points
    ]
    wanted = record.settings.get("evaluation", {})
    asked = ""
    if wanted:
        asked = (
            f" Asked for: sensitivity {percent(wanted['screening_sensitivity'])} (screening), specificity "
            f"{percent(wanted['confirming_specificity'])} (confirming)."
        )
    return Statement(listed(f"Thresholds.{asked}", lines), manifest_source(record))


def explanation(record: RunRecord) -> Statement | None:
    """Class activation maps."""
    if record.bundle is None:
        return None
    return Statement(
        "Class activation maps, exact for a linear head on pooled features, given with every prediction. They show "
        "which "
        "regions moved the score; they are no outline of a lesion and no proof that the reason is medical.",
        manifest_source(record),
    )


def specification(record: RunRecord) -> Statement | None:
    """The file itself."""
    if record.bundle is None:
        return None
    bundle = record.bundle
    return Statement(
        f"The whole model is one ONNX file with its manifest inside: {bundle.name}, SHA-256 {bundle.sha256}. "
        f"Terms: {bundle.manifest.licence}",
        f"bundle/{bundle.name}",
    )


def calculation(record: RunRecord) -> Statement | None:
    """How predictions of the evaluation were made."""
    models = record.evaluation.get("models", {})
    if not models or record.bundle is None:
        return None
    runtime = _costs(record, roles.EXPORTED).get("runtime", "")
    return Statement(
        f"By the exported file itself ({record.bundle.name}{f', {runtime}' if runtime else ''}); probabilities of "
        "single "
        "images are in evaluation/predictions/.",
        "evaluation/evaluation.json",
    )


def input_gate(record: RunRecord) -> Statement | None:
    """What happens with poor or foreign pictures."""
    if record.bundle is None:
        return None
    cut = record.bundle.manifest.data.get("novelty", {}).get("cut_off", "")
    learned = record.bundle.manifest.input_filter
    kinds = ", ".join(kind for kind in learned.kinds if kind != learned.accept) if learned else ""
    return Statement(
        "Unreadable files give an error. DICOM headers that name another body part, view or modality, and pictures "
        "without "
        "usable grey values, are refused with the reason; so are pictures whose novelty exceeds 1"
        f"{f' (cut-off: {cut})' if cut else ''}."
        f"{f' A learned gate refuses what it takes for one of: {kinds}.' if kinds else ''}",
        f"{manifest_source(record)}; pocketcxr predict",
    )


def users(record: RunRecord) -> Statement | None:
    """What users do with the input."""
    if record.bundle is None:
        return None
    return Statement(
        "Users name files (DICOM, PNG, JPEG); nothing is marked, cropped or entered by hand. A qualified person "
        "reads the "
        "picture itself.",
        f"{manifest_source(record)}; pocketcxr predict",
        complete=False,
    )


def code(record: RunRecord) -> Statement | None:
    """Version and licence of the program."""
    version = record.environment.get("pocketcxr") or record.evaluation.get("environment", {}).get("pocketcxr")
    if not version:
        return None
    commit = record.environment.get("commit")
    return Statement(
        f"pocketcxr {version}{f', commit {commit}' if commit else ''}, Apache-2.0.",
        "environment record",
        complete=False,
    )


def availability(record: RunRecord) -> Statement | None:
    """Program and weights; data stay with their sources."""
    program, model = code(record), specification(record)
    if program is None and model is None:
        return None
    told = [fact for fact in (program, model) if fact]
    return Statement(" ".join(fact.text for fact in told), sources_of(told), complete=False)


def teacher_name(record: RunRecord) -> str:
    """The teacher's backbones."""
    return " ‖ ".join(record.teacher.get("backbones", ()))


def _costs(record: RunRecord, model: str) -> Mapping[str, Any]:
    return record.evaluation.get("models", {}).get(model, {}).get("costs") or {}


def settings_source(record: RunRecord) -> str:
    """Where the configuration was read."""
    return "experiment.json" if record.experiment else manifest_source(record)


def _task_source(record: RunRecord) -> str:
    return "evaluation/evaluation.json" if record.evaluation.get("task") else manifest_source(record)


def manifest_source(record: RunRecord) -> str:
    """Where the bundle's manifest was read."""
    return f"manifest of {record.bundle.name}" if record.bundle else "no bundle"
