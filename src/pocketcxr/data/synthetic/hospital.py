"""Synthetic hospitals: each develops, marks and stores its images in its own way, as real ones do.

A network that reads this appearance instead of the lungs does well on a confounded set and fails elsewhere: that is
what the audits are tried on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from pocketcxr.data.synthetic.canvas import blurred
from pocketcxr.imaging.radiograph import DRAWING

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.data.synthetic.canvas import Layer


@dataclass(frozen=True)
class Hospital:
    """How one hospital's images look.

    `aspect` is width over height, `curve` bends the tones, `border` is the collimator's share of the side, `vignette`
    the darkening of the corners, `blur` in pixels at 320, `marker` the letters and `corner` where (0 to 1).
    """

    name: str
    file_format: str
    view: str
    aspect: float
    curve: float
    contrast: float
    border: float
    vignette: float
    noise: float
    blur: float
    marker: str
    corner: tuple[float, float]
    quality: int = 90


HOSPITALS = (
    Hospital("drawn-north", "PNG", "PA", 1.0, 1.0, 0.25, 0.0, 0.0, 0.010, 1.0, "L", (0.9, 0.06)),
    Hospital("drawn-river", "JPEG", "PA", 0.92, 0.95, 0.6, 0.035, 0.15, 0.014, 1.6, "R", (0.06, 0.08), 88),
    Hospital("drawn-harbour", "DICOM", "PA", 0.86, 1.05, 0.45, 0.0, 0.05, 0.012, 1.0, "L", (0.88, 0.14)),
    Hospital("drawn-hill", "JPEG", "AP", 1.0, 1.0, 0.05, 0.015, 0.25, 0.024, 2.2, "AP L", (0.76, 0.9), 60),
)
"""Hospitals by default; the order decides nothing."""


def develop(
    attenuation: Layer, hospital: Hospital, rng: np.random.Generator, *, brightness: float | None = None
) -> Layer:
    """Turn attenuation into an image, float32 [height, width] in [0, 1], MONOCHROME2.

    Exposure is set at random and the tones are bent so that the mean meets a target drawn at random too: neither tells
    anything of the lungs. Markers are burned in last, as on a real radiograph.
    """
    height, width = attenuation.shape
    low, high = np.quantile(attenuation[::4, ::4], [rng.uniform(0.0, 0.03), rng.uniform(0.985, 0.999)])
    tones = blurred((attenuation - low) / max(float(high - low), 1e-3), hospital.blur * height / 320)
    tones = np.clip(tones, 0, 1)
    target = brightness if brightness is not None else rng.uniform(0.47, 0.6)
    tones = _with_mean(tones, target) ** np.float32(hospital.curve)
    contrast = hospital.contrast * rng.uniform(0.8, 1.2)
    tones = tones + contrast * tones * (1 - tones) * (2 * tones - 1)  # an S through (0, 0), (1/2, 1/2) and (1, 1)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    tones *= 1 - hospital.vignette * (x**2 + y**2) / 2
    grain = rng.standard_normal((height, width), dtype=np.float32)
    tones += hospital.noise * rng.uniform(0.7, 1.4) * (0.4 * grain + 0.8 * blurred(grain, 2) * 2)
    _collimate(tones, hospital, rng)
    _mark(tones, hospital, rng)
    return np.clip(tones, 0, 1).astype(np.float32)


def write_xray(pixels: Layer, path: Path, hospital: Hospital, row: dict[str, str], rng: np.random.Generator) -> None:
    """Store an image as the hospital does, labelled as a drawing; `row` is its row of the table."""
    if hospital.file_format == "DICOM":
        _write_dicom(pixels, path, row, rng)
    else:
        write_8bit(Image.fromarray(np.round(pixels * 255).astype(np.uint8)), path, quality=hospital.quality)


def write_8bit(image: Image.Image, path: Path, *, quality: int = 90) -> None:
    """Store an 8-bit image as PNG or JPEG by its suffix, labelled as a drawing."""
    if path.suffix == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", DRAWING)
        image.save(path, pnginfo=text, compress_level=4)
    else:
        image.save(path, quality=quality, comment=DRAWING)


def _with_mean(tones: Layer, target: float) -> Layer:
    """Bend tones by the power that brings their mean to the target (three secant steps on a sample)."""
    sample = tones[::4, ::4]
    power = 1.0
    for _ in range(4):
        mean = float((sample**power).mean())
        power *= float(np.log(target) / np.log(np.clip(mean, 0.02, 0.98)))
    return tones ** np.float32(np.clip(power, 0.3, 3))


def _collimate(tones: Layer, hospital: Hospital, rng: np.random.Generator) -> None:
    """Black border where the collimator's blades were, not quite the same on every side."""
    if not hospital.border:
        return
    height, width = tones.shape
    top, bottom, left, right = (round(hospital.border * height * share) for share in rng.uniform(0.3, 1.7, 4))
    for edge in (np.s_[:top], np.s_[height - bottom :], np.s_[:, :left], np.s_[:, width - right :]):
        tones[edge] *= 0.05


