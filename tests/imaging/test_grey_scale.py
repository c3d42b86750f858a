"""DICOM's grey-scale chain, against hand-computed values and pydicom's own functions."""

import numpy as np
import pytest
from pydicom.pixels.processing import apply_voi_lut

from pocketcxr.errors import UnusableImageError
from pocketcxr.imaging.reading import read_image_bytes


def read(data):
    return read_image_bytes(data, "radiograph")


# --- window ----------------------------------------------------------------------------------------------------------


def test_linear_window_by_hand(make_dicom):
    # C.11.2.1.2.1 with centre 100, width 11: 94.5 is black, 104.5 is white, 99.5 is half
    row = np.array([[0, 94, 95, 99, 100, 104, 105, 4000]], dtype=np.uint16)
    result = read(make_dicom(row, WindowCenter=100, WindowWidth=11))
    np.testing.assert_allclose(result.pixels[0], [0, 0, 0.05, 0.45, 0.55, 0.95, 1, 1], atol=1e-6)
    assert "window 1 of 1: LINEAR 100/11" in result.metadata.notes


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("stored", [10, 12, 16])
def test_window_functions_agree_with_pydicom(function, dtype, stored, make_dataset, to_bytes):
    rng = np.random.default_rng(5)
    low, high = (0, 2**stored) if dtype == np.uint16 else (-(2 ** (stored - 1)), 2 ** (stored - 1))
    pixels = rng.integers(low, high, (40, 40)).astype(dtype)
    centre, width = (low + high) // 2 + 37, (high - low) // 3
    dataset = make_dataset(pixels, BitsStored=stored, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    by_pydicom = apply_voi_lut(pixels, dataset)
    expected = (by_pydicom - low) / (high - 1 - low)  # pydicom's output spans the range of the stored bits
    np.testing.assert_allclose(read(to_bytes(dataset)).pixels, expected, atol=1e-6)


def test_the_first_of_several_windows_counts(make_dicom, ramp16):
    several = read(make_dicom(ramp16, WindowCenter=[500, 1000], WindowWidth=[100, 2000]))
    one = read(make_dicom(ramp16, WindowCenter=500, WindowWidth=100))
    np.testing.assert_array_equal(several.pixels, one.pixels)
    assert "window 1 of 2: LINEAR 500/100" in several.metadata.notes


def test_a_window_of_width_one_is_a_threshold(make_dicom):
    row = np.array([[99, 100, 101]], dtype=np.uint16)
    np.testing.assert_array_equal(read(make_dicom(row, WindowCenter=100, WindowWidth=1)).pixels, [[0, 1, 1]])


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"WindowCenter": 100, "WindowWidth": 0}, "positive WindowWidth, found 0"),
        ({"WindowCenter": 100, "WindowWidth": -50}, "positive WindowWidth, found -50"),
        ({"WindowCenter": 100, "WindowWidth": "0.5"}, "positive WindowWidth"),
        ({"WindowCenter": 100, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, "positive WindowWidth"),
        ({"WindowCenter": 100}, "as many WindowCenter"),
        ({"WindowWidth": 100}, "as many WindowCenter"),
        ({"WindowCenter": [100, 200], "WindowWidth": 100}, "as many WindowCenter"),
        ({"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "CUBIC"}, "VOILUTFunction another value"),
    ],
)
def test_an_invalid_window_is_refused_not_replaced(elements, words, make_dicom, ramp16):
    with pytest.raises(UnusableImageError, match=words):
        read(make_dicom(ramp16, **elements))


# --- no window -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [10, 12, 15, 16])
def test_without_a_window_deep_pictures_span_their_own_values(stored, make_dicom, ramp16):
    pixels = (ramp16 % (2**stored - 300)) + 250
    result = read(make_dicom(pixels, BitsStored=stored))
    low, high = int(pixels.min()), int(pixels.max())
    np.testing.assert_allclose(result.pixels, (pixels - low) / (high - low), atol=1e-6)
    assert result.metadata.bits == stored
    assert "no window: smallest to largest value" in result.metadata.notes


def test_without_a_window_8_bits_equal_a_png_of_the_same_pixels(make_dicom):
    pixels = np.linspace(30, 180, 64).astype(np.uint8).reshape(8, 8)
    np.testing.assert_allclose(read(make_dicom(pixels)).pixels, pixels / 255, atol=1e-7)


def test_without_a_window_one_single_value_cannot_be_scaled(make_dicom):
    with pytest.raises(UnusableImageError, match="all pixels have the same value"):
        read(make_dicom(np.full((9, 9), 700, dtype=np.uint16)))


def test_signed_pixels_keep_their_order(make_dicom):
    pixels = np.array([[-2000, -1, 0, 2000]], dtype=np.int16)
    np.testing.assert_allclose(read(make_dicom(pixels)).pixels[0], [0, 1999 / 4000, 0.5, 1], atol=1e-6)


def test_signed_12_bit_values_are_extended_from_their_sign_bit(make_dicom):
    # -5 and 5 in 12 bits; the high four bits hold rubbish, such as an overlay
    pixels = np.array([[0x0FFB, 0x7FFB, 0x0005, 0x5005]], dtype=np.uint16).view(np.int16)
    result = read(make_dicom(pixels, BitsStored=12, WindowCenter=0, WindowWidth=20, VOILUTFunction="LINEAR_EXACT"))
    np.testing.assert_allclose(result.pixels[0], [0.25, 0.25, 0.75, 0.75], atol=1e-6)


def test_an_overlay_in_the_unused_high_bits_is_cut_off(make_dicom):
    pixels = np.array([[0, 100, 200, 0x8000 | 100]], dtype=np.uint16)
    np.testing.assert_allclose(read(make_dicom(pixels, BitsStored=12)).pixels[0], [0, 0.5, 1, 0.5], atol=1e-6)


# --- polarity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "inverted"),
    [
        ({"PhotometricInterpretation": "MONOCHROME2"}, False),
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "IDENTITY"}, False),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True),
    ],
)
def test_polarity_is_inverted_exactly_once(elements, inverted, make_dicom, ramp16):
    result = read(make_dicom(ramp16, **elements))
    assert (result.pixels[0, 0], result.pixels[-1, -1]) == ((1, 0) if inverted else (0, 1))
    assert ("MONOCHROME1 inverted" in result.metadata.notes) == inverted


