"""Local calibration: what a probability of 0.5 means at one hospital, fitted on 50 to 200 of its labelled images."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from pocketcxr.bundle.format import read_bundle, with_calibration
from pocketcxr.bundle.golden import drawn_inputs
from pocketcxr.data.index import build_index
from pocketcxr.data.rows import is_frontal_xray, read_rows
from pocketcxr.data.splits.assign import label_rows
from pocketcxr.errors import ConfigError, DataError, InputError
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.evaluation.intervals import LEVEL, clusters
from pocketcxr.evaluation.local_gain import FOLDS, Gain, cross_validated_gain
from pocketcxr.evaluation.model_result import Calibration, calibrate
from pocketcxr.evaluation.scoring import Predictions
from pocketcxr.export.export import write_golden_vectors
from pocketcxr.files import write_bytes, write_json
from pocketcxr.imaging.resize import resize
from pocketcxr.inference.prediction import REFUSED
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle
from pocketcxr.labels import Task, load_task
from pocketcxr.report.formatting import MISSING, with_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import ModelOutputs
    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.inference.session import Bundle

MIN_IMAGES = 50
"""With fewer, sets that promise 90 % hold the truth for anything from 80 to 97 % of later images, by chance alone."""

MIN_PATIENTS = 10
"""With fewer patients with, or without, the positive class one of them moves an operating point by over 10 points."""

_RECORD = "local_calibration"  # in the manifest's `data`
_LIMIT = "Calibrated on local images: "
_WORDS = {
    "ece": "calibration error, leading class",
    "ece_positive": "calibration error, {positive}",
    "coverage": "prediction sets hold the truth",
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


@dataclass(frozen=True, eq=False)
class LocalImages:
    """Images that were scored, their rows, and how many were left out: by reason, and the refused ones by class."""

    rows: tuple[IndexRow, ...]
    predictions: Predictions
    left_out: dict[str, int]
    refused: dict[str, int]


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
        columns: of a table of one's own; see `build_index`.
        aliases: words of a folder or table of one's own to findings.
        sensitivity: least sensitivity of the screening point, in (0, 1].
        specificity: least specificity of the confirming point, in (0, 1].
        seed: of folds and resamples.
        progress: show a bar on stderr.

    Raises:
        ConfigError: a file name, site or task that does not fit.
        DataError: too few images or patients, one class only, or labels that are not the bundle's.
        BundleError: the bundle is missing or damaged.
    """
    loaded = load_bundle(bundle)
    manifest = loaded.manifest
    _check(loaded, out=out, site=site)
    rows, left_out = _local_rows(data, manifest, task, columns or {}, aliases or {}, progress=progress)
    _check_enough(rows, manifest, left_out)
    local = score_local(loaded, rows, left_out, progress=progress)
    _check_enough(local.rows, manifest, local.left_out)

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


def bundle_task(manifest: Manifest) -> Task:
    """The classes of a bundle, as a task that maps each to itself."""
    return Task(manifest.task, manifest.labels, manifest.positive, {label: label for label in manifest.labels})


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


def _local_rows(
    data: Path,
    manifest: Manifest,
    task: str | None,
    columns: Mapping[str, str],
    aliases: Mapping[str, str],
    *,
    progress: bool,
) -> tuple[list[IndexRow], dict[str, int]]:
    """Rows with a class of the bundle, and how many were left out for which reason."""
    left_out: Counter[str] = Counter()
    if data.is_dir() or columns:
        index = build_index([data], columns=columns, finding_aliases=aliases, progress=progress)
        rows = list(index.rows)
        left_out["not readable, or of an unknown class"] = len(index.rejected)
    else:
        rows = read_rows(data)
    if any(row.split for row in rows):
        kept = [row for row in rows if row.split == "calibration"]
        left_out["in another split than calibration"] = len(rows) - len(kept)
        rows = kept
    known = sorted({row.label for row in rows if row.label})
    if set(known) - set(manifest.labels):
        raise DataError(
            f"{data}: expected labels among the bundle's {', '.join(manifest.labels)}, found {', '.join(known)}: "
            "calibrate with a table of the same task"
        )
    if not known:
        rows = label_rows(rows, _task(task, manifest))
    used = [row for row in rows if row.label and is_frontal_xray(row)]
    left_out["no frontal X-ray of a class of the bundle"] = len(rows) - len(used)
    if not used:
        findings = sorted({row.finding or "unlabelled" for row in rows})
        raise DataError(
            f"{data}: no frontal X-ray of one of the bundle's classes {', '.join(manifest.labels)}; "
            f"findings there: {', '.join(findings[:8]) or 'none'}: name a task that maps them with --task"
        )
    return used, {reason: count for reason, count in left_out.items() if count}


