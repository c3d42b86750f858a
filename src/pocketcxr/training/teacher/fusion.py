"""The last stage of a staged teacher: its fusion, fitted on features that the frozen backbones give once per view."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pocketcxr.models.checkpoints import checkpoint_sha256, load_network, read_record, save_network
from pocketcxr.models.networks import PooledClassifier, Teacher, assemble
from pocketcxr.run_folder import STUDENT_FILE
from pocketcxr.training.calibration_metrics import BATCH, figures
from pocketcxr.training.loop import Batch, Stage, fit
from pocketcxr.training.run import record
from pocketcxr.training.run.identity import fingerprint
from pocketcxr.training.run.interruption import stop_requests
from pocketcxr.training.teacher.view_store import ViewStore, fill_store, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from pocketcxr.models.backbones import Backbone
    from pocketcxr.training.engine import Engine
    from pocketcxr.training.teacher.task import TeacherTask


def fuse(task: TeacherTask, stages: list[Path]) -> Path:
    """Fit the fusion on pooled features that the frozen backbones give once per view; minutes become seconds.

    Args:
        task: data and configuration.
        stages: checkpoints of the backbones, in their order.

    Returns:
        Checkpoint of the whole teacher, with the head of the best epoch.
    """
    out = task.out / "fusion"
    best = out / STUDENT_FILE
    if task.engine.from_main(record.finished(out) is not None and best.exists()):
        return best
    whole, starts = _with_backbones(task, stages)
    store = _pooled_features(task, whole, starts)
    calibration = task.dataset.positions("calibration")
    features = [
        _pool(task.engine, whole, torch.from_numpy(task.dataset.images(calibration[start : start + BATCH])))
        for start in range(0, len(calibration), BATCH)
    ]
    targets = torch.from_numpy(task.dataset.targets)
    truth = torch.from_numpy(task.dataset.labels[calibration])

    def plan(epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order, turns = task.plan(epoch, task.positions)
        return order, turns % task.config.fusion_views

    def load(positions: NDArray[np.int64], views: NDArray[np.int64]) -> Batch:
        pooled = store.arrays["pooled"][views, store.rows_of(positions)]
        return Batch(torch.from_numpy(pooled), targets[torch.from_numpy(positions)], torch.from_numpy(positions))

    def evaluate(head: nn.Module) -> dict[str, float]:
        if not features:
            return {}
        with torch.inference_mode():
            logits = torch.cat([head.eval()(task.engine.place(part)).logits.float().cpu() for part in features])
        return figures(logits, truth)

    def save(head: nn.Module, path: Path, notes: dict[str, Any]) -> None:
        whole.head.load_state_dict(head.state_dict())
        save_network(path, whole, task.spec, {**task.about, "stages": [_summary(path) for path in stages], **notes})

    head = copy.deepcopy(whole.head)  # fitted; that of `whole` is only written by `save`
    config = dataclasses.replace(task.config, epochs=task.config.fusion_epochs)
    stage = Stage("teacher fusion", head, plan, load, lambda head, batch: task.losses(head(batch.inputs), batch),
                  evaluate, save, {**task.identity, "stages": starts})  # fmt: skip
    fit(stage, config, engine=task.engine, out=out, best=best, progress=task.progress)
    if task.engine.main:
        shutil.rmtree(task.out / "pooled", ignore_errors=True)
    return best


def _with_backbones(task: TeacherTask, stages: list[Path]) -> tuple[Teacher, list[str]]:
    """A teacher whose backbones are those of the stages, with a fresh head, and the hashes of the stages."""
    torch.manual_seed(task.config.seed)
    backbones: list[Backbone] = []
    for path in stages:
        network, _, _ = load_network(path)
        assert isinstance(network, PooledClassifier)
        backbones.append(network.backbone)
    torch.manual_seed(task.config.seed)
    teacher = assemble(task.spec, backbones)
    assert isinstance(teacher, Teacher)
    return teacher, [checkpoint_sha256(path) for path in stages]


def _pooled_features(task: TeacherTask, teacher: Teacher, starts: list[str]) -> ViewStore:
    key = fingerprint(starts, task.identity, task.config.fusion_views)
    width = teacher.head.fuse.in_features
    store = open_store(
        task.out / "pooled",
        key,
        positions=task.positions,
        views=task.config.fusion_views,
        shapes={"pooled": (np.float32, (width,))},
    )
    teacher.to(task.engine.device)

    def compute(batch: NDArray[np.int64], view: int) -> dict[str, NDArray[Any]]:
        images = task.views(batch, np.full(len(batch), view))
        return {"pooled": _pool(task.engine, teacher, images).numpy()}

    with stop_requests() as stop:
        return fill_store(
            store,
            stop.before(compute, f"features kept in {store.folder}"),
            batch_size=BATCH,
            progress=task.progress,
            title="pooled features",
        )


@torch.inference_mode()
def _pool(engine: Engine, teacher: Teacher, images: Tensor) -> Tensor:
    teacher.eval()
    with engine.autocast():
        return teacher.pooled(engine.place(images)).float().cpu()


def _summary(stage: Path) -> dict[str, Any]:
    """How a backbone did with its own head, for the record of the whole."""
    found = read_record(stage)
    return {name: found.get(name) for name in ("weights", "epoch", "calibration")}
