"""Evaluation of a run: teacher against baseline student before distilling, the bundle, all networks side by side."""

from __future__ import annotations

import dataclasses
import logging
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pocketcxr import roles
from pocketcxr.errors import CheckpointError
from pocketcxr.evaluation.costs import ONNX_PROGRAM, Costs, measure_latency, peak_memory_of
from pocketcxr.evaluation.intervals import clusters
from pocketcxr.evaluation.label_wise import predictions_of_label, score_labels, task_of_label
from pocketcxr.evaluation.metrics import label_wise_auroc, macro_auroc
from pocketcxr.evaluation.model_result import calibrate, model_results
from pocketcxr.evaluation.scoring import calibration_positions, score
from pocketcxr.export.export import export_student
from pocketcxr.export.intended_use import heatmap_limits
from pocketcxr.export.release_check import audit_mark
from pocketcxr.export.storages import BYTES
from pocketcxr.files import write_json
from pocketcxr.inference.session import load_bundle
from pocketcxr.models.checkpoints import load_network
from pocketcxr.models.costs import CHECKPOINT_PROGRAM, network_costs
from pocketcxr.models.networks import Student
from pocketcxr.models.predict import as_predict
from pocketcxr.own_parts import is_python
from pocketcxr.pipeline.input_filter import fitted_input_filter
from pocketcxr.pipeline.run import log_test_split, notes
from pocketcxr.pipeline.teachers import given_costs, open_again, predict_of, teacher_predict, teacher_record
from pocketcxr.report.evaluate import evaluate_predictors
from pocketcxr.report.label_wise import evaluate_labels
from pocketcxr.run_folder import checkpoint, student_sha256
from pocketcxr.training.losses.distillation import needs_teacher
from pocketcxr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.intervals import Estimate
    from pocketcxr.evaluation.model_result import ModelResult
    from pocketcxr.pipeline.run import Run

_LOGGER = logging.getLogger("pocketcxr")
_RESEARCH_LICENCE = (
    "Weights: for research only, under the terms of the images they were trained on; see the model card. "
    "Code: Apache-2.0."
)
_INTERVAL = "95 % bootstrap by patient"
_RECORDED = ("auroc", "auroc_macro", "accuracy", "balanced_accuracy", "brier", "ece")


def compare_on_calibration(run: Run, dataset: Dataset) -> None:
    """Compare teacher and baseline student before anything is distilled, and record the outcome in the run.

    Only the calibration split is used: the test split is for the end.
    """
    positions = dataset.positions("calibration")
    found: dict[str, float] = {}
    for name, predict in ((roles.TEACHER, teacher_predict(run)), (roles.BASELINE, predict_of(run.student_baseline))):
        if dataset.task.multilabel:
            scores = score_labels(name, predict, dataset, positions, progress=run.progress)
            found[name] = label_wise_auroc(scores.probabilities, dataset.labels[positions])
            continue
        scored = score(name, predict, dataset, positions, progress=run.progress)
        found[name] = float(macro_auroc(scored.probabilities, scored.labels)[0])
    teacher, baseline = found[roles.TEACHER], found[roles.BASELINE]
    write_json(
        run.folder / "teacher-check.json",
        {"calibration_auroc_macro": found, "teacher_beats_student": teacher > baseline},
    )
    outcome = "better" if teacher > baseline else "NOT better"
    _LOGGER.info(
        "teacher against baseline student on the calibration split: mean AUROC %.3f against %.3f (%d images): %s",
        teacher,
        baseline,
        len(positions),
        outcome,
    )
    if not teacher > baseline:
        _LOGGER.warning(
            "a teacher that is no better than its student seldom helps it: train it longer, or on more pixels"
        )


