"""Leave one source out: a student per source that never saw it, for the audit of unseen hospitals."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.data.multilabel import classes_of, held, texts_of
from pocketcxr.data.rows import read_rows
from pocketcxr.errors import ConfigError, DataError
from pocketcxr.evaluation.calibration import fit_temperature
from pocketcxr.evaluation.label_wise import fit_temperatures, score_labels
from pocketcxr.evaluation.scoring import score
from pocketcxr.files import write_json
from pocketcxr.models.checkpoints import load_network
from pocketcxr.models.predict import as_predict
from pocketcxr.plain_text import one_line
from pocketcxr.report.formatting import slug
from pocketcxr.run_folder import RunFolder, checkpoint
from pocketcxr.training.auxiliary.targets import auxiliary_targets
from pocketcxr.training.run.record import finished
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.student import train_student

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.pipeline.run import Run

_LOGGER = logging.getLogger("pocketcxr")
LEAST_TEST_IMAGES = 20
"""Test images of a source below which it is not worth a training of its own."""


def train_without_sources(
    run: Run, dataset: Dataset, *, only: Sequence[str] = (), start_from: Path | None = None
) -> dict[str, Path]:
    """Train the student again without each source in turn, on labels only; resumable, done ones are kept.

    The baseline student, not the distilled one: the teacher has seen every source, and its outputs depend on it.
    For the same reason first weights must not come from a network that has seen these sources; where they come from a
    file that was trained on X-rays, a warning says so. Of a source neither training nor calibration images are used.

    Args:
        run: whose ``student`` settings are taken; results lie in its folder ``leave-one-source-out/<source>``.
        dataset: all of it; its test split is not touched.
        only: sources to leave out now, such as one for each of several processes or machines; all where empty.
        start_from: folder of a run whose students without a source give the first weights, each to the one without the
            same source: for a student that is trained in stages (larger pictures, fewer channels).

    Returns:
        Source to the checkpoint of the student that never saw it, for all that are trained so far.

    Raises:
        ConfigError: `only` names a source that cannot be left out; `start_from` has no student without a source, or
            other splits than this run.
        DataError: no source has enough test images, or without any of them a class is lost.
    """
    config = dataclasses.replace(run.experiment.student, losses={"ce": 1.0})
    if start_from is None and (config.weights.endswith((".onnx", ".safetensors")) or config.weights == "bundled"):
        _LOGGER.warning(
            "students start from %s, which may have seen the sources left out here: that flatters; "
            "--set student.weights=pretrained starts from ImageNet",
            config.weights,
        )
    sources = _sources(dataset)
    skipped = {source: reason for source in sources if (reason := _lost(dataset, source))}
    usable = [source for source in sources if source not in skipped]
    for source, reason in skipped.items():
        _LOGGER.info("without %s: left out, %s", one_line(source), reason)
    if not usable:
        raise DataError(
            f"{run.folder}: no source can be left out ({skipped or f'none has {LEAST_TEST_IMAGES} test images'}); "
            "add a source that has the same classes"
        )
    if unknown := sorted(set(only) - set(usable)):
        raise ConfigError(f"--source {', '.join(unknown)}: expected some of {', '.join(usable)}")
    starts = {} if start_from is None else _starts(start_from, dataset, only or usable)
    for source in only or usable:
        rest = leave_out(dataset, source)
        _LOGGER.info("student without %s: %d training images", one_line(source), len(rest.positions("train")))
        own = dataclasses.replace(config, weights=str(starts[source])) if starts else config
        own = dataclasses.replace(own, auxiliary=_auxiliary(rest, own.auxiliary))
        train_student(rest, own, out=_folder(run, source), views_config=run.experiment.views, progress=run.progress)
    found = {
        source: checkpoint(_folder(run, source)) for source in usable if finished(_folder(run, source)) is not None
    }
    record = {source: str(path.relative_to(run.folder)) for source, path in found.items()}
    write_json(
        run.left_out_record,
        {
            "students": record,
            "left_out": skipped,
            "student": dataclasses.asdict(config),
            "start_from": _first_stage(start_from),
        },
    )
    return found


def _auxiliary(rest: Dataset, weights: Mapping[str, float]) -> dict[str, float]:
    """The auxiliary outputs whose targets the other sources have; the log names those that go."""
    kept: dict[str, float] = {}
    for name, weight in weights.items():
        try:
            auxiliary_targets(rest, {name: weight})
        except DataError as error:
            _LOGGER.info("trained without this auxiliary output: %s", error)
        else:
            kept[name] = weight
    return kept


def _starts(folder: Path, dataset: Dataset, sources: Sequence[str]) -> dict[str, Path]:
    """Source to the checkpoint of another run's student that never saw it, nor any test image of this run."""
    recorded = _recorded(folder)
    if recorded is None:
        raise ConfigError(
            f"{folder}: expected students without a source in {RunFolder(folder).left_out_record}: train them first"
        )
    students = recorded["students"]
    if missing := sorted(set(sources) - set(students)):
        raise ConfigError(f"{folder} has no student without {', '.join(missing)}: train it there first")
    seen = {row.sha256 or row.path for row in read_rows(folder / "splits.csv") if row.split != "test"}
    if any(row.split == "test" and (row.sha256 or row.path) in seen for row in dataset.rows):
        raise ConfigError(
            f"{folder} has other splits: its students have seen test images of this run; split both alike"
        )
    return {source: folder / students[source] for source in sources}


