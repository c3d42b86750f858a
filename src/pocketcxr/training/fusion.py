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
from pocketcxr.training import record
from pocketcxr.training.augmentation import plain
from pocketcxr.training.calibration_metrics import figures
from pocketcxr.training.config import fingerprint
from pocketcxr.training.interruption import stop_requests
from pocketcxr.training.loop import Batch, Stage, fit
from pocketcxr.training.view_store import ViewStore, fill_store, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from pocketcxr.models.backbones import Backbone
    from pocketcxr.training.engine import Engine
    from pocketcxr.training.teacher_task import TeacherTask

BEST = "best.safetensors"


def fuse(lesson: TeacherTask, stages: list[Path]) -> Path:
    """Fit the fusion on pooled features that the frozen backbones give once per view; minutes become seconds.

    Args:
        lesson: data and configuration.
        stages: checkpoints of the backbones, in their order.

    Returns:
        Checkpoint of the whole teacher, with the head of the best epoch.
    """
    out = lesson.out / "fusion"
    best = out / BEST
    if record.finished(out) is not None and best.exists():
        return best
    whole, starts = _with_backbones(lesson, stages)
    store = _pooled_features(lesson, whole, starts)
    calibration = lesson.dataset.positions("calibration")
    features = [
        _pool(lesson.engine, whole, plain(lesson.dataset, calibration[start : start + 64]))
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
        whole.head.load_state_dict(head.state_dict())
        save_network(path, whole, lesson.spec, {**lesson.about, "stages": [_summary(path) for path in stages], **notes})

    head = copy.deepcopy(whole.head)  # fitted; that of `whole` is only written by `save`
    config = dataclasses.replace(lesson.config, epochs=lesson.config.fusion_epochs)
    stage = Stage("teacher fusion", head, plan, load, lesson.losses, evaluate, save,
                  {**lesson.identity, "stages": starts})  # fmt: skip
    fit(stage, config, engine=lesson.engine, out=out, best=best, progress=lesson.progress)
    if lesson.engine.main:
        shutil.rmtree(lesson.out / "pooled", ignore_errors=True)
    return best


def _with_backbones(lesson: TeacherTask, stages: list[Path]) -> tuple[Teacher, list[str]]:
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
    return teacher, [checkpoint_sha256(path) for path in stages]


def _pooled_features(lesson: TeacherTask, teacher: Teacher, starts: list[str]) -> ViewStore:
    key = fingerprint(starts, lesson.identity, lesson.config.fusion_views)
    width = teacher.head.fuse.in_features
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


def _summary(stage: Path) -> dict[str, Any]:
    """How a backbone fared alone, for the record of the whole."""
    found = read_record(stage)
    return {name: found.get(name) for name in ("weights", "epoch", "calibration")}