def _mark(tones: Layer, hospital: Hospital, rng: np.random.Generator) -> None:
    height, width = tones.shape
    image = Image.new("L", (width, height))
    place = (np.asarray(hospital.corner) + rng.normal(0, 0.01, 2)) * (width, height)
    font = ImageFont.load_default(size=height * 0.055)
    ImageDraw.Draw(image).text((float(place[0]), float(place[1])), hospital.marker, fill=255, font=font)
    letters = np.asarray(image, dtype=np.float32) / np.float32(255)
    np.maximum(tones, letters * np.float32(0.95), out=tones)


def _write_dicom(pixels: Layer, path: Path, row: dict[str, str], rng: np.random.Generator) -> None:
    """12-bit digital radiograph; at random MONOCHROME1, where 0 is white, as half of the real ones are.

    Stored values are not grey values: the rescale and the window, both in the file, lead back to the image.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    inverse = bool(rng.random() < 0.5)  # noqa: PLR2004
    slope, intercept, low, wide = 2.0, -1024.0, 300, 3400  # stored 300 to 3700 of 4095 hold the tones
    tones = 1 - pixels if inverse else pixels
    stored: NDArray[np.uint16] = (low + np.round(tones * wide)).astype(np.uint16)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = UID(_uid(row["path"]))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dicom = Dataset()
    dicom.file_meta = meta
    dicom.SOPClassUID, dicom.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dicom.StudyInstanceUID, dicom.SeriesInstanceUID = _uid(row["study_id"]), _uid("series " + row["path"])
    dicom.PatientName, dicom.PatientID = "DRAWING^POCKETCXR", row["patient_id"]
    dicom.PatientSex, dicom.PatientAge = row["sex"], f"{int(row['age']):03d}Y"
    dicom.StudyID, dicom.InstanceNumber, dicom.SeriesNumber = row["study_id"], 1, 1
    dicom.Modality, dicom.BodyPartExamined, dicom.ViewPosition = "DX", "CHEST", row["view"]
    dicom.Manufacturer, dicom.InstitutionName = "pocketcxr phantom", row["source"]
    dicom.ImageType = ["DERIVED", "SECONDARY"]
    dicom.ImageComments, dicom.BurnedInAnnotation, dicom.SyntheticData = DRAWING, "YES", "YES"
    dicom.Rows, dicom.Columns, dicom.SamplesPerPixel = *stored.shape, 1
    dicom.PhotometricInterpretation = "MONOCHROME1" if inverse else "MONOCHROME2"
    dicom.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit, dicom.PixelRepresentation = 16, 12, 11, 0
    dicom.RescaleSlope, dicom.RescaleIntercept, dicom.RescaleType = slope, intercept, "US"
    # Linear window, PS3.3 C.11.2.1.2: tones run from centre - 0.5 - (width - 1)/2 to centre - 0.5 + (width - 1)/2.
    dicom.WindowWidth = slope * wide + 1
    dicom.WindowCenter = slope * (low + wide / 2) + intercept + 0.5
    dicom.PixelData = stored.tobytes()
    dicom.save_as(path, enforce_file_format=True)


def _uid(text: str) -> str:
    """A unique identifier under the UUID root (PS3.5 B.2), the same on every run."""
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}"
