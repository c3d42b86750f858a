"""Values of a run's record that statements quote, by name; None where the record does not know."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pocketcxr import roles
from pocketcxr.report.formatting import amount, percent
from pocketcxr.reporting import cohort
from pocketcxr.reporting.reported_metrics import UNIT_NOTE, classes, reported

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pocketcxr.reporting.run_record import RunRecord

_MOST_REASONS = 6
_ASPECTS = {"squash": "each axis scaled on its own to a square", "pad": "black borders added to a square"}
_SAMPLING = {
    "class": "every class is sampled equally often",
    "class-source": "every class is sampled equally often, and within it every source",
    "class-source-sqrt": "every class is sampled equally often, its sources by the square root of their images",
    "class-within-source": "within each source every class is sampled equally often",
    "uniform": "every image is sampled equally often; classes are not balanced",
}


def known(record: RunRecord) -> dict[str, Any]:
    """All values that the texts of ``texts.toml`` name."""
    labels, positive = classes(record)
    evaluation, manifest = record.evaluation, record.manifest
    models, found = evaluation.get("models", {}), reported(record)
    conclusions = evaluation.get("conclusions", ())
    return {
        "record": record,
        "bundle": record.bundle,
        "manifest": manifest,
        "student": record.student or None,
        "teacher": record.teacher or None,
        "reported": found,
        "labels": ", ".join(labels) or None,
        "positive": positive,
        "origin": f"distilled from a teacher of {teacher_name(record)}"
        if record.distilled
        else "trained on labels only",
        "teacher_name": teacher_name(record),
        "teacher_size": _size(costs(record, roles.TEACHER)),
        "settings_source": settings_source(record),
        "manifest_source": manifest_source(record),
        "task_source": "evaluation/evaluation.json" if evaluation.get("task") else manifest_source(record),
        "models": ", ".join(models) or None,
        "headline": evaluation.get("headline") or None,
        "questions": "; ".join(one["title"] for one in conclusions) or None,
        "comparisons": items(f"{one['title']}: {one['outcome']}. {one['text']}" for one in conclusions),
        "figures": len(found.figures) if found else None,
        "clusters": (len(found.per_source) or None) if found else None,
        "unit_note": UNIT_NOTE,
        "tests": _tests(record),
        "tested_on": _tested_on(record),
        "limits": items(manifest.limits) if manifest else None,
        "cautions": items([*record.notes, *evaluation.get("cautions", ())]),
        "made_by": f"Made by: {record.command}. " if record.command else "",
        "files": ", ".join(record.files) or None,
        "joined": f" The teacher joins {teacher_name(record)} in one network." if record.teacher else "",
        "sampling": _SAMPLING.get(record.student.get("sampling", ""), record.student.get("sampling")),
        "augmentation": _augmentation(record),
        "first_weights": "; ".join(_weights(one) for one in first_weights(record)) or None,
        **_of_software(record),
        **_of_network(record),
        **_of_images(record),
    }


def items(lines: Iterable[str]) -> str | None:
    """Lines of a list below a sentence; None without any."""
    return "".join(f"\n- {line}" for line in lines) or None


def teacher_name(record: RunRecord) -> str:
    """The teacher's backbones, or what taught in place of a teacher that is trained."""
    config = record.settings.get("teacher", {})
    given = [config["checkpoint"]] if config.get("checkpoint") else config.get("outputs", ())
    if record.distilled and given:
        names = ", ".join(PurePath(one.replace("\\", "/")).name for one in given)
        return f"{'a given network' if config.get('checkpoint') else 'kept outputs'} ({names})"
    return " ‖ ".join(record.teacher.get("backbones", ()))


def settings_source(record: RunRecord) -> str:
    """Where the configuration was read."""
    return "experiment.json" if record.experiment else manifest_source(record)


def manifest_source(record: RunRecord) -> str:
    """Where the bundle's manifest was read."""
    return f"manifest of {record.bundle.name}" if record.bundle else "no bundle"


def costs(record: RunRecord, model: str) -> Mapping[str, Any]:
    """Measured costs of a model of the evaluation."""
    return record.evaluation.get("models", {}).get(model, {}).get("costs") or {}


def first_weights(record: RunRecord) -> list[Mapping[str, Any]]:
    """What each backbone of teacher and distilled student started from."""
    found = [stage["weights"] for stage in record.stages.get("teacher", {}).get("stages", ()) if "weights" in stage]
    student = record.stages.get("student-distilled", {})
    if not student and record.manifest is not None:
        student = record.manifest.run.get("student", {})
    return [weights for weights in [*found, student.get("weights")] if isinstance(weights, dict)]


