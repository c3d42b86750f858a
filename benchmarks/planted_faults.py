"""Faults planted into a synthetic set, one at a time, so that an audit can be asked whether it finds them.

They are known faults of medical image collections, one by one; `benchmarks/audit_rates.py` measures how often each is
caught, and how often a clean set is blamed.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pocketcxr.data.index import read_metadata
from pocketcxr.data.pseudonyms import read_key
from pocketcxr.data.synthetic.hospital import write_8bit
from pocketcxr.errors import ConfigError, DataError
from pocketcxr.imaging.reading import read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.data.rows import IndexRow

IN_TABLE = ("leaked-patient", "re-encoded-copy", "turned-copy", "test-only-source", "label-noise", "device")
"""Faults of the table: the images stay as they are, but for one copy."""

IN_PIXELS = ("corner-marker", "border", "blur", "grey-levels", "grid", "lung-lines")
"""Faults that give the images of one class away."""

FAULTS = (*IN_TABLE, *IN_PIXELS)
"""Names of the faults."""

_MARKED_CLASS = "covid19"
_WRONG = 0.4  # share of the labels of one source that are exchanged


def plant_fault(rows: Sequence[IndexRow], fault: str, *, out: Path, seed: int) -> list[IndexRow]:
    """Return the split table of a synthetic set with one fault in it; the given images stay as they are.

    ``leaked-patient``: a training patient's image moves to the test split. ``re-encoded-copy``, ``turned-copy``: the
    test split gets a training image, cropped by 3 %, smaller, recompressed, or turned by 3 degrees with black corners,
    without its patient's number. ``test-only-source``: all images of one source are in the test split.
    ``label-noise``: four in ten patients of one source have another class. ``device``: the header of each class names
    another manufacturer, in nine of ten images.

    The others change every image of the class covid19, and no other; all images are stored anew, alike, so that the
    files themselves tell nothing. ``corner-marker``, ``border``: a small white square in a corner, a dark frame.
    ``blur``: a Gaussian of 0.8 pixels. ``grey-levels``: 64 of 256. ``grid``: a faint pattern of two levels.
    ``lung-lines``: a curved tube in one lung and a straight lead in the other.

    Args:
        rows: a split table, with labels and hashes.
        fault: one of `FAULTS`.
        out: folder for the images that are written.
        seed: which patient, which image.

    Raises:
        ConfigError: an unknown fault.
        DataError: no patient with two images in the training split.
    """
    if fault not in FAULTS:
        raise ConfigError(f"fault: expected one of {', '.join(FAULTS)}, found {fault!r}")
    rng = np.random.default_rng([seed, FAULTS.index(fault)])
    out.mkdir(parents=True, exist_ok=True)
    if fault == "leaked-patient":
        return _leaked(rows, rng)
    if fault in ("re-encoded-copy", "turned-copy"):
        return [*rows, _copied(rows, fault, out, rng)]
    if fault == "test-only-source":
        alone = _some_source(rows, rng)
        return [dataclasses.replace(row, split="test") if row.source == alone else row for row in rows]
    if fault == "label-noise":
        return _mislabelled(rows, rng)
    if fault == "device":
        makers = {label: f"maker {i}" for i, label in enumerate(sorted({row.label for row in rows}))}
        names = [makers[row.label] if rng.random() < 0.9 else "maker 0" for row in rows]
        return [dataclasses.replace(row, manufacturer=name) for row, name in zip(rows, names, strict=True)]
    return [_stored_anew(row, out, fault if row.label == _MARKED_CLASS else "", rng) for row in rows]


def _some_source(rows: Sequence[IndexRow], rng: np.random.Generator) -> str:
    return str(rng.choice(sorted({row.source for row in rows})))


def _mislabelled(rows: Sequence[IndexRow], rng: np.random.Generator) -> list[IndexRow]:
    source, labels = _some_source(rows, rng), sorted({row.label for row in rows if row.label})
    changed: dict[str, str] = {}
    for row in rows:
        key = row.duplicate_group or row.path
        wrong = str(rng.choice([label for label in labels if label != row.label]))
        changed.setdefault(row.patient_id or key, wrong if rng.random() < _WRONG else "")
    return [
        dataclasses.replace(row, label=new)
        if row.source == source and row.label and (new := changed[row.patient_id or row.duplicate_group or row.path])
        else row
        for row in rows
    ]


def _leaked(rows: Sequence[IndexRow], rng: np.random.Generator) -> list[IndexRow]:
    images: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.split == "train" and row.patient_id:
            images[row.patient_id].append(i)
    several = [members for members in images.values() if len(members) > 1]
    if not several:
        raise DataError("planting a leak: no patient has two images in the training split; draw more patients")
    moved = several[int(rng.integers(len(several)))][0]
    return [dataclasses.replace(row, split="test") if i == moved else row for i, row in enumerate(rows)]


def _copied(rows: Sequence[IndexRow], fault: str, out: Path, rng: np.random.Generator) -> IndexRow:
    train = [row for row in rows if row.split == "train" and row.label]
    row = train[int(rng.integers(len(train)))]
    image = _picture(row)
    if fault == "turned-copy":
        copy = image.rotate(float(rng.choice([-3, 3])), Image.Resampling.BILINEAR)
    else:
        margin = round(0.03 * min(image.size))
        cropped = image.crop((margin, margin, image.width - margin, image.height - margin))
        copy = cropped.resize((round(0.8 * cropped.width), round(0.8 * cropped.height)), Image.Resampling.LANCZOS)
    path = out / "another-collection.jpg"
    write_8bit(copy, path, quality=60)
    return _indexed(row, path, patient_id="", study_id="", split="test", duplicate_group="")


def _stored_anew(row: IndexRow, out: Path, fault: str, rng: np.random.Generator) -> IndexRow:
    image = _picture(row)
    pen = ImageDraw.Draw(image)
    if fault == "corner-marker":
        side = 0.06 * image.height
        x, y = rng.uniform(0.02, 0.06, 2) * image.height
        pen.rectangle((x, y, x + side, y + side), fill=250)
    elif fault == "border":
        width = round(rng.uniform(0.03, 0.05) * image.height)
        pen.rectangle((0, 0, image.width - 1, image.height - 1), outline=8, width=width)
    elif fault == "blur":
        image = image.filter(ImageFilter.GaussianBlur(0.8))
    elif fault == "grey-levels":
        image = Image.eval(image, lambda value: round(value / 255 * 63) * 255 // 63)
    elif fault == "grid":
        wave = 2 * np.cos(2 * np.pi * np.arange(image.width) / 3)
        image = Image.fromarray(np.clip(np.asarray(image) + wave, 0, 255).round().astype(np.uint8))
    elif fault == "lung-lines":
        image = _with_lines(image, rng)
    path = out / f"{Path(row.path).stem}.png"
    write_8bit(image, path)
    return _indexed(row, path)


def _with_lines(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A tube and a lead, one in each lung, brighter than what they cover; drawn larger for soft edges."""
    width, height = image.size
    canvas = Image.new("L", (4 * width, 4 * height))
    pen = ImageDraw.Draw(canvas)
    side = float(rng.choice([-1, 1]))
    t = np.linspace(0, 1, 60)[:, None]
    down = np.array([0.22, 0.4, 0.55, 0.72]) + rng.normal(0, 0.03, 4)
    ends = np.stack([0.5 + side * rng.uniform(0.08, 0.33, 4), down], axis=1)
    weights = np.concatenate([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3], axis=1)
    tube = weights @ ends * (4 * width, 4 * height)
    pen.line([(x, y) for x, y in tube.tolist()], fill=255, width=round(4 * rng.uniform(0.008, 0.012) * height))
    x, y = 0.5 - side * rng.uniform(0.12, 0.25), rng.uniform(0.3, 0.5)
    lead = [(4 * width * x, 4 * height * y), (4 * width * (x - side * 0.08), 4 * height * (y + 0.25))]
    pen.line(lead, fill=200, width=round(4 * 0.007 * height))
    drawn = np.asarray(canvas.resize(image.size, Image.Resampling.BOX), np.float32) * np.float32(60 / 255)
    return Image.fromarray(np.clip(np.asarray(image) + drawn, 0, 255).round().astype(np.uint8))


def _picture(row: IndexRow) -> Image.Image:
    return Image.fromarray(np.round(read_image(Path(row.path)).pixels * 255).astype(np.uint8))


def _indexed(row: IndexRow, path: Path, **changes: str) -> IndexRow:
    """The row with the new file's own metadata."""
    metadata = read_metadata(path, read_key(None))
    measured = {name: metadata[name] for name in ("sha256", "perceptual_hash", "width", "height", "bytes")}
    return dataclasses.replace(row, path=str(path), **measured, **changes)
