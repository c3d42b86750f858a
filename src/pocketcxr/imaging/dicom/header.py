"""Checks a DICOM header before pixels are decoded: what only a guess could complete is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.pixels.utils import get_expected_length
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
)

from pocketcxr.errors import UnreadableImageError, UnusableImageError
from pocketcxr.imaging.dicom.codestream import Codestream, read_codestream
from pocketcxr.imaging.dicom.elements import number, text
from pocketcxr.imaging.dicom.fragments import join_frame
from pocketcxr.imaging.header_terms import quoted_term
from pocketcxr.imaging.radiograph import check_pixel_count

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from pocketcxr.imaging.dicom.parsing import PixelElement

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
JPEG_2000 = frozenset(JPEG2000TransferSyntaxes)
GREY = {"MONOCHROME1", "MONOCHROME2"}
_COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel")
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"  # Digital X-Ray Image Storage - For Processing


def without_pixels(dataset: Dataset, name: str) -> UnusableImageError:
    """The refusal of a file that holds no picture, or one of which only the header is there."""
    sop_class = UID(str(dataset.get("SOPClassUID", "") or ""))
    kind = f" ({sop_class.name})" if sop_class.name != sop_class else ""
    cut = ": it was cut short, or its pixels were taken out; send it again" if "Rows" in dataset else ""
    return UnusableImageError(
        f"{name}: expected a DICOM picture, found a file without pixel data{kind}{cut}", "no-pixel-data"
    )


def check_header(dataset: Dataset, name: str, max_pixels: int | None) -> None:
    """Refuse a header that describes no single image of a defined grey scale and supported size.

    Raises:
        UnreadableImageError: too many pixels, or none.
        UnusableImageError: several frames, elements that are missing, contradictory or not supported.
    """
    missing = [keyword for keyword in _NEEDED if whole_number(dataset, keyword, name) is None]
    if not text(dataset, "PhotometricInterpretation"):
        missing.append("PhotometricInterpretation")
    if missing:
        raise UnusableImageError(
            f"{name}: the DICOM header lacks {', '.join(missing)}; send it again from the archive", "incomplete-header"
        )
    check_pixel_count(int(dataset.Columns), int(dataset.Rows), name, max_pixels=max_pixels)
    frames = whole_number(dataset, "NumberOfFrames", name) or 1
    if frames != 1:
        raise UnusableImageError(
            f"{name}: expected one picture, found {frames} frames; export the one to score", "several-frames"
        )
    _check_samples(dataset, name)
    if dataset.get("SOPClassUID") == _FOR_PROCESSING:
        raise UnusableImageError(
            f"{name}: detector data 'for processing' has no defined grey scale; send the 'for presentation' picture",
            "for-processing",
        )
    if "SharedFunctionalGroupsSequence" in dataset:
        raise UnusableImageError(
            f"{name}: enhanced DICOM objects are not read; send the classic single-frame picture", "enhanced-dicom"
        )


def whole_number(dataset: Dataset, keyword: str, name: str) -> int | None:
    """The whole number of an element, None where it is absent or empty.

    Raises:
        UnusableImageError: another value, or several.
    """
    try:
        found = number(dataset, keyword, name)
    except UnusableImageError as error:
        raise UnusableImageError(str(error), "unsupported-header") from None
    if found is not None and found % 1:
        raise UnusableImageError(f"{name}: expected a whole number as {keyword}, found {found:g}", "unsupported-header")
    return None if found is None else int(found)


def _check_samples(dataset: Dataset, name: str) -> None:
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated not in {8, 16} or not 1 <= stored <= allocated:
        raise UnusableImageError(
            f"{name}: expected 8 or 16 bits allocated, found {allocated} with {stored} stored; export it again",
            "unsupported-header",
        )
    high = whole_number(dataset, "HighBit", name)
    if high is not None and high != stored - 1:
        raise UnusableImageError(
            f"{name}: expected HighBit {stored - 1}, found {high}; export it again", "unsupported-header"
        )
    if int(dataset.PixelRepresentation) not in {0, 1}:
        raise UnusableImageError(
            f"{name}: expected PixelRepresentation 0 or 1, found {int(dataset.PixelRepresentation)}; export it again",
            "unsupported-header",
        )
    photometric, samples = text(dataset, "PhotometricInterpretation"), int(dataset.SamplesPerPixel)
    if photometric not in GREY | _COLOURS | {"PALETTE COLOR"}:
        raise UnusableImageError(
            f"{name}: PhotometricInterpretation {quoted_term(photometric)} is not read", "unsupported-header"
        )
    expected = 3 if photometric in _COLOURS else 1
    if samples != expected:
        raise UnusableImageError(
            f"{name}: {photometric} has {expected} samples per pixel, the header says {samples}", "unsupported-header"
        )


def transfer_syntax(dataset: Dataset, pixels: PixelElement, name: str) -> UID:
    """The transfer syntax that the file states, or for files without one how its header turned out to be encoded."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return UID(str(stated))
    if pixels.is_undefined_length:
        raise UnusableImageError(
            f"{name}: compressed pixels without a transfer syntax; send it again from the archive", "no-transfer-syntax"
        )
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def process_of(syntax: UID) -> str:
    """What a codestream of a transfer syntax is; see `Codestream.process`."""
    if syntax in JPEG_2000:
        return "jpeg-2000"
    if syntax in JPEGLSTransferSyntaxes:
        return "jpeg-ls"
    return "lossless" if syntax in {JPEGLossless, JPEGLosslessSV1} else "dct"


def native_pixels(dataset: Dataset, pixels: PixelElement, name: str) -> bytes:
    """Uncompressed pixel data, after their length has been compared with the header's.

    Raises:
        UnreadableImageError: too short, damaged, or compressed after all.
        UnusableImageError: twice as long or more, as of several images.
    """
    expected = get_expected_length(dataset, "bytes")
    if pixels.is_undefined_length:
        raise UnreadableImageError(
            f"{name}: the transfer syntax says that the pixel data are not compressed, but they come in fragments; "
            "send it again from the archive",
            "header-mismatch",
        )
    value = pixels.value(expected)
    if len(value) < expected:
        raise UnreadableImageError(
            f"{name}: the pixel data ends early, {expected - len(value)} bytes short; send it again"
        )
    if pixels.reaches(2 * expected):
        raise UnusableImageError(
            f"{name}: the header gives one picture of {expected} bytes, the pixel data has {pixels.length}; export one "
            "picture",
            "several-frames",
        )
    pixels.check_inflated(min(pixels.length, 2 * expected), name)
    return value


def compressed_frame(dataset: Dataset, pixels: PixelElement, syntax: UID, name: str) -> Codestream:
    """The codestream in compressed pixel data, after its own header has been compared with that of the file.

    Raises:
        UnreadableImageError: no such codestream, one of other size or depth, or one that ends early.
    """
    frame = join_frame(pixels.fragments(name), name)
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
    wide = found.bits > 8  # noqa: PLR2004
    fits = 0 < found.bits <= allocated and (found.process == "jpeg-2000" or wide == (allocated > 8))  # noqa: PLR2004
    if found.samples != samples or not fits:
        raise UnreadableImageError(
            f"{name}: expected {samples} samples of {allocated} bits allocated, found a codestream of {found.samples} "
            f"with {found.bits} bits; send it again",
            "header-mismatch",
        )
    if not found.ended and found.process != "dct":  # whose decoder tells whether all of the picture is there
        raise UnreadableImageError(f"{name}: the compressed pixel data ends early; send it again")
    return found
