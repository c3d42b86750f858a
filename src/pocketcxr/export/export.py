"""From a trained student to a sealed bundle: calibrate, export, compare with PyTorch, write golden vectors.

Everything that is fitted here (temperature, conformal quantile, operating points, novelty) is fitted on the outputs of
the very graph that ships, with its weights as they are stored, and on the calibration split only; the novelty reference
and the rounding of weights see the train split. The test split is never touched.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from functools import partial
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.bundle.format import MANIFEST_KEY, seal
from pocketcxr.bundle.golden import drawn_inputs, golden_path, write_golden
from pocketcxr.bundle.manifest import InputFilter, Manifest, Preprocessing
from pocketcxr.data.dataset import evenly
from pocketcxr.errors import BundleError, ConfigError, DataError, require_extra
from pocketcxr.evaluation.scoring import calibration_positions
from pocketcxr.export.intended_use import intended_use, limits
from pocketcxr.export.storages import BYTES, FLOAT, HALF, STORAGES
from pocketcxr.files import write_bytes
from pocketcxr.inference.session import load_bundle
from pocketcxr.labels import INPUT_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.export.calibrated import Calibrated, Splits
    from pocketcxr.inference.session import Bundle
    from pocketcxr.models.input_filter import InputKindNetwork, InputKindSpec
    from pocketcxr.models.networks import NetworkSpec, Student

RECORDS = ("metrics", "data", "teacher", "run")
"""What `records` may hold: the free tables of the manifest."""

MOST_REFERENCE_IMAGES = 5000
"""Train images that the novelty reference looks at, evenly spaced over the split where there are more."""

_LOGGER = logging.getLogger("pocketcxr")


def export_student(
    network: Student,
    spec: NetworkSpec,
    dataset: Dataset,
    *,
    out: Path,
    evaluation: EvaluationConfig,
    name: str,
    version: str,
    licence: str,
    records: dict[str, Any],
    aspect: str = "squash",
    storage: str = BYTES,
    golden_images: int = 0,
    warnings: tuple[str, ...] = (),
    input_filter: tuple[InputKindNetwork, InputKindSpec] | None = None,
    measure: Callable[[Bundle], dict[str, Any]] | None = None,
    progress: bool = True,
) -> Path:
    """Write a student as a sealed bundle, with golden vectors beside it.

    Args:
        network: the student; stays as it is. See `pocketcxr.export.onnx_export.core_graph` for what it must be.
        spec: of the network; its labels and image size must be the dataset's.
        dataset: with labelled images in the splits train and calibration.
        out: the file to write, ``….onnx``; an older one is replaced.
        evaluation: sensitivity, specificity and coverage to calibrate for.
        name: of the bundle. `version`, `licence`: of the weights, for the manifest.
        version: see `name`.
        licence: see `name`.
        records: tables for the manifest, by the names in `RECORDS`.
        aspect: how the dataset's pictures were made square; see `pocketcxr.bundle.manifest.Preprocessing`.
        storage: of the weights, one of `STORAGES`; the arithmetic is float32. ``8-bit`` rounds as many large layers as
            a file of 3,000,000 bytes asks for; where that moves the outputs too far, a warning says so and the weights
            stay in half precision.
        golden_images: calibration images to add to the drawn golden inputs. They leave with the bundle: only where
            their licence and their patients allow it.
        warnings: sentences that stand before all other limits in the manifest, such as the outcome of an audit.
        input_filter: the learned filter (`pocketcxr.training.input_filter.fit`) to ship in the same graph.
        measure: gives the manifest's `metrics` of the finished file; they are those of the file, not of the network.
        progress: show a bar on stderr.

    Returns:
        `out`.

    Raises:
        ConfigError: names, sizes or records that do not fit.
        DataError: too few images to calibrate on.
        BundleError: the exported graph does not give what PyTorch gives.
    """
    require_extra("train", "torch", "onnx", "onnxscript", "scipy", "sklearn")
    from pocketcxr.export.calibrated import Splits, calibrated, fitted_on_calibration
    from pocketcxr.export.onnx_export import core_graph

    _check(spec, dataset, out=out, records=records, storage=storage)
    filter_network, filter_spec = input_filter or (None, None)
    if filter_spec is not None and filter_spec.image_size != spec.image_size:
        raise ConfigError(
            f"the input filter was trained for {filter_spec.image_size} pixels, the student takes {spec.image_size}: "
            "run  pocketcxr train-input-filter  again"
        )
    splits = Splits(
        train=_labelled(dataset, "train"),
        calibration=_labelled(dataset, "calibration"),
        fitted=calibration_positions(dataset, evaluation),
        reference=evenly(dataset.positions("train"), MOST_REFERENCE_IMAGES),
    )
    size = dataset.pixels.shape[1]
    full = core_graph(network, image_size=size, input_filter=filter_network)
    fit = partial(calibrated, network, full, dataset, splits, input_filter=filter_network, progress=progress)
    found, moved = fit(storage)
    if moved and storage == BYTES:
        _LOGGER.warning("%s; the weights stay in half precision", moved)
        found, moved = fit(HALF)
    if moved:
        raise BundleError(f"{moved}: export with storage={FLOAT!r}")

    own = np.isin(splits.calibration, splits.fitted)  # of the source that is calibrated on, or all
    manifest = _manifest(dataset, evaluation=evaluation, aspect=aspect, licence=licence)
    logits = found.logits[own]
    manifest = dataclasses.replace(
        manifest,
        **fitted_on_calibration(dataset, evaluation, logits, temperature=found.temperature, fitted=splits.fitted),
        name=name,
        version=version,
        limits=(*warnings, *manifest.limits),
        input_filter=None if filter_spec is None else _filter_entry(filter_spec),
        **_tables(records, dataset, splits, found),
    )
    write_bundle(found.model, manifest, out)
    if measure is not None:
        write_bundle(found.model, dataclasses.replace(manifest, metrics=measure(load_bundle(out))), out)
    inputs = drawn_inputs(size)
    if golden_images:
        inputs = np.concatenate([inputs, dataset.pixels[evenly(splits.calibration, golden_images)]])
    write_golden_vectors(out, inputs)
    return out


def _check(spec: NetworkSpec, dataset: Dataset, *, out: Path, records: dict[str, Any], storage: str) -> None:
    if storage not in STORAGES:
        raise ConfigError(f"storage of the weights: expected one of {list(STORAGES)}, found {storage!r}")
    if out.suffix != ".onnx":
        raise ConfigError(f"bundle file: expected a name that ends in .onnx, found {out.name!r}")
    if spec.kind != "student":
        raise ConfigError(f"expected a student to export, found a {spec.kind}; distil a student from it first")
    if tuple(spec.labels) != dataset.task.labels:
        raise ConfigError(f"student has labels {list(spec.labels)}, the data set {list(dataset.task.labels)}")
    if spec.image_size != dataset.pixels.shape[1]:
        raise ConfigError(f"student takes {spec.image_size} pixels, the data set has {dataset.pixels.shape[1]}")
    unknown = sorted(set(records) - set(RECORDS))
    if unknown:
        raise ConfigError(f"records: expected some of {list(RECORDS)}, found {unknown}")


def _labelled(dataset: Dataset, split: str) -> NDArray[np.int64]:
    positions = dataset.positions(split)
    if len(positions) == 0:
        raise DataError(f"cannot export: the split {split} has no labelled image; split the index again")
    return positions


def _manifest(
    dataset: Dataset,
    *,
    evaluation: EvaluationConfig,
    aspect: str,
    licence: str,
) -> Manifest:
    """A manifest without what is fitted."""
    task = dataset.task
    return Manifest(
        name="",
        version="",
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        task=task.name,
        labels=task.labels,
        positive=task.positive,
        preprocessing=Preprocessing(size=dataset.pixels.shape[1], aspect=aspect),
        temperature=1.0,
        conformal_quantile=1.0,
        conformal_coverage=evaluation.coverage,
        operating_points=(),
        licence=licence,
        intended_use=intended_use(task),
        limits=limits(task, licence=licence),
    )


def _filter_entry(spec: InputKindSpec) -> InputFilter:
    """The manifest's entry; frontal stands first in every specification."""
    accept, *refused = spec.kinds
    return InputFilter(spec.kinds, accept, spec.threshold, {kind: INPUT_KINDS[kind] for kind in refused})


