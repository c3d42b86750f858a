"""Data and runs small enough for a test; child processes that are to be killed import this by name."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.errors import DataError
from pocketcxr.labels import TASKS
from pocketcxr.models.networks import NetworkSpec, build_network
from pocketcxr.training.config import AugmentationConfig, StudentConfig, TeacherConfig, ViewsConfig
from pocketcxr.training.engine import Engine
from pocketcxr.training.run.record import Table
from pocketcxr.training.student import train_student
from pocketcxr.training.teacher.crossfit import CrossFitted, train_cross_fitted, train_folds
from pocketcxr.training.teacher.teacher import train_teacher
from pocketcxr.training.teacher.views import TeacherViews, cache_views

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.context import ForkServerContext, ForkServerProcess

SIZE = 32
BACKBONE = "test_resnet.r160_in1k"  # 0.37 M parameters
VIEWS = ViewsConfig(count=3, seed=5, batch_size=16, precision="fp32")  # compared with the plain network, to 1e-4
STUDENT = StudentConfig(
    backbone=BACKBONE,
    weights="scratch",
    epochs=3,
    batch_size=16,
    ema_decay=0.9,
    precision="fp32",  # as VIEWS: "auto" is bf16 on some processors
    checkpoint_every_steps=2,
    unlabelled=True,
)
BASELINE = StudentConfig(**{**vars(STUDENT), "losses": {"ce": 1.0}})
TEACHER = TeacherConfig(
    backbones=(BACKBONE, "mobilenetv2_035"),
    weights=("scratch", "scratch"),
    epochs=2,
    batch_size=16,
    embedding_features=24,
    fusion_epochs=3,
    ema_decay=0.9,
    precision="fp32",
    checkpoint_every_steps=2,
)

FOLDED = TeacherConfig(
    **{**vars(TEACHER), "backbones": (BACKBONE,), "weights": ("scratch",), "epochs": 1, "fusion_epochs": 1, "folds": 3}
)


def make_dataset(*, images: int = 112, unlabelled: int = 16, fingerprint: str = "tiny", split: str = "") -> Dataset:
    """Noise with a bright stripe whose place is the class; sources "a" and "b" are no even mix."""
    generator = np.random.default_rng(0)
    task = TASKS["covid-3class"]
    labels = generator.choice(3, images, p=[0.6, 0.25, 0.15])
    labels[:unlabelled] = -1
    pixels = generator.integers(0, 120, (images, SIZE, SIZE))
    for image, label in zip(pixels, labels, strict=True):
        image[8 + 8 * label : 16 + 8 * label] += 90
    rows = tuple(
        IndexRow(
            path=f"{i}.png",
            source="ab"[i % 5 == 0],
            finding="",
            sha256=f"{i * 7919 + 1:016x}" + "0" * 48,
            split=split or ("train" if label < 0 else ("train", "train", "calibration", "test")[i % 4]),
        )
        for i, label in enumerate(labels)
    )
    return Dataset(task, rows, pixels.astype(np.uint8), labels.astype(np.int64), fingerprint)


def train_tiny_teacher(dataset: Dataset, out: Path, config: TeacherConfig = TEACHER) -> Path:
    """Train (or go on training) the tiny teacher."""
    return train_teacher(dataset, config, out=out, augmentation=AugmentationConfig(), progress=False)


def cache_tiny_views(dataset: Dataset, teacher: Path, out: Path) -> TeacherViews:
    """Cache (or go on caching) the tiny teacher's outputs."""
    return cache_views(dataset, teacher, VIEWS, out=out, progress=False)


def train_tiny_student(dataset: Dataset, out: Path, config: StudentConfig = BASELINE, **options: object) -> Path:
    """Train (or go on training) the tiny student."""
    return train_student(dataset, config, out=out, views_config=VIEWS, progress=False, **options)


