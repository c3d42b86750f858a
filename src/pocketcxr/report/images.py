"""Images of a report: the picture as the network saw it, and where the network looked."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pocketcxr.inference.saliency import draw_heatmap, evidence_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.evaluation.model_result import ModelResult

_QUALITY = 82


@dataclass(frozen=True)
class Example:
    """One test image for the gallery; `picture` and `heatmap` are data URIs, `heatmap` empty without saliency.

    `others` holds what each model says: name, class, probability of that class.
    """

    path: str
    source: str
    truth: str
    predicted: str
    probability: float
    picture: str
    heatmap: str
    others: tuple[tuple[str, str, float], ...]


def examples(
    shown: ModelResult, models: Sequence[ModelResult], dataset: Dataset, *, right: bool, most: int
) -> tuple[Example, ...]:
    """Choose test images that one model gets right, or wrong, the most confident first.

    Right answers are taken from the classes in turn; images with a heatmap go before those without.

    Args:
        shown: the model in question.
        models: all models, for what the others say of the same image.
        dataset: the images.
        right: right answers, or else wrong ones.
        most: number of images at most.
    """
    truth, predicted = shown.predictions.labels, shown.predicted
    confidence = shown.probabilities.max(axis=1)
    has_map = np.array([int(position) in shown.predictions.saliency for position in shown.predictions.positions])
    wanted = np.flatnonzero((predicted == truth) == right)
    order = sorted((int(i) for i in wanted), key=lambda i: (not has_map[i], -confidence[i]))
    if right:
        turn: dict[int, int] = {}
        keyed = []
        for i in order:
            label = int(truth[i])
            keyed.append((turn.get(label, 0), label, i))
            turn[label] = turn.get(label, 0) + 1
        order = [i for _, _, i in sorted(keyed)]
    root = common_root(dataset)
    return tuple(_example(i, shown, models, dataset, root) for i in order[:most])


def common_root(dataset: Dataset) -> Path:
    """The folder that all images share, so that a report can name them without paths of the machine."""
    folders = {os.path.dirname(os.path.abspath(row.path)) for row in dataset.rows}  # noqa: PTH100, PTH120  # fast
    return Path(os.path.commonpath(folders)) if folders else Path()


def _example(place: int, shown: ModelResult, models: Sequence[ModelResult], dataset: Dataset, root: Path) -> Example:
    position = int(shown.predictions.positions[place])
    row, labels = dataset.rows[position], dataset.task.labels
    pixels = np.asarray(dataset.pixels[position])
    chosen = int(shown.predicted[place])
    saliency = shown.predictions.saliency.get(position)
    heatmap = ""
    if saliency is not None:
        temperature = shown.calibration.temperature or shown.predictions.implied_temperature
        evidence = evidence_map(saliency, chosen, temperature=temperature)
        # The pixels are the network's own square, so the map covers them whole, padded or not.
        heatmap = data_uri(draw_heatmap(pixels.astype(np.float32) / np.float32(255), evidence, aspect="squash"))
    path = Path(os.path.abspath(row.path))  # noqa: PTH100  # resolve() would follow links out of the data set
    return Example(
        path=str(path.relative_to(root)),
        source=row.source,
        truth=labels[int(shown.predictions.labels[place])],
        predicted=labels[chosen],
        probability=float(shown.probabilities[place, chosen]),
        picture=data_uri(pixels),
        heatmap=heatmap,
        others=tuple(
            (one.name, labels[int(one.predicted[place])], float(one.probabilities[place].max()))
            for one in models
            if one.name != shown.name
        ),
    )


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """JPEG of uint8 pixels [H, W] or [H, W, 3] as a data URI."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
