"""BMP written by hand: every combination of header, bits, palette, direction and masks is read right or not at all."""

import struct

import numpy as np
import pytest

from pocketcxr.errors import InputError, UnreadableImageError, UnusableImageError
from pocketcxr.imaging.reading import read_image_bytes

HEIGHT, WIDTH = 12, 21
RGB_MASKS = {
    "xrgb": (0xFF0000, 0xFF00, 0xFF, 0),
    "argb": (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    "abgr": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
    "rgbx": (0xFF000000, 0xFF0000, 0xFF00, 0),
}


def picture(levels=256):
    """[H, W] whole numbers below `levels`; no row or column is like another."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (y * 7 + x * x + x * y) % levels


def packed(rows, bits):
    if bits < 8:
        digits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        lines = [np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in digits]
    elif bits == 24:
        lines = [np.repeat(row[:, None], 3, axis=1).astype(np.uint8).tobytes() for row in rows]
    else:
        lines = [row.astype(f"<u{bits // 8}").tobytes() for row in rows]
    return b"".join(line + bytes(-len(line) % 4) for line in lines)


def bmp(rows, bits, *, header=40, palette=(), down=False, masks=(), compression=None, body=None, colours=0):
    """`rows` [H, W] are stored values; `palette` are greys; `body` replaces the packed rows."""
    if body is None:
        body = packed(rows if down else rows[::-1], bits)
    height, width = rows.shape
    compression = compression if compression is not None else 3 if masks else 0
    if header == 12:
        fields = struct.pack("<IHHHH", 12, width, height, 1, bits)
        table = b"".join(bytes([grey] * 3) for grey in palette)
    else:
        fields = struct.pack(
            "<IiiHHIIiiII",
            header,
            width,
            -height if down else height,
            1,
            bits,
            compression,
            len(body),
            0,
            0,
            colours,
            0,
        )
        fields += struct.pack(f"<{len(masks)}I", *masks) if header > 40 or masks else b""
        fields = fields[: 14 + 40] if header == 40 and not masks else fields
        fields = fields.ljust(header, b"\0")
        table = b"".join(bytes([grey] * 3 + [0]) for grey in palette)
    start = 14 + len(fields) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + fields + table + body


def read(data):
    return read_image_bytes(data, "film.bmp").pixels


@pytest.mark.parametrize("header", [12, 40, 64, 108, 124])
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("order", ["rising", "falling", "shuffled"])
def test_palettes_of_all_bits_are_read(header, down, bits, order):
    if down and header == 12:
        pytest.skip("this header knows no direction")
    count = 2**bits
    greys = np.linspace(0, 255, count).round().astype(int)
    greys = {"rising": greys, "falling": greys[::-1], "shuffled": np.roll(greys, 1)}[order]
    data = bmp(picture(count), bits, header=header, palette=greys, down=down)
    np.testing.assert_allclose(read(data), greys[picture(count)] / 255, atol=1e-6)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(("bits", "header"), [(24, 12), (24, 40), (32, 40), (24, 108), (24, 124)])
def test_rows_of_three_and_four_bytes_are_read(down, bits, header):
    grey = picture()
    down &= header > 12
    stored = grey * 0x010101 if bits == 32 else grey  # the fourth byte is reserved, and 0 here
    np.testing.assert_allclose(read(bmp(stored, bits, header=header, down=down)), grey / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("masks", "depths"), [((), (5, 5, 5)), ((0x7C00, 0x3E0, 0x1F), (5, 5, 5)), ((0xF800, 0x7E0, 0x1F), (5, 6, 5))]
)
def test_rows_of_two_bytes_are_read(masks, depths):
    grey = picture(32)
    red, green, blue = (grey * 2 ** (depth - 5) for depth in depths)
    stored = red << depths[1] + depths[2] | green << depths[2] | blue
    expected = 0.299 * grey / 31 + 0.587 * green / (2 ** depths[1] - 1) + 0.114 * grey / 31
    np.testing.assert_allclose(read(bmp(stored, 16, masks=masks)), expected, atol=1.5 / 255)


@pytest.mark.parametrize("kind", RGB_MASKS)
@pytest.mark.parametrize("header", [56, 108, 124])
@pytest.mark.parametrize("alpha", [255, 102, 0])
def test_masks_and_alpha_are_read(kind, header, alpha):
    """No alpha anywhere means that the program that wrote the file knew none, as browsers take it."""
    grey, masks = picture(), RGB_MASKS[kind]
    shifts = [(mask & -mask).bit_length() - 1 for mask in masks if mask]
    values = [grey] * 3 + ([np.full_like(grey, alpha)] if masks[3] else [])
    stored = sum(value << shift for value, shift in zip(values, shifts, strict=True))
    share = alpha / 255 if masks[3] and alpha else 1
    np.testing.assert_allclose(read(bmp(stored, 32, header=header, masks=masks)), grey / 255 * share, atol=1e-6)


@pytest.mark.parametrize(
    ("bits", "palette"), [(4, (0, 255)), (8, (0, 255)), (4, tuple(range(16)))], ids=["4 of 2", "8 of 2", "4 of 16"]
)
def test_palettes_that_pillow_leaves_out_are_refused_and_not_garbage(bits, palette):
    data = bmp(picture(len(palette)), bits, palette=palette, colours=len(palette))
    with pytest.raises(UnusableImageError, match=f"BMP of {bits} bits with a palette of .* greys is not read"):
        read(data)


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 32, "masks": (0x3FF00000, 0xFFC00, 0x3FF), "header": 108},
        {"bits": 16, "masks": (0xF00, 0xF0, 0xF), "header": 108},
        {"bits": 2, "palette": (0, 85, 170, 255)},
        {"bits": 64, "body": bytes(8 * HEIGHT * WIDTH)},
        *({"bits": 24, "compression": number} for number in (4, 5, 6, 11)),
    ],
)
def test_other_variants_are_named_as_not_read(options):
    options = dict(options)
    with pytest.raises(UnusableImageError, match="this variant of BMP is not read"):
        read(bmp(picture(4), options.pop("bits"), **options))


def run_lengths(rows, bits):
    """Runs of one or two pixels, an absolute part, and the marks of row and picture."""
    body = b""
    for row in rows[::-1]:
        for value in row[:8]:
            body += bytes([1, value << 4 if bits == 4 else value])
        rest = row[8:]
        if bits == 8:
            body += bytes([0, len(rest), *rest]) + bytes(len(rest) % 2)
        else:
            pairs = np.append(rest, [0] * (len(rest) % 2)).reshape(-1, 2)
            coded = bytes((pairs[:, 0] << 4 | pairs[:, 1]).tolist())
            body += bytes([0, len(rest)]) + coded + bytes(len(coded) % 2)
        body += b"\0\0"
    return body[:-2] + b"\0\1"


@pytest.mark.parametrize(("bits", "compression"), [(8, 1), (4, 2)])
@pytest.mark.parametrize("falling", [False, True])
def test_run_lengths_are_read_and_half_of_them_is_refused(bits, compression, falling):
    greys = np.linspace(0, 255, 2**bits).round().astype(int)[:: -1 if falling else 1]
    rows = picture(2**bits)
    body = run_lengths(rows, bits)
    data = bmp(rows, bits, palette=greys, compression=compression, body=body)
    np.testing.assert_allclose(read(data), greys[rows] / 255, atol=1e-6)
    for cut in (data[: len(data) - len(body) // 2], data[: len(data) - len(body) // 2] + b"\0\1"):
        with pytest.raises(UnreadableImageError, match="is damaged"):
            read(cut)


@pytest.mark.parametrize(("bits", "part"), [(8, 0.5), (24, 0.5), (24, 0.99), (32, 0.5)])
def test_a_file_cut_short_is_refused(bits, part):
    palette = range(256) if bits == 8 else ()
    data = bmp(picture(), bits, palette=palette)
    with pytest.raises(InputError, match="ends early"):
        read(data[: int(part * len(data))])