def _first_stage(folder: Path | None) -> dict[str, object] | None:
    """How the students that gave the first weights were trained themselves."""
    recorded = None if folder is None else _recorded(folder)
    if recorded is None:
        return None
    return {"run": str(folder), "student": recorded["student"], "start_from": recorded.get("start_from")}


def _recorded(folder: Path) -> dict[str, Any] | None:
    """What is on record of a run's students without a source; None where none was trained."""
    path = RunFolder(folder).left_out_record
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _folder(run: Run, source: str) -> Path:
    return run.left_out_record.with_name(slug(source))


def _lost(dataset: Dataset, source: str) -> str:
    """Why a source cannot be left out; empty where it can."""
    rest = leave_out(dataset, source)
    texts = texts_of(rest.targets[training_positions(rest)], dataset.task)
    present = {one for text in texts for one in held(text)}
    missing = [one for one in classes_of(dataset.task) if one not in present]
    return f"no other source has training images of {', '.join(missing)}" if missing else ""


def students_without(run: Run, dataset: Dataset) -> dict[str, Predict]:
    """Source to the student that never saw it, with a temperature of its own; empty where none was trained."""
    recorded = _recorded(run.folder)
    if recorded is None:
        return {}
    found: dict[str, Predict] = {}
    for source, weights in recorded["students"].items():
        network, _, _ = load_network(run.folder / weights)
        multilabel = dataset.task.multilabel
        positions, raw = leave_out(dataset, source).positions("calibration"), as_predict(network, multilabel=multilabel)
        temperature: float | NDArray[np.float64] = 1.0
        if multilabel:
            scores = score_labels(f"without {source}", raw, dataset, positions)
            temperature = fit_temperatures(scores.logits, dataset.labels[positions])
        elif len(set(dataset.labels[positions].tolist())) == len(dataset.task.labels):
            scored = score(f"without {source}", raw, dataset, positions)
            temperature = fit_temperature(scored.logits, scored.labels)
        found[source] = as_predict(network, temperature=temperature, multilabel=multilabel)
    return found


def leave_out(dataset: Dataset, source: str) -> Dataset:
    """The same images with those of a source on no side of the split; training sees the data set as another one."""
    rows = tuple(dataclasses.replace(row, split="") if row.source == source else row for row in dataset.rows)
    return dataclasses.replace(dataset, rows=rows, fingerprint=f"{dataset.fingerprint} without {source}")


def _sources(dataset: Dataset) -> list[str]:
    """Sources with enough test images; none where there is only one source."""
    names, counts = np.unique([dataset.rows[i].source for i in dataset.positions("test")], return_counts=True)
    enough = [str(name) for name, count in zip(names, counts, strict=True) if count >= LEAST_TEST_IMAGES]
    return enough if len(names) > 1 else []
