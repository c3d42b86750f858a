"""Pixels in full size: spectra of known pictures, grey levels that were counted, lines that were drawn."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from pocketcxr.audit.data import pixel_statistics
from pocketcxr.audit.data.lung_lines import FEATURES, line_features
from pocketcxr.audit.data.pixel_statistics import BANDS, LOWEST_BAND, SMALLER, radial_spectrum, read_pixel_statistics
from pocketcxr.audit.data.shortcut_features import less_source
from pocketcxr.data.rows import IndexRow


@pytest.mark.parametrize("frequency", [0.11, 0.21, 0.44])
def test_a_wave_stands_out_in_the_ring_of_its_frequency(frequency):
    noise = np.random.default_rng(0).normal(0, 0.01, (200, 200))
    wave = (0.5 + 0.1 * np.sin(2 * np.pi * frequency * np.arange(200)) + noise).astype(np.float32)
    mean, peak = radial_spectrum(wave)
    ring = int(frequency / 0.5 * BANDS)
    assert mean.argmax() == peak.argmax() == ring
    assert len(mean) == BANDS


def _saved(folder, image, name):
    image.save(folder / name)
    return IndexRow(str(folder / name), "s", "f", label="x")


def test_levels_and_sharpness_are_those_of_the_file(tmp_path):
    grain = Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 160)).astype(np.uint8))
    few = Image.eval(grain, lambda value: value // 64 * 64)
    soft = grain.filter(ImageFilter.GaussianBlur(0.8))
    rows = [_saved(tmp_path, grain, "a.png"), _saved(tmp_path, few, "b.png"), _saved(tmp_path, soft, "c.png")]
    rows.append(IndexRow(str(tmp_path / "gone.png"), "s", "f", label="x"))
    found = read_pixel_statistics(rows, seed=0)
    assert found.levels[:2].tolist() == [256, 4]
    assert found.sharpness[0] == pytest.approx(0, abs=0.1)  # white noise: as much power in every ring
    assert found.sharpness[2] < -0.7
    assert found.spectrum.shape == (4, 2 * (BANDS - LOWEST_BAND))
    assert np.isnan(found.levels[3])
    assert np.isnan(found.spectrum[3]).all()


def test_at_most_so_many_images_are_decoded_the_rare_source_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(pixel_statistics, "MOST_IMAGES", 6)
    image = Image.fromarray(np.zeros((40, 40), np.uint8))
    rows = [_saved(tmp_path, image, f"{i}.png") for i in range(12)]
    rows = [IndexRow(row.path, "rare" if i < 2 else "common", "f", label="x") for i, row in enumerate(rows)]
    decoded = np.isfinite(read_pixel_statistics(rows, seed=0).levels)
    assert decoded.sum() == 6
    assert decoded[:2].all()


def _smooth(seed):
    noise = np.random.default_rng(seed).normal(0, 25, (SMALLER, SMALLER))
    smooth = Image.fromarray(np.clip(128 + noise, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))
    lungs = np.zeros((SMALLER, SMALLER), bool)
    lungs[40:150, 30:85] = lungs[40:150, 107:162] = True
    return smooth, lungs


def test_a_line_within_the_lungs_is_longer_than_anything_in_noise_and_one_outside_does_not_count():
    for seed in range(5):
        image, lungs = _smooth(seed)
        inside, outside = image.copy(), image.copy()
        ImageDraw.Draw(inside).line([(45, 50), (70, 140)], fill=220, width=2)
        ImageDraw.Draw(outside).line([(96, 50), (96, 140)], fill=220, width=2)
        plain, marked, beside = (
            line_features(np.asarray(one, np.float32) / 255, lungs) for one in (image, inside, outside)
        )
        assert plain.shape == (FEATURES,)
        assert marked[3] > 60 > 2 * plain[3]  # longest piece above six times the typical answer, in pixels
        np.testing.assert_allclose(beside[3], plain[3], atol=10)


def test_what_sources_differ_in_is_taken_off():
    features = np.array([[1.0], [3.0], [11.0], [13.0], [np.nan]], np.float32)
    level = less_source(features, ["a", "a", "b", "b", "b"])
    np.testing.assert_allclose(level[:4, 0], [-1, 1, -1, 1])
    assert np.isnan(level[4, 0])
