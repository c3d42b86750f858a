"""Cross-fitting: k teachers, each trained without one fold of the patients, so that none teaches what it has seen."""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.multilabel import texts_of
from pocketcxr.data.splits.assign import assign_training_folds
from pocketcxr.errors import ConfigError
from pocketcxr.models.checkpoints import checkpoint_sha256, load_network, read_record, save_network
from pocketcxr.models.networks import Ensemble
from pocketcxr.run_folder import TEACHER_FILE
from pocketcxr.training.auxiliary.targets import auxiliary_targets
from pocketcxr.training.distributed.processes import accelerator
from pocketcxr.training.engine import Engine
from pocketcxr.training.loop import run_identity
from pocketcxr.training.run import record
from pocketcxr.training.run.identity import fingerprint, recorded
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.teacher.teacher import train_teacher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.training.config import AugmentationConfig, TeacherConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrossFitted:
    """Checkpoints of k teachers and the fold of each image.

    `fold_of` int64 [rows of the data set]: the one teacher, from 0, that was trained without the image's patient; -1
    where no teacher saw the patient. `mean` is the checkpoint of the ensemble, for images outside the training split.
    """

    teachers: tuple[Path, ...]
    fold_of: NDArray[np.int64]
    mean: Path

    @property
    def sha256(self) -> str:
        """Hash over all teachers, in their order, and all folds."""
        return fingerprint("cross-fitted", [checkpoint_sha256(path) for path in self.teachers], self.fold_of.tolist())


def train_cross_fitted(
    dataset: Dataset, config: TeacherConfig, *, out: Path, augmentation: AugmentationConfig, progress: bool = True
) -> CrossFitted:
    """Train `config.folds` teachers, each without one fold of the training split; resumable, each in its own folder.

    No patient, study or group of near duplicates is in two folds, and auxiliary images are assigned as labelled ones
    are. Another image without a label is in the fold of its patient; where no image that is trained on shares its
    patient, no teacher saw that patient.

    Args:
        dataset: splits ``train`` and ``calibration``, as for `train_teacher`.
        config: of every teacher.
        out: gets ``fold-1`` and so on, and ``teacher.safetensors``, the ensemble that gives the mean of the logits.
        augmentation: of the training images.
        progress: show bars.

    Raises:
        DataError: a class with fewer patients than folds.
        ConfigError, CheckpointError, NonFiniteLossError: see `train_teacher`.
    """
    everything = range(1, config.folds + 1)
    teachers, folds = train_folds(dataset, config, everything, out=out, augmentation=augmentation, progress=progress)
    if accelerator().is_main_process:
        _save_mean(teachers, config, out=out, folds=fingerprint(folds.tolist()))
    accelerator().wait_for_everyone()
    return CrossFitted(tuple(teachers), folds, out / TEACHER_FILE)


def train_folds(
    dataset: Dataset,
    config: TeacherConfig,
    only: Sequence[int],
    *,
    out: Path,
    augmentation: AugmentationConfig,
    progress: bool = True,
) -> tuple[list[Path], NDArray[np.int64]]:
    """Train some of the teachers of `train_cross_fitted`, such as one on each of several machines.

    Args:
        dataset: as for all of them.
        config: of every teacher.
        only: numbers of the folds that are left out, each in turn, from 1.
        out: as for all of them.
        augmentation: of the training images.
        progress: show bars.

    Returns:
        Their checkpoints, and the fold of each row of the data set, as `CrossFitted` has it.

    Raises:
        ConfigError: a number that is no fold's; see also `train_cross_fitted`.
    """
    if unknown := sorted(set(only) - set(range(1, config.folds + 1))):
        raise ConfigError(f"fold {unknown[0]}: expected a number from 1 to teacher.folds, which is {config.folds}")
    folds = training_folds(dataset, config)
    digest = fingerprint(folds.tolist())
    engine = Engine(config.precision)
    also = _auxiliary_positions(dataset, config)
    unknown = sum(not dataset.rows[i].patient_id for i in training_positions(dataset, also=also))
    if unknown and not (out / record.CONFIG).exists():
        _log.warning(
            "folds of the teacher: of %d training images the patient is not known; only study and near duplicates keep "
            "them together",
            unknown,
        )
    if engine.main:
        record.open_run(
            out, run_identity("cross-fitted teacher", config, {"data": dataset.fingerprint, "folds": digest})
        )
    engine.wait()
    one = dataclasses.replace(config, folds=0)
    teachers: list[Path] = []
    for fold in (number - 1 for number in only):
        if not (out / f"fold-{fold + 1}" / TEACHER_FILE).exists():
            _log.info("teacher %d of %d: without %d images", fold + 1, config.folds, int((folds == fold).sum()))
        part = without_fold(dataset, folds, fold, name=f"fold {fold + 1} of {config.folds} ({digest})")
        path = train_teacher(part, one, out=out / f"fold-{fold + 1}", augmentation=augmentation, progress=progress)
        teachers.append(path)
    return teachers, folds


def training_folds(dataset: Dataset, config: TeacherConfig) -> NDArray[np.int64]:
    """Fold of each row of a data set, as `CrossFitted` has it."""
    texts = texts_of(dataset.targets, dataset.task)
    rows = [dataclasses.replace(row, label=text) for row, text in zip(dataset.rows, texts, strict=True)]
    also = _auxiliary_positions(dataset, config)
    folds = assign_training_folds(rows, dataset.task, folds=config.folds, seed=config.seed, also=also)
    return np.array(folds, dtype=np.int64)


def _auxiliary_positions(dataset: Dataset, config: TeacherConfig) -> list[int]:
    targets = auxiliary_targets(dataset, config.auxiliary)
    return [] if targets is None else targets.positions.tolist()


def without_fold(dataset: Dataset, folds: NDArray[np.int64], fold: int, *, name: str) -> Dataset:
    """The same images in the same order, those of a fold in no split."""
    rows = tuple(
        dataclasses.replace(row, split="") if own == fold else row
        for row, own in zip(dataset.rows, folds.tolist(), strict=True)
    )
    return dataclasses.replace(dataset, rows=rows, fingerprint=f"{dataset.fingerprint} without {name}")


def _save_mean(teachers: list[Path], config: TeacherConfig, *, out: Path, folds: str) -> None:
    """Write the ensemble, unless it is there and made of these very teachers."""
    path = out / TEACHER_FILE
    about = {
        "configuration": recorded(config),
        "folds": folds,
        "members": [checkpoint_sha256(teacher) for teacher in teachers],
    }
    if path.exists() and read_record(path) == json.loads(json.dumps(about)):
        return
    loaded = [load_network(teacher) for teacher in teachers]
    spec = dataclasses.replace(loaded[0][1], kind="ensemble", members=len(loaded))
    save_network(path, Ensemble([network for network, _, _ in loaded]), spec, about)