def with_patients(dataset: Dataset) -> Dataset:
    """The same images of patients with three each, some of them without a label; two unlabelled patients besides."""
    train = [i for i, row in enumerate(dataset.rows) if row.split == "train"]
    numbers = {i: k // 3 for k, i in enumerate(np.random.default_rng(1).permutation(train).tolist())}
    lonely = [i for i in train if dataset.labels[i] < 0][:4]
    numbers |= {i: 1000 + k // 2 for k, i in enumerate(lonely)}
    rows = tuple(
        dataclasses.replace(row, patient_id=f"a:{numbers[i]}") if i in numbers else row
        for i, row in enumerate(dataset.rows)
    )
    return dataclasses.replace(dataset, rows=rows)


AUXILIARY = {"findings": 0.5, "opacity": 0.5, "boxes": 1.0}


def with_findings(dataset: Dataset) -> Dataset:
    """The same images with findings, and boxes on the stripes of pneumonia and COVID-19.

    Of the 16 images without a class, 6 have a finding of no class, 4 of those and 2 others known boxes; 8 have nothing.
    """
    names = ("no_finding", "pneumonia", "covid19")
    rows, boxes, unlabelled = [], {}, 0
    for row, label in zip(dataset.rows, dataset.labels.tolist(), strict=True):
        finding = (
            names[label] if label >= 0 else ("indeterminate_appearance", "atypical_appearance", "")[unlabelled % 3]
        )
        drawn = label > 0 or (label < 0 and unlabelled % 4 == 0)
        if label < 0:
            finding = finding if unlabelled < 9 else ""
            unlabelled += 1
        rows.append(dataclasses.replace(row, finding=finding))
        if drawn:
            boxes[row.path] = np.array([[0.0, 0.25 + 0.25 * max(label, 0), 1.0, 0.5 + 0.25 * max(label, 0)]])
        elif label == 0:
            boxes[row.path] = np.zeros((0, 4))
    return dataclasses.replace(dataset, rows=tuple(rows), boxes=boxes)


def train_tiny_folds(dataset: Dataset, out: Path, config: TeacherConfig = FOLDED) -> CrossFitted:
    """Train (or go on training) the tiny cross-fitted teacher."""
    return train_cross_fitted(dataset, config, out=out, augmentation=AugmentationConfig(), progress=False)


def train_tiny_fold(dataset: Dataset, fold: int, out: Path) -> None:
    """Train one of the teachers of the tiny cross-fitted teacher."""
    train_folds(dataset, FOLDED, [fold], out=out, augmentation=AugmentationConfig(), progress=False)


def run_folds(out: str) -> None:
    """In a child process: the tiny cross-fitted teacher."""
    torch.set_num_threads(1)
    train_tiny_folds(with_patients(make_dataset()), Path(out))


def run_teacher(out: str) -> None:
    """In a child process: the tiny teacher."""
    torch.set_num_threads(1)
    train_tiny_teacher(make_dataset(), Path(out))


def stop_after(rows: int) -> Callable[[Table, Mapping[str, float]], None]:
    """A `Table.append` that raises at the row after so many."""
    append, seen = Table.append, list[Any]()

    def stopping(self: Table, row: Mapping[str, float]) -> None:
        seen.append(row)
        if len(seen) > rows:
            raise KeyboardInterrupt
        append(self, row)

    return stopping


def run_student(out: str) -> None:
    """In a child process: the tiny baseline student."""
    torch.set_num_threads(1)
    train_tiny_student(make_dataset(), Path(out))


def run_views(teacher: str, out: str) -> None:
    """In a child process: the tiny teacher's outputs."""
    torch.set_num_threads(1)
    cache_tiny_views(make_dataset(), Path(teacher), Path(out))


def start_and_kill(
    context: ForkServerContext,
    target: Callable[..., None],
    arguments: tuple[str, ...],
    *,
    reached: Callable[[], bool],
    number: int = signal.SIGKILL,
) -> int | None:
    """Run a child process until a point is reached, send it the signal, and return its exit code."""
    child = context.Process(target=target, args=arguments)
    child.start()
    deadline = time.monotonic() + 300
    while not reached() and child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.002)
    if child.is_alive():
        os.kill(child.pid, number)
    child.join(60)
    return child.exitcode


def start_together(
    context: ForkServerContext, target: Callable[..., None], arguments: tuple[object, ...], *, count: int = 2
) -> list[ForkServerProcess]:
    """Start processes that train together over gloo, as a launcher does; return them by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        context.Process(target=_joined, args=(rank, count, port, target, arguments), daemon=True)
        for rank in range(count)
    ]
    for child in children:
        child.start()
    return children


def run_together(context: ForkServerContext, target: Callable[..., None], arguments: tuple[object, ...]) -> None:
    """Run two processes that train together to their end."""
    children = start_together(context, target, arguments)
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0, 0]


def _joined(rank: int, count: int, port: int, target: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    torch.set_num_threads(1)
    target(*arguments)


def run_distilled(teacher: str, out: str) -> None:
    """In a child process: cache the tiny teacher's outputs, then distil with dropout, auxiliary heads, many losses."""
    torch.set_num_threads(1)
    dataset = with_findings(make_dataset())
    views = cache_tiny_views(dataset, Path(teacher), Path(out) / "views")
    losses = {"ce": 0.5, "kd": 1.0, "dist": 0.5, "embedding": 1.0, "similarity": 1.0, "contrastive": 0.1}
    config = dataclasses.replace(STUDENT, dropout=0.2, losses=losses, auxiliary=AUXILIARY | {"evidence": 1.0}, epochs=2)
    train_tiny_student(dataset, Path(out) / "student", config, views=views)


def run_step(out: str) -> None:
    """In a child process or here: one step in float64; keeps the loss, all gradients and statistics."""
    torch.set_num_threads(1)
    engine = Engine("fp32")
    torch.manual_seed(0)
    spec = NetworkSpec("student", ("mobilenetv2_035",), ("a", "b"), 64, dropout=0.2)
    network = build_network(spec).double()
    torch.manual_seed(1)
    images = torch.rand(8, 1, 64, 64, dtype=torch.float64)
    distributed = engine.distribute(network).train()
    torch.manual_seed(2)
    outputs = distributed(images[engine.share(np.arange(8))])
    likeness = outputs.embedding @ outputs.embedding.T
    weights = torch.arange(8, dtype=torch.float64)[:, None]
    loss = (outputs.logits * weights).square().mean() + likeness.std()
    loss.backward()
    kept = {name: parameter.grad for name, parameter in network.named_parameters()} | dict(network.named_buffers())
    torch.save({**kept, "loss": loss.detach()}, f"{out}-{engine.rank}.pt")


def run_too_few(message: str) -> None:
    """In a child process: a batch of more images than there are; keeps what is said of it."""
    try:
        train_tiny_student(make_dataset(), Path(message).parent, dataclasses.replace(BASELINE, batch_size=128))
    except DataError as error:
        Path(message).write_text(str(error))
