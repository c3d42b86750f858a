"""Train the heavy network: its backbones one at a time with heads of their own, then their fusion; or all at once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pocketcxr.files import copy_file
from pocketcxr.models.checkpoints import checkpoint_sha256, load_network, save_network
from pocketcxr.models.networks import NetworkSpec, assemble
from pocketcxr.training import record
from pocketcxr.training.augmentation import image_keys
from pocketcxr.training.calibration_metrics import evaluator
from pocketcxr.training.engine import Engine
from pocketcxr.training.fusion import BEST, fuse
from pocketcxr.training.loop import Stage, fit, run_identity
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.starting import check_training_images
from pocketcxr.training.teacher_task import TeacherTask

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.training.config import AugmentationConfig, TeacherConfig

TEACHER = "teacher.safetensors"


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
    lesson = TeacherTask(
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
        last = fuse(lesson, [_train_backbone(lesson, number) for number in range(len(config.backbones))])
        if config.finetune_backbones:
            last = _train_whole(lesson, "finetune", start=last)
    else:
        last = _train_whole(lesson, "joint", start=None)
    if lesson.engine.main:
        copy_file(last, path)
    lesson.engine.wait()
    return path


def _train_backbone(lesson: TeacherTask, number: int) -> Path:
    """One backbone with a linear head on its pooled features; taken as it is where backbones are frozen."""
    name = lesson.config.backbones[number]
    spec = dataclasses.replace(lesson.spec, kind="backbone", backbones=(name,))
    backbone, weights = lesson.backbone(number)
    network = assemble(spec, [backbone])
    if lesson.config.frozen_backbones:
        path = lesson.out / f"backbone-{number + 1}-{name}" / BEST
        if lesson.engine.main and not path.exists():
            save_network(path, network, spec, {**lesson.about, "weights": weights})
        lesson.engine.wait()
        return path
    return _fit(lesson, network, spec, title=f"teacher {number + 1}/{len(lesson.config.backbones)} {name}",
                folder=f"backbone-{number + 1}-{name}", config=lesson.config, extra={"weights": weights})  # fmt: skip


def _train_whole(lesson: TeacherTask, stage: str, *, start: Path | None) -> Path:
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
    lesson: TeacherTask,
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
        save_network(path, fitted, spec, {**lesson.about, **extra, **notes})

    stage = Stage(title, network, lesson.plan, lesson.load, lesson.losses,
                  evaluator(lesson.dataset, lesson.engine), save, identity)  # fmt: skip
    out = lesson.out / folder
    return fit(stage, config, engine=lesson.engine, out=out, best=out / BEST, progress=lesson.progress)
