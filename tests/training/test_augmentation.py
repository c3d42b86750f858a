"""A view is the same picture each time, alone or in any company, and what it is asked to be."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from pocketcxr.data.rows import IndexRow
from pocketcxr.training.augmentation import AugmentedViews, augment, image_keys, uniforms
from pocketcxr.training.config import AugmentationConfig

OFF = AugmentationConfig(
    flip=0.0, rotation_degrees=0.0, crop=1.0, shift=0.0, stretch=0.0, gamma=0.0, contrast=0.0, brightness=0.0,
    noise=0.0, erase=0.0,
)  # fmt: skip
FULL = AugmentationConfig()


def view(dataset, positions, views, augmentation=FULL, seed=0):
    return AugmentedViews(dataset, augmentation, seed=seed)(np.asarray(positions), np.asarray(views))


def whole(dataset, positions):
    return torch.from_numpy(dataset.images(positions))


def with_size(dataset, size):
    generator = np.random.default_rng(size)
    pixels = generator.integers(0, 256, (len(dataset.rows), size, size), dtype=np.uint8)
    return dataclasses.replace(dataset, pixels=pixels)


@pytest.mark.parametrize("size", [32, 37, 64])
def test_a_view_is_the_same_bit_for_bit_alone_or_in_any_batch(dataset, size):
    data = with_size(dataset, size)
    generator = np.random.default_rng(1)
    positions, views = generator.integers(0, 112, 41), generator.integers(0, 1000, 41)
    together = view(data, positions, views)
    alone = torch.cat([view(data, [p], [v]) for p, v in zip(positions, views, strict=True)])
    assert torch.equal(together, alone)
    order = generator.permutation(41)
    assert torch.equal(view(data, positions[order], views[order]), together[torch.from_numpy(order)])


def test_a_view_does_not_depend_on_the_number_of_threads(dataset):
    data = with_size(dataset, 64)
    positions = np.arange(40)
    one = view(data, positions, positions)
    torch.set_num_threads(2)
    try:
        assert torch.equal(view(data, positions, positions), one)
    finally:
        torch.set_num_threads(1)


def test_a_view_does_not_depend_on_where_the_image_stands(dataset):
    moved = dataclasses.replace(
        dataset, rows=dataset.rows[::-1], pixels=dataset.pixels[::-1], labels=dataset.labels[::-1]
    )
    last = len(dataset.rows) - 1
    assert torch.equal(view(dataset, [3], [2]), view(moved, [last - 3], [2]))


def test_views_images_and_seeds_give_different_draws(dataset):
    pictures = [
        view(dataset, [position], [number], seed=seed)
        for position, number, seed in [(0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)]
    ]
    for i, one in enumerate(pictures):
        assert all(not torch.equal(one, other) for other in pictures[i + 1 :])


def test_draws_are_pinned_so_that_caches_of_earlier_versions_are_never_taken_for_new_ones():
    # If this fails, pictures have changed: raise AUGMENTATION_VERSION and put the new digest here.
    draws = uniforms(np.array([1, 2**63 + 5], np.uint64), np.array([0, 7]), seed=3)
    digest = hashlib.sha256(b"".join(values.tobytes() for values in draws.values())).hexdigest()
    assert digest[:16] == "ce8e5ea70d73b671"


def test_draws_are_uniform_and_independent():
    keys = np.repeat(np.arange(200, dtype=np.uint64), 50)
    draws = np.stack(list(uniforms(keys, np.tile(np.arange(50), 200), seed=0).values()))  # [parameters, 10000]
    assert (draws >= 0).all()
    assert (draws < 1).all()
    for values in draws:
        counts, _ = np.histogram(values, bins=10, range=(0, 1))
        assert ((counts - 1000) ** 2 / 1000).sum() < 30  # chi-squared with 9 degrees of freedom: p = 0.0004
    correlations = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlations).max() < 0.05


def test_with_all_parts_off_a_view_is_the_image(dataset):
    positions = np.arange(5)
    assert torch.equal(view(dataset, positions, positions, OFF), whole(dataset, positions))


def test_a_certain_flip_is_a_mirror_image(dataset):
    mirrored = view(dataset, [2], [0], dataclasses.replace(OFF, flip=1.0))
    assert torch.allclose(mirrored, whole(dataset, np.array([2])).flip(-1), atol=1e-5)


def test_pixels_stay_within_range(dataset):
    strong = AugmentationConfig(gamma=2.0, contrast=2.0, brightness=0.8, noise=0.5, erase=1.0)
    pictures = view(dataset, np.arange(60), np.zeros(60, int), strong)
    assert float(pictures.min()) >= 0.0
    assert float(pictures.max()) <= 1.0
    assert pictures.dtype == torch.float32
    assert pictures.shape == (60, 1, 32, 32)


def test_intensity_alone_keeps_every_pixel_in_place(dataset):
    original = dataset.pixels[7]
    changed = view(dataset, [7], [1], dataclasses.replace(OFF, gamma=0.5, contrast=0.5, brightness=0.1))[0, 0].numpy()
    order = np.argsort(original, axis=None, kind="stable")
    assert (np.diff(changed.ravel()[order]) >= 0).all()  # a rising curve of the grey value, nothing else
    assert np.abs(changed - original / 255).max() > 0.01


def test_an_erased_rectangle_touches_an_edge_and_is_one_grey(dataset):
    positions = np.arange(30)
    changed = view(dataset, positions, positions, dataclasses.replace(OFF, erase=1.0))
    for picture, original in zip(changed[:, 0], whole(dataset, positions)[:, 0], strict=True):
        rows, columns = torch.nonzero(picture != original, as_tuple=True)
        assert len(rows) > 0
        assert int(rows.min()) == 0 or int(rows.max()) == 31 or int(columns.min()) == 0 or int(columns.max()) == 31
        assert len(picture[rows, columns].unique()) == 1


def test_about_the_configured_share_is_flipped(dataset):
    config = dataclasses.replace(OFF, flip=0.3)
    views = np.arange(400)
    pictures = view(dataset, np.zeros(400, int), views, config)
    flipped = (pictures - whole(dataset, np.array([0]))).abs().amax(dim=(1, 2, 3)) > 0.01
    assert 0.22 < float(flipped.float().mean()) < 0.38


def test_an_image_without_a_hash_is_known_by_its_position():
    rows = [IndexRow(path="a", source="s", finding=""), IndexRow(path="b", source="s", finding="", sha256="ff" * 32)]
    assert image_keys(rows).tolist() == [0, 2**64 - 1]


def test_the_geometry_moves_what_it_should(dataset):
    size = 32
    image = np.zeros((size, size), np.uint8)
    image[:, 16:] = 255  # right half bright
    draws = {name: np.full(1, 0.5) for name in uniforms(np.zeros(1, np.uint64), np.zeros(1, int), seed=0)}
    draws["shift_x"] = np.ones(1)  # the window moves right by the full range: bright takes more room
    moved = augment([image], draws, dataclasses.replace(OFF, shift=0.25), seed=0)[0, 0]
    # half a side out of 32 columns: bright begins at 16 - 8; what comes from outside is black
    assert moved[5].tolist() == pytest.approx([0.0] * 8 + [1.0] * 16 + [0.0] * 8, abs=1e-4)
