"""Decodes a DICOM file to one grey-scale image: parse, check the header, decode, apply the grey scale.

Whether the image is a chest X-ray is not decided here but in `input_checks`, from the metadata that this module reads.
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
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from pocketcxr.errors import UnreadableImageError, UnusableImageError
from pocketcxr.imaging.colour import to_grey
from pocketcxr.imaging.dicom.grey_scale import apply_grey_scale, averages_commute, depends_on_all_pixels
from pocketcxr.imaging.dicom.header import (
    GREY,
    JPEG_2000,
    NATIVE,
    check_encapsulated,
    check_header,
    check_native_length,
    transfer_syntax,
)
from pocketcxr.imaging.dicom.metadata import read_metadata
from pocketcxr.imaging.dicom.scaled_frames import REDUCIBLE, decode_reduced
from pocketcxr.imaging.jpeg import decode_jpeg
from pocketcxr.imaging.radiograph import MAX_PIXELS, Radiograph
from pocketcxr.imaging.scaled_decoding import factor_for, region_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pydicom.dataset import FileDataset
    from pydicom.tag import BaseTag

# One decoder each, so that a file gives the same pixels on every machine.
_PLUGINS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    RLELossless: "pydicom",
    **dict.fromkeys(JPEGLSTransferSyntaxes, "gdcm"),
    **dict.fromkeys(JPEG_2000, "pylibjpeg"),
    **dict.fromkeys(NATIVE, ""),
}
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
    check_header(dataset, name, max_pixels)
    columns, rows = int(dataset.Columns), int(dataset.Rows)
    syntax, factor = transfer_syntax(dataset, name), factor_for(columns, rows, side)
    reduced = _decode_reduced(dataset, syntax, factor, name) if factor > 1 else None
    if reduced is not None:
        return reduced
    samples, photometric = _decode(dataset, syntax, name)
    bits, colour = int(dataset.BitsStored), False
    if photometric in GREY:
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
    metadata = read_metadata(dataset, (rows, columns), colour=colour, notes=notes)
    return Radiograph(pixels, metadata, region_of(columns, rows, factor))


def _decode_reduced(dataset: FileDataset, syntax: UID, factor: int, name: str) -> Radiograph | None:
    """Let a lossy or wavelet decoder leave pixels out; None where only all pixels tell what the picture is."""
    if syntax not in REDUCIBLE or str(dataset.PhotometricInterpretation) not in GREY or depends_on_all_pixels(dataset):
        return None
    found = check_encapsulated(dataset, syntax, name)
    if dataset.PixelRepresentation or found.bits > int(dataset.BitsStored):
        return None
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    decoded = decode_reduced(frame, found, factor, jpeg_2000=syntax in JPEG_2000, name=name)
    if decoded is None:
        return None
    stored, region = decoded
    pixels, notes = apply_grey_scale(stored, dataset, name)
    if not averages_commute(stored, pixels, dataset, name):
        return None
    metadata = read_metadata(dataset, (found.height, found.width), colour=False, notes=notes)
    return Radiograph(pixels, metadata, region)


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


def _decode(dataset: FileDataset, syntax: UID, name: str) -> tuple[NDArray[Any], str]:
    """Stored values [H, W] or [H, W, 3] and the photometric interpretation that they have now."""
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = syntax
    native = syntax in NATIVE
    plugin = _PLUGINS.get(syntax)
    if plugin is None:
        raise UnreadableImageError(
            f"{name}: no decoder for {syntax.name[:64]!r}; send it uncompressed (for example dcmconv)",
            "unsupported-compression",
        )
    options: dict[str, Any] = {"decoding_plugin": plugin, "correct_unused_bits": native}
    if native:
        check_native_length(dataset, name)
    elif syntax == RLELossless:
        pass  # no size and no end mark; pydicom checks the length of what comes out
    else:
        found = check_encapsulated(dataset, syntax, name)
        if plugin == "gdcm":
            if found.samples != 1:  # damaged ones abort the process in ways that cannot be told beforehand
                raise UnusableImageError(
                    f"{name}: colour in {syntax.name} is not read; export it grey or uncompressed",
                    "unsupported-colour",
                )
            # GDCM aborts the process where the depth it is given is not the codestream's and the data is damaged
            options["bits_stored"] = found.bits
        elif plugin == "pillow" and found.bits <= 8:  # noqa: PLR2004
            checked = decode_jpeg(get_frame(dataset.PixelData, 0, number_of_frames=1), name)
            if found.samples == 1:
                signed = bool(dataset.PixelRepresentation)
                return checked.view(np.int8) if signed else checked, str(dataset.PhotometricInterpretation)
    try:
        # high bits of native values may hold overlays and are cut off; compressed values must fit, see `grey_scale`
        samples, properties = get_decoder(syntax).as_array(dataset, index=0, **options)
    except Exception as error:  # noqa: BLE001  # decoders of four other projects
        raise UnreadableImageError(
            f"{name}: the pixel data ({syntax.name}, {int(dataset.BitsStored)} bits) cannot be decoded: damaged, or a "
            f"variant that is not supported ({type(error).__name__}); send it uncompressed"
        ) from None
    return samples, str(properties["photometric_interpretation"])


def _palette_grey(samples: NDArray[Any], dataset: FileDataset) -> tuple[NDArray[np.float32], bool]:
    coloured = apply_color_lut(samples, dataset)
    bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    grey = to_grey(coloured[..., :3].astype(np.uint16, copy=False), largest=2**bits - 1)
    return grey.pixels, grey.is_coloured
