"""Novelty is 1.0 at the cut-off, larger for foreign embeddings, and works with few images."""

from __future__ import annotations

import numpy as np
import pytest

from pocketcxr.errors import DataError

pytest.importorskip("sklearn", reason="needs the extra train")

from pocketcxr.export.novelty import fit_novelty, novelty


def _embeddings(count: int, *, features: int = 64, seed: int = 0) -> np.ndarray:
    """Spread along five directions, a little along all others."""
    generator = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(5, features))
    spread = generator.normal(size=(count, 5)) @ directions + 0.1 * generator.normal(size=(count, features))
    return (spread + 3).astype(np.float32)


def test_99_of_100_unseen_images_like_the_training_ones_stay_below_1():
    reference = fit_novelty(_embeddings(2000), _embeddings(1000, seed=1))
    values = novelty(_embeddings(5000, seed=2), reference)
    assert np.mean(values > 1) == pytest.approx(0.01, abs=0.006)


def test_a_step_outside_the_known_directions_is_novel_and_one_as_long_inside_is_not():
    reference = fit_novelty(_embeddings(2000), _embeddings(500, seed=1))
    length = 4.0
    inside = reference.directions[:, 0]
    outside = np.random.default_rng(5).normal(size=64).astype(np.float32)
    outside -= reference.directions @ (reference.directions.T @ outside)
    steps = np.stack([inside, outside / np.linalg.norm(outside)]) * length
    near, far = novelty(reference.mean + steps, reference)
    assert near < 1 < far


def test_equals_the_mahalanobis_distance_of_the_whole_covariance():
    train, other = _embeddings(3000), _embeddings(50, seed=3)
    reference = fit_novelty(train, _embeddings(100, seed=1))
    kept = reference.directions
    rest = np.eye(64) - kept @ kept.T  # rounded to halves, the directions are not exactly orthonormal
    precision = kept @ np.diag(reference.inverse_spread**2) @ kept.T + rest.T @ rest * reference.inverse_rest**2
    centred = (other - reference.mean).astype(np.float64)
    expected = np.sqrt(np.einsum("nf,fg,ng->n", centred, precision, centred)) / reference.cut_off
    np.testing.assert_allclose(novelty(other, reference), expected, rtol=1e-3)


def test_fewer_images_than_features_still_tell_foreign_from_familiar():
    reference = fit_novelty(_embeddings(20), _embeddings(20, seed=1))
    assert np.isfinite(novelty(_embeddings(100, seed=2), reference)).all()
    assert np.mean(novelty(_embeddings(100, seed=2), reference) > 1) < 0.3
    foreign = np.random.default_rng(4).normal(size=(100, 64)).astype(np.float32) * 6 + 3
    assert np.all(novelty(foreign, reference) > 1)


def test_features_that_never_vary_do_no_harm():
    train = _embeddings(100)
    train[:, 10:] = 0
    reference = fit_novelty(train, train[:50])
    assert np.isfinite(novelty(train, reference)).all()


def test_directions_survive_half_precision():
    directions = fit_novelty(_embeddings(100), _embeddings(10, seed=1)).directions
    np.testing.assert_array_equal(directions, directions.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    "train, calibration, message",
    [
        (_embeddings(2), _embeddings(5), "expected at least 3 train images"),
        (_embeddings(5), _embeddings(5)[:0], "found 5 and 0"),
        (np.ones((5, 8), dtype=np.float32), np.ones((5, 8), dtype=np.float32), "same embedding for every image"),
        (_embeddings(5) * np.nan, _embeddings(5), "not finite"),
    ],
)
def test_embeddings_that_carry_nothing_are_refused(train, calibration, message):
    with pytest.raises(DataError, match=message):
        fit_novelty(train, calibration)
