"""Train the heavy network: its backbones one at a time with heads of their own, then their fusion; or all at once."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pocketcxr.models.checkpoints import checkpoint_sha256, load_network, save_network
from pocketcxr.models.networks import FusionHead, NetworkSpec, PooledClassifier, Teacher, assemble
from pocketcxr.training import record
from pocketcxr.training.augmentation import AUGMENTATION_VERSION, image_keys, plain, replay
from pocketcxr.training.calibration_figures import evaluator, figures
from pocketcxr.training.config import fingerprint
from pocketcxr.training.engine import Engine
from pocketcxr.training.interruption import stop_requests
from pocketcxr.training.loop import Batch, Stage, fit, run_identity
from pocketcxr.training.losses import distillation_losses
from pocketcxr.training.sampling import epoch_plan, training_positions
from pocketcxr.training.starting import check_training_images, starting_backbone
from pocketcxr.training.view_store import ViewStore, fill_store, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.models.backbones import Backbone
    from pocketcxr.training.config import AugmentationConfig, TeacherConfig

TEACHER = "teacher.safetensors"
_BEST = "best.safetensors"
_VIEW_SEED = 1_000_003
"""Added to the teacher's seed, so that it is not fitted on the very views that students will ask it about."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Lesson:
    """What all stages of one teacher share."""

    dataset: Dataset
    config: TeacherConfig
    augmentation: AugmentationConfig
    spec: NetworkSpec
    engine: Engine
    out: Path
    progress: bool
    positions: NDArray[np.int64]
    keys: NDArray[np.uint64]

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "network": dataclasses.asdict(self.spec),
            "data": self.dataset.fingerprint,
            "augmentation": dataclasses.asdict(self.augmentation),
            "views": {"seed": self.view_seed, "version": AUGMENTATION_VERSION},
            "precision": self.engine.precision,
        }

    @property
    def view_seed(self) -> int:
        return self.config.seed + _VIEW_SEED

    def plan(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return epoch_plan(
            self.dataset, self.positions, sampling=self.config.sampling, seed=self.config.seed, epoch=epoch
        )

    def views(self, positions: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        return replay(
            self.dataset, positions, views, keys=self.keys, seed=self.view_seed, augmentation=self.augmentation
        )

    def load(self, positions: NDArray[np.int64], views: NDArray[np.int64]) -> Batch:
        labels = torch.from_numpy(self.dataset.labels[positions])
        return Batch(self.views(positions, views), labels, torch.from_numpy(positions))

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return distillation_losses(
            {"hard": 1.0},
            student_logits=network(batch.inputs).logits,
            labels=batch.labels,
            label_smoothing=self.config.label_smoothing,
        )

    def backbone(self, number: int) -> tuple[Backbone, dict[str, Any]]:
        return starting_backbone(
            self.config.backbones[number],
            self.config.weights[number],
            dataset=self.dataset,
            positions=self.positions,
            augmentation=self.augmentation,
            seed=self.config.seed + number,
        )


def train_teacher(
    dataset: Dataset,
    config: TeacherConfig,
    *,
    out: Path,
    augmentation: AugmentationConfig,
    progress: bool = True,
) -> Path:
    """Train a teacher; resumable stage by stage and step by step, and returned at once when done.

    Args:
        dataset: splits ``train`` (fitted, labelled images only) and ``calibration`` (chooses epochs).
        config: backbones, weights, optimisation; `config.staged` decides the way.
        out: the run's folder: a folder per stage, ``teacher.safetensors``, ``config.json``.
        augmentation: of the training images; every showing is another view.
        progress: show bars.

    Returns:
        The checkpoint ``out/teacher.safetensors``.

    Raises:
        DataError: fewer than two classes in the training split.
        ConfigError, CheckpointError, NonFiniteLossError: see `loop.fit`.
    """
    positions = training_positions(dataset)
    check_training_images(dataset, positions)
    spec = NetworkSpec(
        kind="teacher",
        backbones=config.backbones,
        labels=dataset.task.labels,
        image_size=dataset.pixels.shape[-1],
        embedding_features=config.embedding_features,
        dropout=config.dropout,
    )
    lesson = _Lesson(
        dataset,
        config,
        augmentation,
        spec,
        Engine(config.precision),
        out,
        progress,
        positions,
        image_keys(dataset.rows),
    )
    if lesson.engine.main:
        record.open_run(out, run_identity("teacher", config, lesson.identity))
    lesson.engine.wait()
    path = out / TEACHER
    if path.exists():
        return path
    if config.staged:
        last = _fuse(lesson, [_train_backbone(lesson, number) for number in range(len(config.backbones))])
        if config.finetune_backbones:
            last = _train_whole(lesson, "finetune", start=last)
    else:
        last = _train_whole(lesson, "joint", start=None)
    if lesson.engine.main:
        partial = path.with_name(path.name + ".partial")
        shutil.copyfile(last, partial)
        partial.replace(path)
    lesson.engine.wait()
    return path


def _train_backbone(lesson: _Lesson, number: int) -> Path:
    """One backbone with a linear head on its pooled features."""
    name = lesson.config.backbones[number]
    spec = dataclasses.replace(lesson.spec, kind="backbone", backbones=(name,))
    backbone, weights = lesson.backbone(number)
    network = assemble(spec, [backbone])
    return _fit(lesson, network, spec, title=f"teacher {number + 1}/{len(lesson.config.backbones)} {name}",
                folder=f"backbone-{number + 1}-{name}", config=lesson.config, extra={"weights": weights})  # fmt: skip


def _train_whole(lesson: _Lesson, stage: str, *, start: Path | None) -> Path:
    """The whole teacher at once: from first weights, or from a fused one at a tenth of the rate."""
    config = lesson.config
    if start is not None:
        network, _, _ = load_network(start)
        config = dataclasses.replace(config, epochs=config.fusion_epochs, learning_rate=config.learning_rate / 10)
        extra: dict[str, Any] = {"start": checkpoint_sha256(start)}
    else:
        backbones = [lesson.backbone(number) for number in range(len(config.backbones))]
        network = assemble(lesson.spec, [backbone for backbone, _ in backbones])
        extra = {"weights": [weights for _, weights in backbones]}
    return _fit(lesson, network, lesson.spec, title=f"teacher {stage}", folder=stage, config=config, extra=extra)


def _fit(
    lesson: _Lesson,
    network: nn.Module,
    spec: NetworkSpec,
    *,
    title: str,
    folder: str,
    config: TeacherConfig,
    extra: dict[str, Any],
) -> Path:
    identity = {**lesson.identity, "stage_network": dataclasses.asdict(spec), "start": extra.get("start")}

    def save(fitted: nn.Module, path: Path, notes: dict[str, Any]) -> None:
        save_network(path, fitted, spec, {**_about(lesson), **extra, **notes})

    stage = Stage(title, network, lesson.plan, lesson.load, lesson.losses,
                  evaluator(lesson.dataset, lesson.engine), save, identity)  # fmt: skip
    out = lesson.out / folder
    return fit(stage, config, engine=lesson.engine, out=out, best=out / _BEST, progress=lesson.progress)


def _fuse(lesson: _Lesson, stages: list[Path]) -> Path:
    """Fit the fusion on pooled features that the frozen backbones give once per view; minutes become seconds."""
    out = lesson.out / "fusion"
    best = out / _BEST
    if record.finished(out) is not None and best.exists():
        return best
    teacher, starts = _with_backbones(lesson, stages)
    store = _pooled_features(lesson, teacher, starts)
    calibration = lesson.dataset.positions("calibration")
    features = [
        _pool(lesson.engine, teacher, plain(lesson.dataset, calibration[start : start + 64]))
        for start in range(0, len(calibration), 64)
    ]
    labels = torch.from_numpy(lesson.dataset.labels)

    def plan(epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order, turns = lesson.plan(epoch)
        return order, turns % lesson.config.fusion_views

    def load(positions: NDArray[np.int64], views: NDArray[np.int64]) -> Batch:
        pooled = store.arrays["pooled"][views, store.rows_of(positions)]
        return Batch(torch.from_numpy(pooled), labels[torch.from_numpy(positions)], torch.from_numpy(positions))

    def evaluate(head: nn.Module) -> dict[str, float]:
        if not features:
            return {}
        with torch.inference_mode():
            logits = torch.cat([head.eval()(lesson.engine.place(part)).logits.float().cpu() for part in features])
        return figures(logits, labels[torch.from_numpy(calibration)])

    def save(head: nn.Module, path: Path, notes: dict[str, Any]) -> None:
        teacher.head.load_state_dict(head.state_dict())
        save_network(path, teacher, lesson.spec, {**_about(lesson), "stages": _stage_records(stages), **notes})

    config = dataclasses.replace(lesson.config, epochs=lesson.config.fusion_epochs)
    stage = Stage("teacher fusion", teacher.head, plan, load, lesson.losses, evaluate, save,
                  {**lesson.identity, "stages": starts})  # fmt: skip
    fit(stage, config, engine=lesson.engine, out=out, best=best, progress=lesson.progress)
    if lesson.engine.main:
        shutil.rmtree(lesson.out / "pooled", ignore_errors=True)
    return best


def _with_backbones(lesson: _Lesson, stages: list[Path]) -> tuple[Teacher, list[str]]:
    """A teacher whose backbones are those of the stages, with a fresh head, and the hashes of the stages."""
    torch.manual_seed(lesson.config.seed)
    backbones: list[Backbone] = []
    for path in stages:
        network, _, _ = load_network(path)
        assert isinstance(network, PooledClassifier)
        backbones.append(network.backbone)
    torch.manual_seed(lesson.config.seed)
    teacher = assemble(lesson.spec, backbones)
    assert isinstance(teacher, Teacher)
    assert isinstance(teacher.head, FusionHead)
    return teacher, [checkpoint_sha256(path) for path in stages]


def _pooled_features(lesson: _Lesson, teacher: Teacher, starts: list[str]) -> ViewStore:
    key = fingerprint(starts, lesson.identity, lesson.config.fusion_views)
    width = sum(backbone.features for backbone in teacher.backbones)  # pyright: ignore[reportGeneralTypeIssues]
    store = open_store(
        lesson.out / "pooled",
        key,
        positions=lesson.positions,
        views=lesson.config.fusion_views,
        shapes={"pooled": (np.float32, (width,))},
    )
    teacher.to(lesson.engine.device)

    def compute(batch: NDArray[np.int64], view: int) -> dict[str, NDArray[Any]]:
        images = lesson.views(batch, np.full(len(batch), view))
        return {"pooled": _pool(lesson.engine, teacher, images).numpy()}

    with stop_requests() as stop:
        fill_store(
            store,
            stop.before(compute, f"features kept in {store.folder}"),
            batch_size=64,
            shard=(lesson.engine.rank, lesson.engine.processes),
            progress=lesson.progress,
            title="pooled features",
        )
    lesson.engine.wait()
    return store


@torch.inference_mode()
def _pool(engine: Engine, teacher: Teacher, images: Tensor) -> Tensor:
    teacher.eval()
    with engine.autocast():
        return teacher.pooled(engine.place(images)).float().cpu()


def _about(lesson: _Lesson) -> dict[str, Any]:
    return {**lesson.identity, "configuration": dataclasses.asdict(lesson.config)}


def _stage_records(stages: list[Path]) -> list[dict[str, Any]]:
    """How each backbone fared alone, for the record of the whole."""
    records = [load_network(path)[2] for path in stages]
    return [{name: each.get(name) for name in ("weights", "epoch", "calibration")} for each in records]
