"""The resize formula, against an implementation that follows its text and uses no Pillow."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pocketcxr.errors import ConfigError
from pocketcxr.imaging.resize import resize
from pocketcxr.imaging.resize_matrices import resize_region


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


@pytest.mark.parametrize("region", [(0, 0, 901, 700), (0.25, 0.25, 900.25, 699.5), (0, 0, 666.7, 499.9)])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (64, 191), (5, 1)])
def test_a_reduced_picture_s_region_is_resized_as_pillow_does(region, height, width):
    pixels = np.random.default_rng(0).random((700, 901), dtype=np.float32)
    expected = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box=region)
    found = resize_region(pixels, height=height, width=width, region=region)
    np.testing.assert_allclose(found, expected, atol=4e-6)  # Pillow holds the region in single precision


@pytest.mark.parametrize("region", [None, (0, 0, 299.5, 310)])
@pytest.mark.parametrize("aspect", ["squash", "pad"])
def test_bytes_are_resized_as_their_255ths(region, aspect):
    samples = np.random.default_rng(0).integers(0, 256, (310, 300)).astype(np.uint8)
    expected = resize(samples / np.float32(255), size=48, aspect=aspect, region=region)
    np.testing.assert_allclose(resize(samples, size=48, aspect=aspect, region=region), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1000, 999), (1000, 3001)])  # at once, in strips
def test_a_large_picture_is_resized_as_pillow_does(shape):
    pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
    square = np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(resize(pixels, size=64), square, atol=2e-7, rtol=0)
