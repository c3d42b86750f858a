"""Checks whether an image may be scored, by its metadata and by size, contrast and colour; refusals carry codes.

A grey knee or CT slice without a DICOM header passes these checks; the learned input filter of the bundle
(`bundle.manifest.InputFilter`) and its novelty score are there for those. Limits were set on
11,569 frontal chest X-rays of five public sets (reduced to 320 pixels), of which they refuse 4: two nearly white images
and two strips that cut off half of the lungs. Of 250 photographs they refuse 241, of 120 unlabelled CT slices 10, of
150 knees none.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.imaging.header_terms import quoted_term
from pocketcxr.imaging.radiograph import to_unit

if TYPE_CHECKING:
    from pocketcxr.imaging.radiograph import ImageMetadata, Radiograph

MIN_SIDE = 96
"""Pixels of the shorter side: below, less than half of what the network looks at was ever there."""
MAX_ASPECT = 2.5
"""Longer side over shorter side: beyond, a strip that cannot show both lungs whole."""
MIN_CONTRAST = 0.12
"""Smallest difference between the 1st and 99th percentile; lungs and bones merge below."""
BLANK_CONTRAST = 0.02
"""Below this, five steps of 255, there is no picture at all."""
MIN_DEEP_RANGE = 0.1
"""Part of the format's range that a picture of more than 8 bits must use; 12-bit values left in 16 bits use 1/16."""

_DOUBTFUL_CONTRAST = MIN_CONTRAST + 0.05
"""Averaging cells takes contrast away, so below this a reduced picture cannot say whether the whole one has enough."""

_SAMPLED_PIXELS = 65_536  # enough for percentiles that are stable to the third digit
_SAMPLED_OF_REDUCED = 16_384  # to the second, which the margin of doubt allows

# PS3.3 C.7.3.1.1.1: computed, digital and film radiography. DR stands in no edition of the standard, but is written by
# some digital units and can mean nothing else. RF, XA and MG are projections made and shown otherwise.
_RADIOGRAPHY = frozenset({"CR", "DX", "RG", "DR"})
# Digitised films and secondary captures: the modality says nothing, so body part and view must.
_UNSPECIFIC = frozenset({"", "OT", "SC"})
# PS3.16 Annex L, older editions, and what archives of other languages write
_CHEST_WORDS = frozenset({"CHEST", "THORAX", "TORAX", "PECHO", "LUNG", "LUNGS"})
_LATERAL_WORDS = frozenset({"LAT", "LATERAL", "LL", "RL"})
_NEUTRAL_WORDS = frozenset(
    {
        *("PA", "AP", "FRONTAL", "PORT", "PORTABLE", "PORTATIL", "MOBILE", "BEDSIDE", "BED"),
        *("ERECT", "UPRIGHT", "STANDING", "SUPINE", "SITTING", "SEMI", "VIEW", "VIEWS", "ADULT", "PED", "CHILD"),
    }
)
_FRONTAL_WORDS = frozenset({"PA", "AP", "POSTEROANTERIOR", "ANTEROPOSTERIOR", "FRONTAL"})
_ORIENTATION_PARTS = 2


@dataclass(frozen=True)
class Reason:
    """Why a picture is not scored: a `code` that stays the same, and `words` for people."""

    code: str
    words: str


def refusal_reasons(radiograph: Radiograph) -> tuple[Reason, ...]:
    """All reasons against scoring a picture; empty means that it may be scored.

    Codes: ``too-small``, ``aspect``, ``blank``, ``low-contrast``, ``coloured``, ``modality``, ``body-part``, ``view``,
    ``orientation``. What a header does not say is no reason, except where the modality is unspecific.
    """
    metadata = radiograph.metadata
    checks = (
        _shape_reasons(metadata),
        _contrast_reasons(radiograph),
        _colour_reasons(metadata),
        _modality_reasons(metadata) if metadata.format == "DICOM" else (),
        _body_part_reasons(metadata),
        _view_reasons(metadata),
        _orientation_reasons(metadata),
    )
    return tuple(reason for found in checks for reason in found)


def contrast_in_doubt(radiograph: Radiograph) -> bool:
    """Whether the whole picture must be read before a reduced one may be refused, or kept, for its contrast."""
    return contrast_of(radiograph) < _DOUBTFUL_CONTRAST


def _shape_reasons(metadata: ImageMetadata) -> tuple[Reason, ...]:
    shorter, longer = sorted((metadata.width, metadata.height))
    reasons: list[Reason] = []
    if shorter < MIN_SIDE:
        reasons.append(
            Reason(
                "too-small",
                f"the picture has {metadata.width} x {metadata.height} pixels, at least {MIN_SIDE} a side are needed; "
                "use the original rather than a preview",
            )
        )
    if longer > MAX_ASPECT * shorter:
        reasons.append(
            Reason("aspect", f"the image is a strip ({metadata.width} x {metadata.height}); send the whole radiograph")
        )
    return tuple(reasons)


