"""DICOM's grey-scale chain: stored values -> modality -> values of interest -> presentation.

Stored values have 16 bits at most, so the whole chain runs once over a table of every possible value, and each pixel is
a single look-up: exact, and independent of the picture's size. The order is that of PS3.4 N.2: Modality LUT or rescale
(PS3.3 C.11.1), VOI LUT or window (C.11.2), then the presentation stage, where MONOCHROME1 (C.7.6.3.1.2) and
Presentation LUT Shape INVERSE (C.11.4, C.8.11.3.1.2) each say, redundantly, that the lowest value is white.

Averaging cells of pixels and looking up commute where the table is a straight line over the values that occur. Then the
averages are taken first, of whole numbers, and only they are looked up; otherwise every pixel is looked up first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pocketcxr.errors import UnusableImageError
from pocketcxr.imaging.dicom.elements import number, numbers, text, with_sign_of
from pocketcxr.imaging.dicom.lookup_tables import find_lookup_table, read_lookup_table
from pocketcxr.imaging.header_terms import quoted_term
from pocketcxr.imaging.scaled_decoding import sum_cells

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom.dataset import Dataset

Table = NDArray[np.float64]
_EIGHT_BITS = 8
_STRAIGHT = 1e-6  # how far a table may be from a straight line, of a range of 1
_ROWS_AT_ONCE = 64  # looked up and averaged while they are still in the processor's cache
_SMALL_ERROR = 1 / 255  # root mean square that averaging before looking up may cost


def apply_grey_scale(
    stored: NDArray[Any], dataset: Dataset, name: str, *, factor: int = 1
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Turn stored values into the picture that the header describes.

    Args:
        stored: [H, W] integers of 8 or 16 bits, unused high bits removed.
        dataset: the header.
        name: stands in messages.
        factor: cells of so many pixels a side are averaged; see `scaled_decoding`.

    Returns:
        float32 [H, W], or [ceil(H / factor), ceil(W / factor)], in [0, 1], MONOCHROME2, and notes of what was done.

    Raises:
        UnusableImageError: values that exceed BitsStored, a header that contradicts itself, an invalid window or LUT,
            or no window and a picture of one single value.
    """
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    lowest, count = (-(1 << (bits - 1)) if signed else 0), 1 << bits
    smallest, largest = int(stored.min()), int(stored.max())
    if smallest < lowest or largest >= lowest + count:
        raise UnusableImageError(
            f"{name}: pixel values exceed the {bits} bits that BitsStored gives; export it again", "values-exceed-bits"
        )
    values: Table = np.arange(lowest, lowest + count, dtype=np.float64)
    padding = _padding(values, dataset, name)
    inverted = _inverted(dataset, name)
    with np.errstate(over="ignore"):  # a header's absurd numbers end at the clipped range or are refused
        values, notes = _modality(values, dataset, name)
        table, voi_notes = _values_of_interest(values, lambda: _used(stored, lowest, count) & ~padding, dataset, name)
    notes += voi_notes
    if inverted:
        table = 1 - table
        notes += ("MONOCHROME1 inverted",)
    if padding.any():
        table[padding] = 0  # black, after the inversion: padding is no part of the patient
        notes += ("pixel padding drawn black",)
    occurring = table[smallest - lowest : largest - lowest + 1]
    if factor > 1 and not lowest and _is_straight(occurring):
        step = (occurring[-1] - occurring[0]) / max(1, largest - smallest)
        straight: NDArray[np.float32] = sum_cells(stored, factor).astype(np.float32) * np.float32(step / factor**2)
        straight += np.float32(occurring[0] - smallest * step)
        return np.clip(straight, 0, 1, out=straight), notes
    # from 0 upwards, then the negative values: as indices wrap around, stored values index it as they stand
    ordered = np.roll(table.astype(np.float32), lowest)
    if factor == 1:
        pixels = np.empty(stored.shape, dtype=np.float32)
        for top in range(0, len(stored), _ROWS_AT_ONCE):  # NumPy makes indices of 8 bytes first
            strip = stored[top : top + _ROWS_AT_ONCE]
            np.take(ordered, strip, mode="wrap", out=pixels[top : top + len(strip)])
        return pixels, notes
    strips = [
        sum_cells(np.take(ordered, stored[top : top + _ROWS_AT_ONCE * factor], mode="wrap"), factor)
        for top in range(0, len(stored), _ROWS_AT_ONCE * factor)
    ]
    means: NDArray[np.float32] = np.concatenate(strips)
    means /= np.float32(factor**2)
    return means, notes


def depends_on_all_pixels(dataset: Dataset, name: str) -> bool:
    """Whether the grey scale needs values that a reduced decoding does not show: padding, smallest and largest."""
    if numbers(dataset, "PixelPaddingValue", name):
        return True
    windowed = find_lookup_table(dataset, "VOILUTSequence", name) or numbers(dataset, "WindowCenter", name)
    deep = int(dataset.BitsStored) != _EIGHT_BITS
    return not windowed and (deep or find_lookup_table(dataset, "ModalityLUTSequence", name) is not None)


def averages_commute(stored: NDArray[Any], pixels: NDArray[np.float32], dataset: Dataset, name: str) -> bool:
    """Whether averaging cells before the grey scale costs next to nothing, measured by averaging once more.

    Args:
        stored: means of cells of stored values, as a reduced decoding gives them.
        pixels: what `apply_grey_scale` made of them.
        dataset: the header.
        name: stands in messages.
    """
    again = np.round(sum_cells(stored, 2) / np.float32(4)).astype(stored.dtype)
    before, _ = apply_grey_scale(again, dataset, name)
    after = sum_cells(pixels, 2) / np.float32(4)
    return float(np.sqrt(np.mean(np.square(before - after)))) < _SMALL_ERROR


