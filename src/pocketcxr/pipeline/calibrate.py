"""Local calibration: what a probability of 0.5 means at one hospital, fitted on 50 to 200 of its labelled images."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.bundle.format import read_bundle, with_calibration
from pocketcxr.bundle.golden import drawn_inputs
from pocketcxr.bundle.manifest import FindingCalibration
from pocketcxr.errors import ConfigError
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.intervals import LEVEL, clusters
from pocketcxr.evaluation.local_gain import FOLDS, Gain, cross_validated_gain
from pocketcxr.evaluation.model_result import Calibration, calibrate
from pocketcxr.export.export import write_golden_vectors
from pocketcxr.files import check_output, write_bytes, write_json
from pocketcxr.inference.session import load_bundle
from pocketcxr.pipeline.local_images import check_enough, local_rows, score_local
from pocketcxr.report.formatting import MISSING, with_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.inference.session import Bundle
    from pocketcxr.pipeline.local_images import LocalImages, LocalPart

_RECORD = "local_calibration"  # in the manifest's `data`
_LIMIT = "Calibrated on local images: "
_WORDS = {
    "ece": "calibration error, leading class",
    "ece_positive": "calibration error, {positive}",
    "coverage": "prediction-set coverage",
    "set_size": "classes in a prediction set",
}
_LOGGER = logging.getLogger("pocketcxr")


@dataclass(frozen=True)
class CalibrateResult:
    """The new bundle, the record beside it, the figures before and after, and all of it in a few lines."""

    bundle: Path
    record: Path
    gains: tuple[Gain, ...]
    summary: str


def run_calibrate(
    data: Path,
    *,
    out: Path,
    site: str,
    bundle: Path | None = None,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    sensitivity: float = EvaluationConfig.screening_sensitivity,
    specificity: float = EvaluationConfig.confirming_specificity,
    seed: int = 0,
    progress: bool = True,
) -> CalibrateResult:
    """Fit temperature, prediction sets and operating points of a bundle on local images, and seal them as a new one.

    Everything starts from the logits, so that the temperature of an earlier calibration is replaced. The weights stay
    as they are, byte for byte. Images that the bundle refuses to score are counted and left out.

    Args:
        data: folder, index or split table of labelled frontal X-rays. Of a split table, the calibration split is taken.
        out: the new bundle, ``….onnx``; golden vectors and ``….calibration.json`` are written beside it.
        site: name of the place, for the manifest.
        bundle: file to start from; None takes the one that comes with the package.
        task: maps findings to the bundle's classes, where the table has no labels; None takes the bundle's own.
        columns: of a table of your own; see `build_index`.
        aliases: words of your folder or table to findings.
        sensitivity: least sensitivity of the screening point, in (0, 1].
        specificity: least specificity of the confirming point, in (0, 1].
        seed: of folds and resamples.
        progress: show a bar on stderr.

    Raises:
        ConfigError: a file name, site or task that does not fit.
        DataError: too few images or patients, one class only, or labels that are not the bundle's.
        BundleError: the bundle is missing or damaged.
    """
    check_output(out, folder=False)
    loaded = load_bundle(bundle)
    manifest = loaded.manifest
    _check(loaded, out=out, site=site)
    rows, left_out = local_rows(data, manifest, task, columns or {}, aliases or {}, progress=progress)
    check_enough(rows, manifest, left_out)
    local = score_local(loaded, rows, left_out, progress=progress)
    check_enough(local.rows, manifest, local.left_out)

    config = EvaluationConfig(
        seed=seed,
        screening_sensitivity=sensitivity,
        confirming_specificity=specificity,
        coverage=manifest.conformal_coverage,
        calibration_source=site,
    )
    befores = bundle_calibrations(manifest)
    parts = [_fitted_part(one, before, config) for one, before in zip(local.parts, befores, strict=True)]
    record = _record(local, parts, loaded, site=site)
    new = _manifest(manifest, parts, record)
    write_bytes(out, with_calibration(read_bundle(loaded.path), new, str(out)))
    write_golden_vectors(out, drawn_inputs(manifest.preprocessing.size))
    beside = out.with_suffix(".calibration.json")
    figures = _each(manifest, parts, lambda part: {gain.name: gain.as_json() for gain in part.gains})
    estimate = {"method": _method(config), "figures": figures}
    fitted = _each(manifest, parts, lambda part: _fitted(part.fitted))
    write_json(beside, record | {"fitted": fitted, "estimate": estimate}, allow_nan=False)
    gains = tuple(gain for part in parts for gain in part.gains)
    return CalibrateResult(out, beside, gains, _summary(record, parts, manifest, out))


@dataclass(frozen=True)
class _Part:
    """One of the parts that are calibrated by themselves: what it was before and is now, and what that gained."""

    local: LocalPart
    members: NDArray[np.int64]
    before: Calibration
    fitted: Calibration
    gains: tuple[Gain, ...]


def _fitted_part(local: LocalPart, before: Calibration, config: EvaluationConfig) -> _Part:
    fitted, members = calibrate(local.predictions, local.task, config, brings_temperature=False), clusters(local.rows)
    gains = cross_validated_gain(local.predictions, members, before, task=local.task, config=config)
    return _Part(local, members, before, fitted, gains)


def _each(manifest: Manifest, parts: Sequence[_Part], told: Callable[[_Part], dict[str, Any]]) -> dict[str, Any]:
    """What is told of the one part, or by the name of the finding."""
    return {part.local.task.positive: told(part) for part in parts} if manifest.multilabel else told(parts[0])


def bundle_calibrations(manifest: Manifest) -> list[Calibration]:
    """What a bundle brings, for each finding if it has several; on how many images it was fitted is not asked here."""
    if not manifest.multilabel:
        return [Calibration(manifest.temperature, manifest.conformal_quantile, manifest.operating_points, 0)]
    return [
        Calibration(
            one.temperature,
            one.conformal_quantile,
            tuple(point for point in manifest.operating_points if point.label == one.label),
            0,
        )
        for one in manifest.findings
    ]


def _check(bundle: Bundle, *, out: Path, site: str) -> None:
    if out.suffix != ".onnx":
        raise ConfigError(f"bundle file: expected a name that ends in .onnx, found {out.name!r}")
    if out.resolve() == bundle.path.resolve():
        raise ConfigError(f"{out} is the bundle to start from: choose another name with -o")
    if not site.strip():
        raise ConfigError("site: expected the name of the place that the images come from, found none")


def _record(local: LocalImages, parts: Sequence[_Part], bundle: Bundle, *, site: str) -> dict[str, Any]:
    """Where, when and on what was calibrated, and what the bundle was before."""
    manifest = bundle.manifest
    masks = {
        label: (part, part.local.predictions.labels == number)
        for part in parts
        for number, label in enumerate(part.local.task.labels)
    }
    earlier = manifest.data.get(_RECORD, {})
    return {
        "site": site,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "images": {label: int(mask.sum()) for label, (_, mask) in masks.items()},
        "patients": {label: len(np.unique(part.members[mask])) for label, (part, mask) in masks.items()},
        "images_without_patient": sum(not (row.patient_id or row.study_id) for row in local.rows),
        "prevalence": {label: float(mask.mean()) for label, (_, mask) in masks.items()},
        "left_out": local.left_out,
        "refused_by_class": local.refused,
        "from_sha256": bundle.sha256,
        "first_sha256": earlier.get("first_sha256", bundle.sha256),
        "before": _each(manifest, parts, lambda part: _fitted(part.before)),
    }


def _fitted(calibration: Calibration) -> dict[str, Any]:
    return {
        "temperature": calibration.temperature,
        "conformal_quantile": calibration.conformal_quantile,
        "operating_points": [dataclasses.asdict(point) for point in calibration.operating_points],
    }


def _manifest(manifest: Manifest, parts: Sequence[_Part], record: dict[str, Any]) -> Manifest:
    images = len({row.path for part in parts for row in part.local.rows})
    limit = (
        f"{_LIMIT}{images} of {record['site']}, {record['date'][:10]}; probabilities, operating points and prediction "
        "sets hold there, for the same mix of patients, and are not known to hold elsewhere."
    )
    own: dict[str, Any] = {}
    if manifest.multilabel:
        own["findings"] = tuple(
            FindingCalibration(part.local.task.positive, *_temperature_and_quantile(part)) for part in parts
        )
    else:
        own["temperature"], own["conformal_quantile"] = _temperature_and_quantile(parts[0])
    overall = _each(manifest, parts, lambda part: {gain.name: gain.after.as_json() for gain in part.gains})
    figures = {"findings": {label: {"overall": one} for label, one in overall.items()}}
    return dataclasses.replace(
        manifest,
        created=record["date"],
        operating_points=tuple(point for part in parts for point in part.fitted.operating_points),
        limits=(*(one for one in manifest.limits if not one.startswith(_LIMIT)), limit),
        metrics={
            "split": f"local images of {record['site']}, each measured with what was fitted on other patients",
            "images": images,
            "interval": f"{LEVEL:.0%} bootstrap by patient",
            **(figures if manifest.multilabel else {"overall": overall}),
        },
        data=manifest.data | {_RECORD: record},
        **own,
    )


def _temperature_and_quantile(part: _Part) -> tuple[float, float]:
    assert part.fitted.temperature is not None  # None only for a model without logits
    assert part.fitted.conformal_quantile is not None  # None only without images
    return part.fitted.temperature, part.fitted.conformal_quantile


def _method(config: EvaluationConfig) -> str:
    return (
        f"{FOLDS} folds by patient; after: fitted on the other folds; intervals: {LEVEL:.0%} bootstrap of patients, "
        f"{config.bootstrap} resamples; gain: how much nearer to the target"
    )


def _summary(record: dict[str, Any], parts: Sequence[_Part], manifest: Manifest, out: Path) -> str:
    """Counts, a table of the figures before and after, warnings, and the file."""
    counts = [f"{count} {one} ({record['patients'][one]} patients)" for one, count in record["images"].items()]
    lines = [f"calibrated at {record['site']} on {', '.join(counts)}"]
    if record["left_out"]:
        lines.append("left out: " + ", ".join(f"{count} {reason}" for reason, count in record["left_out"].items()))
    if record["images_without_patient"]:
        lines.append(f"{record['images_without_patient']} images name no patient: each counts as one of its own")
    absent = [label for label, images in record["images"].items() if not images]
    if absent:
        lines.append(f"no image of {', '.join(absent)}: how far its probability can be trusted there is not known")
    named = manifest.multilabel
    for part in parts:
        lines += _part_lines(part, named=named)
    lines.append(f"(estimated by {FOLDS}-fold cross-validation; 95 % intervals by patient)")
    lines += [f"note: {note}" for part in parts for note in part.fitted.notes]
    if not any(gain.gained for part in parts for gain in part.gains):
        lines.append("warning: no interval shows that anything was gained: more images, or keep the bundle as it was")
    worse = [
        f"{part.local.task.positive}: " * named + _words(gain.name, part.local.task.positive)
        for part in parts
        for gain in part.gains
        if gain.lost
    ]
    if worse:
        lines.append(f"warning: farther from its target than before: {', '.join(worse)}")
    return "\n".join([*lines, f"bundle: {out}"])


def _part_lines(part: _Part, *, named: bool) -> list[str]:
    positive = part.local.task.positive
    table = [("", "before", "after", "nearer to the target by"), *(_line(gain, positive) for gain in part.gains)]
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    name = f"{positive}: " if named else ""
    return [f"{name}temperature {part.before.temperature:.3f} -> {part.fitted.temperature:.3f}", *rows]


def _line(gain: Gain, positive: str) -> tuple[str, str, str, str]:
    target = "" if gain.target is None else f" (target {gain.target:g})"
    nearer = MISSING if gain.target is None else with_interval(gain.gain, 3)
    name = _words(gain.name, positive) + target
    return name, with_interval(gain.before, 3), with_interval(gain.after, 3), nearer


def _words(name: str, positive: str) -> str:
    return _WORDS.get(name, name.replace("@", " when ")).format(positive=positive)