@pytest.mark.parametrize(
    ("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE"), ("MONOCHROME2", "LIN OD")]
)
def test_a_header_that_contradicts_itself_on_polarity_is_refused(photometric, shape, make_dicom, ramp16):
    with pytest.raises(UnusableImageError, match="PresentationLUTShape"):
        read(make_dicom(ramp16, PhotometricInterpretation=photometric, PresentationLUTShape=shape))


def test_monochrome1_is_inverted_after_the_window(make_dicom):
    # inverting the stored values first would window the wrong end and give 1, 1, 0
    row = np.array([[0, 60, 200]], dtype=np.uint8)
    result = read(make_dicom(
        row, PhotometricInterpretation="MONOCHROME1", WindowCenter=60, WindowWidth=40, VOILUTFunction="LINEAR_EXACT"
    ))  # fmt: skip
    np.testing.assert_allclose(result.pixels[0], [1, 0.5, 0], atol=1e-6)


# --- rescale and look-up tables --------------------------------------------------------------------------------------


def test_the_window_applies_to_rescaled_values(make_dicom):
    row = np.array([[0, 100, 200]], dtype=np.uint16)
    result = read(make_dicom(
        row, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=100, WindowWidth=400, VOILUTFunction="LINEAR_EXACT"
    ))  # fmt: skip
    np.testing.assert_allclose(result.pixels[0], [0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_negative_slope_reverses_the_order(dtype, make_dicom):
    row = np.array([[0, 100, 255]], dtype=dtype)
    result = read(make_dicom(row, RescaleSlope=-1, RescaleIntercept=255))
    np.testing.assert_allclose(result.pixels[0], [1, 155 / 255, 0], atol=1e-6)


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": 0, "RescaleIntercept": 5},
        {"RescaleSlope": 2},
        {"RescaleIntercept": 2},
        {"RescaleSlope": "1e308", "RescaleIntercept": 0},
    ],
)
def test_an_invalid_rescale_is_refused(elements, make_dicom, ramp16):
    with pytest.raises(UnusableImageError, match="Rescale"):
        read(make_dicom(ramp16, **elements))


def test_modality_lut_then_window(make_dicom, make_lut_item):
    # stored 10..13 -> 400, 300, 200, 100; outside, the first and the last entry
    row = np.array([[0, 10, 11, 13, 90]], dtype=np.uint16)
    result = read(make_dicom(
        row, BitsStored=12, ModalityLUTSequence=[make_lut_item([400, 300, 200, 100], 10, 16)],
        WindowCenter=250, WindowWidth=300, VOILUTFunction="LINEAR_EXACT",
    ))  # fmt: skip
    np.testing.assert_allclose(result.pixels[0], [1, 1, 2 / 3, 0, 0], atol=1e-6)
    assert "modality LUT" in result.metadata.notes


