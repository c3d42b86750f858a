"""A reduced reading gives the whole one's picture, metadata, refusals and words, whatever the format."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from pocketcxr.errors import InputError
from pocketcxr.imaging.input_checks import refusal_reasons
from pocketcxr.imaging.reading import read_image, read_image_bytes, read_reduced
from pocketcxr.imaging.resize import resize
from pocketcxr.imaging.scaled_decoding import factor_for, side_for, sum_cells

SIZE = 32
SIDE = 64
CLOSE = 2 / 255

FOLDER = Path(os.environ.get("POCKETCXR_DATA", "/nowhere"))


@pytest.fixture(scope="module")
def radiograph():
    """[601, 803] in [0, 1]: lungs, ribs and a gradient; odd sides, so that the last cells are cut."""
    y, x = np.mgrid[0:601, 0:803]
    lungs = sum(np.exp(-(((x - centre) / 130) ** 2) - ((y - 300) / 200) ** 2) for centre in (240, 560))
    return np.clip(0.55 + 0.1 * np.sin(y / 25) - 0.5 * lungs + x / 8000, 0, 1)


def _bytes(image, picture_format, **options):
    stream = io.BytesIO()
    image.save(stream, picture_format, **options)
    return stream.getvalue()


def _same_picture(data, *, reduced=True, close=CLOSE, aspect="squash"):
    whole, part = read_image_bytes(data, "x"), read_image_bytes(data, "x", side=SIDE)
    assert part.metadata == whole.metadata
    assert (part.region is not None) == reduced
    assert (part.pixels.size < whole.pixels.size / 3) == reduced
    assert min(part.pixels.shape) >= SIDE
    found = resize(part.pixels, size=SIZE, region=part.region, aspect=aspect)
    np.testing.assert_allclose(found, resize(whole.pixels, size=SIZE, aspect=aspect), atol=close)
    assert refusal_reasons(part) == refusal_reasons(whole)
    return part


@pytest.mark.parametrize("aspect", ["squash", "pad"])
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_of_eight_bits_are_reduced(radiograph, picture_format, mode, aspect):
    image = Image.fromarray(np.round(radiograph * 255).astype(np.uint8)).convert(mode)
    _same_picture(_bytes(image, picture_format), aspect=aspect)


def test_opaque_alpha_is_reduced_and_transparent_parts_are_read_whole(radiograph):
    image = Image.fromarray(np.round(radiograph * 255).astype(np.uint8)).convert("RGBA")
    _same_picture(_bytes(image, "PNG"))
    image.putpixel((5, 5), (255, 255, 255, 0))
    _same_picture(_bytes(image, "PNG"), reduced=False)


def test_turned_photograph_is_read_whole(radiograph):
    image = Image.fromarray(np.round(radiograph * 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    part = _same_picture(_bytes(image, "JPEG", exif=exif), reduced=False, close=0)
    assert part.pixels.shape == (803, 601)


def test_low_contrast_is_judged_on_all_pixels():
    """Noise that averaging would take away: the whole picture has contrast enough, its cells' means have not."""
    noise = np.random.default_rng(0).integers(90, 166, (600, 600), dtype=np.uint8)
    data = _bytes(Image.fromarray(noise), "PNG")
    assert refusal_reasons(read_image_bytes(data, "x", side=SIDE)) == ()
    assert refusal_reasons(read_image_bytes(data, "x")) == ()
    flat = _bytes(Image.fromarray(np.full((600, 600), 90, np.uint8)), "PNG")
    assert [reason.code for reason in refusal_reasons(read_image_bytes(flat, "x", side=SIDE))] == ["blank"]


def test_thin_coloured_lines_are_evaluated_on_all_pixels(radiograph):
    """Red lines one pixel wide, on 2 % of the picture, which averaging pales."""
    rgb = np.repeat(np.round(radiograph * 255).astype(np.uint8)[..., None], 3, axis=2)
    rgb[::50] = (150, 120, 120)
    data = _bytes(Image.fromarray(rgb), "PNG")
    assert read_image_bytes(data, "x").metadata.colour
    assert read_image_bytes(data, "x", side=SIDE).metadata.colour


def _stored(radiograph, bits):
    return np.round(radiograph * (2**bits - 1)).astype(np.uint16)


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"WindowCenter": 2048, "WindowWidth": 4096},
        {"WindowCenter": 1800, "WindowWidth": 900},  # clips much: looked up before it is averaged
        {"WindowCenter": 2048, "WindowWidth": 2000, "VOILUTFunction": "SIGMOID"},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"RescaleSlope": 2, "RescaleIntercept": -1000},
        {"PixelPaddingValue": 0},
    ],
    ids=str,
)
def test_native_dicom_of_twelve_bits_is_reduced(radiograph, make_dicom, elements):
    _same_picture(make_dicom(_stored(radiograph, 12), BitsStored=12, **elements), close=4 / 255)


