"""A small drawn data set and models whose answers are known in advance."""

from dataclasses import dataclass

import numpy as np
import pytest

from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.evaluation.calibration import softmax
from pocketcxr.labels import TASKS

SIDE = 24


@dataclass
class Oracle:
    """A model that recognises images by their first pixels and answers with logits chosen by the test."""

    logits: np.ndarray
    temperature: float = 1.0
    with_saliency: bool = True
    calls: int = 0

    def __call__(self, images):
        self.calls += 1
        assert images.dtype == np.float32
        assert images.shape[1:] == (1, SIDE, SIDE)
        corner = np.round(images[:, 0, 0, :2] * 255).astype(int)
        chosen = self.logits[corner[:, 0] * 256 + corner[:, 1]].astype(np.float32)
        maps = np.ones((len(images), self.logits.shape[1], 3, 3), np.float32) * chosen[:, :, None, None]
        return ModelOutputs(
            probabilities=softmax(chosen, self.temperature).astype(np.float32),
            logits=chosen,
            embedding=chosen,
            saliency=maps if self.with_saliency else None,
        )


@pytest.fixture
def make_dataset(tmp_path):
    """Draw a data set of n images; every third image is of the same patient as the one before it."""

    def make(task_name="siim-appearance", n=120, *, sources=("north", "south"), classes=None, patients=None):
        task = TASKS[task_name]
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (n, SIDE, SIDE), dtype=np.uint8)
        pixels[:, 0, 0], pixels[:, 0, 1] = np.arange(n) // 256, np.arange(n) % 256
        labels = np.arange(n) % len(task.labels) if classes is None else np.asarray(classes)
        rows = tuple(
            IndexRow(
                path=str(tmp_path / "xrays" / f"{i:04}.png"),
                source=sources[(i // 7) % len(sources)],
                finding="drawn",
                label=task.labels[labels[i]],
                patient_id=f"drawn:secret-{i - (i % 3 == 1)}" if patients is None else f"drawn:secret-{i % patients}",
                split=("train", "calibration", "test", "test")[(i // 3) % 4],
            )
            for i in range(n)
        )
        return Dataset(task, rows, pixels, labels.astype(np.int64), "feedc0de")

    return make


@pytest.fixture
def make_oracle():
    """A model of a given skill: logits of the truth raised by `signal`, plus noise of a seed, times `scale`."""

    def make(dataset, signal, seed, *, scale=1.0, **options):
        n, classes = len(dataset.labels), len(dataset.task.labels)
        noise = np.random.default_rng(seed).normal(size=(n, classes))
        return Oracle((signal * np.eye(classes)[dataset.labels] + noise) * scale, **options)

    return make
