"""The resize formula, against an implementation that follows its text and uses no Pillow."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pocketcxr.errors import ConfigError
from pocketcxr.imaging.resize import resize, resize_region


def axis_weights(n: int, m: int) -> np.ndarray:
    """[m, n] matrix of the formula in the module's docstring, in double precision."""
    weights = np.zeros((m, n))
    scale = n / m
    reach = max(scale, 1.0)
    for i in range(m):
        centre = (i + 0.5) * scale
        first = max(0, math.floor(centre - reach + 0.5))
        last = min(n, math.floor(centre + reach + 0.5))
        for j in range(first, last):
            weights[i, j] = max(0.0, 1 - abs(j + 0.5 - centre) / reach)
    return weights / weights.sum(axis=1, keepdims=True)


def by_formula(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    horizontal = (pixels.astype(np.float64) @ axis_weights(pixels.shape[1], width).T).astype(np.float32)
    return np.clip(axis_weights(pixels.shape[0], height) @ horizontal.astype(np.float64), 0, 1)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(301, 217, 64), (40, 33, 64), (64, 64, 64), (500, 20, 32), (7, 900, 48), (1, 1, 5)]
)
def test_squash_follows_the_documented_formula(height, width, size):
    pixels = np.random.default_rng(height).random((height, width), dtype=np.float32)
    result = resize(pixels, size=size)
    assert result.dtype == np.float32
    assert result.shape == (size, size)
    np.testing.assert_allclose(result, by_formula(pixels, size, size), atol=1e-6)


def test_hand_computed_halving_of_four_pixels():
    # scale 2, reach 2: output 0 is centred at 1.0, pixels 0..2 at distances .5, .5, 1.5 weigh .75, .75, .25
    row = np.array([[0.0, 1.0, 0.0, 0.0]], dtype=np.float32)
    result = resize(row, size=2)
    np.testing.assert_allclose(result[0], [0.75 / 1.75, 0.25 / 1.75], atol=1e-7)


@pytest.mark.parametrize(
    ("height", "width", "inner"), [(300, 150, (64, 32)), (150, 301, (32, 64)), (1000, 3, (64, 1)), (99, 99, (64, 64))]
)
def test_pad_keeps_the_shape_and_centres_it_on_black(height, width, inner):
    pixels = np.random.default_rng(1).random((height, width), dtype=np.float32) * 0.5 + 0.5
    result = resize(pixels, size=64, aspect="pad")
    top, left = (64 - inner[0]) // 2, (64 - inner[1]) // 2
    expected = np.zeros((64, 64))
    expected[top : top + inner[0], left : left + inner[1]] = by_formula(pixels, *inner)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_shrinking_averages_fine_stripes_away():
    stripes = np.tile(np.array([0.0, 1.0], dtype=np.float32), (512, 256))
    assert np.abs(resize(stripes, size=32) - 0.5).max() < 0.01


def test_a_view_with_strides_resizes_like_its_copy():
    pixels = np.random.default_rng(2).random((100, 80), dtype=np.float32)
    np.testing.assert_array_equal(resize(pixels[::-1, ::2], size=16), resize(pixels[::-1, ::2].copy(), size=16))


def test_the_result_is_a_new_array_even_at_the_same_size():
    pixels = np.zeros((8, 8), dtype=np.float32)
    result = resize(pixels, size=8)
    result[:] = 1
    assert pixels.max() == 0


@settings(max_examples=40, deadline=None)
@given(
    pixels=arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        elements=st.floats(0, 1, width=32, allow_subnormal=False),
    ),
    size=st.integers(1, 50),
    aspect=st.sampled_from(["squash", "pad"]),
)
def test_any_picture_stays_within_its_own_range(pixels, size, aspect):
    result = resize(pixels, size=size, aspect=aspect)
    assert result.shape == (size, size)
    assert result.max() <= pixels.max() + 1e-6
    assert result.min() >= (0 if aspect == "pad" else pixels.min() - 1e-6)
    assert 0 <= result.min() <= result.max() <= 1


