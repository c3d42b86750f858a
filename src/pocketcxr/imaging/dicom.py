"""DICOM -> grey picture: parse, check what would have to be guessed, decode.

Nothing here decides whether the picture is a chest: `quality` does, from the facts that this module hands on.
"""

from __future__ import annotations

import itertools
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.encaps import get_frame
from pydicom.filereader import read_partial
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from pocketcxr.errors import UnreadableImageError, UnusableImageError
from pocketcxr.imaging.codestream import Codestream, has_end, read_codestream
from pocketcxr.imaging.colour import to_grey
from pocketcxr.imaging.dicom_header import read_facts
from pocketcxr.imaging.grey_scale import apply_grey_scale, averages_commute, depends_on_all_pixels
from pocketcxr.imaging.radiograph import MAX_PIXELS, Radiograph, check_pixel_count
from pocketcxr.imaging.scaled_decoding import factor_for, region_of
from pocketcxr.imaging.scaled_frames import REDUCIBLE, decode_reduced

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pydicom.dataset import FileDataset
    from pydicom.tag import BaseTag

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_JPEG_2000 = frozenset(JPEG2000TransferSyntaxes)
# One decoder each, so that a file gives the same pixels on every machine.
_PLUGINS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    RLELossless: "pydicom",
    **dict.fromkeys(JPEGLSTransferSyntaxes, "gdcm"),
    **dict.fromkeys(_JPEG_2000, "pylibjpeg"),
    **dict.fromkeys(_NATIVE, ""),
}
_GREY = {"MONOCHROME1", "MONOCHROME2"}
_COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"  # Digital X-Ray Image Storage - For Processing
_DEEPEST_PIXEL_BYTES = 6  # three samples of 16 bits
_HEADER_BYTES = 32 << 20  # more than any header with its icons and overlays
_INFLATED_AT_ONCE = 1 << 20
_MOST_ELEMENTS = 65_536  # outside sequences; real headers have some hundreds
_ZEROS = 1024  # no element of a header starts with as many
_META_LENGTH_VALUE = slice(140, 144)  # PS3.10 table 7.1-1: (0002,0000) follows the mark at 128


def read_dicom(data: bytes, name: str, *, side: int | None = None, max_pixels: int | None = None) -> Radiograph:
    """Decode a DICOM file with one picture, reduced to `side` pixels or more where it is given.

    Raises:
        UnreadableImageError: truncated, damaged, too large, or a transfer syntax without decoder.
        UnusableImageError: no picture, several frames, or a header that leaves the grey scale to guessing.
    """
    _check_deflated(data, name, max_pixels)
    dataset = _parse(data, name)
    _check_header(dataset, name, max_pixels)
    columns, rows = int(dataset.Columns), int(dataset.Rows)
    syntax, factor = _transfer_syntax(dataset, name), factor_for(columns, rows, side)
    reduced = _decode_reduced(dataset, syntax, factor, name) if factor > 1 else None
    if reduced is not None:
        return reduced
    samples, photometric = _decode(dataset, syntax, name)
    bits, colour = int(dataset.BitsStored), False
    if photometric in _GREY:
        pixels, notes = apply_grey_scale(samples, dataset, name, factor=factor)
    elif photometric == "PALETTE COLOR":
        factor = 1
        pixels, colour = _palette_grey(samples, dataset)
        notes = ("palette read as grey",)
    else:
        factor = 1
        grey = to_grey(samples, largest=2**bits - 1)
        pixels, colour = grey.pixels, grey.is_coloured
        notes = ("colour channels read as grey",)
    facts = read_facts(dataset, (rows, columns), colour=colour, notes=notes)
    return Radiograph(pixels, facts, region_of(columns, rows, factor))


def _decode_reduced(dataset: FileDataset, syntax: UID, factor: int, name: str) -> Radiograph | None:
    """Let a lossy or wavelet decoder leave pixels out; None where only all pixels tell what the picture is."""
    if syntax not in REDUCIBLE or str(dataset.PhotometricInterpretation) not in _GREY or depends_on_all_pixels(dataset):
        return None
    found = _check_encapsulated(dataset, syntax, name)
    if dataset.PixelRepresentation or found.bits > int(dataset.BitsStored):
        return None
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    decoded = decode_reduced(frame, factor, bits=found.bits, jpeg_2000=syntax in _JPEG_2000)
    if decoded is None:
        return None
    stored, region = decoded
    pixels, notes = apply_grey_scale(stored, dataset, name)
    if not averages_commute(stored, pixels, dataset, name):
        return None
    facts = read_facts(dataset, (found.height, found.width), colour=False, notes=notes)
    return Radiograph(pixels, facts, region)


def _parse(data: bytes, name: str) -> FileDataset:
    try:
        _check_start(data)
        return read_partial(BytesIO(data), _count_elements(), force=True)
    except Exception as error:  # noqa: BLE001  # any, on damaged bytes; its text may quote a patient's name
        raise UnreadableImageError(
            f"{name}: the DICOM file is damaged or ends early ({type(error).__name__} while parsing); send it again"
        ) from None


def _check_start(data: bytes) -> None:
    """Refuse a data set that starts with zeros, which pydicom would take for millions of empty elements."""
    start = _start_of_data_set(data)
    if data[128:132] == b"DICM" and len(data) >= start + _ZEROS and not any(data[start : start + _ZEROS]):
        raise ValueError