def _tables(
    records: dict[str, Any],
    dataset: Dataset,
    splits: Splits,
    found: Calibrated,
) -> dict[str, dict[str, Any]]:
    """The manifest's free tables: what the caller recorded, and what this export knows."""
    tables: dict[str, dict[str, Any]] = {table: dict(records.get(table, {})) for table in RECORDS}
    tables["data"] |= {
        "fingerprint": dataset.fingerprint,
        "images": {"train": len(splits.train), "calibration": len(splits.fitted)},
        "novelty": {
            "cut_off": f"percentile {found.reference.percentile:g} of the calibration split",
            "reference_images": len(splits.reference),
            "directions": found.reference.directions.shape[1],
        },
    }
    tables["run"] |= {"parity_with_pytorch": found.parity, "storage": found.weights}
    return tables


def write_bundle(model: onnx.ModelProto, manifest: Manifest, out: Path) -> None:
    """Put the manifest into the model, seal it, and let the file appear whole or not at all.

    Records keep the names of the files they speak of and lose the folders: a bundle travels, and tells nothing of the
    machine that made it.
    """
    manifest = dataclasses.replace(manifest, **{table: _without_folders(getattr(manifest, table)) for table in RECORDS})
    for older in [one for one in model.metadata_props if one.key == MANIFEST_KEY]:
        model.metadata_props.remove(older)
    entry = model.metadata_props.add()
    entry.key, entry.value = MANIFEST_KEY, manifest.to_json()
    write_bytes(out, seal(model.SerializeToString(deterministic=True)))


def _without_folders(value: Any) -> Any:
    """The same plain value with every absolute path in it cut to its last name."""
    if isinstance(value, dict):
        return {key: _without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(part) for part in value]
    if isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        return PurePath(value.replace("\\", "/")).name
    return value


def write_golden_vectors(out: Path, inputs: NDArray[np.uint8]) -> None:
    """Score the golden inputs with the bundle as any user would load it, which also proves that it loads."""
    bundle = load_bundle(out)
    write_golden(golden_path(out), bundle, inputs, sha256=bundle.sha256)
