"""``pocketcxr quantise``: from a float bundle and its run to the fastest int8 bundle that keeps the limits, or none."""

from __future__ import annotations

import dataclasses
import json
import logging
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from pocketcxr.bundle.format import read_bundle, read_manifest, verify
from pocketcxr.bundle.golden import drawn_inputs, golden_path, network_input
from pocketcxr.data.dataset import evenly
from pocketcxr.errors import ConfigError, ReleaseError
from pocketcxr.export.calibrated import operating_points_of
from pocketcxr.export.export import MOST_REFERENCE_IMAGES, write_bundle, write_golden_vectors
from pocketcxr.export.int8.bench import Bench
from pocketcxr.export.int8.candidate import Limits, compared, misses
from pocketcxr.export.int8.chart import plot, table
from pocketcxr.export.int8.core import session
from pocketcxr.export.int8.search import golden_tolerance, refitted_manifest, search
from pocketcxr.files import check_output, write_json
from pocketcxr.inference.session import load_bundle
from pocketcxr.pipeline.evaluate import test_figures
from pocketcxr.pipeline.prepare import prepare
from pocketcxr.pipeline.run import log_test_split, reopen_run

if TYPE_CHECKING:
    from pathlib import Path

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.export.int8.bench import Fitted
    from pocketcxr.export.int8.candidate import Candidate, Search
    from pocketcxr.pipeline.run import Run

_LOGGER = logging.getLogger("pocketcxr")

RECORD = "quantise.json"


@dataclass(frozen=True)
class QuantiseResult:
    """The int8 bundle, the table of all candidates, and the outcome in a few lines."""

    bundle: Path
    record: Path
    summary: str


