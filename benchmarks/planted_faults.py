"""Faults planted into a synthetic set, one at a time, so that an audit can be asked whether it finds them.

They are the known faults of the public COVID-19 collections, one by one; `benchmarks/audit_rates.py` measures how often
each is caught, and how often a clean set is blamed.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from pocketcxr.data.index import read_metadata
from pocketcxr.data.pseudonyms import read_key
from pocketcxr.data.synthetic.hospital import write_8bit
from pocketcxr.errors import ConfigError, DataError
from pocketcxr.imaging.reading import read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.data.rows import IndexRow

FAULTS = ("leaked-patient", "re-encoded-copy", "corner-marker", "border")
"""Names of the faults: two that join splits, two that give the class away."""

_MARKED_CLASS = "covid19"


def plant_fault(rows: Sequence[IndexRow], fault: str, *, out: Path, seed: int) -> list[IndexRow]:
    """Return the split table of a synthetic set with one fault in it; the given images stay as they are.

    ``leaked-patient``: a training patient's image moves to the test split. ``re-encoded-copy``: the test split gets
    a training image, cropped by 3 %, smaller, recompressed and without its patient's number. ``corner-marker``,
    ``border``: every image of the class covid19, and no other, has a small white square in a corner, or a dark frame;
    all images are stored anew, alike, so that the files themselves tell nothing.

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
    if fault == "re-encoded-copy":
        return [*rows, _copied(rows, out, rng)]
    return [_stored_anew(row, out, fault if row.label == _MARKED_CLASS else "", rng) for row in rows]


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


def _copied(rows: Sequence[IndexRow], out: Path, rng: np.random.Generator) -> IndexRow:
    train = [row for row in rows if row.split == "train" and row.label]
    row = train[int(rng.integers(len(train)))]
    image = _picture(row)
    margin = round(0.03 * min(image.size))
    cropped = image.crop((margin, margin, image.width - margin, image.height - margin))
    smaller = cropped.resize((round(0.8 * cropped.width), round(0.8 * cropped.height)), Image.Resampling.LANCZOS)
    path = out / "another-collection.jpg"
    write_8bit(smaller, path, quality=60)
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
    path = out / f"{Path(row.path).stem}.png"
    write_8bit(image, path)
    return _indexed(row, path)


def _picture(row: IndexRow) -> Image.Image:
    return Image.fromarray(np.round(read_image(Path(row.path)).pixels * 255).astype(np.uint8))


def _indexed(row: IndexRow, path: Path, **changes: str) -> IndexRow:
    """The row with the new file's own metadata."""
    metadata = read_metadata(path, read_key(None))
    measured = {name: metadata[name] for name in ("sha256", "perceptual_hash", "width", "height", "bytes")}
    return dataclasses.replace(row, path=str(path), **measured, **changes)
