"""PNG, JPEG, BMP, TIFF and WebP: the scale each format defines, and what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

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


# --- scale -----------------------------------------------------------------------------------------------------------


def test_8_bit_grey_png_is_divided_by_255():
    result = read(png(GREY))
    np.testing.assert_array_equal(result.pixels, GREY.astype(np.float32) / np.float32(255))
    assert result.pixels.dtype == np.float32
    assert (result.metadata.format, result.metadata.width, result.metadata.height) == ("PNG", 80, 60)
    assert (result.metadata.bits, result.metadata.colour) == (8, False)


def test_16_bit_grey_png_is_divided_by_65535_and_keeps_its_depth():
    samples = np.arange(0, 65536, 13, dtype=np.uint16)[:5000].reshape(50, 100)
    result = read(png(samples))
    np.testing.assert_allclose(result.pixels, samples / 65535, atol=1e-7)
    assert len(np.unique(result.pixels)) == 5000
    assert result.metadata.bits == 16


def test_16_bit_png_with_12_significant_bits_gives_the_original_samples():
    original = np.array([0, 1, 2048, 4095], dtype=np.uint16)
    shifted = (original << 4).astype(">u2")  # left-justified, the low bits zero
    result = read(raw_png(4, 1, 16, 0, [shifted.tobytes()], extra=chunk(b"sBIT", b"\x0c")))
    np.testing.assert_allclose(result.pixels[0], original / 4095, atol=1e-7)
    assert result.metadata.bits == 12


def test_significant_bits_equal_to_the_depth_change_nothing():
    samples = np.array([0, 100, 65535], dtype=">u2")
    result = read(raw_png(3, 1, 16, 0, [samples.tobytes()], extra=chunk(b"sBIT", b"\x10")))
    np.testing.assert_allclose(result.pixels[0], [0, 100 / 65535, 1], atol=1e-7)


@pytest.mark.parametrize(
    ("bits", "row", "expected"),
    [(1, b"\xa0", [1, 0, 1, 0]), (2, b"\x1b", [0, 1 / 3, 2 / 3, 1]), (4, b"\x0f\x5a", [0, 1, 1 / 3, 2 / 3])],
)
def test_png_of_few_bits_spans_black_to_white(bits, row, expected):
    result = read(raw_png(4, 1, bits, 0, [row]))
    np.testing.assert_allclose(result.pixels[0], expected, atol=1e-6)
    assert result.metadata.bits == bits


def test_png_made_by_pillow_of_one_bit():
    result = read(encoded(Image.fromarray(GREY).convert("1"), "PNG"))
    assert set(np.unique(result.pixels)) == {0, 1}


# --- channels --------------------------------------------------------------------------------------------------------


def test_rgb_with_equal_channels_is_grey():
    result = read(png(np.stack([GREY] * 3, axis=-1)))
    np.testing.assert_array_equal(result.pixels, GREY.astype(np.float32) / np.float32(255))
    assert not result.metadata.colour


def test_coloured_rgb_gives_luminance_and_says_so():
    samples = np.zeros((30, 30, 3), dtype=np.uint8)
    samples[:10, :, 0], samples[10:20, :, 1], samples[20:, :, 2] = 255, 255, 255
    result = read(png(samples))
    np.testing.assert_allclose(result.pixels[[0, 10, 20], 0], [0.299, 0.587, 0.114], atol=1e-6)
    assert result.metadata.colour


def test_a_small_coloured_marker_does_not_make_a_coloured_picture():
    samples = np.stack([GREY] * 3, axis=-1)
    samples[2:6, 2:10] = (255, 0, 0)  # 32 of 4,800 pixels
    assert not read(png(samples)).metadata.colour


def test_the_rounding_of_a_colour_jpeg_does_not_make_a_grey_picture_coloured():
    rng = np.random.default_rng(0)
    noisy = np.clip(GREY + rng.normal(0, 20, GREY.shape), 0, 255).astype(np.uint8)
    result = read(encoded(Image.fromarray(np.stack([noisy] * 3, axis=-1)), "JPEG", quality=60))
    assert not result.metadata.colour


def test_transparent_parts_of_rgba_are_composited_on_black():
    samples = np.full((4, 4, 4), 200, dtype=np.uint8)
    samples[..., 3] = np.array([255, 128, 51, 0])
    result = read(png(samples))
    np.testing.assert_allclose(result.pixels[0], np.array([255, 128, 51, 0]) / 255 * 200 / 255, atol=1e-6)
    assert "transparent parts drawn black" in result.metadata.notes


def test_opaque_rgba_is_the_picture_without_its_alpha():
    samples = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)])
    result = read(png(samples))
    np.testing.assert_allclose(result.pixels, GREY / 255, atol=1e-7)
    assert result.metadata.notes == ()


def test_grey_with_alpha_is_composited_on_black():
    result = read(png(np.dstack([GREY, np.full_like(GREY, 51)])))
    np.testing.assert_allclose(result.pixels, GREY / 255 * 0.2, atol=1e-6)


@pytest.mark.parametrize(("bits", "key", "dtype"), [(8, 7, "u1"), (16, 700, ">u2")])
def test_a_grey_value_marked_transparent_is_black(bits, key, dtype):
    row = np.array([key, 2 * key], dtype=dtype).tobytes()
    data = raw_png(2, 1, bits, 0, [row], extra=chunk(b"tRNS", struct.pack(">H", key)))
    np.testing.assert_allclose(read(data).pixels[0], [0, 2 * key / (2**bits - 1)], atol=1e-7)


def test_a_grey_value_of_4_bits_marked_transparent_is_black():
    data = raw_png(4, 1, 4, 0, [b"\x35\x3f"], extra=chunk(b"tRNS", b"\x00\x03"))
    np.testing.assert_allclose(read(data).pixels[0], [0, 1 / 3, 0, 1], atol=1e-6)


def test_grey_palette_is_grey_and_coloured_palette_is_coloured():
    image = Image.fromarray(GREY // 4).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([value for step in range(64) for value in (step * 4,) * 3])
    grey = read(encoded(image, "PNG"))
    np.testing.assert_allclose(grey.pixels, GREY // 4 * 4 / 255, atol=1e-6)
    assert not grey.metadata.colour
    image.putpalette([value for step in range(64) for value in (step * 4, 0, 0)])
    assert read(encoded(image, "PNG")).metadata.colour


def test_palette_with_transparency_is_composited_on_black():
    image = Image.frombytes("P", (2, 1), b"\x00\x01")
    image.putpalette([250, 250, 250, 100, 100, 100])
    result = read(encoded(image, "PNG", transparency=bytes([0, 255])))
    np.testing.assert_allclose(result.pixels[0], [0, 100 / 255], atol=1e-6)


def test_16_bit_colour_png_says_that_depth_was_lost():
    row = np.array([[0x8000] * 3, [0xFFFF] * 3], dtype=">u2").tobytes()
    result = read(raw_png(2, 1, 16, 2, [row]))
    np.testing.assert_allclose(result.pixels[0], [128 / 255, 1], atol=1e-6)
    assert "16-bit samples read as 8 bits" in result.metadata.notes


def test_cmyk_jpeg_is_read_with_its_polarity():
    image = Image.fromarray(np.stack([GREY] * 3, axis=-1)).convert("CMYK")
    result = read(encoded(image, "JPEG", quality=95))
    assert np.abs(result.pixels - GREY / 255).max() < 0.03
    assert not result.metadata.colour


def test_progressive_jpeg_equals_baseline_jpeg():
    image = Image.fromarray(GREY)
    baseline, progressive = (read(encoded(image, "JPEG", quality=90, progressive=flag)) for flag in (False, True))
    np.testing.assert_array_equal(baseline.pixels, progressive.pixels)
    assert progressive.metadata.format == "JPEG"


@pytest.mark.parametrize("picture_format", ["BMP", "TIFF", "WEBP"])
def test_other_lossless_formats_give_the_same_pixels(picture_format):
    options = {"lossless": True} if picture_format == "WEBP" else {}
    result = read(encoded(Image.fromarray(GREY), picture_format, **options))
    np.testing.assert_allclose(result.pixels, GREY / 255, atol=1e-6)
    assert result.metadata.format == picture_format


def test_16_bit_tiff_keeps_its_depth():
    samples = np.arange(3000, dtype=np.uint16).reshape(50, 60) * 20
    np.testing.assert_allclose(read(encoded(Image.fromarray(samples), "TIFF")).pixels, samples / 65535, atol=1e-7)


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_white_is_zero_tiff_is_inverted_at_either_depth(dtype, largest):
    samples = (GREY.astype(np.uint32) * (largest // 255)).astype(dtype)
    stored = largest - samples
    data = bytearray(encoded(Image.fromarray(stored.astype(dtype)), "TIFF"))
    tag = data.find(struct.pack("<HHI", 262, 3, 1))
    assert struct.unpack_from("<H", data, tag + 8) == (1,)
    data[tag + 8 : tag + 10] = struct.pack("<H", 0)  # PhotometricInterpretation: WhiteIsZero
    np.testing.assert_allclose(read(bytes(data)).pixels, samples / largest, atol=1e-6)


# --- orientation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_turns_the_picture_upright(orientation, picture_format):
    upright = np.zeros((48, 80), dtype=np.uint8)
    upright[:24, :40], upright[:24, 40:], upright[24:, :40] = 250, 150, 80  # four different quarters
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright, 1), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    options = {"tiffinfo": {274: orientation}} if picture_format == "TIFF" else {"exif": exif}
    result = read(encoded(image, picture_format, **options))
    assert np.abs(result.pixels - upright / 255).max() < 0.05
    assert (result.metadata.width, result.metadata.height) == (80, 48)
    assert result.pixels.flags.c_contiguous


@pytest.mark.parametrize("orientation", [0, 9, 200])
def test_an_undefined_orientation_turns_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert read(encoded(Image.fromarray(GREY), "JPEG", exif=exif)).metadata.notes == ()


def test_a_corrupt_exif_block_neither_warns_nor_fails():
    result = read(encoded(Image.fromarray(GREY), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x00rubbish"))
    assert result.metadata.width == 80