@settings(max_examples=30, deadline=None)
@given(value=st.floats(0, 1, width=32), height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(1, 60))
def test_a_constant_stays_constant(value, height, width, size):
    result = resize(np.full((height, width), value, dtype=np.float32), size=size)
    np.testing.assert_allclose(result, value, atol=1e-6)


def test_an_unknown_aspect_or_size_is_refused_by_name():
    pixels = np.zeros((4, 4), dtype=np.float32)
    with pytest.raises(ConfigError, match="aspect"):
        resize(pixels, size=4, aspect="crop")
    with pytest.raises(ConfigError, match="size"):
        resize(pixels, size=0)


def region_weights(n: int, m: int, start: float, stop: float) -> np.ndarray:
    """[m, n] matrix of the formula for a region, in double precision."""
    weights = np.zeros((m, n))
    scale = (stop - start) / m
    reach = math.sqrt(max(scale**2 - 0.4, 1.0))
    for i in range(m):
        centre = start + (i + 0.5) * scale
        for j in range(n):
            left, right = max(j, start), min(j + 1, stop)
            if right > left and math.floor(centre - reach + 0.5) <= j < math.floor(centre + reach + 0.5):
                weights[i, j] = max(0.0, 1 - abs((left + right) / 2 - centre) / reach) * (right - left)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("region", [(0, 0, 301, 240), (0.25, 0.25, 300.25, 239.5), (0, 0, 266.7, 199.9)])
@pytest.mark.parametrize(("height", "width"), [(60, 64), (24, 91), (5, 1), (240, 300)])
def test_a_region_is_resized_by_its_documented_formula(region, height, width):
    pixels = np.random.default_rng(0).random((240, 301), dtype=np.float32)
    left, top, right, bottom = region
    horizontal = pixels.astype(np.float64) @ region_weights(301, width, left, right).T
    expected = np.clip(region_weights(240, height, top, bottom) @ horizontal, 0, 1)
    found = resize_region(pixels, height=height, width=width, region=region)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_reduced_picture_keeps_the_whole_one_s_detail(factor):
    """Stripes near the finest that the result can show: their height must not tell that the picture was reduced."""
    x = np.arange(60 * 4 * factor) + 0.5
    stripes = 0.5 + 0.4 * np.sin(2 * np.pi * x * 60 / len(x) * 0.4)
    whole = np.tile(stripes.astype(np.float32), (len(x), 1))
    reduced = whole.reshape(len(x) // factor, factor, len(x) // factor, factor).mean(axis=(1, 3))
    wanted = resize(whole, size=60)
    region = (0, 0, reduced.shape[1], reduced.shape[0])
    softened = np.asarray(Image.fromarray(reduced).resize((60, 60), Image.Resampling.BILINEAR))
    off, before = (np.abs(one - wanted)[:, 5:-5].max() for one in (resize(reduced, size=60, region=region), softened))
    assert before > 1.7 * off


def test_a_frame_at_a_cut_edge_counts_as_much_as_in_the_whole_picture():
    whole = np.full((895, 900), 0.6, dtype=np.float32)
    whole[-3:] = 0
    padded = np.pad(whole, ((0, 1), (0, 0)), mode="edge")
    reduced = padded.reshape(448, 2, 450, 2).mean(axis=(1, 3))
    found = resize(reduced, size=100, region=(0, 0, 450, 447.5))
    np.testing.assert_allclose(found[-1], resize(whole, size=100)[-1], atol=2 / 255)


@pytest.mark.parametrize("region", [None, (0, 0, 299.5, 310)])
@pytest.mark.parametrize("aspect", ["squash", "pad"])
def test_bytes_are_resized_as_their_255ths(region, aspect):
    samples = np.random.default_rng(0).integers(0, 256, (310, 300)).astype(np.uint8)
    expected = resize(samples / np.float32(255), size=48, aspect=aspect, region=region)
    np.testing.assert_allclose(resize(samples, size=48, aspect=aspect, region=region), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1000, 999), (1000, 3001), (40, 30)])
def test_a_large_picture_is_resized_as_pillow_does(shape):
    pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
    square = np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(resize(pixels, size=64), square, atol=4e-7, rtol=0)