def test_straight_grey_scale_is_averaged_exactly(radiograph, make_dicom):
    """Whole-number means, then the line, against the table's look-up of every pixel: rounding apart, the same."""
    part = read_image_bytes(make_dicom(_stored(radiograph, 12), BitsStored=12), "x", side=SIDE)
    whole = read_image_bytes(make_dicom(_stored(radiograph, 12), BitsStored=12), "x")
    factor = factor_for(803, 601, SIDE)
    np.testing.assert_allclose(part.pixels, sum_cells(whole.pixels, factor) / factor**2, atol=1e-6)


def test_signed_dicom_is_reduced(radiograph, make_dicom):
    _same_picture(make_dicom((_stored(radiograph, 12) - 2048.0).astype(np.int16), BitsStored=12), close=1 / 255)


@pytest.mark.parametrize("window", [(2048, 4096), (2048, 3500)])
def test_jpeg_2000_is_decoded_at_a_fraction_in_its_place(radiograph, make_dataset, compress, window):
    dataset = make_dataset(_stored(radiograph, 12), BitsStored=12, WindowCenter=window[0], WindowWidth=window[1])
    part = _same_picture(compress(dataset, JPEG2000Lossless))
    assert part.region[0] > 0  # its low-pass samples stand on pixels, not between them


@pytest.mark.parametrize(
    "elements", [{}, {"WindowCenter": 1800, "WindowWidth": 300}, {"PixelPaddingValue": 0, "WindowCenter": 2048,
                                                                  "WindowWidth": 4096}], ids=str
)  # fmt: skip
def test_jpeg_2000_whose_grey_scale_needs_all_pixels_is_decoded_whole(radiograph, make_dataset, compress, elements):
    data = compress(make_dataset(_stored(radiograph, 12), BitsStored=12, **elements), JPEG2000Lossless)
    part = _same_picture(data, close=6 / 255)  # steep windows steepen all differences
    assert part.region[:2] == (0, 0)  # reduced afterwards


def test_jpeg_in_dicom_is_decoded_at_a_fraction(radiograph, make_dataset, compress):
    _same_picture(compress(make_dataset(_stored(radiograph, 8).astype(np.uint8)), JPEGBaseline8Bit))


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "BMP", "TIFF"])
def test_damaged_files_are_refused_with_the_same_message(radiograph, picture_format):
    whole = _bytes(Image.fromarray(np.round(radiograph * 255).astype(np.uint8)), picture_format)
    generator = np.random.default_rng(1)
    refused = 0
    for cut in generator.integers(10, len(whole), 12):
        refused += _same_refusal(whole[:cut])
    for place in generator.integers(0, len(whole), 24):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(generator.integers(8))
        _same_refusal(bytes(changed))
    assert refused == 12


def test_damaged_dicom_is_refused_with_the_same_message(radiograph, make_dicom, make_dataset, compress):
    for whole in (
        make_dicom(_stored(radiograph, 12), BitsStored=12),
        compress(
            make_dataset(_stored(radiograph, 12), BitsStored=12, WindowCenter=2048, WindowWidth=4096), JPEG2000Lossless
        ),
        compress(make_dataset(_stored(radiograph, 8).astype(np.uint8)), JPEGBaseline8Bit),
    ):
        for cut in (200, len(whole) // 2, len(whole) - 40):
            assert _same_refusal(whole[:cut])


def _same_refusal(data) -> bool:
    words = []
    for side in (None, SIDE):
        try:
            read_image_bytes(data, "x", side=side)
            words.append("")
        except InputError as error:
            words.append(f"{type(error).__name__}: {error}")
    assert words[0] == words[1]
    return bool(words[0])


@pytest.mark.parametrize("factor", [2, 3, 5, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_cells_are_summed_with_repeated_edges(factor, dtype):
    samples = np.random.default_rng(0).integers(0, 255, (37, 22)).astype(dtype)
    filled = np.pad(samples, ((0, -37 % factor), (0, -22 % factor)), mode="edge").astype(np.int64)
    expected = filled.reshape(filled.shape[0] // factor, factor, -1, factor).sum((1, 3))
    np.testing.assert_array_equal(sum_cells(samples, factor), expected)


def test_a_small_picture_is_not_reduced(radiograph):
    assert factor_for(100, 5000, SIDE) == 1
    data = _bytes(Image.fromarray(np.round(radiograph[:100, :100] * 255).astype(np.uint8)), "PNG")
    assert read_image_bytes(data, "x", side=SIDE).region is None


@pytest.mark.skipif(not (FOLDER / "dicom").is_dir(), reason="POCKETCXR_DATA names no folder with dicom/ and full_size/")
@pytest.mark.parametrize("size", [64, 224])
def test_real_files_give_the_same_picture_and_the_same_refusals(size):
    paths = [*sorted((FOLDER / "full_size").iterdir()), *sorted((FOLDER / "dicom").iterdir())]
    assert len(paths) == 22
    reduced = 0
    for path in paths:
        whole, part = read_image(path), read_reduced(path, side=side_for(size))
        assert part.metadata == whole.metadata, path.name
        assert refusal_reasons(part) == refusal_reasons(whole), path.name
        difference = np.abs(resize(part.pixels, size=size, region=part.region) - resize(whole.pixels, size=size))
        assert difference.mean() < 0.3 / 255, path.name
        reduced += part.region is not None
    assert reduced >= 6
