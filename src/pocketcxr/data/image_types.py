"""Image type of an index row: a frontal chest X-ray, or one of the types that the input filter must refuse.

The learned input filter is trained and evaluated on these. Rows whose data set leaves the type open take no part.
"""

from __future__ import annotations

import hashlib
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from pocketcxr.data.rows import SPLITS, XRAY_MODALITIES, is_frontal_xray

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pocketcxr.data.rows import IndexRow

PHOTOGRAPH, OTHER_PART = "photograph", "other part"
"""Modality of an image that is no X-ray at all; view of an X-ray of another part of the body."""

_LATERAL_VIEWS = frozenset({"L", "LAT", "LATERAL", "LL", "RL", "OBLIQUE"})
_CT_WORDS = frozenset({"ct", "tomography"})
_LATERAL_WORDS = frozenset({"lateral", "laterals", "oblique"})
_PHOTOGRAPH_WORDS = frozenset(
    {"photo", "photos", "photograph", "photographs", "photography", "screenshot", "screenshots", "drawing", "drawings"}
)
_PART_WORDS = frozenset(
    {
        *("knee", "knees", "hand", "hands", "wrist", "elbow", "shoulder", "humerus", "forearm", "finger", "foot"),
        *("feet", "ankle", "leg", "tibia", "femur", "hip", "hips", "pelvis", "abdomen", "spine", "skull", "head"),
        *("tooth", "teeth", "dental", "bone", "bones", "mammogram", "mammography", "breast", "limb", "limbs"),
    }
)
_MODALITY_AND_VIEW: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ct": ("CT", ""),
        "lateral": ("X-ray", "lateral"),
        "not_xray": (PHOTOGRAPH, ""),
        "other_part": ("X-ray", OTHER_PART),
    }
)
_SHARES = (0.7, 0.8)  # of the hash, up to which a group belongs to train and to calibration


def image_type_of(row: IndexRow) -> str:
    """Kind in `labels.INPUT_KINDS` of an image by its modality and view; "" where they leave it open."""
    if is_frontal_xray(row):
        return "frontal"
    if row.modality.upper().startswith("CT"):
        return "ct"
    if row.modality.lower() == PHOTOGRAPH:
        return "not_xray"
    view = row.view.upper().replace("_", " ").split()
    if row.modality.upper() not in XRAY_MODALITIES or not view:
        return ""
    if row.view.lower() == OTHER_PART:
        return "other_part"
    return "lateral" if view[0] in _LATERAL_VIEWS else ""


def modality_and_view_of_folder(names: Iterable[str]) -> tuple[str, str] | None:
    """Modality and view that the nearest telling folder name gives (``knee_xray``, ``CT slices``); None without one.

    Args:
        names: of the folders around an image, the nearest first.
    """
    for name in names:
        words = set(re.findall(r"[a-z]+", name.lower()))
        for kind, telling in (
            ("ct", _CT_WORDS),
            ("lateral", _LATERAL_WORDS),
            ("other_part", _PART_WORDS),
            ("not_xray", _PHOTOGRAPH_WORDS),
        ):
            if words & telling:
                return _MODALITY_AND_VIEW[kind]
    return None


def input_filter_groups(rows: Sequence[IndexRow]) -> list[str]:
    """What the input filter's splits keep together: the patient, else the group of near duplicates, else the file."""
    return [row.patient_id or row.duplicate_group or row.sha256 or row.path for row in rows]


def input_filter_splits(rows: Sequence[IndexRow]) -> list[str]:
    """Split of each row for the input filter: its own; else that of its patient or its near duplicates; else by hash.

    The rule for the last: SHA-256 of the group's name, read as a number between 0 and 1, below 0.7 train, below 0.8
    calibration, else test. So laterals and CT slices, which no task splits, never straddle.
    """
    known = {key: row.split for row in rows if row.split in SPLITS for key in (row.patient_id, row.duplicate_group)}
    known.pop("", None)
    found: list[str] = []
    for row, group in zip(rows, input_filter_groups(rows), strict=True):
        split = row.split or known.get(row.patient_id) or known.get(row.duplicate_group)
        found.append(split or SPLITS[sum(_fraction(group) >= share for share in _SHARES)])
    return found


def _fraction(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
