"""What every reader returns: one grey picture and what its file says of it; and how large a picture may be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pocketcxr.errors import UnreadableImageError

_EIGHT_BITS = 255

DRAWING = "drawn by pocketcxr phantom; not a patient"
"""Mark of a synthetic image: the comment of a PNG (tEXt) or JPEG (COM). DICOM has SyntheticData, (0008,001C)."""

Region = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels; the first pixel lies between 0 and 1."""

MAX_PIXELS = 64_000_000
"""Most pixels that are decoded: 8000 x 8000, twice the largest digitised films; more may be a decompression bomb."""

MAX_FILE_BYTES = 512 * 1024 * 1024
"""Largest file that is read: above 64 million pixels of three 16-bit samples, the most that `MAX_PIXELS` allows."""


@dataclass(frozen=True)
class ImageMetadata:
    """What the file says of the picture; an empty string means that it does not say.

    `format` is what the bytes are, whatever the file's suffix. `width`, `height` are in pixels, after EXIF rotation.
    `bits` per sample as stored. `colour`: the channels really differ, so this is no plain radiograph. `patient_id`,
    `study_id` identify a person: for grouping only, never for messages or file names. `age` is in years. `orientation`
    is DICOM's PatientOrientation with its backslash. `notes` tell what was done to the pixels. `acquisition`: device
    and exposure by name, see `dicom.acquisition`. `synthetic`: the file says that it shows no patient.
    """

    format: str
    width: int
    height: int
    bits: int
    colour: bool = False
    modality: str = ""
    body_part: str = ""
    view: str = ""
    orientation: str = ""
    patient_id: str = ""
    study_id: str = ""
    sex: str = ""
    age: str = ""
    notes: tuple[str, ...] = ()
    acquisition: tuple[tuple[str, str], ...] = ()
    synthetic: bool = False


Samples = NDArray[np.float32 | np.uint8]
"""Grey samples [H, W]: float32 in [0, 1], or uint8 that stand for a 255th each."""


@dataclass(frozen=True)
class Radiograph:
    """A picture as every later stage takes it.

    `samples` [H, W], MONOCHROME2: 0 is black (air), 1, or 255 where they are uint8, is white (bone); `pixels` are the
    same as float32 in [0, 1]. `region`: where in the samples the picture stands (left, top, right, bottom, in pixels,
    fractions allowed), None where it fills them; only a reduced picture has one, because 2000 / 3 pixels are no whole
    number. `metadata` always give the size of the whole image. `contrast`: what the input checks measured, where they
    have done so already.
    """

    samples: Samples
    metadata: ImageMetadata
    region: Region | None = None
    contrast: float | None = None

    @cached_property
    def pixels(self) -> NDArray[np.float32]:
        """The picture as float32 [H, W] in [0, 1]; made when it is first asked for."""
        return to_unit(self.samples)


def to_unit(samples: Samples) -> NDArray[np.float32]:
    """Return samples as float32 in [0, 1]; what is so already is returned itself."""
    if samples.dtype != np.uint8:
        return samples.astype(np.float32, copy=False)
    unit = samples.astype(np.float32)
    unit /= _EIGHT_BITS
    return unit


def check_pixel_count(width: int, height: int, name: str, *, max_pixels: int | None = None) -> None:
    """Refuse a picture by the size its header gives, before anything is decoded.

    Raises:
        UnreadableImageError: no pixels at all, or more than `max_pixels`, which can only lower `MAX_PIXELS`.
    """
    limit = MAX_PIXELS if max_pixels is None else min(max_pixels, MAX_PIXELS)
    if width < 1 or height < 1:
        raise UnreadableImageError(f"{name}: expected a picture, found {width} x {height} pixels", "no-pixels")
    if width * height > limit:
        raise UnreadableImageError(
            f"{name}: {width} x {height} pixels are more than the {limit:,} that are read; reduce it first",
            "too-many-pixels",
        )