def _task(name: str | None, manifest: Manifest) -> Task:
    try:
        task = load_task(name or manifest.task)
    except ConfigError as error:
        raise ConfigError(f"{error}; the bundle's classes are {', '.join(manifest.labels)}: give --task") from error
    if task.labels != manifest.labels:
        raise ConfigError(
            f"task {task.name} has classes {', '.join(task.labels)}, the bundle {', '.join(manifest.labels)}: "
            "name one that fits with --task"
        )
    return task


def _check_enough(rows: Sequence[IndexRow], manifest: Manifest, left_out: Mapping[str, int]) -> None:
    """Refuse what is too little to calibrate on."""
    without = "; left out: " + ", ".join(f"{count} {reason}" for reason, count in left_out.items()) if left_out else ""
    present = {row.label for row in rows}
    if len(present) == 1:
        raise DataError(f"calibration needs images of two classes at least, found {present.pop()} only{without}")
    if len(rows) < MIN_IMAGES:
        raise DataError(
            f"calibration needs at least {MIN_IMAGES} labelled images, found {len(rows)}: with fewer, sets that "
            f"promise 90 % may hold the truth for 80 % by chance alone; add images (100 to 200 are better){without}"
        )
    numbers = clusters(rows)
    is_positive = np.array([row.label == manifest.positive for row in rows])
    found = [len(np.unique(numbers[mask])) for mask in (is_positive, ~is_positive)]
    if min(found) < MIN_PATIENTS:
        raise DataError(
            f"calibration needs at least {MIN_PATIENTS} patients with {manifest.positive} and {MIN_PATIENTS} without, "
            f"found {found[0]} and {found[1]}: with fewer, one patient moves an operating point by more than "
            f"10 points; add images{without}"
        )


def score_local(bundle: Bundle, rows: Sequence[IndexRow], left_out: dict[str, int], *, progress: bool) -> LocalImages:
    """Score the images as a prediction does, all their pixels read, and keep those that are not refused."""
    predictor, preprocessing = Predictor(bundle, exact=True), bundle.manifest.preprocessing
    kept: list[IndexRow] = []
    outputs: list[ModelOutputs] = []
    reasons: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for row in tqdm(rows, desc="local images", unit="image", disable=not progress, mininterval=0.5):
        try:
            prediction, radiograph = predictor.read_and_predict(Path(row.path), "")
        except InputError as error:
            reasons[f"unreadable ({error.code})"] += 1
            continue
        if prediction.decision == REFUSED:
            reasons[f"refused ({prediction.reasons[0].code})"] += 1
            refused[row.label] += 1
            continue
        image = resize(
            radiograph.samples, size=preprocessing.size, aspect=preprocessing.aspect, region=radiograph.region
        )
        kept.append(row)
        outputs.append(bundle(image[None, None]))
    empty = np.zeros((0, len(bundle.manifest.labels)))
    predictions = Predictions(
        "student",
        np.arange(len(kept)),
        np.array([bundle.manifest.labels.index(row.label) for row in kept], dtype=np.int64),
        np.concatenate([empty, *(one.probabilities.astype(np.float64) for one in outputs)]),
        np.concatenate([empty, *(one.logits.astype(np.float64) for one in outputs)]),
    )
    return LocalImages(tuple(kept), predictions, left_out | dict(reasons), dict(refused))


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
