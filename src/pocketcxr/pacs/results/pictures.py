"""Pictures of where the model looked: a secondary capture for every viewer, a parametric map with the values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence, VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit

from pocketcxr.inference.saliency import draw_heatmap, evidence_map, shown_label
from pocketcxr.pacs.results import codes as terms
from pocketcxr.pacs.results.identity import CAPTURE, MAP, derived_uid, maker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.imaging.radiograph import Radiograph
    from pocketcxr.inference.prediction import Prediction
    from pocketcxr.pacs.results.identity import Instance

_MARK = "RESEARCH ONLY - not a medical device, not for diagnosis"
_FRONTAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
"""Rows run to the patient's left, columns to the feet (PS3.3 C.7.6.2.1.1: x to the left, z to the head)."""
_LONGEST_LABEL, _LONGEST_TEXT = 16, 64  # characters of VR SH and LO
_LINES_PER_SIDE = 36  # a line of text is this part of the picture's width


def capture_of(
    prediction: Prediction,
    radiograph: Radiograph,
    evidence: Dataset,
    instance: Instance,
    *,
    manifest: Manifest,
    sha256: str,
) -> SCImage:
    """Secondary capture: the image with its heatmap, and below it the probabilities and the mark, burned in."""
    drawn = draw_heatmap(radiograph.pixels, _evidence(prediction, manifest), aspect=manifest.preprocessing.aspect)
    pixels = _with_text(drawn, _lines(prediction, manifest))
    capture = SCImage.from_ref_dataset(
        evidence,
        pixel_array=pixels,
        photometric_interpretation="YBR_FULL_422",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        transfer_syntax_uid=JPEGBaseline8Bit,
        **maker(instance, sha256, manifest.version, CAPTURE),
    )
    capture.BurnedInAnnotation = "YES"
    capture.BodyPartExamined = "CHEST"
    capture.LossyImageCompression, capture.LossyImageCompressionMethod = "01", "ISO_10918_1"
    capture.LossyImageCompressionRatio = round(pixels.nbytes / len(capture.PixelData), 1)
    capture.DerivationDescription = "radiograph with a heatmap of the evidence for one class, and text"
    return capture


def map_of(
    prediction: Prediction,
    radiograph: Radiograph,
    evidence: Dataset,
    instance: Instance,
    *,
    manifest: Manifest,
    sha256: str,
) -> ParametricMap | None:
    """Parametric map: a frame per class with the evidence for it in calibrated logits, float32, as the network has it.

    The object must lie in a coordinate system of the patient (PS3.3 A.75), which a radiograph does not have. It gets
    one of its own: the plane of the detector, with the first pixel of the radiograph at its origin and the axes of a
    frontal image, which is all that is ever scored. None where the header gives no spacing of pixels: none is made up.
    """
    assert prediction.saliency is not None  # only scored images have pictures
    spacing = evidence.get("ImagerPixelSpacing")
    if not spacing:
        return None
    values = np.stack(  # [rows, columns, classes]
        [
            evidence_map(prediction.saliency, position, temperature=manifest.temperature)
            for position in range(len(manifest.labels))
        ],
        axis=-1,
    )
    measures, plane = _geometry(radiograph, spacing, values.shape[0], padded=manifest.preprocessing.aspect == "pad")
    source = Dataset(evidence)
    source.FrameOfReferenceUID = derived_uid(instance.sop_instance_uid, "frame of reference")
    source.ImagePositionPatient, source.ImageOrientationPatient = [0, 0, 0], list(_FRONTAL)
    source.PixelSpacing, source.SliceThickness = list(spacing), 1.0  # the latter, a must of highdicom, is removed below
    limit = float(max(1.0, np.abs(values).max()))
    result = ParametricMap(
        [source],
        values[None],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[[_meaning(label, limit)] for label in manifest.labels],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.0, window_width=round(2 * limit, 3))],
        pixel_measures=measures,
        plane_orientation=PlaneOrientationSequence("PATIENT", _FRONTAL),
        plane_positions=[plane],
        content_label="SALIENCY",
        content_description="evidence for each class; for research only",
        **maker(instance, sha256, manifest.version, MAP),
    )
    result.BodyPartExamined = "CHEST"
    del result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness
    return result


def _geometry(
    radiograph: Radiograph, spacing: Sequence[float], cells: int, *, padded: bool
) -> tuple[PixelMeasuresSequence, PlanePositionSequence]:
    """Size of a cell of the map in millimetres, and where the centre of the first one lies."""
    down, right = (float(value) for value in spacing)
    height, width = radiograph.metadata.height, radiograph.metadata.width
    rows, columns = (max(height, width),) * 2 if padded else (height, width)
    cell_down, cell_right = rows * down / cells, columns * right / cells
    left = (cell_right - right - (columns - width) * right) / 2
    feet = (cell_down - down - (rows - height) * down) / 2
    measures = PixelMeasuresSequence((round(cell_down, 6), round(cell_right, 6)), slice_thickness=1.0)
    return measures, PlanePositionSequence("PATIENT", (round(left, 6), 0.0, round(-feet, 6)))


def _meaning(label: str, limit: float) -> RealWorldValueMapping:
    return RealWorldValueMapping(
        lut_label=label[:_LONGEST_LABEL],
        lut_explanation=f"evidence for {label}, calibrated logits"[:_LONGEST_TEXT],
        unit=terms.NO_UNITS,
        value_range=(-limit, limit),
        slope=1.0,
        intercept=0.0,
        quantity_definition=terms.SALIENCY,
    )


def _evidence(prediction: Prediction, manifest: Manifest) -> NDArray[np.float32]:
    assert prediction.saliency is not None  # only scored images have pictures
    position = manifest.labels.index(shown_label(prediction, manifest))
    return evidence_map(prediction.saliency, position, temperature=manifest.temperature)


def _lines(prediction: Prediction, manifest: Manifest) -> list[str]:
    shown = shown_label(prediction, manifest)
    numbers = "   ".join(f"{label} {value:.1%}" for label, value in prediction.probabilities.items())
    return [_MARK, f"decision: {prediction.decision}   {numbers}", f"colour: evidence for {shown}", prediction.bundle]


def _with_text(drawn: NDArray[np.uint8], lines: list[str]) -> NDArray[np.uint8]:
    """Put lines of text on a black band below the picture; nothing covers the image."""
    rows, columns = drawn.shape[:2]
    size = max(10, columns // _LINES_PER_SIDE)
    step = round(1.4 * size)
    picture = Image.new("RGB", (columns, rows + step * len(lines) + size), "black")
    picture.paste(Image.fromarray(drawn), (0, 0))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    for number, line in enumerate(lines):
        fitting = min(1.0, (columns - size) / max(1.0, pen.textlength(line, font=font)))
        own = font if fitting == 1.0 else ImageFont.load_default(max(6, size * fitting))
        pen.text(
            (size // 2, rows + size // 2 + number * step), line, fill="yellow" if number == 0 else "white", font=own
        )
    return np.asarray(picture)