def export_run(run: Run, dataset: Dataset, *, force: bool = False, storage: str = BYTES) -> Path:
    """Turn the distilled student into a bundle, with its test figures, data, run and audit on record inside.

    Raises:
        ReleaseError: the student failed its audit and is not exported by force.
        BundleError: its weights cannot be in half precision either, where `storage` is not ``float32``.
    """
    mark = audit_mark(run, force=force)
    network, spec, record = load_network(checkpoint(run.student_distilled))
    if not isinstance(network, Student):
        raise CheckpointError(f"{checkpoint(run.student_distilled)}: expected a student, found a {spec.kind}")
    records = {
        "data": {"fingerprint": dataset.fingerprint, "sources": sorted({row.source for row in dataset.rows})},
        "teacher": teacher_record(run),
        "run": {
            "experiment": dataclasses.asdict(run.experiment),
            "student": record,
            "software": f"pocketcxr {__version__}",
            "audit": mark.entry,
        },
    }
    fitted = fitted_input_filter(run)
    if fitted is not None:
        records["run"]["input_gate"] = fitted[2]
    log_test_split(run.test_split_log, f"export of the student {student_sha256(run)[:12]}")
    path = export_student(
        network,
        spec,
        dataset,
        out=run.bundle,
        evaluation=run.experiment.evaluation,
        name=f"pocketcxr {dataset.task.name}{mark.suffix}",
        version=__version__,
        licence=_RESEARCH_LICENCE,
        records=records,
        warnings=(*mark.limits, *heatmap_limits(run.experiment.student.auxiliary)),
        input_filter=None if fitted is None else fitted[:2],
        aspect=run.experiment.data.aspect,
        storage=storage,
        measure=lambda bundle: test_figures(run, dataset, bundle),  # of the file, not of the network it was made from
        progress=run.progress,
    )
    _LOGGER.info("bundle: %s (%.1f MB)", path, path.stat().st_size / 1e6)
    return path


def evaluate_run(run: Run, dataset: Dataset) -> str:
    """Score every network that the run has and the bundle, compare them, write tables and report."""
    folders = {roles.TEACHER: run.teacher, roles.BASELINE: run.student_baseline, roles.DISTILLED: run.student_distilled}
    if not _taught(run):
        folders = {roles.BASELINE: run.student_distilled}  # without a teacher's losses it is no distilled student
    trained = {name: folder for name, folder in folders.items() if checkpoint(folder).is_file()}
    predicts: dict[str, Predict] = {}
    costs: dict[str, Costs] = {}
    missing: list[str] = []
    given = open_again(run)
    if given is not None:
        predicts[roles.TEACHER] = teacher_predict(dataclasses.replace(run, given=given))
        costs[roles.TEACHER] = given_costs(given, image_size=dataset.pixels.shape[1])
    for name, folder in trained.items():
        network, spec, _ = load_network(checkpoint(folder))
        predicts[name] = as_predict(network, multilabel=spec.multilabel)
        counted = network_costs(network, image_size=spec.image_size)
        costs[name] = Costs(
            parameters=counted.parameters,
            macs=counted.macs,
            bytes=checkpoint(folder).stat().st_size,
            # a student given in Python is unknown to a fresh process
            peak_memory_bytes=None
            if any(map(is_python, spec.backbones))
            else peak_memory_of(name, CHECKPOINT_PROGRAM, [str(checkpoint(folder))], missing),
            runtime=f"PyTorch {torch.__version__.partition('+')[0]}",
        )
    if run.bundle.is_file():
        import onnxruntime

        predicts[roles.EXPORTED] = load_bundle(run.bundle, threads=1)
        same = costs.get(roles.DISTILLED if _taught(run) else roles.BASELINE, Costs())
        costs[roles.EXPORTED] = Costs(
            parameters=same.parameters,
            macs=same.macs,
            bytes=run.bundle.stat().st_size,
            peak_memory_bytes=peak_memory_of(
                roles.EXPORTED, ONNX_PROGRAM, [str(run.bundle), str(dataset.pixels.shape[1])], missing
            ),
            runtime=f"ONNX Runtime {onnxruntime.__version__}",
        )
    if not predicts:
        raise CheckpointError(f"{run.folder}: no trained network to evaluate; run  pocketcxr distill -o {run.folder}")
    log_test_split(run.test_split_log, f"evaluation of {', '.join(predicts)}")
    looks = len(run.test_split_log.read_text(encoding="utf-8").splitlines())
    seen = f"Times that the test split of this run was opened, this one included: {looks} ({run.test_split_log.name})."
    written: dict[str, Any] = {
        "config": run.experiment.evaluation,
        "costs": _with_latency(predicts, costs, dataset),
        "out": run.evaluation,
        "title": f"pocketcxr: {dataset.task.name}",
        "notes": (*notes(run), *missing, seen),
        "curves": _curves(trained),
        "command": " ".join(["pocketcxr", *sys.argv[1:]]),
        "settings": dataclasses.asdict(run.experiment),
        "progress": run.progress,
    }
    if dataset.task.multilabel:
        evaluation = evaluate_labels(predicts, dataset, **written)
        lines = [evaluation.headline]
    else:
        evaluation = evaluate_predictors(predicts, dataset, **written)
        lines = [
            evaluation.headline,
            *(f"{one.title}: {one.short.lower()}. {one.text}" for one in evaluation.conclusions),
        ]
    bundle = [f"bundle: {run.bundle}"] if run.bundle.is_file() else []
    return "\n".join([*lines, *bundle, f"report: {evaluation.report}"])


