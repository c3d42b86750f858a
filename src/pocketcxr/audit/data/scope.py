"""What the data audit does not look for, so that silence is not read as absence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.data.pixel_statistics import MOST_IMAGES
from pocketcxr.audit.describing import section
from pocketcxr.report.formatting import count
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.audit.data.pixel_statistics import PixelStatistics
    from pocketcxr.report.types import Section

NOT_LOOKED_FOR = (
    (
        "one patient under two numbers, in one split",
        "a re-identification network compares images in two splits, and finds a part of such pairs",
    ),
    (
        "parts of an image as copies",
        "copies are found cropped by up to 9 % of each side and turned by up to 7 degrees; composed images are not",
    ),
    (
        "label errors that all sources share",
        "labels are compared between sources; a reading habit or a text classifier used everywhere does not show",
    ),
    (
        "objects outside the lungs, and wide, round or dark ones within",
        "within the lungs' outlines, bright lines of up to 1 or 2 % of the image's width are measured",
    ),
    (
        "two properties together",
        "each property is held against the class alone; a device that goes with the class only in women does not show",
    ),
    (
        "time of acquisition, ward, referral, treatment",
        "dates and institutions are not read from headers; name the place as source or location to have it compared",
    ),
)
"""Fault, and how far the audit goes instead."""


def describe(full_size: PixelStatistics, lines: NDArray[np.float32]) -> Section:
    """The list, with what was left out of these images."""
    images = len(full_size.levels)
    decoded = int(np.isfinite(full_size.levels).sum())
    outlined = int(np.isfinite(lines).all(axis=1).sum())
    left = {
        "sharpness, grey levels and frequencies of some images": (
            images - decoded,
            f"{count(images - decoded, 'image')} of {images:,} were not decoded in full size (most: {MOST_IMAGES:,})",
        ),
        "lines within the lungs of some images": (
            decoded - outlined,
            f"lungs were not found in {decoded - outlined:,} of {decoded:,} images",
        ),
    }
    rows = [*NOT_LOOKED_FOR, *((fault, words) for fault, (number, words) in left.items() if number)]
    summary = (
        f"{len(rows)} kinds of fault are outside this audit; criteria that could not be measured are listed above."
    )
    return section("scope", summary, (), (Table("Not looked for", ("fault", "how far this audit goes"), tuple(rows)),))