def _contrast_reasons(radiograph: Radiograph) -> tuple[Reason, ...]:
    metadata, contrast = radiograph.metadata, contrast_of(radiograph)
    deep = metadata.bits > 8 and metadata.format != "DICOM"  # noqa: PLR2004
    if deep and float(np.ptp(radiograph.pixels)) < MIN_DEEP_RANGE:
        return (
            Reason(
                "low-contrast",
                f"a {metadata.bits}-bit picture that uses {np.ptp(radiograph.pixels):.0%} of its grey scale; "
                "export it again stretched to the full range, or send the DICOM file",
            ),
        )
    if contrast < BLANK_CONTRAST:
        return (Reason("blank", "the picture is blank: all of it has nearly one brightness"),)
    if contrast < MIN_CONTRAST:
        return (
            Reason(
                "low-contrast",
                f"the picture uses {contrast:.0%} of the grey scale, so lungs and bones merge; "
                "check exposure and window, and export it again",
            ),
        )
    return ()


def contrast_of(radiograph: Radiograph) -> float:
    """Difference between the 1st and 99th percentile of sampled pixels."""
    if radiograph.contrast is not None:
        return radiograph.contrast
    pixels = radiograph.samples
    sampled = _SAMPLED_PIXELS if radiograph.region is None else _SAMPLED_OF_REDUCED
    step = max(1, math.ceil((pixels.size / sampled) ** 0.5))
    samples = pixels[::step, ::step].ravel()
    # np.percentile interpolates in the same way, but loads numpy.ma for it: a fifth of a prediction's start
    ranks = [fraction * (samples.size - 1) for fraction in (0.01, 0.99)]
    below = [int(rank) for rank in ranks]
    above = [min(rank + 1, samples.size - 1) for rank in below]
    places = [*below, *above]
    values = to_unit(np.partition(samples, sorted(set(places)))[places]).astype(np.float64)
    dark, bright = (
        low + (high - low) * (rank - place)
        for low, high, rank, place in zip(values[:2], values[2:], ranks, below, strict=True)
    )
    return float(bright - dark)


def _colour_reasons(metadata: ImageMetadata) -> tuple[Reason, ...]:
    if not metadata.colour:
        return ()
    return (Reason("coloured", "the picture is coloured, as photographs and screenshots are; send the X-ray itself"),)


def _modality_reasons(metadata: ImageMetadata) -> tuple[Reason, ...]:
    if metadata.modality in _RADIOGRAPHY:
        return ()
    if metadata.modality in _UNSPECIFIC:
        if metadata.body_part and metadata.view:
            return ()  # checked below
        return (
            Reason(
                "modality",
                f"the DICOM header gives modality {metadata.modality or 'none'} and not both body part and view, so "
                "nothing says that this is a chest radiograph",
            ),
        )
    return (
        Reason(
            "modality",
            f"the DICOM header says modality {quoted_term(metadata.modality)}; "
            "only radiographs (CR, DX, RG) are scored",
        ),
    )


def _body_part_reasons(metadata: ImageMetadata) -> tuple[Reason, ...]:
    if not metadata.body_part:
        return ()
    words = _words(metadata.body_part)
    reasons: list[Reason] = []
    others = words - _CHEST_WORDS - _NEUTRAL_WORDS - _LATERAL_WORDS
    if not words & _CHEST_WORDS or others:
        reasons.append(
            Reason(
                "body-part",
                f"the DICOM header says body part {quoted_term(metadata.body_part)}; only chest radiographs are scored",
            )
        )
    elif words & _LATERAL_WORDS:
        reasons.append(
            Reason("view", f"the DICOM header says {quoted_term(metadata.body_part)}; only frontal views are scored")
        )
    return tuple(reasons)


def _view_reasons(metadata: ImageMetadata) -> tuple[Reason, ...]:
    if not metadata.view:
        return ()
    # postero-anterior, POSTERO_ANTERIOR and POSTEROANTERIOR are one view
    words = _words(re.sub(r"(?i)(postero|antero)[\s_-]+(anterior|posterior)", r"\1\2", metadata.view))
    if words & _FRONTAL_WORDS and words <= _FRONTAL_WORDS | _NEUTRAL_WORDS | _CHEST_WORDS:
        return ()
    return (
        Reason(
            "view", f"the DICOM header says view {quoted_term(metadata.view)}; only frontal views (PA or AP) are scored"
        ),
    )


def _orientation_reasons(metadata: ImageMetadata) -> tuple[Reason, ...]:
    """PatientOrientation (PS3.3 C.7.6.1.1.1) names where rows and columns run; frontal is left, then feet."""
    parts = metadata.orientation.upper().split("\\")
    if len(parts) != _ORIENTATION_PARTS or not all(parts):
        return ()
    along, down = parts[0][0], parts[1][0]
    if along in "AP":
        return (Reason("view", "the DICOM header says that the picture is a side view; only frontal views are scored"),)
    if (along, down) == ("R", "F"):
        return (
            Reason("orientation", "the DICOM header says that the picture is mirrored; send it the right way round"),
        )
    if (along, down) != ("L", "F"):
        return (
            Reason("orientation", "the DICOM header says that the picture lies on its side or head; turn it upright"),
        )
    return ()


def _words(text: str) -> set[str]:
    """Upper-case words without accents, digits left out: ``"2- TÒRAX"`` is ``{"TORAX"}``."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().upper()
    return set(re.findall(r"[A-Z]+", plain))
