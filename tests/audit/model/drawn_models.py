"""Drawn films with a class of our own making on them, and models that read one thing only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays, synthetic_lung_mask
from pocketcxr.evaluation.calibration import softmax
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize
from pocketcxr.labels import TASKS

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 96
EDGE = 6
TASK = TASKS["siim-appearance"]  # two classes: negative, typical


@dataclass(frozen=True)
class Drawn:
    """Films float32 [n, SIZE, SIZE], true lungs bool of the same shape, patient and hospital of each."""

    films: np.ndarray
    lungs: np.ndarray
    patients: list[str]
    sources: list[str]


def draw(folder: Path, patients: int = 70, seed: int = 5) -> Drawn:
    """Draw patients of the four drawn hospitals."""
    draw_synthetic_xrays(folder, patients=patients, seed=seed, size=128, masks=True, progress=False)
    films, lungs, names, sources = [], [], [], []
    from csv import DictReader

    with (folder / "phantom.csv").open(newline="", encoding="utf-8") as stream:
        for record in DictReader(stream):
            path = folder / record["path"]
            films.append(resize(read_image(path).pixels, size=SIZE))
            lungs.append(resize(synthetic_lung_mask(path).astype(np.float32), size=SIZE) >= 0.5)
            names.append(record["patient_id"] or path.stem)
            sources.append(record["source"])
    return Drawn(np.stack(films), np.stack(lungs), names, sources)


def dataset(drawn: Drawn, *, cue: str, source_of_class: bool = False, seed: int = 0) -> Dataset:
    """Give each patient a class by lot, and write it into the films as a cue: ``border``, ``lungs`` or ``none``.

    With `source_of_class`, the source is named after the class instead of the drawn hospital.
    """
    rng = np.random.default_rng(seed)
    people = sorted(set(drawn.patients))
    classes = dict(zip(people, rng.permutation(np.arange(len(people)) % 2), strict=True))
    splits = dict(zip(people, rng.permutation(np.arange(len(people)) % 4), strict=True))
    labels = np.array([classes[name] for name in drawn.patients])
    films = drawn.films.copy()
    strength = np.where(labels == 1, 0.75, 0.25) + rng.normal(0, 0.08, len(labels))
    if cue == "border":
        rim = np.ones((SIZE, SIZE), dtype=bool)
        rim[EDGE:-EDGE, EDGE:-EDGE] = False
        films[:, rim] = strength[:, None]
    if cue == "lungs":
        films = np.where(drawn.lungs, strength[:, None, None], films)
    rows = tuple(
        IndexRow(
            path=f"{i}.png",
            source=f"source-{classes[name]}" if source_of_class else source,
            finding="no_pneumonia",
            patient_id=name,
            label=TASK.labels[classes[name]],
            split=("train", "calibration", "test", "test")[splits[name]],
            view=("PA", "AP")[i % 2],
            sex=("F", "M")[i % 2],
            age=str(30 + i % 50),
        )
        for i, (name, source) in enumerate(zip(drawn.patients, drawn.sources, strict=True))
    )
    pixels = np.floor(np.clip(films, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Dataset(TASK, rows, pixels, labels.astype(np.int64), f"drawn-{cue}")


def reader(what: str):
    """A model that reads the mean grey value of the ``border``, of two ``lungs`` patches, or ``nothing``."""
    window = np.zeros((SIZE, SIZE), dtype=bool)
    if what == "border":
        window[:] = True
        window[EDGE:-EDGE, EDGE:-EDGE] = False
    if what == "lungs":
        for column in (0.28, 0.72):
            middle = round(column * SIZE)
            window[round(0.42 * SIZE) : round(0.52 * SIZE), middle - 4 : middle + 4] = True

    def predict(images: np.ndarray, /) -> ModelOutputs:
        grey = images[:, 0][:, window].mean(axis=1) if what != "nothing" else np.full(len(images), 0.5)
        score = (10 * (grey - 0.5)).astype(np.float32)
        logits = np.stack([-score / 2, score / 2], axis=1)
        maps = np.zeros((len(images), 2, 8, 8), np.float32)
        cells = window.reshape(8, SIZE // 8, 8, SIZE // 8).mean(axis=(1, 3)).astype(np.float32)
        maps[:, 1] = cells * np.sign(score)[:, None, None] / 2
        maps[:, 0] = -maps[:, 1]
        embedding = np.stack([grey, images.mean(axis=(1, 2, 3))], axis=1).astype(np.float32)
        novelty = np.abs(images.mean(axis=(1, 2, 3)) - 0.5) / 0.3
        return ModelOutputs(softmax(logits).astype(np.float32), logits, embedding, maps, novelty.astype(np.float32))

    return predict
