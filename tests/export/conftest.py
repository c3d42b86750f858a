"""A tiny student and data set: the export's whole way in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.labels import Task

torch = pytest.importorskip("torch", reason="needs the extra train")

from pocketcxr.models.backbones import Backbone  # noqa: E402
from pocketcxr.models.networks import NetworkSpec, Student  # noqa: E402

SIZE = 32
FEATURES = 24


class TinyTrunk(torch.nn.Module):
    """What timm calls a headless network: convolutions, batch norm with statistics of its own, ReLU6."""

    pretrained_cfg: ClassVar[dict] = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    num_features = FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 16, 5, stride=4, padding=2, bias=False)
        self.norm = torch.nn.BatchNorm2d(16)
        self.second = torch.nn.Conv2d(16, FEATURES, 3, stride=2, padding=1)

    def forward_features(self, images):
        maps = torch.nn.functional.relu6(self.norm(self.first(images)))
        return torch.nn.functional.relu6(self.second(maps))

    def forward_head(self, maps, pre_logits):
        return maps.mean((2, 3))


def tiny_student(classes: int) -> Student:
    """Return a real `Student` on a tiny trunk, its weights and statistics drawn from a seed."""
    student = Student(Backbone("tiny", TinyTrunk(), image_size=SIZE), classes=classes, dropout=0.2)
    generator = torch.Generator().manual_seed(3)
    for parameter in student.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    norm = student.backbone.trunk.norm
    norm.running_mean.copy_(torch.randn(16, generator=generator))
    norm.running_var.copy_(torch.rand(16, generator=generator) + 0.5)
    return student


@dataclass(frozen=True)
class Case:
    """What `export_student` needs."""

    network: Student
    spec: NetworkSpec
    dataset: Dataset


def make_case(*, train: int = 12, calibration: int = 15, test: int = 3) -> Case:
    """Draw smooth random pictures; the class follows their upper half's brightness."""
    task = Task("toy", ("normal", "pneumonia", "covid19"), "covid19", {"a": "normal", "b": "pneumonia", "c": "covid19"})
    generator = np.random.default_rng(0)
    splits = ["train"] * train + ["calibration"] * calibration + ["test"] * test
    labels = np.arange(len(splits)) % 3
    pixels = generator.integers(60, 120, size=(len(splits), SIZE, SIZE)) + 40 * labels[:, None, None]
    rows = tuple(IndexRow(path=f"{i}.png", source="toy", finding="a", split=split) for i, split in enumerate(splits))
    dataset = Dataset(task=task, rows=rows, pixels=pixels.astype(np.uint8), labels=labels, fingerprint="f00d")
    spec = NetworkSpec("student", ("tiny",), task.labels, SIZE)
    return Case(tiny_student(3).train(), spec, dataset)


@pytest.fixture(scope="session")
def case() -> Case:
    return make_case()
