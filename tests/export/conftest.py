"""A tiny student and data set: the export's whole way in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.labels import Task

torch = pytest.importorskip("torch", reason="needs the extra train")

SIZE = 32
FEATURES = 24


class Outputs(NamedTuple):
    logits: object
    embedding: object
    features: object


class TinyStudent(torch.nn.Module):
    """Convolutions, batch norm with statistics of its own, ReLU6, global average, linear head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = torch.nn.Conv2d(1, 16, 5, stride=4, padding=2, bias=False)
        self.norm = torch.nn.BatchNorm2d(16)
        self.second = torch.nn.Conv2d(16, FEATURES, 3, stride=2, padding=1)
        self.classifier = torch.nn.Linear(FEATURES, classes)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        self.norm.running_mean.copy_(torch.randn(16, generator=generator))
        self.norm.running_var.copy_(torch.rand(16, generator=generator) + 0.5)

    def forward(self, image):
        features = torch.nn.functional.relu6(self.norm(self.first((image - 0.5) / 0.25)))
        features = torch.nn.functional.relu6(self.second(features))
        embedding = features.mean((2, 3))
        return Outputs(self.classifier(embedding), embedding, features)

    def saliency(self, features):
        return torch.einsum("kc,nchw->nkhw", self.classifier.weight, features)


@dataclass(frozen=True)
class Case:
    """What `export_student` needs."""

    network: TinyStudent
    spec: SimpleNamespace
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
    network = TinyStudent(3).train()
    return Case(network, SimpleNamespace(kind="student", labels=task.labels, image_size=SIZE), dataset)


@pytest.fixture(scope="session")
def case() -> Case:
    return make_case()
