"""PNG, JPEG, BMP, TIFF and WebP -> grey picture, by each format's own definition of its scale."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ImageFile
from PIL.Image import frombytes

from pocketcxr.errors import ConfigError, UnreadableImageError, UnusableImageError
from pocketcxr.imaging.bmp import check_bmp
from pocketcxr.imaging.colour import grey_of_strips, to_grey
from pocketcxr.imaging.jpeg import decode_jpeg
from pocketcxr.imaging.png import check_png, check_png_rows
from pocketcxr.imaging.radiograph import DRAWING, ImageMetadata, Radiograph, Samples, check_pixel_count
from pocketcxr.imaging.scaled_decoding import InDoubtError, factor_for, power_of_two, region_of
from pocketcxr.imaging.tiff import as_black_is_zero, check_tiff

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray
    from PIL.Image import Image

_EXIF_ORIENTATION = 0x0112
_EIGHT_BITS, _SIXTEEN_BITS = 255, 65535
_MOST_HALVINGS = 3  # JPEG's transform has 8 x 8 coefficients
_ROWS_AT_ONCE = 64  # made into an array together: Pillow needs twice the memory of what it hands over


@dataclass(frozen=True)
class _Grey:
    """Grey samples [H, W] before any rotation; `in_doubt`: reduced, they do not tell if the whole is coloured."""

    samples: Samples
    colour: bool
    bits: int
    notes: tuple[str, ...] = ()
    in_doubt: bool = False


@dataclass(frozen=True)
class _Stored:
    """Bits per sample, how many of them are significant (0: all), and whether 16-bit grey is white at zero."""

    bits: int = 8
    significant_bits: int = 0
    inverted: bool = False


@dataclass(frozen=True)
class _Decoded:
    """A picture as stored: the size of the whole, its EXIF orientation, and by how much its samples are reduced."""

    grey: _Grey
    width: int
    height: int
    orientation: int
    factor: int
    synthetic: bool


def read_raster(
    data: bytes, picture_format: str, name: str, *, side: int | None = None, max_pixels: int | None = None
) -> Radiograph:
    """Decode one of the formats of `file_type.raster_format`, reduced to `side` pixels or more where it is given.

    Raises:
        InDoubtError: only with `side`, see there.
        UnreadableImageError: truncated, damaged or too large.
        UnusableImageError: several frames or pages, or samples without a defined full scale.
        ConfigError: the process told Pillow to hand out truncated pictures as if they were whole.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ConfigError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this process, so half a picture would be scored as a whole "
            "one: set it to False"
        )
    read = _read_jpeg if picture_format == "JPEG" else _read_by_pillow
    decoded = read(data, picture_format, name, side, max_pixels)
    grey, width, height, orientation = decoded.grey, decoded.width, decoded.height, decoded.orientation
    if decoded.factor > 1 and grey.in_doubt:
        raise InDoubtError
    samples, notes = grey.samples, grey.notes
    if orientation > 1:
        samples, notes = _upright(samples, orientation), (*notes, f"EXIF orientation {orientation} turned upright")
        height, width = samples.shape
    metadata = ImageMetadata(
        picture_format, width, height, grey.bits, colour=grey.colour, notes=notes, synthetic=decoded.synthetic
    )
    return Radiograph(samples, metadata, region_of(width, height, decoded.factor))


def _read_jpeg(data: bytes, picture_format: str, name: str, side: int | None, max_pixels: int | None) -> _Decoded:
    with _damage_in_words(picture_format, name):
        image = _open(data, picture_format)
        orientation = _exif_orientation(image)
    check_pixel_count(image.width, image.height, name, max_pixels=max_pixels)
    factor = 1 if image.mode == "CMYK" or orientation > 1 else factor_for(image.width, image.height, side)
    factor = 1 << min(_MOST_HALVINGS, power_of_two(factor))
    samples = decode_jpeg(data, name, factor=factor)
    if samples.ndim == 2:  # noqa: PLR2004
        grey = _Grey(samples, colour=False, bits=8)
    else:
        if image.mode == "CMYK":
            # JPEG's inks are inverted, by Adobe's convention
            inks = frombytes("CMYK", image.size, samples.tobytes(), "raw", "CMYK;I")
            samples = np.asarray(inks.convert("RGB"))
        luminance = to_grey(samples, largest=_EIGHT_BITS)
        grey = _Grey(luminance.pixels, luminance.is_coloured, 8, in_doubt=luminance.in_doubt)
    return _Decoded(grey, image.width, image.height, orientation, factor, _is_synthetic(image))


