"""Every probe and distortion changes what it says it changes, and nothing else."""

import numpy as np
import pytest

from pocketcxr.audit.model import masking
from pocketcxr.audit.model.config import EVERYDAY, STRENGTHS, AuditConfig
from pocketcxr.audit.model.distortions import DISTORTIONS, distort
from pocketcxr.errors import ConfigError

SIDE = 40


@pytest.fixture
def films():
    return np.random.default_rng(0).uniform(0.2, 0.9, (5, 1, SIDE, SIDE)).astype(np.float32)


@pytest.fixture
def masks():
    found = np.zeros((5, SIDE, SIDE), dtype=bool)
    found[:, 10:30, 6:16] = found[:, 10:30, 24:34] = True
    return found


def test_lungs_out_and_lungs_only_share_the_picture_between_them(films, masks):
    out, only = masking.lungs_out(films, masks), masking.lungs_only(films, masks)
    assert (out[:, 0][masks] == 0).all()
    assert (only[:, 0][masks] == films[:, 0][masks]).all()
    np.testing.assert_array_equal(out + only, films)


def test_the_box_hides_what_lies_between_the_lungs(films, masks):
    boxed = masking.box_out(films, masks)
    assert (boxed[:, 0, 10:30, 6:34] == 0).all()
    assert (boxed[:, 0, :8] == films[:, 0, :8]).all()


def test_border_only_keeps_a_tenth_of_each_side(films):
    kept = masking.border_only(films)
    assert (kept[:, 0, 4:36, 4:36] == 0).all()
    assert (kept[:, 0, :4] == films[:, 0, :4]).all()
    assert (kept[:, 0, :, 36:] == films[:, 0, :, 36:]).all()


def test_shuffling_keeps_every_pixel_and_moves_most(films):
    mixed = masking.shuffled(films, patches=8, seed=1)
    np.testing.assert_array_equal(np.sort(mixed.reshape(5, -1)), np.sort(films.reshape(5, -1)))
    assert (mixed != films).mean() > 0.8
    np.testing.assert_array_equal(mixed, masking.shuffled(films, patches=8, seed=1))


@pytest.mark.parametrize("corner", list(masking.CORNERS))
def test_a_marker_stands_in_its_corner_only(films, corner):
    dark = films / 9
    changed = np.argwhere((masking.with_marker(dark, letters="L", corner=corner) != dark)[0, 0])
    assert len(changed)
    top, left = "top" in corner, "left" in corner
    assert (changed[:, 0] < SIDE / 2).all() == top
    assert (changed[:, 1] < SIDE / 2).all() == left


def test_images_take_over_the_grey_levels_of_an_appearance(films):
    dark = films**3
    changed = masking.with_appearance(films, masking.appearance_of(dark), quality=None)
    assert abs(changed.mean() - dark.mean()) < 0.01
    order = np.argsort(films[0].ravel())
    assert (np.diff(changed[0].ravel()[order]) >= -1e-6).all()  # brighter stays brighter


def test_the_quality_is_found_by_the_size_of_files(films):
    from io import BytesIO

    from PIL import Image

    stream = BytesIO()
    Image.fromarray(np.round(films[0, 0] * 255).astype(np.uint8)).save(stream, "JPEG", quality=35)
    assert masking.quality_like(stream.tell() / SIDE**2, films[:1]) == 35


@pytest.mark.parametrize("kind", list(DISTORTIONS))
def test_distortions_keep_shape_and_range_and_repeat(films, kind):
    for strength in STRENGTHS[kind]:
        changed = distort(films, kind, strength, seed=3)
        assert changed.shape == films.shape
        assert changed.dtype == np.float32
        assert changed.min() >= 0
        assert changed.max() <= 1
        np.testing.assert_array_equal(changed, distort(films, kind, strength, seed=3))


def test_distortions_do_what_their_names_say(films):
    np.testing.assert_allclose(distort(films, "inversion", 1, seed=0), 1 - films, atol=1e-6)
    np.testing.assert_allclose(distort(films, "gamma", 2.0, seed=0), films**2, atol=1e-6)
    assert distort(films, "blur", 20.0, seed=0).std() < films.std() / 2
    assert distort(films, "resolution", 0.2, seed=0).std() < films.std() / 2
    noise = distort(films, "noise", 0.05, seed=0) - films
    assert 0.04 < noise.std() < 0.06
    assert (distort(films, "rotation", 30, seed=0)[:, 0, 0, 0] == 0).all()  # a corner went black


def test_every_everyday_strength_is_one_of_the_strengths():
    assert all(strength in STRENGTHS[kind] for kind, strength in EVERYDAY.items())


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="expected one of"):
        distort(np.zeros((1, 1, 8, 8), np.float32), "fog", 1, seed=0)
    with pytest.raises(ConfigError, match="probe_images"):
        AuditConfig(probe_images=0)
    with pytest.raises(ConfigError, match="coverage"):
        AuditConfig(coverage=1.0)
    with pytest.raises(ConfigError, match="folds"):
        AuditConfig(folds=1)
