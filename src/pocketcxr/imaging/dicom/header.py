"""Checks a DICOM header before pixels are decoded: what only a guess could complete is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.encaps import get_frame
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
)

from pocketcxr.errors import UnreadableImageError, UnusableImageError
from pocketcxr.imaging.dicom.codestream import Codestream, has_end, read_codestream
from pocketcxr.imaging.header_terms import quoted_term
from pocketcxr.imaging.radiograph import check_pixel_count

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
JPEG_2000 = frozenset(JPEG2000TransferSyntaxes)
GREY = {"MONOCHROME1", "MONOCHROME2"}
_COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"  # Digital X-Ray Image Storage - For Processing


def check_header(dataset: FileDataset, name: str, max_pixels: int | None) -> None:
    """Refuse a header that describes no single image of a defined grey scale and supported size.

    Raises:
        UnreadableImageError: too many pixels, or none.
        UnusableImageError: no image, several frames, elements that are missing, contradictory or not supported.
    """
    sop_class = UID(str(dataset.get("SOPClassUID", "") or ""))
    if "PixelData" not in dataset:
        kind = f" ({sop_class.name})" if sop_class.name != sop_class else ""
        raise UnusableImageError(
            f"{name}: expected a DICOM picture, found a file without pixel data{kind}", "no-pixel-data"
        )
    missing = [
        keyword
        for keyword in (
            "Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel",
            "PhotometricInterpretation",
        )
        if dataset.get(keyword) in {None, ""}
    ]  # fmt: skip
    if missing:
        raise UnusableImageError(
            f"{name}: the DICOM header lacks {', '.join(missing)}; send it again from the archive", "incomplete-header"
        )
    check_pixel_count(int(dataset.Columns), int(dataset.Rows), name, max_pixels=max_pixels)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UnusableImageError(
            f"{name}: expected one picture, found {frames} frames; export the one to score", "several-frames"
        )
    _check_samples(dataset, name)
    if sop_class == _FOR_PROCESSING:
        raise UnusableImageError(
            f"{name}: detector data 'for processing' has no defined grey scale; send the 'for presentation' picture",
            "for-processing",
        )
    if "SharedFunctionalGroupsSequence" in dataset:
        raise UnusableImageError(
            f"{name}: enhanced DICOM objects are not read; send the classic single-frame picture", "enhanced-dicom"
        )


def _check_samples(dataset: FileDataset, name: str) -> None:
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated not in {8, 16} or not 1 <= stored <= allocated:
        raise UnusableImageError(
            f"{name}: expected 8 or 16 bits allocated, found {allocated} with {stored} stored; export it again",
            "unsupported-header",
        )
    high = dataset.get("HighBit")
    if high is not None and int(high) != stored - 1:
        raise UnusableImageError(
            f"{name}: expected HighBit {stored - 1}, found {int(high)}; export it again", "unsupported-header"
        )
    photometric, samples = str(dataset.PhotometricInterpretation), int(dataset.SamplesPerPixel)
    if photometric not in GREY | _COLOURS | {"PALETTE COLOR"}:
        raise UnusableImageError(
            f"{name}: PhotometricInterpretation {quoted_term(photometric)} is not read", "unsupported-header"
        )
    expected = 3 if photometric in _COLOURS else 1
    if samples != expected:
        raise UnusableImageError(
            f"{name}: {photometric} has {expected} samples per pixel, the header says {samples}", "unsupported-header"
        )


def transfer_syntax(dataset: FileDataset, name: str) -> UID:
    """The transfer syntax that the file states, or for files without one how its header turned out to be encoded."""
    stated = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if stated:
        return UID(str(stated))
    if dataset["PixelData"].is_undefined_length:
        raise UnusableImageError(
            f"{name}: compressed pixels without a transfer syntax; send it again from the archive", "no-transfer-syntax"
        )
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def check_native_length(dataset: FileDataset, name: str) -> None:
    """Compare the length of uncompressed pixel data with the header.

    Raises:
        UnreadableImageError: too short.
        UnusableImageError: twice as long or more, as of several images.
    """
    expected, found = get_expected_length(dataset, "bytes"), len(dataset.PixelData)
    if found < expected:
        raise UnreadableImageError(f"{name}: the pixel data ends early, {expected - found} bytes short; send it again")
    if found >= 2 * expected:
        raise UnusableImageError(
            f"{name}: the header gives one picture of {expected} bytes, the pixel data has {found}; export one picture",
            "several-frames",
        )


def check_encapsulated(dataset: FileDataset, syntax: UID, name: str) -> Codestream:
    """Read the codestream's own header and compare it with the DICOM header.

    Raises:
        UnreadableImageError: no such codestream, one of other size or depth, or one that ends early.
    """
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    found, columns, rows = read_codestream(frame), int(dataset.Columns), int(dataset.Rows)
    if found is None:
        raise UnreadableImageError(
            f"{name}: expected {syntax.name}, found no such codestream; send it again", "header-mismatch"
        )
    if (found.width, found.height) != (columns, rows):
        raise UnreadableImageError(
            f"{name}: expected {columns} x {rows} pixels, found a codestream of {found.width} x {found.height}",
            "header-mismatch",
        )
    allocated, samples = int(dataset.BitsAllocated), int(dataset.SamplesPerPixel)
    fits = 0 < found.bits <= allocated and (syntax in JPEG_2000 or (found.bits > 8) == (allocated > 8))  # noqa: PLR2004
    if found.samples != samples or not fits:
        raise UnreadableImageError(
            f"{name}: expected {samples} samples of {allocated} bits allocated, found a codestream of {found.samples} "
            f"with {found.bits} bits; send it again",
            "header-mismatch",
        )
    if not has_end(frame):
        raise UnreadableImageError(f"{name}: the compressed pixel data ends early; send it again")
    return found