def _read_by_pillow(data: bytes, picture_format: str, name: str, side: int | None, max_pixels: int | None) -> _Decoded:
    header, stored = None, _Stored()
    if picture_format == "PNG":
        header = check_png(data, name)
        check_pixel_count(header.width, header.height, name, max_pixels=max_pixels)
        stored = _Stored(header.bits, header.significant_bits)
    elif picture_format == "TIFF":
        tiff = check_tiff(data, name, max_pixels=max_pixels)
        stored = _Stored(tiff.bits, inverted=tiff.inverted)
        data = as_black_is_zero(data) if tiff.inverted else data
    with _damage_in_words(picture_format, name):
        image = _open(data, picture_format)
        if picture_format == "BMP":
            check_bmp(data, image, name)
        check_pixel_count(image.width, image.height, name, max_pixels=max_pixels)
        frames = int(getattr(image, "n_frames", 1))
        if frames > 1:
            raise UnusableImageError(
                f"{name}: expected one picture, found {frames} frames or pages; export the one to score",
                "several-frames",
            )
        image.load()
    if header and (header.interlaced or not _last_row(image).any()):
        check_png_rows(data, header, name)  # half as dear as decoding, so only where rows may be missing
    orientation = _exif_orientation(image)
    width, height = image.size  # Pillow has turned TIFF by now
    if picture_format == "BMP" and image.mode == "RGBA" and not image.getchannel("A").getextrema()[1]:
        image = image.convert("RGB")  # no alpha anywhere: the program that wrote it knew none, as browsers take it
    synthetic = _is_synthetic(image)
    image, factor = _reduced(image, factor_for(width, height, side))
    return _Decoded(_grey(image, stored, name), width, height, orientation, factor, synthetic)


def _is_synthetic(image: Image) -> bool:
    """Whether a PNG's or JPEG's comment is the mark of a drawing."""
    comment = image.info.get("Comment") if image.format == "PNG" else image.info.get("comment")
    return comment in {DRAWING, DRAWING.encode()}


@contextmanager
def _damage_in_words(picture_format: str, name: str) -> Generator[None]:
    try:
        yield
    except (OSError, SyntaxError) as error:  # Pillow says SyntaxError for a header it cannot follow
        if str(error).startswith("Unsupported"):
            raise UnusableImageError(
                f"{name}: this variant of {picture_format} is not read ({error}); export it as 8- or 16-bit grey PNG",
                "unsupported-header",
            ) from None
        raise UnreadableImageError(
            f"{name}: the {picture_format} is damaged or ends early ({error}); copy or export it again"
        ) from error


def _reduced(image: Image, factor: int) -> tuple[Image, int]:
    """Average cells of a decoded picture where that commutes with all that `_grey` does to it."""
    fits = image.mode in {"L", "RGB", "RGBA"} and "transparency" not in image.info
    if factor == 1 or not fits or _exif_orientation(image) > 1:
        return image, 1
    if image.mode == "RGBA":
        if image.getchannel("A").getextrema() != (_EIGHT_BITS, _EIGHT_BITS):
            return image, 1
        image = image.convert("RGB")
    return image.reduce(factor), factor


def _open(data: bytes, picture_format: str) -> Image:
    # The plug-ins themselves rather than Image.open: it would try forty formats, and warn of large pictures after
    # the event, where `check_pixel_count` refuses them.
    stream = BytesIO(data)
    if picture_format == "PNG":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile(stream)
    if picture_format == "JPEG":
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile(stream)
    if picture_format == "TIFF":
        from PIL.TiffImagePlugin import TiffImageFile

        return TiffImageFile(stream)
    if picture_format == "BMP":
        from PIL.BmpImagePlugin import BmpImageFile

        return BmpImageFile(stream)
    from PIL.WebPImagePlugin import WebPImageFile

    return WebPImageFile(stream)