def test_voi_lut_comes_before_the_window(make_dicom, make_lut_item):
    row = np.array([[4, 5, 6, 7, 8]], dtype=np.uint16)
    result = read(make_dicom(
        row, VOILUTSequence=[make_lut_item([0, 1000, 4095], 5, 12)], WindowCenter=1, WindowWidth=2
    ))  # fmt: skip
    np.testing.assert_allclose(result.pixels[0], np.array([0, 0, 1000, 4095, 4095]) / 4095, atol=1e-6)
    assert "VOI LUT 1 of 1" in result.metadata.notes


def test_voi_lut_of_negative_rescaled_values(make_dicom, make_lut_item):
    row = np.array([[0, 1, 2]], dtype=np.uint16)
    item = make_lut_item([10, 20, 130], -1000, 8)
    result = read(make_dicom(row, RescaleSlope=1, RescaleIntercept=-1000, VOILUTSequence=[item]))
    np.testing.assert_allclose(result.pixels[0], np.array([10, 20, 130]) / 255, atol=1e-6)


def test_a_voi_lut_that_uses_fewer_bits_than_stated_is_as_bright_as_viewers_show_it(make_dicom, make_lut_item):
    # Cornerstone takes the bits of the largest entry: 4000 needs 12
    row = np.array([[0, 1, 2]], dtype=np.uint16)
    result = read(make_dicom(row, VOILUTSequence=[make_lut_item([0, 1000, 4000], 0, 16)]))
    np.testing.assert_allclose(result.pixels[0], np.array([0, 1000, 4000]) / 4095, atol=1e-6)
    assert "its entries use 12 bits, not 16 as stated" in result.metadata.notes


@pytest.mark.parametrize(("largest", "bits", "range_"), [(4096, 12, 4095), (2048, 12, 4095), (2047, 12, 2047)])
def test_a_largest_entry_at_a_power_of_two_keeps_the_stated_bits(largest, bits, range_, make_dicom, make_lut_item):
    row = np.array([[0, 1, 2]], dtype=np.uint16)
    result = read(make_dicom(row, VOILUTSequence=[make_lut_item([0, 1000, largest], 0, bits)]))
    np.testing.assert_allclose(result.pixels[0], np.minimum(1, np.array([0, 1000, largest]) / range_), atol=1e-6)


@pytest.mark.parametrize("packed", [True, False])
def test_a_lut_stored_as_bytes_is_read(packed, make_dataset, make_lut_item, to_bytes):
    item = make_lut_item([0, 100, 200, 255], 0, 8)
    entries = np.array([0, 100, 200, 255], dtype=np.uint8 if packed else "<u2").tobytes()
    item.add_new("LUTData", "OW", entries)
    row = np.array([[0, 1, 2, 3]], dtype=np.uint16)
    result = read(to_bytes(make_dataset(row, VOILUTSequence=[item])))
    np.testing.assert_allclose(result.pixels[0], np.array([0, 100, 200, 255]) / 255, atol=1e-6)


def test_a_lut_shorter_than_it_says_is_refused(make_dicom, make_lut_item, ramp16):
    item = make_lut_item([1, 2, 3], 0, 12)
    item.LUTDescriptor = [4000, 0, 12]
    with pytest.raises(UnusableImageError, match="look-up table of 4000 entries in VOILUTSequence, found 3"):
        read(make_dicom(ramp16, VOILUTSequence=[item]))


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_set_the_range(photometric, make_dicom):
    row = np.array([[65535, 1000, 1500, 2000]], dtype=np.uint16)
    result = read(make_dicom(row, PhotometricInterpretation=photometric, PixelPaddingValue=65535))
    expected = [0, 0, 0.5, 1] if photometric == "MONOCHROME2" else [0, 1, 0.5, 0]
    np.testing.assert_allclose(result.pixels[0], expected, atol=1e-6)


def test_a_range_of_padding_and_signed_padding(make_dicom):
    unsigned = np.array([[0, 5, 10, 100, 200]], dtype=np.uint16)
    result = read(make_dicom(unsigned, PixelPaddingValue=0, PixelPaddingRangeLimit=10))
    np.testing.assert_allclose(result.pixels[0], [0, 0, 0, 0, 1], atol=1e-6)
    signed = np.array([[-2000, -100, 100]], dtype=np.int16)
    result = read(make_dicom(signed, PixelPaddingValue=-2000))
    np.testing.assert_allclose(result.pixels[0], [0, 0, 1], atol=1e-6)


def test_nothing_but_padding_is_refused(make_dicom):
    with pytest.raises(UnusableImageError, match="nothing to score"):
        read(make_dicom(np.zeros((8, 8), dtype=np.uint16), PixelPaddingValue=0))