def run_quantise(
    target: Path,
    *,
    out: Path,
    run: Path | None = None,
    record: Path | None = None,
    limits: Limits | None = None,
    audit: bool = True,
    quick: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> QuantiseResult:
    """Quantise the bundle of a run.

    The search looks at the train and calibration splits only; the test split is asked once, for the chosen file.

    Args:
        target: a run's folder, or a float bundle, whose run is then named by `run`.
        out: the int8 bundle to write, ``….onnx``; golden vectors go beside it.
        run: folder of the run whose X-rays the bundle was made from.
        record: JSON of all candidates (default: ``quantise.json`` in the run's folder); a plot goes beside it.
        limits: that the int8 bundle must keep.
        audit: also audit both files in the quick way, and refuse one that fails a criterion the float file passes.
        quick: a short search.
        seed: of what is sampled at random.
        progress: show bars on stderr.

    Raises:
        ConfigError: no run, no bundle, or a bundle that does not fit the run.
        BundleError: the bundle is damaged or quantised already.
        ReleaseError: no recipe keeps the limits; the record and the plot are written all the same.
    """
    limits = limits or Limits()
    if out.suffix != ".onnx":
        raise ConfigError(f"-o: expected a name that ends in .onnx, found {out.name!r}")
    source, folder = _found(target, run)
    if out.resolve() == source.resolve():
        raise ConfigError(f"-o {out} is the float bundle itself: choose another name")
    check_output(out, folder=False)
    check_output(record or folder / RECORD, folder=False)
    data = read_bundle(source)
    verify(data, str(source))
    manifest = read_manifest(data, str(source))
    opened, dataset = _dataset(folder, manifest, progress=progress)
    bench = Bench(data, manifest, dataset, opened.experiment.evaluation, seed=seed, progress=progress)
    found = search(bench, limits, quick=quick, progress=progress)
    record = record or folder / RECORD
    picture = record.with_suffix(".png")
    plot(found, limits, picture)
    kept = _record(found, limits, manifest, source)
    write_json(record, kept)
    if found.chosen is None:
        raise ReleaseError(_nothing_passed(found, record))
    kept |= _write(found.chosen, bench, opened, limits, out=out, kept=kept)
    if audit:
        kept["audit"] = _audits(source, out, folder, seed=seed, progress=progress)
    write_json(record, kept)
    worse = kept.get("audit", {}).get("worse", [])
    if worse:
        out.unlink()
        golden_path(out).unlink()
        raise ReleaseError(f"the int8 file fails criteria of the audit that the float file passes: {'; '.join(worse)}")
    return QuantiseResult(out, record, f"{table(found)}\n\n{_outcome(kept, out)}\ntable: {record}\nplot: {picture}")


def _found(target: Path, run: Path | None) -> tuple[Path, Path]:
    """The float bundle and the folder of its run."""
    if target.is_dir():
        bundles = sorted((target / "bundle").glob("*.onnx"))
        if len(bundles) != 1:
            raise ConfigError(
                f"{target}: expected one bundle in {target / 'bundle'}, found {len(bundles)}: export first"
            )
        return bundles[0], run or target
    if run is None:
        raise ConfigError(f"{target}: name the run whose X-rays it was made from with --run RUN")
    return target, run


def _dataset(folder: Path, manifest: Manifest, *, progress: bool) -> tuple[Run, Dataset]:
    opened = reopen_run(folder, progress=progress)
    manifest.refuse_several("the search for an int8 file")
    dataset = prepare(opened)
    shape = manifest.preprocessing
    if dataset.task.labels != manifest.labels or dataset.pixels.shape[1] != shape.size:
        raise ConfigError(
            f"the bundle takes {shape.size} pixels and knows {', '.join(manifest.labels)}; the run in {folder} has "
            f"{dataset.pixels.shape[1]} pixels and {', '.join(dataset.task.labels)}"
        )
    fingerprint = manifest.data.get("fingerprint")
    if fingerprint and fingerprint != dataset.fingerprint:
        raise ConfigError(f"the bundle was made from other X-rays or splits than those of {folder}: name its own run")
    return opened, dataset


def _record(found: Search, limits: Limits, manifest: Manifest, source: Path) -> dict[str, Any]:
    return {
        "bundle": source.name,
        "name": manifest.name,
        "limits": dataclasses.asdict(limits),
        "chosen_on": "calibration split",
        "calibrated_on": f"{found.pictures} pictures of the train split",
        "float": found.float_figures,
        "candidates": [one.as_json() for one in found.candidates],
        "chosen": found.candidates.index(found.chosen) if found.chosen else None,
        "sensitivity": found.sensitivity,
        "runtime": f"ONNX Runtime {onnxruntime.__version__}, {platform.machine()}",
    }


def _nothing_passed(found: Search, record: Path) -> str:
    closest = found.closest
    return (
        f"no int8 recipe of {len(found.candidates)} keeps all limits; the closest ({closest.recipe.summary}) misses: "
        f"{'; '.join(closest.misses)}. Nothing was written but {record}. Next: loosen the limit that is missed, or "
        "train a student that is less often close to a decision threshold"
    )


def _write(
    chosen: Candidate, bench: Bench, run: Run, limits: Limits, *, out: Path, kept: dict[str, Any]
) -> dict[str, Any]:
    """Fit the chosen recipe on the whole reference, seal it, then ask the test split once; return what to record."""
    reference = evenly(bench.train, MOST_REFERENCE_IMAGES)
    fitted = bench.fit(chosen.recipe, reference=reference)
    dataset = bench.dataset
    images = network_input(
        np.concatenate([drawn_inputs(dataset.pixels.shape[1]), dataset.pixels[evenly(bench.calibration, 64)]])
    )
    record = {
        "from_sha256": bench.sha256,
        "recipe": dataclasses.asdict(chosen.recipe),
        "words": chosen.recipe.summary,
        "calibration_split": chosen.figures,
        "speed": chosen.speed,
        "portable": chosen.portable,
        "golden_tolerance": golden_tolerance(fitted, images),
        "runtime": kept["runtime"],
    }
    manifest = refitted_manifest(
        fitted,
        bench,
        search_record=record,
        operating_points=operating_points_of(dataset, run.experiment.evaluation, fitted.probabilities, bench.fitted),
        reference_images=len(reference),
    )
    _check_again(fitted, bench, limits, chosen)
    log_test_split(run.test_split_log, f"the int8 file of bundle {bench.sha256[:12]}")
    tested = _tested(fitted, bench, limits, size=chosen.bytes)
    write_bundle(fitted.model, manifest, out)
    metrics = test_figures(run, dataset, load_bundle(out, threads=1))
    manifest = dataclasses.replace(
        manifest,
        metrics=metrics,
        run=manifest.run | {"quantisation": record | {"test_split": tested}},
    )
    write_bundle(fitted.model, manifest, out)
    write_golden_vectors(out, drawn_inputs(dataset.pixels.shape[1]))
    return {"test_split": tested, "bytes": out.stat().st_size, "golden_tolerance": record["golden_tolerance"]}


def _check_again(fitted: Fitted, bench: Bench, limits: Limits, chosen: Candidate) -> None:
    """Hold the finished graph against the limits: its novelty was fitted on more pictures than while searching.

    Raises:
        ReleaseError: it breaks one.
    """
    found = bench.outputs(session(fitted.model), fitted.quantile, bench.calibration)
    figures = compared(bench.truth, found, bench.manifest)
    said = misses(figures, limits, size=chosen.bytes, can_travel=chosen.portable)
    if said:
        raise ReleaseError(f"{chosen.recipe.summary}: passed while searching, misses when finished: {'; '.join(said)}")


def _tested(fitted: Fitted, bench: Bench, limits: Limits, *, size: int) -> dict[str, Any]:
    """The test split, once: both files side by side."""
    positions = bench.dataset.positions("test")
    if len(positions) == 0:
        return {"images": 0}
    before = bench.outputs(bench.float_session, bench.manifest.conformal_quantile, positions)
    after = bench.outputs(session(fitted.model), fitted.quantile, positions)
    figures = compared(before, after, bench.manifest)
    said = misses(figures, dataclasses.replace(limits, portable_only=False), size=size, can_travel=True)
    positive = bench.manifest.labels.index(bench.manifest.positive)
    return {"images": len(positions), "float": before.figures(positive), "int8": figures, "misses": list(said)}


def _audits(source: Path, out: Path, folder: Path, *, seed: int, progress: bool) -> dict[str, Any]:
    """The model criteria of the audit for both files, and those that only the int8 file fails."""
    from pocketcxr.pipeline.audit import run_audit

    outcomes: dict[str, dict[str, str]] = {}
    for name, bundle in (("float", source), ("int8", out)):
        where = out.with_name(f"{out.stem}-audit") / name
        result = run_audit(folder, bundle=bundle, run=folder, out=where, quick=True, seed=seed, progress=progress)
        criteria = json.loads(result.record.read_text(encoding="utf-8"))["criteria"]
        outcomes[name] = {one["title"]: one["outcome"] for one in criteria if one["scope"] == "model"}
    worse = [t for t, said in outcomes["int8"].items() if said == "failed" and outcomes["float"].get(t) != "failed"]
    return {**outcomes, "worse": worse, "unchanged": outcomes["float"] == outcomes["int8"]}


def _outcome(kept: dict[str, Any], out: Path) -> str:
    chosen = kept["candidates"][kept["chosen"]]
    lines = [
        (
            f"chosen: {chosen['words']}: {chosen['speed']:.2f} times as fast as the float file, "
            f"{chosen['figures']['agreement']:.2%} of decisions agree on the calibration split"
        )
    ]
    tested = kept["test_split"]
    if tested["images"]:
        figures = tested["int8"]
        lines.append(
            f"test split, {tested['images']} images, looked at once: AUROC {tested['float']['auroc']:.4f} in float, "
            f"{figures['auroc']:.4f} in int8; calibration error {tested['float']['ece']:.4f} and {figures['ece']:.4f}; "
            f"{figures['agreement']:.2%} of decisions agree"
            + (f"; beyond the limits there: {'; '.join(tested['misses'])}" if tested["misses"] else "")
        )
    audit = kept.get("audit")
    lines.append(
        f"audit: {'outcomes unchanged' if audit['unchanged'] else 'outcomes differ, none for the worse'}"
        if audit
        else "audit: not asked"
    )
    lines.append(f"bundle: {out} ({kept['bytes'] / 1e6:.2f} MB)")
    return "\n".join(lines)
