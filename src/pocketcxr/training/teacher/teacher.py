"""Train the teacher: its backbones one at a time with heads of their own, then their fusion; or all at once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pocketcxr.files import copy_file
from pocketcxr.models.backbones import build_trunk, check_blocks
from pocketcxr.models.checkpoints import checkpoint_sha256, load_network, save_network
from pocketcxr.models.networks import NetworkSpec, Teacher, assemble
from pocketcxr.run_folder import STUDENT_FILE, TEACHER_FILE
from pocketcxr.training.auxiliary.heads import auxiliary_losses, with_heads, without_heads
from pocketcxr.training.calibration_metrics import evaluator
from pocketcxr.training.engine import Engine
from pocketcxr.training.loop import Stage, fit, run_identity
from pocketcxr.training.run import record
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.starting import check_training_images
from pocketcxr.training.teacher.fusion import fuse
from pocketcxr.training.teacher.task import TeacherTask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.models.backbones import Backbone
    from pocketcxr.models.networks import NetworkOutputs
    from pocketcxr.training.config import AugmentationConfig, TeacherConfig
    from pocketcxr.training.loop import Batch


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
        dataset: splits ``train`` (fitted; labelled images and auxiliary ones) and ``calibration`` (chooses epochs).
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
    check_training_images(dataset, training_positions(dataset))
    spec = NetworkSpec(
        kind="teacher",
        backbones=config.backbones,
        labels=dataset.task.labels,
        image_size=dataset.pixels.shape[-1],
        inner_size=config.image_size,
        embedding_features=config.embedding_features,
        dropout=config.dropout,
        multilabel=dataset.task.multilabel,
    )
    task = TeacherTask(dataset, config, augmentation, spec, Engine(config.precision), out, progress)
    for name in config.backbones if config.frozen_blocks else ():  # before the first of them is trained for hours
        check_blocks(name, build_trunk(name, image_size=spec.backbone_size), config.frozen_blocks)
    if task.engine.main:
        record.open_run(out, run_identity("teacher", config, task.identity))
    task.engine.wait()
    path = out / TEACHER_FILE
    if task.engine.from_main(path.exists()):
        return path
    if config.staged:
        last = fuse(task, [_train_backbone(task, number) for number in range(len(config.backbones))])
        if config.finetune_backbones:
            last = _train_whole(task, "finetune", start=last)
    else:
        last = _train_whole(task, "joint", start=None)
    if task.engine.main:
        copy_file(last, path)
    task.engine.wait()
    return path


def _train_backbone(task: TeacherTask, number: int) -> Path:
    """One backbone with a linear head on its pooled features; taken as it is where backbones are frozen."""
    name = task.config.backbones[number]
    spec = dataclasses.replace(task.spec, kind="backbone", backbones=(name,))
    backbone, weights = task.backbone(number)
    network = assemble(spec, [backbone])
    if task.config.frozen_backbones:
        path = task.out / f"backbone-{number + 1}-{name}" / STUDENT_FILE
        if task.engine.main and not path.exists():
            save_network(path, network, spec, {**task.about, "weights": weights})
        task.engine.wait()
        return path
    return _fit(task, network, [backbone], spec, title=f"teacher {number + 1}/{len(task.config.backbones)} {name}",
                folder=f"backbone-{number + 1}-{name}", config=task.config, extra={"weights": weights})  # fmt: skip


def _train_whole(task: TeacherTask, stage: str, *, start: Path | None) -> Path:
    """The whole teacher at once: from first weights, or from a fused one at a tenth of the rate."""
    config = task.config
    if start is not None:
        network, _, found = load_network(start)
        assert isinstance(network, Teacher)
        for backbone, trained in zip(network.backbones, found["stages"], strict=True):
            backbone.freeze(trained["weights"].get("frozen_blocks", 0))  # pyright: ignore[reportCallIssue]
        config = dataclasses.replace(
            config, epochs=config.fusion_epochs, learning_rate=config.learning_rate / 10, progressive_sizes=()
        )
        extra: dict[str, Any] = {"start": checkpoint_sha256(start)}
    else:
        backbones = [task.backbone(number) for number in range(len(config.backbones))]
        network = assemble(task.spec, [backbone for backbone, _ in backbones])
        extra = {"weights": [weights for _, weights in backbones]}
    assert isinstance(network, Teacher)
    own: list[Backbone] = list(network.backbones)  # pyright: ignore[reportAssignmentType]
    return _fit(task, network, own, task.spec, title=f"teacher {stage}", folder=stage, config=config, extra=extra)


def _fit(
    task: TeacherTask,
    network: nn.Module,
    backbones: Sequence[Backbone],
    spec: NetworkSpec,
    *,
    title: str,
    folder: str,
    config: TeacherConfig,
    extra: dict[str, Any],
) -> Path:
    identity = {**task.identity, "stage_network": spec.table(), "start": extra.get("start")}

    trained = with_heads(network, backbones, task.auxiliary, seed=config.seed)

    def plan(epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        for backbone in backbones:
            backbone.training_size = _training_size(config, epoch)
        return task.plan(epoch, task.shown)

    def losses(distributed: nn.Module, batch: Batch) -> dict[str, Tensor]:
        outputs: NetworkOutputs = distributed(batch.inputs)
        return {**task.losses(outputs, batch), **auxiliary_losses(trained, outputs, batch, task.auxiliary)}

    def save(fitted: nn.Module, path: Path, notes: dict[str, Any]) -> None:
        save_network(path, without_heads(fitted), spec, {**task.about, **extra, **notes})

    stage = Stage(title, trained, plan, task.load, losses,
                  evaluator(task.dataset, task.engine), save, identity)  # fmt: skip
    out = task.out / folder
    return fit(stage, config, engine=task.engine, out=out, best=out / STUDENT_FILE, progress=task.progress)


def _training_size(config: TeacherConfig, epoch: int) -> int:
    """Side in pixels that backbones resize the views of an epoch to, 0 for the last size."""
    sizes = (*config.progressive_sizes, 0)
    return sizes[epoch * len(sizes) // config.epochs]
