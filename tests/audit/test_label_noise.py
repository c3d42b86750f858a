"""Label noise: suspects worked out by hand, and one source with exchanged labels is told from clean ones."""

import numpy as np
import pytest

from pocketcxr.audit.data import label_noise
from pocketcxr.data.rows import IndexRow

SOURCES, CLASSES, IMAGES = ("a", "b", "c"), ("x", "y"), 360
LIMIT = 0.02


def test_suspects_are_those_of_the_confident_joint():
    scores = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.45, 0.55], [0.1, 0.9], [0.8, 0.2]])
    truth = np.array([0, 0, 0, 1, 1, 1])
    # Mean score of a class on its own images: 0.6 and 0.55. The third of x is surer of y, the last of y of x.
    assert label_noise.suspects(scores, truth).tolist() == [-1, -1, 1, -1, -1, 0]


def _measured(*, signal, wrong=0.0, seed=0):
    """Images whose embedding shows the class by `signal` spreads; a share of source b's labels is exchanged."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, IMAGES)
    source = rng.integers(0, len(SOURCES), IMAGES)
    labels = np.where((source == 1) & (rng.random(IMAGES) < wrong), 1 - truth, truth)
    embedding = rng.normal(signal * truth[:, None], 1, (IMAGES, 8)).astype(np.float32)
    rows = [
        IndexRow(f"{i}.png", SOURCES[s], "", label=CLASSES[c])
        for i, (s, c) in enumerate(zip(source, labels, strict=True))
    ]
    pixels = np.zeros((IMAGES, 96, 96), np.uint8)
    found = label_noise.measure(rows, pixels, range(IMAGES), embedding=embedding, seed=seed)
    return found, rows, np.flatnonzero(labels != truth)


@pytest.mark.parametrize("seed", range(3))
def test_a_source_with_exchanged_labels_is_told_from_clean_ones(seed):
    found, rows, wrong = _measured(signal=1.0, wrong=0.3, seed=seed)
    section = label_noise.describe(found, rows)
    worst = next(measure for measure in section.measures if measure.key == "labels.worst_source")
    assert worst.title.endswith(": b")
    assert worst.low > LIMIT
    suspect = {i for i, _, _ in found.listed}
    assert len(suspect & set(wrong.tolist())) > 0.5 * len(wrong)
    assert len(suspect - set(wrong.tolist())) < 0.1 * (IMAGES - len(wrong))
    assert section.tables[1].rows[0][1] == "b"
    assert "Bonferroni" in section.tables[0].note


@pytest.mark.parametrize("seed", range(3))
def test_clean_labels_raise_no_alarm(seed):
    found, _, _ = _measured(signal=1.0, seed=seed)
    assert max(one.low for one in found.behind.values()) <= LIMIT


def test_images_that_do_not_show_the_class_say_nothing_of_labels():
    found, rows, _ = _measured(signal=0.0)
    assert found.suspect.value is None
    section = label_noise.describe(found, rows)
    assert all("says nothing of labels" in measure.why for measure in section.measures)


def test_one_source_alone_is_compared_with_nothing():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 100)
    rows = [IndexRow(f"{i}.png", "a", "", label=CLASSES[c]) for i, c in enumerate(truth)]
    embedding = rng.normal(truth[:, None], 1, (100, 8)).astype(np.float32)
    pixels = np.zeros((100, 96, 96), np.uint8)
    found = label_noise.measure(rows, pixels, range(100), embedding=embedding, seed=0)
    own = {measure.key: measure for measure in label_noise.describe(found, rows).measures}
    assert own["labels.suspect"].value is not None
    assert "fewer than two sources" in own["labels.worst_source"].why


def test_shapes_do_not_change_with_contrast():
    image = np.random.default_rng(0).integers(0, 120, (1, 96, 96)).astype(np.uint8)
    found, brighter = label_noise.shape_features(image), label_noise.shape_features(image * 2)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(found, brighter, atol=1e-4)


def test_texture_does_not_change_with_contrast_and_tells_where_fine_structure_is():
    image = np.random.default_rng(0).integers(0, 120, (1, 96, 96)).astype(np.uint8)
    image[0, :, 48:] = 60
    found, brighter = label_noise.texture_features(image), label_noise.texture_features(image * 2)
    assert found.shape == (1, 192)
    np.testing.assert_allclose(found, brighter, atol=1e-3)
    finest = found.reshape(3, 8, 8)[0]
    assert finest[:, :3].min() > finest[:, 5:].max() + 3
