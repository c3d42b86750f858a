"""Synthetic chest X-rays: images that the project draws itself, to try the whole chain on without a patient's image.

A draughtsman's thorax with lungs, heart, ribs and the rest (`anatomy`), disease in several degrees (`disease`) and
hospitals that each develop, mark and store images in their own way (`hospital`).
Figures measured on these drawings say that the program works; they say nothing of real X-rays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pocketcxr.data.synthetic.anatomy import draw_shadows
from pocketcxr.data.synthetic.canvas import Canvas, Pose
from pocketcxr.data.synthetic.disease import DISEASES, draw_disease, draw_harmless, sample_disease
from pocketcxr.data.synthetic.hospital import HOSPITALS, Hospital, develop, write_8bit, write_xray
from pocketcxr.data.synthetic.patient import sample_anatomy
from pocketcxr.errors import ConfigError, DataError
from pocketcxr.files import check_output, write_csv
from pocketcxr.imaging.radiograph import DRAWING
from pocketcxr.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pocketcxr.data.synthetic.canvas import Layer
    from pocketcxr.data.synthetic.disease import Disease
    from pocketcxr.data.synthetic.patient import Anatomy

    _Row = dict[str, str]

TABLE = "phantom.csv"  # a format: the name that `adapters.own` looks for
COLUMNS = ("path", "source", "finding", "patient_id", "study_id", "view", "sex", "age")
"""Columns of the table, a subset of the index's own."""

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "DICOM": ".dcm"}
_README = f"""These images were {DRAWING}.

They are drawings of chest X-rays, made by a program to test programs. No person, hospital or disease stands behind
any of them, and figures measured on them say nothing of real X-rays.

{TABLE} has one line per image. masks/, where present, holds the lungs' true outlines.
"""


@dataclass(frozen=True)
class _Patient:
    """One drawn patient, and the generator from which their images are made."""

    name: str
    anatomy: Anatomy
    disease: Disease
    hospital: Hospital
    images: int
    rng: np.random.Generator


def draw_synthetic_xrays(
    out: Path,
    *,
    patients: int = 120,
    unlabelled: int = 0,
    seed: int = 0,
    size: int = 320,
    confounded: bool = False,
    masks: bool = False,
    hospitals: Sequence[Hospital] = HOSPITALS,
    stages: tuple[float, float] = (0.0, 1.0),
    progress: bool = True,
) -> Path:
    """Draw patients with one to four images each into a folder, with a table that ``pocketcxr index`` reads.

    Files are 8-bit PNG, JPEG and 12-bit DICOM (MONOCHROME1 and 2), as the hospitals store them. About one image in
    thirty stands there a second time, re-encoded, smaller and without its patient's number, as in real collections.
    The same arguments give the same bytes, and patient k is the same whatever the number of patients.

    Args:
        out: the folder to write: ``images/``, ``phantom.csv``, ``README.txt`` and, if wanted, ``masks/``.
        patients: how many; a third each are normal, have pneumonia, have COVID-19.
        unlabelled: the table does not state the finding of so many of them, the last.
        seed: of everything drawn at random.
        size: height of the images in pixels; widths follow from the hospitals.
        confounded: nearly every COVID-19 image comes from the last hospital, and hardly any other: its appearance and
            its marker then predict the class, which is what an audit has to find.
        masks: also write the true outlines of the lungs, ``masks/<stem>.png``, 255 inside.
        hospitals: whose appearance is drawn.
        stages: least and greatest stage of disease, 0 (hardly begun) to 1 (full); ``(0.8, 1.0)`` draws plain disease
            that a network learns from few images.
        progress: show a progress bar on the terminal.

    Returns:
        The path of the table. Findings in it are ``no_finding``, ``pneumonia``, ``covid19``.

    Raises:
        ConfigError: no patients, too small a size, too few hospitals, or stages outside [0, 1].
        DataError: the folder holds other drawings already.
    """
    if patients < 1 or not 0 <= unlabelled <= patients or size < 64 or len(hospitals) < (2 if confounded else 1):  # noqa: PLR2004
        raise ConfigError(
            f"synthetic X-rays: expected at least 1 patient, 64 pixels and {2 if confounded else 1} hospital(s), "
            f"no more patients without a finding than there are; found {patients}, {size}, {len(hospitals)}, "
            f"{unlabelled}"
        )
    if not 0 <= stages[0] <= stages[1] <= 1:
        raise ConfigError(f"synthetic X-rays: expected stages as (least, greatest) within [0, 1], found {stages}")
    check_output(out, folder=True)
    if (out / TABLE).exists():
        raise DataError(f"{out / TABLE} exists already: name another folder, or remove this one")
    for folder in ("images", "masks") if masks else ("images",):
        (out / folder).mkdir(parents=True, exist_ok=True)
    (out / "README.txt").write_text(_README, encoding="utf-8")
    rows: list[_Row] = []
    for number in Bar(range(patients), desc="drawing patients", unit="patient", disable=not progress):
        patient = _sample_patient(number, seed=seed, hospitals=hospitals, confounded=confounded)
        for image in range(patient.images):
            drawn = _draw_image(out, patient, image, size=size, masks=masks, stages=stages)
            rows += [row | {"finding": ""} for row in drawn] if number >= patients - unlabelled else drawn
    write_csv(out / TABLE, COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
    return out / TABLE


def synthetic_lung_mask(image: Path) -> NDArray[np.bool_]:
    """True outlines of the lungs of one synthetic X-ray, bool [height, width], in the image's own size.

    Args:
        image: a file under ``images/`` of a folder drawn with ``masks=True``.

    Raises:
        DataError: there is no mask beside it.
    """
    path = image.parent.parent / "masks" / (image.stem + ".png")
    if not path.is_file():
        raise DataError(f"no lung mask {path}: draw the set with masks, or name an image under its images folder")
    with Image.open(path) as mask:
        return np.asarray(mask) > 127  # noqa: PLR2004


def _sample_patient(number: int, *, seed: int, hospitals: Sequence[Hospital], confounded: bool) -> _Patient:
    rng = np.random.default_rng([seed, number])
    finding = DISEASES[number % len(DISEASES)]
    anatomy = sample_anatomy(rng)
    disease = sample_disease(rng, finding, anatomy)
    at_random, follows_the_class = int(rng.integers(len(hospitals))), rng.random() < 0.95  # noqa: PLR2004
    hospital = hospitals[at_random]
    if confounded and follows_the_class:
        hospital = hospitals[-1] if finding == "covid19" else hospitals[at_random % (len(hospitals) - 1)]
    return _Patient(
        name=f"P{number:05d}",
        anatomy=anatomy,
        disease=disease,
        hospital=hospital,
        images=int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15])),
        rng=rng,
    )


