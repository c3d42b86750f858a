"""Class activation maps as heatmaps: an array, an overlay on the image; `heatmap_file` writes files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.imaging.radiograph import Radiograph
    from pocketcxr.inference.prediction import Prediction

LONGEST_SIDE = 1024
"""A heatmap is at most this large, in pixels: maps have 7 x 7 cells, more pixels would show nothing more."""

FULL_COLOUR_LOGITS = 2.0
"""Evidence below this never reaches full colour: an image without evidence must not show a hot spot."""

_OPACITY = 0.7
# Eleven steps of matplotlib's "inferno" (CC0), red, green, blue: lightness grows with the value, colour-blind safe.
_INFERNO = np.array(
    [
        (0, 0, 4), (22, 11, 57), (66, 10, 104), (106, 23, 110), (147, 38, 103), (188, 55, 84),
        (221, 81, 58), (243, 120, 25), (252, 165, 10), (246, 215, 70), (252, 255, 164),
    ],
    dtype=np.float32,
) / np.float32(255)  # fmt: skip


def shown_label(prediction: Prediction, manifest: Manifest) -> str:
    """Name the class whose evidence is shown: the decided one, or the positive one where the model is uncertain.

    Of several findings: the most probable one.
    """
    if manifest.multilabel:
        return max(prediction.probabilities, key=lambda label: prediction.probabilities[label])
    return prediction.decision if prediction.decision in manifest.labels else manifest.positive


def evidence_map(saliency: NDArray[np.float32], position: int, *, temperature: float) -> NDArray[np.float32]:
    """Evidence for one class against the others, float32 [rows, columns], in calibrated logits.

    The map of the class minus the mean of the other classes' maps, over the temperature: what all classes share cancels
    in the softmax, so it must not colour the image. Positive speaks for the class.

    Args:
        saliency: class activation maps [classes, rows, columns]. Source: Zhou et al., Learning Deep Features for
            Discriminative Localization, 2016.
        position: the class, in the order of the bundle's labels.
        temperature: of the bundle.
    """
    others = np.delete(saliency, position, axis=0).mean(axis=0)
    return ((saliency[position] - others) / np.float32(temperature)).astype(np.float32)


def draw_heatmap(
    pixels: NDArray[np.float32], evidence: NDArray[np.float32], *, aspect: str = "squash"
) -> NDArray[np.uint8]:
    """Lay evidence over an image, uint8 RGB [rows, columns, 3], longest side `LONGEST_SIDE` at most.

    Args:
        pixels: the image [H, W] in [0, 1].
        evidence: from `evidence_map`; it covers the network's square input.
        aspect: how that square was made, ``squash`` or ``pad``; see `pocketcxr.bundle.manifest.Preprocessing`.
    """
    height, width = pixels.shape
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    image = np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BOX, reducing_gap=2.0))
    strength = _strength(evidence, rows, columns, aspect=aspect)
    steps = colour_steps()[np.round(strength * 255).astype(np.uint8)]  # [rows, columns, 4]: colour times opacity, rest
    blended = steps[..., :3] + steps[..., 3:] * np.clip(image, 0, 1)[..., None]
    return np.round(blended * np.float32(255)).astype(np.uint8)


def heatmap_of(
    prediction: Prediction, radiograph: Radiograph, manifest: Manifest, label: str | None
) -> NDArray[np.float32]:
    """Evidence for a label (None: see `shown_label`) at the size of the whole image, float32 [rows, columns] in [0, 1].

    Raises:
        ConfigError: no label of the bundle.
    """
    size = radiograph.metadata.height, radiograph.metadata.width
    return _strength(evidence_of(prediction, manifest, label), *size, aspect=manifest.preprocessing.aspect)


def overlay_of(prediction: Prediction, radiograph: Radiograph, manifest: Manifest, label: str | None) -> Image.Image:
    """Draw the heatmap of a label over the image; see `draw_heatmap`.

    Raises:
        ConfigError: no label of the bundle.
    """
    evidence = evidence_of(prediction, manifest, label)
    return Image.fromarray(draw_heatmap(radiograph.pixels, evidence, aspect=manifest.preprocessing.aspect))


def evidence_of(prediction: Prediction, manifest: Manifest, label: str | None) -> NDArray[np.float32]:
    """Evidence for a label (None: see `shown_label`) of a prediction that was scored; see `evidence_map`.

    Raises:
        ConfigError: no label of the bundle.
    """
    label = shown_label(prediction, manifest) if label is None else label
    if label not in manifest.labels:
        raise ConfigError(f"label: expected one of {', '.join(manifest.labels)}, found {label!r}")
    assert prediction.saliency is not None
    position = manifest.labels.index(label)
    if manifest.multilabel:  # a finding by itself: no other class has a share in its probability
        return (prediction.saliency[position] / np.float32(manifest.findings[position].temperature)).astype(np.float32)
    return evidence_map(prediction.saliency, position, temperature=manifest.temperature)


def _strength(evidence: NDArray[np.float32], rows: int, columns: int, *, aspect: str) -> NDArray[np.float32]:
    """Share of full colour, float32 [rows, columns] in [0, 1]."""
    strength = np.clip(evidence / max(float(evidence.max()), FULL_COLOUR_LOGITS), 0, 1)
    return np.clip(_over_image(strength, rows, columns, aspect=aspect), 0, 1)


def _over_image(strength: NDArray[np.float32], rows: int, columns: int, *, aspect: str) -> NDArray[np.float32]:
    """Enlarge a map smoothly to the image; of a padded square only the part that the image filled is kept."""
    image = Image.fromarray(strength.astype(np.float32))
    if aspect == "squash":
        return np.asarray(image.resize((columns, rows), Image.Resampling.BICUBIC))
    side = max(rows, columns)
    square = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
    top, left = (side - rows) // 2, (side - columns) // 2
    return square[top : top + rows, left : left + columns]


def colour_steps() -> NDArray[np.float32]:
    """For 256 strengths: red, green, blue in [0, 1] times the opacity, and what is left to the image; [256, 4]."""
    strength, anchors = np.linspace(0, 1, 256), np.linspace(0, 1, len(_INFERNO))
    alpha = _OPACITY * strength
    channels = [alpha * np.interp(strength, anchors, _INFERNO[:, channel]) for channel in range(3)]
    return np.stack([*channels, 1 - alpha], axis=-1).astype(np.float32)
