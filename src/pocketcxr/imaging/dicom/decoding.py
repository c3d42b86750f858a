"""Decodes a DICOM file to one grey-scale image: parse, check the header, decode, apply the grey scale.

Whether the image is a chest X-ray is not decided here but in `input_checks`, from the metadata that this module reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from pocketcxr.errors import UnreadableImageError, UnusableImageError
from pocketcxr.imaging.colour import GreyOfColour, to_grey
from pocketcxr.imaging.dicom.elements import text
from pocketcxr.imaging.dicom.fragments import join_frame
from pocketcxr.imaging.dicom.grey_scale import apply_grey_scale, averages_commute, depends_on_all_pixels
from pocketcxr.imaging.dicom.header import (
    GREY,
    JPEG_2000,
    NATIVE,
    check_header,
    compressed_frame,
    native_pixels,
    process_of,
    transfer_syntax,
    without_pixels,
)
from pocketcxr.imaging.dicom.lossless import is_whole
from pocketcxr.imaging.dicom.metadata import read_metadata
from pocketcxr.imaging.dicom.parsing import PixelElement, parse_dicom
from pocketcxr.imaging.dicom.rle import decode_rle
from pocketcxr.imaging.dicom.scaled_frames import REDUCIBLE, decode_reduced
from pocketcxr.imaging.jpeg import decode_jpeg
from pocketcxr.imaging.radiograph import Radiograph
from pocketcxr.imaging.scaled_decoding import factor_for, region_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from pocketcxr.imaging.dicom.codestream import Codestream

# One decoder each, so that a file gives the same pixels on every machine.
_PLUGINS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    **dict.fromkeys(JPEGLSTransferSyntaxes, "gdcm"),
    **dict.fromkeys(JPEG_2000, "pylibjpeg"),
}
# as what a codestream is decoded that is not of its transfer syntax's process
_SYNTAX_OF_PROCESS = {
    "dct": JPEGBaseline8Bit,
    "lossless": JPEGLossless,
    "jpeg-ls": JPEGLSNearLossless,
    "jpeg-2000": JPEG2000,
}


def read_dicom(data: bytes, name: str, *, side: int | None = None, max_pixels: int | None = None) -> Radiograph:
    """Decode a DICOM file with one picture, reduced to `side` pixels or more where it is given.

    Raises:
        UnreadableImageError: truncated, damaged, too large, or a transfer syntax without decoder.
        UnusableImageError: no picture, several frames, or a header that leaves the grey scale to guessing.
    """
    parsed = parse_dicom(data, name)
    dataset, pixels = parsed.dataset, parsed.pixels
    if pixels is None:
        raise without_pixels(dataset, name)
    check_header(dataset, name, max_pixels)
    columns, rows = int(dataset.Columns), int(dataset.Rows)
    syntax, factor = transfer_syntax(dataset, pixels, name), factor_for(columns, rows, side)
    if syntax in NATIVE:
        samples, photometric = _decode_native(dataset, pixels, syntax, name)
    elif syntax == RLELossless:
        samples, photometric = _decode_rle(dataset, pixels, name)
    else:
        codestream = _codestream(dataset, pixels, syntax, name)
        reduced = _decode_reduced(dataset, codestream, factor, name) if factor > 1 else None
        if reduced is not None:
            return reduced
        samples, photometric = _decode_compressed(dataset, codestream, syntax, name)
    return _radiograph(samples, photometric, dataset, factor, name)


def _radiograph(samples: NDArray[Any], photometric: str, dataset: Dataset, factor: int, name: str) -> Radiograph:
    """Apply the grey scale, or make grey of colours."""
    columns, rows = int(dataset.Columns), int(dataset.Rows)
    if photometric in GREY:
        grey, notes = apply_grey_scale(samples, dataset, name, factor=factor)
        metadata = read_metadata(dataset, (rows, columns), colour=False, notes=notes)
        return Radiograph(grey, metadata, region_of(columns, rows, factor))
    if photometric == "PALETTE COLOR":
        found, note = _palette_grey(samples, dataset, name), "palette read as grey"
    else:
        found, note = to_grey(samples, largest=2 ** int(dataset.BitsStored) - 1), "colour channels read as grey"
    return Radiograph(found.pixels, read_metadata(dataset, (rows, columns), colour=found.is_coloured, notes=(note,)))


def _decode_reduced(dataset: Dataset, codestream: Codestream, factor: int, name: str) -> Radiograph | None:
    """Let a lossy or wavelet decoder leave pixels out; None where only all pixels tell what the picture is."""
    reducible = codestream.process in REDUCIBLE and text(dataset, "PhotometricInterpretation") in GREY
    if not reducible or depends_on_all_pixels(dataset, name):
        return None
    if dataset.PixelRepresentation or codestream.signed or codestream.bits > int(dataset.BitsStored):
        return None
    decoded = decode_reduced(codestream, factor, name)
    if decoded is None:
        return None
    stored, region = decoded
    pixels, notes = apply_grey_scale(stored, dataset, name)
    if not averages_commute(stored, pixels, dataset, name):
        return None
    metadata = read_metadata(dataset, (codestream.height, codestream.width), colour=False, notes=notes)
    return Radiograph(pixels, metadata, region)


def _codestream(dataset: Dataset, pixels: PixelElement, syntax: UID, name: str) -> Codestream:
    """The codestream, which a decoder here reads."""
    if syntax not in _PLUGINS:
        raise UnreadableImageError(
            f"{name}: no decoder for {syntax.name[:64]!r}; send it uncompressed (for example dcmconv)",
            "unsupported-compression",
        )
    found = compressed_frame(dataset, pixels, syntax, name)
    if found.process == "dct" and found.bits > 8:  # noqa: PLR2004
        raise UnreadableImageError(
            f"{name}: no decoder for JPEG of {found.bits} bits; send it uncompressed (for example dcmdjpeg)",
            "unsupported-compression",
        )
    if found.process in {"lossless", "jpeg-ls"} and found.samples != 1:
        # damaged ones abort the process of GDCM in ways that cannot be told beforehand
        raise UnusableImageError(
            f"{name}: colour in {syntax.name} is not read; export it grey or uncompressed", "unsupported-colour"
        )
    return found


def _decode_native(dataset: Dataset, pixels: PixelElement, syntax: UID, name: str) -> tuple[NDArray[Any], str]:
    value = native_pixels(dataset, pixels, name)
    # high bits may hold overlays and are cut off; compressed values must fit, see `grey_scale`
    return _decoded(value, dataset, syntax, name, decoding_plugin="", correct_unused_bits=True, pixel_vr=pixels.vr)


def _decode_rle(dataset: Dataset, pixels: PixelElement, name: str) -> tuple[NDArray[Any], str]:
    frame = join_frame(pixels.fragments(name), name)
    try:
        planes = decode_rle(
            frame,
            pixels=int(dataset.Rows) * int(dataset.Columns),
            samples=int(dataset.SamplesPerPixel),
            bytes_per_sample=int(dataset.BitsAllocated) // 8,
        )
    except ValueError:
        raise UnreadableImageError(
            f"{name}: the compressed pixel data ends early or is damaged; send it again"
        ) from None
    # a colour that stands for two pixels in uncompressed data stands for each one here
    photometric = text(dataset, "PhotometricInterpretation").removesuffix("_422")
    return _decoded(
        planes.tobytes(), dataset, ExplicitVRLittleEndian, name, decoding_plugin="", correct_unused_bits=False,
        planar_configuration=1, photometric_interpretation=photometric,
    )  # fmt: skip


def _decode_compressed(dataset: Dataset, found: Codestream, syntax: UID, name: str) -> tuple[NDArray[Any], str]:
    """As `_decoded`, after header and codestream have been compared."""
    if process_of(syntax) != found.process:
        syntax = _SYNTAX_OF_PROCESS[found.process]
    if found.process == "dct":
        checked = decode_jpeg(found.plain, name)
        if found.samples == 1:
            _check_sign(dataset, found, checked, name)
            return checked, text(dataset, "PhotometricInterpretation")
    options: dict[str, Any] = {"decoding_plugin": _PLUGINS[syntax], "correct_unused_bits": False}
    if _PLUGINS[syntax] == "gdcm":
        # GDCM aborts the process where the depth it is given is not the codestream's and the data is damaged
        options["bits_stored"] = found.bits
    samples, photometric = _decoded(encapsulate([found.plain]), dataset, syntax, name, **options)
    if found.process == "lossless" and not is_whole(found.plain, samples, found.bits):
        raise UnreadableImageError(f"{name}: the compressed pixel data ends early; send it again")
    if found.process == "jpeg-2000":
        _check_sign(dataset, found, samples, name)
    return samples, photometric


def _check_sign(dataset: Dataset, found: Codestream, samples: NDArray[Any], name: str) -> None:
    """Where header and codestream disagree on the sign, take only what both show alike.

    JPEG by the discrete cosine transform is always unsigned (PS3.5 table 8.2.1-1); other processes but JPEG 2000 do not
    say. Eight bits without a window are shown over their whole range, which the sign moves.
    """
    signed = bool(dataset.PixelRepresentation)
    most = (1 << (found.bits - 1)) - 1 if found.bits > 8 else -1  # noqa: PLR2004
    if found.signed != signed and (samples.min() < 0 or samples.max() > most):
        words = ("unsigned", "signed")
        stream = "JPEG 2000" if found.process == "jpeg-2000" else "JPEG"
        raise UnusableImageError(
            f"{name}: PixelRepresentation says {words[signed]} values, the {stream} codestream says "
            f"{words[found.signed]} ones, and the picture depends on it; export it again"
        )


def _decoded(value: bytes, dataset: Dataset, syntax: UID, name: str, **options: Any) -> tuple[NDArray[Any], str]:
    """Stored values [H, W] or [H, W, 3] and the photometric interpretation that they have now."""
    described: dict[str, Any] = {
        "rows": int(dataset.Rows),
        "columns": int(dataset.Columns),
        "number_of_frames": 1,
        "samples_per_pixel": int(dataset.SamplesPerPixel),
        "photometric_interpretation": text(dataset, "PhotometricInterpretation"),
        "pixel_representation": int(dataset.PixelRepresentation),
        "bits_allocated": int(dataset.BitsAllocated),
        "bits_stored": int(dataset.BitsStored),
        "planar_configuration": int(dataset.get("PlanarConfiguration") or 0),
        "pixel_keyword": "PixelData",
        "pixel_vr": "OB",
    }
    try:
        samples, properties = get_decoder(syntax).as_array(value, index=0, **{**described, **options})
    except Exception as error:  # noqa: BLE001  # decoders of four other projects
        raise UnreadableImageError(
            f"{name}: the pixel data ({syntax.name}, {int(dataset.BitsStored)} bits) cannot be decoded: damaged, or a "
            f"variant that is not supported ({type(error).__name__}); send it uncompressed"
        ) from None
    return samples, str(properties["photometric_interpretation"])


def _palette_grey(samples: NDArray[Any], dataset: Dataset, name: str) -> GreyOfColour:
    try:
        coloured = apply_color_lut(samples, dataset)
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    except Exception as error:  # noqa: BLE001  # pydicom raises nearly anything on tables that are missing or damaged
        raise UnusableImageError(
            f"{name}: the tables of PALETTE COLOR are missing or damaged ({type(error).__name__}); export it again"
        ) from None
    return to_grey(coloured[..., :3].astype(np.uint16, copy=False), largest=2**bits - 1)
