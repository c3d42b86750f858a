"""PNG, JPEG, BMP, TIFF and WebP files that are refused: truncated, damaged, too large, without a defined scale."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from pocketcxr.errors import ConfigError, UnreadableImageError, UnusableImageError
from pocketcxr.imaging import radiograph
from pocketcxr.imaging.reading import read_image_bytes

GREY = np.linspace(0, 255, 60 * 80).astype(np.uint8).reshape(60, 80)


def encoded(image, picture_format, **options):
    stream = io.BytesIO()
    image.save(stream, picture_format, **options)
    return stream.getvalue()


def png(samples, **options):
    return encoded(Image.fromarray(samples), "PNG", **options)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(width, height, bits, colour_type, rows, *, extra=b"", interlace=0):
    """A PNG written by hand: `rows` are the packed bytes of each row; `extra` stands before the picture data."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlace)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def read(data):
    return read_image_bytes(data, "picture")


@pytest.mark.parametrize(
    ("picture_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("WEBP", {"lossless": True}),
    ],
)
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_truncated_picture_is_never_scored(picture_format, options, part):
    rng = np.random.default_rng(3)
    data = encoded(Image.fromarray(rng.integers(0, 256, (200, 200), dtype=np.uint8)), picture_format, **options)
    with pytest.raises(UnreadableImageError, match="picture"):
        read(data[: int(len(data) * part)])


def test_a_png_without_its_last_byte_is_refused():
    with pytest.raises(UnreadableImageError, match="ends early"):
        read(png(GREY)[:-1])


def test_a_png_whose_rows_are_missing_is_refused():
    rows = [b"\x05" * 4] * 8
    assert read(raw_png(4, 8, 8, 0, rows)).metadata.height == 8
    with pytest.raises(UnreadableImageError, match="ends early"):
        read(raw_png(4, 8, 8, 0, rows[:-1]))


def test_a_png_with_a_black_last_row_is_read():
    assert read(raw_png(4, 3, 8, 0, [b"\x05" * 4, b"\x07" * 4, bytes(4)])).pixels[2].max() == 0


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 3), (8, 8), (13, 29)])
@pytest.mark.parametrize(("bits", "colour_type", "samples"), [(8, 0, 1), (16, 0, 1), (1, 0, 1), (8, 6, 4)])
def test_an_interlaced_png_is_read_whole_or_refused(width, height, bits, colour_type, samples):
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = []
    for left, top, across, down in passes:
        columns = len(range(left, width, across))
        rows += [b"\xff" * ((columns * bits * samples + 7) // 8) for _ in range(top, height, down) if columns]
    assert read(raw_png(width, height, bits, colour_type, rows, interlace=1)).pixels.min() == 1
    with pytest.raises(UnreadableImageError, match="ends early"):
        read(raw_png(width, height, bits, colour_type, rows[:-1], interlace=1))


def test_a_png_with_one_changed_byte_is_refused():
    data = bytearray(png(np.random.default_rng(4).integers(0, 256, (64, 64), dtype=np.uint8)))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(UnreadableImageError, match="checksum"):
        read(bytes(data))


def test_a_truncated_picture_is_refused_even_where_the_process_tolerates_them(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ConfigError, match="LOAD_TRUNCATED_IMAGES"):
        read(png(GREY))


@pytest.mark.parametrize("picture_format", ["PNG", "TIFF", "WEBP"])
def test_several_frames_or_pages_are_refused(picture_format):
    pages = [Image.fromarray(np.roll(GREY, shift)) for shift in (0, 5, 10)]
    data = encoded(pages[0], picture_format, save_all=True, append_images=pages[1:])
    with pytest.raises(UnusableImageError, match="3 frames or pages"):
        read(data)


def test_a_decompression_bomb_is_refused_before_decoding():
    data = raw_png(60_000, 60_000, 8, 0, [b""])
    with pytest.raises(UnreadableImageError, match="60000 x 60000 pixels are more than the 64,000,000"):
        read(data)


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_the_pixel_limit_holds_for_every_format(picture_format, monkeypatch):
    data = encoded(Image.fromarray(GREY), picture_format)
    monkeypatch.setattr(radiograph, "MAX_PIXELS", GREY.size)
    assert read(data).metadata.width == 80
    monkeypatch.setattr(radiograph, "MAX_PIXELS", GREY.size - 1)
    with pytest.raises(UnreadableImageError, match="more than"):
        read(data)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_samples_without_a_defined_scale_are_refused(dtype):
    data = encoded(Image.fromarray(GREY.astype(dtype)), "TIFF")
    with pytest.raises(UnusableImageError, match="no defined black and white"):
        read(data)