def _taught(run: Run) -> bool:
    """Whether the student that a run exports learned from a teacher."""
    return needs_teacher(run.experiment.student.losses)


def _curves(trained: Mapping[str, Path]) -> dict[str, Path]:
    """Folders with training curves: a student's own, a teacher's one per stage (and fold)."""
    found: dict[str, Path] = {}
    for name, folder in trained.items():
        for metrics in sorted(
            [*folder.glob("metrics.csv"), *folder.glob("*/metrics.csv"), *folder.glob("fold-*/*/metrics.csv")]
        ):
            stage = metrics.parent.relative_to(folder).as_posix()
            found[name if stage == "." else f"{name}: {stage}"] = metrics.parent
    return found


def test_figures(run: Run, dataset: Dataset, predict: Predict) -> dict[str, Any]:
    """Figures of a model on the test split, overall and per source, for a bundle's manifest."""
    if dataset.task.multilabel:
        return _test_figures_of_findings(run, dataset, predict)
    config, task, positions = run.experiment.evaluation, dataset.task, dataset.positions("test")
    calibration = score(
        "student", predict, dataset, calibration_positions(dataset, run.experiment.evaluation), progress=run.progress
    )
    test = score("student", predict, dataset, positions, progress=run.progress)
    rows = [dataset.rows[i] for i in positions]
    (result,), _ = model_results(
        [test],
        {"student": calibrate(calibration, task, config, brings_temperature=False)},
        task=task,
        config=config,
        members=clusters(rows),
        sources=np.array([row.source for row in rows]),
    )
    return {"split": "test", "images": len(positions), "interval": _INTERVAL, **_recorded(result)}


def _recorded(result: ModelResult) -> dict[str, Any]:
    return {
        "overall": {name: _figure(one) for name, one in result.figures.items() if name in _RECORDED or "@" in name},
        "sources": {
            source: {name: _figure(figure) for name, figure in figures.items() if name in _RECORDED}
            for source, figures in result.per_source.items()
        },
    }


def _test_figures_of_findings(run: Run, dataset: Dataset, predict: Predict) -> dict[str, Any]:
    """The same by finding, each over the test images of which it is known."""
    config, positions = run.experiment.evaluation, dataset.positions("test")
    known = calibration_positions(dataset, config)
    calibration = score_labels("student", predict, dataset, known, progress=run.progress)
    test = score_labels("student", predict, dataset, positions, progress=run.progress)
    findings: dict[str, Any] = {}
    for i, label in enumerate(dataset.task.labels):
        task = task_of_label(dataset.task, i)
        tested = predictions_of_label(test, dataset, i)
        fitted = calibrate(predictions_of_label(calibration, dataset, i), task, config, brings_temperature=True)
        rows = [dataset.rows[position] for position in tested.positions]
        (result,), _ = model_results(
            [tested],
            {"student": fitted},
            task=task,
            config=config,
            members=clusters(rows),
            sources=np.array([row.source for row in rows]),
        )
        findings[label] = {"images": len(rows), **_recorded(result)}
    return {"split": "test", "images": len(positions), "interval": _INTERVAL, "findings": findings}


def _figure(figure: Estimate) -> dict[str, Any]:
    return (
        {"value": figure.value, "low": figure.low, "high": figure.high}
        if figure.value is not None
        else {"why": figure.why}
    )


def _with_latency(predicts: Mapping[str, Predict], costs: Mapping[str, Costs], dataset: Dataset) -> dict[str, Costs]:
    image = dataset.images(dataset.positions("test")[:1])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = measure_latency({name: _call(predict, image) for name, predict in predicts.items()})
    finally:
        torch.set_num_threads(threads)
    return {name: dataclasses.replace(costs[name], latency=latency) for name, latency in found.items()}


def _call(predict: Predict, image: np.ndarray) -> Callable[[], object]:
    return lambda: predict(image)
