"""Heatmaps as PNG files: the image with its evidence, and below it the class, the scale and the research mark."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from pocketcxr.inference.saliency import FULL_COLOUR_LOGITS, colour_steps, draw_heatmap, evidence_of, shown_label
from pocketcxr.inference.standard_input import STANDARD_INPUT_NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.inference.prediction import Prediction

RESEARCH_MARK = "Research use only, not a medical device"
NARROWEST = 320
"""Pixels that the words below the image need; a narrower image has black beside it."""

_COMPRESSION = 2  # of 9: the default takes twice as long and saves 3 %
_SMALLEST_TEXT, _LARGEST_TEXT = 12, 20


def write_heatmap(folder: Path, prediction: Prediction, pixels: NDArray[np.float32], *, manifest: Manifest) -> Path:
    """Write the heatmap of one prediction and return its path; the folder is made where it is missing.

    The name is the input's stem and eight digits of a hash of its path (of standard input, of its pixels): the same
    input always gets the same name, two inputs of one stem never overwrite each other, and nothing else of the patient
    enters the name.

    Raises:
        ValueError: the prediction has no saliency (refused or not read).
    """
    png = heatmap_png(prediction, pixels, manifest=manifest)
    source = Path(prediction.path)
    named = prediction.path != STANDARD_INPUT_NAME
    key = str(source.absolute()).encode("utf-8", "backslashreplace") if named else pixels.tobytes()
    folder.mkdir(parents=True, exist_ok=True)
    stem = source.stem if named else STANDARD_INPUT_NAME.replace(" ", "-")
    path = folder / f"{stem}-{hashlib.sha256(key).hexdigest()[:8]}.png"
    path.write_bytes(png)
    return path


def heatmap_png(prediction: Prediction, pixels: NDArray[np.float32], *, manifest: Manifest) -> bytes:
    """Return the heatmap of one prediction as a PNG; it holds nothing of the file but its pixels.

    Class, scale and research mark stand below the image and, with the model, in the PNG's text.

    Raises:
        ValueError: the prediction has no saliency (refused or not read).
    """
    if prediction.saliency is None:
        raise ValueError(f"no heatmap for an image that was not scored (decision {prediction.decision})")
    label = shown_label(prediction, manifest)
    evidence = evidence_of(prediction, manifest, label)
    overlay = draw_heatmap(pixels, evidence, aspect=manifest.preprocessing.aspect)
    full_colour = max(float(evidence.max()), FULL_COLOUR_LOGITS)
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", f"evidence for {label}, full colour at {full_colour:.2f}")
    text.add_text("Software", prediction.bundle)
    text.add_text("Disclaimer", RESEARCH_MARK)
    stream = io.BytesIO()
    _with_legend(overlay, label, full_colour).save(stream, "PNG", pnginfo=text, compress_level=_COMPRESSION)
    return stream.getvalue()


def _with_legend(overlay: NDArray[np.uint8], label: str, full_colour: float) -> Image.Image:
    """The image [H, W, 3], and below it in white on black: the class, colours from 0 to full, the research mark."""
    height, width = overlay.shape[:2]
    width = max(width, NARROWEST)
    size = min(max(width // 40, _SMALLEST_TEXT), _LARGEST_TEXT)
    font, line = ImageFont.load_default(size), round(1.5 * size)
    canvas = Image.new("RGB", (width, height + 3 * line + size // 2))
    canvas.paste(Image.fromarray(overlay), (0, 0))
    draw, left, top = ImageDraw.Draw(canvas), size // 2, height + size // 4
    room = width - 2 * left
    draw.text((left, top), _fitting(f"Evidence for {label}", font, room), font=font)
    end = f"{full_colour:.2f} logits"
    start_px, end_px = round(font.getlength("0 ")), round(font.getlength(f" {end}"))
    draw.text((left, top + line), "0", font=font)
    draw.text((left + room - end_px, top + line), f" {end}", font=font)
    bar = np.linspace(0, 255, room - start_px - end_px).astype(np.uint8)
    steps = colour_steps()[np.tile(bar, (size, 1))]  # [size, bar, 4]; over middle grey, as over an image
    colours = np.round((steps[..., :3] + steps[..., 3:] / 2) * 255).astype(np.uint8)
    canvas.paste(Image.fromarray(colours), (left + start_px, top + line + size // 6))
    draw.text((left, top + 2 * line), _fitting(RESEARCH_MARK, font, room), font=font)
    return canvas


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    """The text, cut where it is wider than `room` pixels; what the font cannot show stands as an escape."""
    text = text.encode("latin-1", "backslashreplace").decode("latin-1")
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}...") > room:
        text = text[:-1]
    return f"{text}..."