def _is_straight(table: Table) -> bool:
    line = np.linspace(float(table[0]), float(table[-1]), len(table))
    return bool(np.all(np.abs(table - line) < _STRAIGHT))


def _used(stored: NDArray[Any], lowest: int, count: int) -> NDArray[np.bool_]:
    """Which of the possible values occur."""
    occurs = np.zeros(count, dtype=np.bool_)
    for top in range(0, len(stored), _ROWS_AT_ONCE):
        codes = stored[top : top + _ROWS_AT_ONCE].ravel().astype(np.int32) - lowest
        occurs[codes] = True
    return occurs


def _padding(values: Table, dataset: Dataset, name: str) -> NDArray[np.bool_]:
    """Values that pad the picture (C.7.5.1.1.2): one, or the range to PixelPaddingRangeLimit."""
    found = [number(dataset, keyword, name) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    first, last = found[0], found[0] if found[1] is None else found[1]
    if first is None or last is None:
        return np.zeros(values.shape, dtype=np.bool_)
    if first % 1 or last % 1:
        raise UnusableImageError(f"{name}: PixelPaddingValue is no whole number; export it again")
    low, high = sorted(with_sign_of(int(limit), values[0], values[-1]) for limit in (first, last))
    return (values >= low) & (values <= high)


def _inverted(dataset: Dataset, name: str) -> bool:
    photometric, shape = text(dataset, "PhotometricInterpretation"), text(dataset, "PresentationLUTShape")
    if shape not in {"", "IDENTITY", "INVERSE"}:
        raise UnusableImageError(f"{name}: PresentationLUTShape {quoted_term(shape)} is not read; export it again")
    inverted = photometric == "MONOCHROME1"
    if shape and inverted != (shape == "INVERSE"):
        raise UnusableImageError(
            f"{name}: {photometric} contradicts PresentationLUTShape {shape}, so which end is white could only be "
            "guessed; export it again"
        )
    return inverted


def _modality(values: Table, dataset: Dataset, name: str) -> tuple[Table, tuple[str, ...]]:
    table = read_lookup_table(dataset, "ModalityLUTSequence", name, values=values)
    if table is not None:
        return table.look_up(values), ("modality LUT",)
    slope, intercept = number(dataset, "RescaleSlope", name), number(dataset, "RescaleIntercept", name)
    if slope is None and intercept is None:
        return values, ()
    if slope is None or intercept is None:
        raise UnusableImageError(f"{name}: RescaleSlope and RescaleIntercept belong together, one is missing")
    rescaled = values * slope + intercept
    if slope == 0 or not np.isfinite(rescaled).all():
        raise UnusableImageError(f"{name}: RescaleSlope {slope:g} with RescaleIntercept {intercept:g} is not usable")
    return rescaled, () if (slope, intercept) == (1, 0) else (f"rescaled by {slope:g}, {intercept:g}",)


def _values_of_interest(
    values: Table, occurring: Callable[[], NDArray[np.bool_]], dataset: Dataset, name: str
) -> tuple[Table, tuple[str, ...]]:
    """The VOI stage, its output scaled to [0, 1]."""
    lut = read_lookup_table(dataset, "VOILUTSequence", name, values=values)
    if lut is not None:
        table = np.clip(lut.look_up(values) / (2**lut.bits - 1), 0, 1)
        notes = (f"VOI LUT {lut.position} of {lut.count}",)
        stated = (f"its entries use {lut.bits} bits, not {lut.stated_bits} as stated",)
        return table, notes if lut.bits == lut.stated_bits else notes + stated
    centres, widths = numbers(dataset, "WindowCenter", name), numbers(dataset, "WindowWidth", name)
    if centres or widths:
        return _window(values, centres, widths, dataset, name)
    is_deep = int(dataset.BitsStored) != _EIGHT_BITS
    if not is_deep and find_lookup_table(dataset, "ModalityLUTSequence", name) is None:
        # C.11.2: no VOI stage means identity. Eight bits are ready for display, as in a PNG of the same picture.
        return (values - values.min()) / np.ptp(values), ("no window: whole 8-bit range",)
    used = occurring()
    if not used.any() or np.ptp(values[used]) == 0:
        raise UnusableImageError(f"{name}: no window, and all pixels have the same value; nothing to score")
    low, high = float(values[used].min()), float(values[used].max())
    return np.clip((values - low) / (high - low), 0, 1), ("no window: smallest to largest value",)


def _window(
    values: Table, centres: list[float], widths: list[float], dataset: Dataset, name: str
) -> tuple[Table, tuple[str, ...]]:
    """The first window, by the functions of C.11.2.1.2 and C.11.2.1.3."""
    function = text(dataset, "VOILUTFunction") or "LINEAR"
    smallest = 1 if function == "LINEAR" else 0
    if len(centres) != len(widths):
        raise UnusableImageError(
            f"{name}: expected as many WindowCenter as WindowWidth values, found {len(centres)} and {len(widths)}; "
            "export it again"
        )
    centre, width = centres[0], widths[0]
    if width <= 0 or width < smallest:
        raise UnusableImageError(f"{name}: expected a positive WindowWidth, found {width:g}; export it again")
    if function == "LINEAR":
        # a window of width 1 is a threshold; the limit spares the formula its division by zero
        table = (values - (centre - 0.5)) / max(width - 1, np.finfo(np.float64).tiny ** 0.5) + 0.5
    elif function == "LINEAR_EXACT":
        table = (values - centre) / width + 0.5
    elif function == "SIGMOID":
        table = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    else:
        raise UnusableImageError(f"{name}: VOILUTFunction {quoted_term(function)} is not read; export it again")
    return np.clip(table, 0, 1), (f"window 1 of {len(centres)}: {function} {centre:g}/{width:g}",)