def reasons(counts: Mapping[str, int]) -> str:
    """How many images for which reason; what is beyond the commonest reasons is counted together."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    hidden = sum(n for _, n in ordered[_MOST_REASONS:])
    shown = [f"{n:,} {reason}" for reason, n in ordered[:_MOST_REASONS]]
    return ", ".join([*shown, *([f"{hidden:,} for other reasons"] if hidden else [])]) or "none"


def _of_software(record: RunRecord) -> dict[str, Any]:
    version = record.environment.get("pocketcxr") or record.evaluation.get("environment", {}).get("pocketcxr")
    commit = record.environment.get("commit")
    return {"version": version or None, "commit": f", commit {commit}" if commit else ""}


def _of_network(record: RunRecord) -> dict[str, Any]:
    measured = costs(record, roles.EXPORTED) or costs(record, roles.DISTILLED)
    size = record.settings.get("data", {}).get("image_size")
    told = f"; input {size} × {size} pixels" if size else ""
    if measured.get("parameters"):
        told += f"{_size(measured)}, {amount(measured['macs'])} multiply-accumulates per image"
    told += f"; file of {amount(record.bundle.bytes)}B" if record.bundle else ""
    source = settings_source(record)
    values: dict[str, Any] = {
        "size_and_costs": told,
        "architecture_source": f"{source}; evaluation/evaluation.json" if measured else source,
    }
    manifest = record.manifest
    if manifest is not None:
        runtime = costs(record, roles.EXPORTED).get("runtime", "")
        cut_off = manifest.data.get("novelty", {}).get("cut_off", "")
        learned = manifest.input_filter
        kinds = ", ".join(kind for kind in learned.kinds if kind != learned.accept) if learned else ""
        values |= {
            "classes": ", ".join(manifest.labels),
            "shape": _ASPECTS.get(manifest.preprocessing.aspect, manifest.preprocessing.aspect),
            "coverage": percent(manifest.conformal_coverage),
            "runtime": f", {runtime}" if runtime else "",
            "novelty_cut_off": f" (cut-off: {cut_off})" if cut_off else "",
            "filter_kinds": f" A learned input filter refuses what it takes for one of: {kinds}." if kinds else "",
        }
    return values


def _of_images(record: RunRecord) -> dict[str, Any]:
    rows, used = record.rows, cohort.used_rows(record.rows)
    values: dict[str, Any] = {}
    if record.rows_file:
        values = {
            "rejected": sum(record.rejected.values()),
            "in_table": len(rows),
            "hashed": sum(bool(row.perceptual_hash) for row in rows),
            "grouped": sum(bool(row.duplicate_group) for row in rows),
        }
    if not used:
        return values
    whole, (groups, mixed) = cohort.part("all", used), cohort.contradictions(rows)
    sizes = sorted(max(row.width, row.height) for row in used if row.width)
    return values | {
        "indexed": len(rows),
        "used": len(used),
        "tested": sum(row.split == "test" for row in used) or None,
        "left_out": reasons(cohort.left_out(rows)),
        "gaps": ", ".join(
            f"{name.replace('_id', '').replace('view', 'projection')} for {n:,}" for name, n in whole.unknown.items()
        ),
        "unlabelled": sum(not row.finding for row in rows),
        "views": cohort.counted_words(whole.views),
        "formats": ", ".join(sorted({row.path.rpartition(".")[2].lower() for row in used})),
        "sides": f"; longest side of the files {sizes[0]:,} to {sizes[-1]:,} pixels" if sizes else "",
        "sources": ", ".join(sorted(Counter(row.source for row in used))),
        "groups": groups,
        "mixed": mixed,
    }


def _size(measured: Mapping[str, Any]) -> str:
    return f"; {amount(measured['parameters'])} parameters" if measured.get("parameters") else ""


def _tests(record: RunRecord) -> str:
    if not record.evaluation.get("comparisons"):
        return ""
    seed = record.evaluation.get("config", {}).get("seed")
    return (
        " Models are compared by paired bootstrap of the difference on the same resamples, McNemar's test of the "
        f"answers and DeLong's test of the AUROC; seed {seed}. No correction for several comparisons."
    )


def _tested_on(record: RunRecord) -> str | None:
    found = reported(record)
    if found and record.folds:
        return f"Every image was tested once, in {record.folds} folds, by networks not trained on it; {found.size}."
    return f"Held-out {found.split} split, {found.size}." if found else None


def _augmentation(record: RunRecord) -> str | None:
    ranges = record.settings.get("views", {}).get("augmentation", {}) if record.trained else {}
    shown = {name: value for name, value in ranges.items() if value or not name.startswith(("noise_", "style"))}
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in shown.items()) or None


def _weights(weights: Mapping[str, Any]) -> str:
    name, source, asked = weights.get("backbone"), weights.get("source"), weights.get("asked")
    if source == "scratch":
        note = " (pretrained weights were asked for and not found)" if asked == "pretrained" else ""
        return f"{name}: random weights{note}"
    where = "timm's hub" if source == "hub" else str(source).rpartition("/")[2]
    return f"{name}: {where}"