def _start_of_data_set(data: bytes) -> int:
    """Where the file's meta information ends, in a file with the mark ``DICM``."""
    return _META_LENGTH_VALUE.stop + int.from_bytes(data[_META_LENGTH_VALUE], "little")


def _count_elements() -> Callable[[BaseTag, str | None, int], bool]:
    """Stop condition for pydicom that never stops it, but raises where there are more elements than any header has."""
    counter = itertools.count()

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        del tag, vr, length
        if next(counter) > _MOST_ELEMENTS:
            raise ValueError
        return False

    return stop


def _check_deflated(data: bytes, name: str, max_pixels: int | None) -> None:
    """Inflate a deflated data set up to what the largest picture needs, for pydicom does it without a limit."""
    if data[128:132] != b"DICM" or DeflatedExplicitVRLittleEndian.encode() not in data[:1024]:
        return
    start = _start_of_data_set(data)
    limit = _DEEPEST_PIXEL_BYTES * (MAX_PIXELS if max_pixels is None else min(max_pixels, MAX_PIXELS)) + _HEADER_BYTES
    inflater, pending, found = zlib.decompressobj(-zlib.MAX_WBITS), data[start:], 0
    while pending and not inflater.eof and found <= limit:  # a stream that has ended keeps what follows it pending
        found += len(inflater.decompress(pending, _INFLATED_AT_ONCE))
        pending = inflater.unconsumed_tail
    if found > limit:
        raise UnreadableImageError(f"{name}: inflates to more than the {limit:,} bytes that are read", "too-many-bytes")


def _check_header(dataset: FileDataset, name: str, max_pixels: int | None) -> None:
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
    if photometric not in _GREY | _COLOURS | {"PALETTE COLOR"}:
        raise UnusableImageError(
            f"{name}: PhotometricInterpretation {photometric[:16]!r} is not read", "unsupported-header"
        )
    expected = 3 if photometric in _COLOURS else 1
    if samples != expected:
        raise UnusableImageError(
            f"{name}: {photometric} has {expected} samples per pixel, the header says {samples}", "unsupported-header"
        )


def _transfer_syntax(dataset: FileDataset, name: str) -> UID:
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


def _decode(dataset: FileDataset, syntax: UID, name: str) -> tuple[NDArray[Any], str]:
    """Stored values [H, W] or [H, W, 3] and the photometric interpretation that they have now."""
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = syntax
    native = syntax in _NATIVE
    plugin = _PLUGINS.get(syntax)
    if plugin is None:
        raise UnreadableImageError(
            f"{name}: no decoder for {syntax.name[:64]!r}; send it uncompressed (for example dcmconv)",
            "unsupported-compression",
        )
    options: dict[str, Any] = {"decoding_plugin": plugin, "correct_unused_bits": native}
    if native:
        _check_native_length(dataset, name)
    elif syntax == RLELossless:
        pass  # no size and no end mark; pydicom checks the length of what comes out
    else:
        found = _check_encapsulated(dataset, syntax, name)
        if plugin == "gdcm":
            if found.samples != 1:  # damaged ones abort the process in ways that cannot be told beforehand
                raise UnusableImageError(
                    f"{name}: colour in {syntax.name} is not read; export it grey or uncompressed",
                    "unsupported-colour",
                )
            # GDCM aborts the process where the depth it is given is not the codestream's and the data is damaged
            options["bits_stored"] = found.bits
    try:
        # high bits of native values may hold overlays and are cut off; compressed values must fit, see `grey_scale`
        samples, properties = get_decoder(syntax).as_array(dataset, index=0, **options)
    except Exception as error:  # noqa: BLE001  # four foreign decoders
        raise UnreadableImageError(
            f"{name}: the pixel data ({syntax.name}, {int(dataset.BitsStored)} bits) cannot be decoded: damaged, or a "
            f"variant that is not supported ({type(error).__name__}); send it uncompressed"
        ) from None
    return samples, str(properties["photometric_interpretation"])


def _check_native_length(dataset: FileDataset, name: str) -> None:
    expected, found = get_expected_length(dataset, "bytes"), len(dataset.PixelData)
    if found < expected:
        raise UnreadableImageError(f"{name}: the pixel data ends early, {expected - found} bytes short; send it again")
    if found >= 2 * expected:
        raise UnusableImageError(
            f"{name}: the header gives one picture of {expected} bytes, the pixel data has {found}; export one picture",
            "several-frames",
        )


def _check_encapsulated(dataset: FileDataset, syntax: UID, name: str) -> Codestream:
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
    fits = 0 < found.bits <= allocated and (syntax in _JPEG_2000 or (found.bits > 8) == (allocated > 8))  # noqa: PLR2004
    if found.samples != samples or not fits:
        raise UnreadableImageError(
            f"{name}: expected {samples} samples of {allocated} bits allocated, found a codestream of {found.samples} "
            f"with {found.bits} bits; send it again",
            "header-mismatch",
        )
    if not has_end(frame):
        raise UnreadableImageError(f"{name}: the compressed pixel data ends early; send it again")
    return found


def _palette_grey(samples: NDArray[Any], dataset: FileDataset) -> tuple[NDArray[np.float32], bool]:
    coloured = apply_color_lut(samples, dataset)
    bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    grey = to_grey(coloured[..., :3].astype(np.uint16, copy=False), largest=2**bits - 1)
    return grey.pixels, grey.is_coloured
