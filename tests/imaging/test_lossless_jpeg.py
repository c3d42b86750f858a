"""Lossless JPEG written by hand, of every predictor: read as a whole, refused where its end is missing."""

import io
import struct

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLossless

from dicom_files import bytes_of, dataset_of
from pocketcxr.errors import UnreadableImageError
from pocketcxr.imaging.reading import read_image_bytes

HEIGHT, WIDTH, BITS = 70, 33, 12
END = b"\xff\xd9"


def picture(transform=0):
    noise = np.random.default_rng(4).normal(0, 30, (HEIGHT, WIDTH))
    smooth = np.linspace(0, 4000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    return (np.clip(smooth + noise, 0, 4095).astype(np.int64) >> transform) << transform


def predicted(values, y, x, predictor, transform):
    """The prediction at one place of a restart interval, ITU-T T.81 table H.1."""
    if x == 0:
        return values[y - 1][0] if y else 1 << (BITS - transform - 1)
    left = values[y][x - 1]
    if y == 0:
        return left
    above, corner = values[y - 1][x], values[y - 1][x - 1]
    return {
        1: left, 2: above, 3: corner, 4: left + above - corner, 5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1), 7: (left + above) >> 1,
    }[predictor]  # fmt: skip


def coded(values, predictor, transform):
    """Every category has a code of five bits: its own number."""
    digits = ""
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            difference = value - predicted(values, y, x, predictor, transform)
            category = abs(difference).bit_length()
            digits += f"{category:05b}"
            if category:
                digits += f"{difference if difference > 0 else difference + 2**category - 1:0{category}b}"
    digits += "1" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8, "big").replace(b"\xff", b"\xff\x00")


def parts_of(predictor, transform=0, rows=0):
    """Header, and the coded data of each restart interval."""
    values = (picture(transform) >> transform).tolist()
    counts = bytes([0, 0, 0, 0, 17, *[0] * 11])
    table = b"\xff\xc4" + struct.pack(">HB", 19 + 17, 0) + counts + bytes(range(17))
    frame = b"\xff\xc3" + struct.pack(">HBHHBBBB", 11, BITS, HEIGHT, WIDTH, 1, 1, 0x11, 0)
    restart = b"\xff\xdd" + struct.pack(">HH", 4, rows * WIDTH) if rows else b""
    scan = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, predictor, 0, transform)
    blocks = [values[top : top + (rows or HEIGHT)] for top in range(0, HEIGHT, rows or HEIGHT)]
    return b"\xff\xd8" + table + restart + frame + scan, [coded(block, predictor, transform) for block in blocks]


def joined(blocks):
    marks = [bytes([0xFF, 0xD0 + number % 8]) for number in range(len(blocks) - 1)]
    return b"".join(block + mark for block, mark in zip(blocks, [*marks, b""], strict=True))


def read(frame):
    dataset = dcmread(io.BytesIO(bytes_of(dataset_of(picture().astype(np.uint16), BitsStored=BITS, Modality="DX"))))
    dataset.file_meta.TransferSyntaxUID = JPEGLossless
    dataset.PixelData = encapsulate([frame + bytes(len(frame) % 2)])
    dataset["PixelData"].VR = "OB"
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    return read_image_bytes(bytes_of(dataset), "film.dcm").pixels


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(("transform", "rows"), [(0, 0), (2, 0), (0, 7), (0, 70)])
def test_every_predictor_is_read_whole_and_refused_where_its_end_is_missing(predictor, transform, rows):
    header, blocks = parts_of(predictor, transform, rows)
    pixels = read(header + joined(blocks) + END)
    np.testing.assert_allclose(pixels, np.clip((picture(transform) - 2047.5) / 4095 + 0.5, 0, 1), atol=1e-4)
    last = blocks[-1]
    for left in (0, len(last) // 2, len(last) - 2):
        with pytest.raises(UnreadableImageError, match="ends early"):
            read(header + joined([*blocks[:-1], last[:left]]) + END)


def test_a_restart_interval_that_is_missing_is_refused():
    header, blocks = parts_of(1, 0, 7)
    with pytest.raises(UnreadableImageError, match="damaged"):
        read(header + joined(blocks[:-1]) + END)
