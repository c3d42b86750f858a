"""Averaged cells of the grey scale against cells averaged in loops, and what decides whether averaging comes first."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dicom_files import dataset_of
from pocketcxr.errors import UnusableImageError
from pocketcxr.imaging.dicom.grey_scale import apply_grey_scale, averages_commute, depends_on_all_pixels

RNG = np.random.default_rng(8)


def cells(pixels, factor):
    """Mean of each cell; those at the right and lower border are as full as the picture makes them."""
    height, width = pixels.shape
    places = [[(top, left) for left in range(0, width, factor)] for top in range(0, height, factor)]
    one = pixels.astype(float)
    return np.array(
        [[one[top : top + factor, left : left + factor].sum() / factor**2 for top, left in row] for row in places]
    )


WINDOWS = {
    "straight": {"WindowCenter": 2048, "WindowWidth": 4096},
    "clipped": {"WindowCenter": 1000, "WindowWidth": 500},
    "curved": {"WindowCenter": 2000, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
    "own range": {},
    "inverted": {"WindowCenter": 2048, "WindowWidth": 4096, "PhotometricInterpretation": "MONOCHROME1"},
    "rescaled": {"RescaleSlope": -2, "RescaleIntercept": 9000, "WindowCenter": 5000, "WindowWidth": 9000},
    "padded": {"WindowCenter": 2048, "WindowWidth": 4096, "PixelPaddingValue": 900},
}


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("values", ["many", "three"])
def test_cells_are_the_means_of_the_whole_picture(name, factor, values):
    shape = (4 * factor * 5, 3 * factor * 5)
    stored = RNG.integers(900, 3000, shape) if values == "many" else RNG.choice([900, 901, 903], shape)
    dataset = dataset_of(stored.astype(np.uint16), BitsStored=12, **WINDOWS[name])
    whole, notes = apply_grey_scale(stored.astype(np.uint16), dataset, "x")
    reduced, same = apply_grey_scale(stored.astype(np.uint16), dataset, "x", factor=factor)
    np.testing.assert_allclose(reduced, cells(whole, factor), atol=2e-6 if values == "many" else 5e-5)
    assert same == notes
    assert reduced.dtype == whole.dtype == np.float32


@pytest.mark.parametrize("factor", [2, 3])
def test_cells_of_signed_values_are_the_means_of_the_whole_picture(factor):
    stored = RNG.integers(-1500, 1500, (30, 60)).astype(np.int16)
    dataset = dataset_of(stored, BitsStored=12, WindowCenter=0, WindowWidth=4096)
    whole, _ = apply_grey_scale(stored, dataset, "x")
    reduced, _ = apply_grey_scale(stored, dataset, "x", factor=factor)
    np.testing.assert_allclose(reduced, cells(whole, factor), atol=2e-6)


def test_every_row_of_a_tall_picture_is_looked_up():
    stored = RNG.integers(0, 4096, (200, 7)).astype(np.uint16)
    found, _ = apply_grey_scale(stored, dataset_of(stored, BitsStored=12, WindowCenter=2048, WindowWidth=4096), "x")
    expected = [[min(1, max(0, (value - 2047.5) / 4095 + 0.5)) for value in row] for row in stored.tolist()]
    np.testing.assert_allclose(found, expected, atol=1e-6)


LUT = "LUT"


@pytest.mark.parametrize(
    ("elements", "depends"),
    [
        ({"BitsStored": 12}, True),
        ({"BitsStored": 16}, True),
        ({"BitsStored": 8}, False),
        ({"BitsStored": 12, "WindowCenter": 5, "WindowWidth": 9}, False),
        ({"BitsStored": 12, "VOILUTSequence": LUT}, False),
        ({"BitsStored": 8, "ModalityLUTSequence": LUT}, True),
        ({"BitsStored": 12, "ModalityLUTSequence": LUT}, True),
        ({"BitsStored": 8, "ModalityLUTSequence": LUT, "WindowCenter": 5, "WindowWidth": 9}, False),
        ({"BitsStored": 8, "PixelPaddingValue": 0}, True),
        ({"BitsStored": 12, "PixelPaddingValue": 0, "WindowCenter": 5, "WindowWidth": 9}, True),
    ],
)
def test_what_must_be_known_of_all_pixels(elements, depends, make_lut_item):
    elements = {name: [make_lut_item([0, 9], 0, 8)] if value == LUT else value for name, value in elements.items()}
    pixels = np.zeros((4, 4), np.uint8 if elements["BitsStored"] == 8 else np.uint16)
    assert depends_on_all_pixels(dataset_of(pixels, **elements), "x") is depends


def test_averaging_first_is_allowed_where_it_costs_less_than_a_255th():
    """Bright pixels in dark cells, and a threshold that their means pass: each costs 0.75 in one of 36,672 cells."""
    for bright, allowed in ((0, True), (1, True), (2, False)):
        stored = np.full((382, 384), 1000, np.uint16)
        stored[np.arange(bright) * 10, 0] = 3000
        dataset = dataset_of(stored, BitsStored=12, WindowCenter=1200, WindowWidth=1)
        pixels, _ = apply_grey_scale(stored, dataset, "x")
        by_hand = cells(stored, 2)
        before = (np.round(by_hand) >= 1200).astype(float)
        cost = math.sqrt(((before - cells(pixels, 2)) ** 2).mean())
        assert (cost < 1 / 255) is allowed
        assert averages_commute(stored, pixels, dataset, "x") is allowed


@pytest.mark.parametrize(("centre", "width"), [(2048, 4096), (700, 1600)])
def test_averaging_first_costs_nothing_on_a_straight_grey_scale(centre, width):
    stored = np.add.outer(np.arange(0, 1000, 5), np.arange(0, 500, 2)).astype(np.uint16)
    dataset = dataset_of(stored, BitsStored=12, WindowCenter=centre, WindowWidth=width)
    assert averages_commute(stored, apply_grey_scale(stored, dataset, "x")[0], dataset, "x")


@pytest.mark.parametrize(
    ("dtype", "padding", "representation"),
    [(np.uint16, -1, "SS"), (np.uint16, -2, "SS"), (np.int16, 32768, "US"), (np.int16, 63536, "US")],
)
def test_padding_written_with_the_other_sign_is_meant_as_the_pixels_have_it(dtype, padding, representation):
    value = padding + 65536 if dtype is np.uint16 else padding - 65536
    stored = np.array([[value, 1000, 2000, 3000]], dtype=dtype)
    dataset = dataset_of(stored)
    dataset.add_new("PixelPaddingValue", representation, padding)
    found, notes = apply_grey_scale(stored, dataset, "x")
    np.testing.assert_allclose(found, [[0, 0, 0.5, 1]], atol=1e-6)
    assert "pixel padding drawn black" in notes


@pytest.mark.parametrize(("dtype", "lowest", "highest"), [(np.uint16, 0, 4095), (np.int16, -2048, 2047)])
def test_values_at_the_ends_of_the_stored_bits_are_read_and_those_beyond_refused(dtype, lowest, highest):
    def read(*values):
        stored = np.array([values], dtype=dtype)
        return apply_grey_scale(stored, dataset_of(stored, BitsStored=12), "x")[0]

    np.testing.assert_allclose(read(lowest, highest), [[0, 1]])
    for beyond in (highest + 1, *([lowest - 1] if lowest else [])):
        with pytest.raises(UnusableImageError, match="exceed the 12 bits"):
            read(beyond, highest)


def test_a_rescale_that_changes_nothing_is_no_note():
    stored = np.array([[0, 100]], np.uint16)
    for slope, intercept, said in ((1, 0, False), (1, 1, True), (2, 0, True)):
        dataset = dataset_of(stored, RescaleSlope=slope, RescaleIntercept=intercept)
        _, notes = apply_grey_scale(stored, dataset, "x")
        assert any(note.startswith("rescaled by") for note in notes) is said


def test_eight_signed_bits_without_a_window_span_their_whole_range():
    stored = np.array([[-128, 0, 127]], np.int8)
    found, _ = apply_grey_scale(stored, dataset_of(stored), "x")
    np.testing.assert_allclose(found, [[0, 128 / 255, 1]], atol=1e-6)