def _sample_pose(rng: np.random.Generator, *, portable: bool) -> Pose:
    """How the patient stood, or lay: portable images are tilted more and breathed in less."""
    loose = 1.5 if portable else 1.0
    return Pose(
        scale=float(rng.uniform(0.98, 1.2)),
        stretch=float(rng.normal(0.98, 0.03)),
        rotation=float(rng.normal(0, 0.025) * loose),
        shift_x=float(rng.normal(0, 0.015) * loose),
        shift_y=float(rng.normal(0.02, 0.02)),
        turn=float(rng.normal(0, 0.012) * loose),
        inspiration=float(rng.normal(-0.02 if portable else 0.0, 0.018)),
    )


def _draw_image(
    out: Path, patient: _Patient, number: int, *, size: int, masks: bool, stages: tuple[float, float]
) -> list[_Row]:
    """Draw and store one image; returns its row, and that of its copy where there is one."""
    rng, hospital = patient.rng, patient.hospital
    canvas = Canvas(round(size * hospital.aspect), size, _sample_pose(rng, portable=hospital.view == "AP"))
    shadows = draw_shadows(patient.anatomy, canvas)
    attenuation = shadows.attenuation + draw_harmless(rng, canvas, shadows)
    attenuation += draw_disease(patient.disease, canvas, shadows, stage=float(rng.uniform(*stages)))
    pixels = develop(attenuation, hospital, rng)
    stem = f"{patient.name}-{number + 1}"
    row: _Row = {
        "path": f"images/{stem}{_SUFFIXES[hospital.file_format]}",
        "source": hospital.name,
        "finding": patient.disease.finding,
        "patient_id": patient.name,
        "study_id": f"{patient.name}S{number + 1}",
        "view": hospital.view,
        "sex": patient.anatomy.sex,
        "age": str(patient.anatomy.age),
    }
    write_xray(pixels, out / row["path"], hospital, row, rng)
    rows = [row]
    if rng.random() < 0.035:  # noqa: PLR2004
        rows.append(_write_copy(out, pixels, row))
    if masks:
        outline = Image.fromarray(np.where(shadows.lungs > 0.5, np.uint8(255), np.uint8(0)))  # noqa: PLR2004
        for written in rows:
            stem = written["path"].removeprefix("images/").partition(".")[0]
            write_8bit(outline, out / "masks" / f"{stem}.png")
    return rows


def _write_copy(out: Path, pixels: Layer, row: _Row) -> _Row:
    """The same image as another collection would copy it: smaller, recompressed, patient unknown."""
    image = Image.fromarray(np.round(pixels * 255).astype(np.uint8))
    smaller = image.resize((round(image.width * 0.85), round(image.height * 0.85)), Image.Resampling.LANCZOS)
    stem = row["path"].removeprefix("images/").partition(".")[0]
    copy = row | {"path": f"images/{stem}-copy.jpg", "patient_id": "", "study_id": "", "sex": "", "age": ""}
    write_8bit(smaller, out / copy["path"], quality=75)
    return copy
