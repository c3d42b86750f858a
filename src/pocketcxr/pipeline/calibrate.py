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
from pocketcxr.errors import ConfigError
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.intervals import LEVEL, clusters
from pocketcxr.evaluation.local_gain import FOLDS, Gain, cross_validated_gain
from pocketcxr.evaluation.model_result import Calibration, calibrate
from pocketcxr.export.export import write_golden_vectors
from pocketcxr.files import check_output, write_bytes, write_json
from pocketcxr.inference.session import load_bundle
from pocketcxr.pipeline.local_images import bundle_task, check_enough, local_rows, score_local
from pocketcxr.report.formatting import MISSING, with_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.inference.session import Bundle
    from pocketcxr.pipeline.local_images import LocalImages

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
    manifest.refuse_several("local calibration")
    _check(loaded, out=out, site=site)
    rows, left_out = local_rows(data, manifest, task, columns or {}, aliases or {}, progress=progress)
    check_enough(rows, manifest, left_out)
    local = score_local(loaded, rows, left_out, progress=progress)
    check_enough(local.rows, manifest, local.left_out)

    classes = bundle_task(manifest)
    config = EvaluationConfig(
        seed=seed,
        screening_sensitivity=sensitivity,
        confirming_specificity=specificity,
        coverage=manifest.conformal_coverage,
        calibration_source=site,
    )
    before = bundle_calibration(manifest)
    fitted = calibrate(local.predictions, classes, config, brings_temperature=False)
    members = clusters(local.rows)
    gains = cross_validated_gain(local.predictions, members, before, task=classes, config=config)

    record = _record(local, members, loaded, site=site)
    write_bytes(out, with_calibration(read_bundle(loaded.path), _manifest(manifest, fitted, record, gains), str(out)))
    write_golden_vectors(out, drawn_inputs(manifest.preprocessing.size))
    beside = out.with_suffix(".calibration.json")
    figures = {gain.name: gain.as_json() for gain in gains}
    estimate = {"method": _method(config), "figures": figures}
    write_json(beside, record | {"fitted": _fitted(fitted), "estimate": estimate}, allow_nan=False)
    return CalibrateResult(out, beside, gains, _summary(record, before, fitted, gains, manifest, out))


def bundle_calibration(manifest: Manifest) -> Calibration:
    """What a bundle brings; on how many images it was fitted is not asked here."""
    return Calibration(manifest.temperature, manifest.conformal_quantile, manifest.operating_points, 0)


def _check(bundle: Bundle, *, out: Path, site: str) -> None:
    if out.suffix != ".onnx":
        raise ConfigError(f"bundle file: expected a name that ends in .onnx, found {out.name!r}")
    if out.resolve() == bundle.path.resolve():
        raise ConfigError(f"{out} is the bundle to start from: choose another name with -o")
    if not site.strip():
        raise ConfigError("site: expected the name of the place that the images come from, found none")


def _record(local: LocalImages, members: NDArray[np.int64], bundle: Bundle, *, site: str) -> dict[str, Any]:
    """Where, when and on what was calibrated, and what the bundle was before."""
    manifest, labels = bundle.manifest, local.predictions.labels
    masks = {label: labels == number for number, label in enumerate(manifest.labels)}
    earlier = manifest.data.get(_RECORD, {})
    return {
        "site": site,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "images": {label: int(mask.sum()) for label, mask in masks.items()},
        "patients": {label: len(np.unique(members[mask])) for label, mask in masks.items()},
        "images_without_patient": sum(not (row.patient_id or row.study_id) for row in local.rows),
        "prevalence": {label: float(mask.mean()) for label, mask in masks.items()},
        "left_out": local.left_out,
        "refused_by_class": local.refused,
        "from_sha256": bundle.sha256,
        "first_sha256": earlier.get("first_sha256", bundle.sha256),
        "before": _fitted(bundle_calibration(manifest)),
    }


def _fitted(calibration: Calibration) -> dict[str, Any]:
    return {
        "temperature": calibration.temperature,
        "conformal_quantile": calibration.conformal_quantile,
        "operating_points": [dataclasses.asdict(point) for point in calibration.operating_points],
    }


def _manifest(manifest: Manifest, fitted: Calibration, record: dict[str, Any], gains: Sequence[Gain]) -> Manifest:
    assert fitted.temperature is not None  # None only for a model without logits
    assert fitted.conformal_quantile is not None  # None only without images
    images = sum(record["images"].values())
    limit = (
        f"{_LIMIT}{images} of {record['site']}, {record['date'][:10]}; probabilities, operating points and prediction "
        "sets hold there, for the same mix of patients, and are not known to hold elsewhere."
    )
    return dataclasses.replace(
        manifest,
        created=record["date"],
        temperature=fitted.temperature,
        conformal_quantile=fitted.conformal_quantile,
        operating_points=fitted.operating_points,
        limits=(*(one for one in manifest.limits if not one.startswith(_LIMIT)), limit),
        metrics={
            "split": f"local images of {record['site']}, each measured with what was fitted on other patients",
            "images": images,
            "interval": f"{LEVEL:.0%} bootstrap by patient",
            "overall": {gain.name: gain.after.as_json() for gain in gains},
        },
        data=manifest.data | {_RECORD: record},
    )


def _method(config: EvaluationConfig) -> str:
    return (
        f"{FOLDS} folds by patient; after: fitted on the other folds; intervals: {LEVEL:.0%} bootstrap of patients, "
        f"{config.bootstrap} resamples; gain: how much nearer to the target"
    )


def _summary(
    record: dict[str, Any],
    before: Calibration,
    fitted: Calibration,
    gains: Sequence[Gain],
    manifest: Manifest,
    out: Path,
) -> str:
    """Counts, a table of the figures before and after, warnings, and the file."""
    counts = [f"{record['images'][one]} {one} ({record['patients'][one]} patients)" for one in manifest.labels]
    lines = [f"calibrated at {record['site']} on {', '.join(counts)}"]
    if record["left_out"]:
        lines.append("left out: " + ", ".join(f"{count} {reason}" for reason, count in record["left_out"].items()))
    if record["images_without_patient"]:
        lines.append(f"{record['images_without_patient']} images name no patient: each counts as one of its own")
    absent = [label for label, images in record["images"].items() if not images]
    if absent:
        lines.append(f"no image of {', '.join(absent)}: how far its probability can be trusted there is not known")
    lines.append(f"temperature {before.temperature:.3f} -> {fitted.temperature:.3f}")
    table = [("", "before", "after", "nearer to the target by"), *(_line(gain, manifest.positive) for gain in gains)]
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines.append(f"(estimated by {FOLDS}-fold cross-validation; 95 % intervals by patient)")
    lines += [f"note: {note}" for note in fitted.notes]
    if not any(gain.gained for gain in gains):
        lines.append("warning: no interval shows that anything was gained: more images, or keep the bundle as it was")
    worse = [_words(gain.name, manifest.positive) for gain in gains if gain.lost]
    if worse:
        lines.append(f"warning: farther from its target than before: {', '.join(worse)}")
    return "\n".join([*lines, f"bundle: {out}"])


def _line(gain: Gain, positive: str) -> tuple[str, str, str, str]:
    target = "" if gain.target is None else f" (target {gain.target:g})"
    nearer = MISSING if gain.target is None else with_interval(gain.gain, 3)
    name = _words(gain.name, positive) + target
    return name, with_interval(gain.before, 3), with_interval(gain.after, 3), nearer


def _words(name: str, positive: str) -> str:
    return _WORDS.get(name, name.replace("@", " when ")).format(positive=positive)