def _grey(image: Image, stored: _Stored, name: str) -> _Grey:
    mode, bits = image.mode, stored.bits
    if mode.startswith("I;16"):
        return _grey_16_bit(image, stored, name)
    if mode in {"1", "L"}:
        return _grey_8_bit(image, bits)
    notes = ("16-bit samples read as 8 bits",) if bits == 16 else ()  # noqa: PLR2004  # Pillow drops the low byte
    if mode in {"LA", "La"}:
        grey_alpha = np.asarray(image.convert("LA"))
        grey, alpha, colour = grey_alpha[..., 0].astype(np.float32), grey_alpha[..., 1], False
        grey /= _EIGHT_BITS
    elif mode in {"RGBA", "RGBa", "PA"} or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        luminance = to_grey(rgba[..., :3], largest=_EIGHT_BITS)
        grey, colour, alpha = luminance.pixels, luminance.is_coloured, rgba[..., 3]
    else:
        luminance = grey_of_strips(_rgb_strips(image), shape=(image.height, image.width), largest=_EIGHT_BITS)
        return _Grey(luminance.pixels, luminance.is_coloured, bits, notes, luminance.in_doubt)
    if alpha.min() < _EIGHT_BITS:
        grey *= alpha.astype(np.float32) / _EIGHT_BITS
        notes = (*notes, "transparent parts drawn black")
    return _Grey(grey, colour, bits, notes)


def _grey_8_bit(image: Image, bits: int) -> _Grey:
    bits = 1 if image.mode == "1" else bits
    samples = np.asarray(image.convert("L") if image.mode == "1" else image)  # Pillow widens 1, 2 and 4 bits to 0..255
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        if 1 < bits < 8:  # noqa: PLR2004  # the key stays in the file's own scale
            transparent = transparent * _EIGHT_BITS // (2**bits - 1)
        drawn = np.where(samples == transparent, np.uint8(0), samples)
        return _Grey(drawn, colour=False, bits=bits, notes=("transparent parts drawn black",))
    return _Grey(samples, colour=False, bits=bits)


def _rgb_strips(image: Image) -> Iterator[NDArray[np.uint8]]:
    for top in range(0, image.height, _ROWS_AT_ONCE):
        strip = image.crop((0, top, image.width, min(image.height, top + _ROWS_AT_ONCE)))
        yield np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))


def _last_row(image: Image) -> NDArray[Any]:
    return np.asarray(image.crop((0, image.height - 1, image.width, image.height)))


def _grey_16_bit(image: Image, stored: _Stored, name: str) -> _Grey:
    samples = np.asarray(image)
    transparent = image.info.get("transparency")
    bits, significant_bits = 16, stored.significant_bits
    notes: tuple[str, ...] = ()
    if significant_bits and significant_bits < bits:
        # PNG 13.12: the encoder scaled the samples up, and shifting right recovers the original ones
        pixels = (samples >> (bits - significant_bits)).astype(np.float32)
        notes = (f"{significant_bits} significant bits (sBIT)",)
        bits = significant_bits
    else:
        pixels = samples.astype(np.float32)
    largest = 2**bits - 1
    if float(pixels.max()) > largest:
        raise UnusableImageError(
            f"{name}: samples exceed the {bits} bits that the header gives; export it again", "values-exceed-bits"
        )
    pixels /= np.float32(largest)
    if stored.inverted:
        np.subtract(1, pixels, out=pixels)
        notes = (*notes, "white-is-zero inverted")
    if isinstance(transparent, int):
        pixels[samples == transparent] = 0
        notes = (*notes, "transparent parts drawn black")
    return _Grey(pixels, colour=False, bits=bits, notes=notes)


def _exif_orientation(image: Image) -> int:
    """1 to 8; anything else that a file says there is undefined and counts as 1. Pillow has turned TIFF already."""
    value: object = image.getexif().get(_EXIF_ORIENTATION)
    return value if isinstance(value, int) and 1 < value <= 8 else 1  # noqa: PLR2004


def _upright(samples: Samples, orientation: int) -> Samples:
    # EXIF 2.32 section 4.6.4: where the stored first row and first column belong in the upright picture
    turned = {
        2: samples[:, ::-1],
        3: samples[::-1, ::-1],
        4: samples[::-1],
        5: samples.T,
        6: samples[::-1].T,
        7: samples[::-1, ::-1].T,
        8: samples.T[::-1],
    }[orientation]
    return np.ascontiguousarray(turned)
