"""A view is the same picture each time, alone or in any company, and what it is asked to be."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from pocketcxr.data.rows import IndexRow
from pocketcxr.errors import ConfigError, DataError
from pocketcxr.training.augmentation import AugmentedViews, augment, augmentation_identity, image_keys, uniforms
from pocketcxr.training.config import AugmentationConfig, ViewsConfig
from pocketcxr.training.geometry import view_grid
from pocketcxr.training.run.identity import fingerprint
from pocketcxr.training.teacher.views import views_key

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
    draws = list(uniforms(np.array([1, 2**63 + 5], np.uint64), np.array([0, 7]), seed=3).values())[:17]
    digest = hashlib.sha256(b"".join(values.tobytes() for values in draws)).hexdigest()
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
    config = dataclasses.replace(OFF, shift=0.25)
    moved = augment([image], draws, config, seed=0, grid=view_grid(draws, config, len(image)))[0, 0]
    # half a side out of 32 columns: bright begins at 16 - 8; what comes from outside is black
    assert moved[5].tolist() == pytest.approx([0.0] * 8 + [1.0] * 16 + [0.0] * 8, abs=1e-4)


UNSEEN = {
    "noise_gaussian": {"noise_gaussian": 0.2},
    "noise_speckle": {"noise_speckle": 0.2},
    "noise_poisson": {"noise_poisson": 0.2},
    "noise_salt_pepper": {"noise_salt_pepper": 0.2},
    "style": {"style": 1.0, "style_strength": 1.0},
}
ALL_UNSEEN = dataclasses.replace(FULL, **{name: value for fields in UNSEEN.values() for name, value in fields.items()})


def digest(tensor):
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]


def test_without_the_fields_for_unseen_sources_pixels_and_keys_are_those_of_before(dataset):
    without_geometry = dataclasses.replace(FULL, flip=0.0, rotation_degrees=0.0, crop=1.0, shift=0.0, stretch=0.0)
    assert digest(view(dataset, np.arange(40), np.arange(40), without_geometry, seed=3)) == "9ab5d834807c3d97"
    assert fingerprint(augmentation_identity(dataset, FULL)) == "6926352883d2c335"
    assert views_key("t", dataset, ViewsConfig(), precision="fp32") == "580a041b58e51dee"


@pytest.mark.parametrize("fields", UNSEEN.values(), ids=UNSEEN)
def test_each_field_for_unseen_sources_changes_key_and_pixels(dataset, fields):
    changed = dataclasses.replace(FULL, **fields)
    keys = [views_key("t", dataset, ViewsConfig(augmentation=one), precision="fp32") for one in (FULL, changed)]
    assert keys[0] != keys[1]
    plain, other = (view(dataset, np.arange(20), np.arange(20), one) for one in (FULL, changed))
    assert all(not torch.equal(a, b) for a, b in zip(plain, other, strict=True))


def test_other_names_of_the_sources_change_the_key_only_where_style_reads_them(dataset):
    rows = tuple(dataclasses.replace(row, source={"a": "c", "b": "b"}[row.source]) for row in dataset.rows[:-1])
    renamed = dataclasses.replace(dataset, rows=(*rows, dataset.rows[-1]))
    assert augmentation_identity(renamed, FULL) == augmentation_identity(dataset, FULL)
    assert augmentation_identity(renamed, ALL_UNSEEN) != augmentation_identity(dataset, ALL_UNSEEN)


@pytest.mark.parametrize("size", [32, 37])
def test_views_for_unseen_sources_are_the_same_alone_in_any_batch_and_wherever_images_stand(dataset, size):
    data = with_size(dataset, size)
    positions, views = np.arange(0, 112, 3), np.arange(38)
    together = view(data, positions, views, ALL_UNSEEN)
    alone = torch.cat([view(data, [p], [v], ALL_UNSEEN) for p, v in zip(positions, views, strict=True)])
    assert torch.equal(together, alone)
    moved = dataclasses.replace(data, rows=data.rows[::-1], pixels=data.pixels[::-1], labels=data.labels[::-1])
    assert torch.equal(view(moved, 111 - positions, views, ALL_UNSEEN), together)


def test_views_for_unseen_sources_are_the_same_in_another_process(dataset, processes):
    ours = view(dataset, np.arange(30), np.arange(30), ALL_UNSEEN, seed=4)
    with processes.Pool(1) as pool:
        theirs = pool.apply(_digest_of_views, (ALL_UNSEEN, 30, 4))
    assert theirs == digest(ours)


def _digest_of_views(augmentation, number, seed):
    import tiny_runs

    return digest(view(tiny_runs.make_dataset(), np.arange(number), np.arange(number), augmentation, seed=seed))


def flat(kind, strength, grey):
    """400 views, 64 x 64, of an image of one grey value, all at the full strength of one kind of noise."""
    draws = uniforms(np.arange(400, dtype=np.uint64), np.zeros(400, int), seed=1) | {"noise_strength": np.ones(400)}
    images = [np.full((64, 64), grey, np.uint8)] * 400
    return augment(images, draws, dataclasses.replace(OFF, **{kind: strength}), seed=0).numpy().astype(np.float64)


@pytest.mark.parametrize("grey", [51, 102, 153])
def test_the_kinds_of_noise_have_the_spread_that_their_names_say(grey):
    x = grey / 255
    gaussian, speckle, poisson = (flat(f"noise_{kind}", 0.05, grey) for kind in ("gaussian", "speckle", "poisson"))
    for pictures, spread in ((gaussian, 0.05), (speckle, 0.05 * x), (poisson, 0.05 * x**0.5)):
        assert pictures.mean() == pytest.approx(x, abs=1e-3)
        assert pictures.std() == pytest.approx(spread, rel=0.01)
    skewness = (((poisson - x) / poisson.std()) ** 3).mean()  # of a count of 400 x: one over the root of its mean
    assert skewness == pytest.approx((400 * x) ** -0.5, abs=0.01)
    counts = poisson * 400
    assert np.abs(counts - counts.round()).max() < 1e-3  # whole photons


def test_salt_and_pepper_blacken_and_whiten_equally_many_pixels_and_leave_the_rest():
    pictures = flat("noise_salt_pepper", 0.1, 102)
    assert (pictures == 0).mean() == pytest.approx(0.05, rel=0.03)
    assert (pictures == 1).mean() == pytest.approx(0.05, rel=0.03)
    assert len(np.unique(pictures)) == 3


def test_each_view_gets_one_kind_of_noise_all_equally_often_and_strengths_from_0_to_the_field(dataset):
    kinds = {name: fields[name] for name, fields in UNSEEN.items() if name != "style"}
    numbers = np.arange(800)
    draws = uniforms(np.zeros(800, np.uint64), numbers, seed=0)
    images = [np.full((64, 64), 128, np.uint8)] * 800
    mixed = augment(images, draws, dataclasses.replace(OFF, **kinds), seed=0)
    matching = []
    for i, kind in enumerate(kinds):
        alone = augment(images, draws, dataclasses.replace(OFF, **{kind: 0.2}), seed=0)
        matching.append((mixed == alone).all(dim=-1).all(dim=-1)[:, 0].numpy())
        spread = alone.std(dim=(1, 2, 3)).numpy()
        assert spread.min() < 0.1 * spread.max(), i
    assert (np.sum(matching, axis=0) == 1).all()
    assert all(150 < sum(one) < 250 for one in matching)


def test_the_strongest_style_gives_the_histogram_of_an_image_of_the_other_source(dataset):
    positions = np.flatnonzero([row.split == "train" for row in dataset.rows])[:30]
    styled = view(dataset, positions, positions, dataclasses.replace(OFF, style=1.0, style_strength=1.0))
    draws = uniforms(image_keys(dataset.rows)[positions], positions, seed=0)
    for j, position in enumerate(positions):
        own = dataset.rows[position].source
        others = [i for i, row in enumerate(dataset.rows) if row.source != own and row.split == "train"]
        # the other image by another route: by its sorted values, which are those of a matched histogram
        part = draws["style_strength"][j]
        kept = np.sort(dataset.pixels[position].ravel()) / 255
        moved = np.sort(styled[j].numpy().ravel())
        distances = [
            np.abs(kept + part * (np.sort(dataset.pixels[i].ravel()) / 255 - kept) - moved).mean() for i in others
        ]
        assert min(distances) < 0.004  # half a grey level for ties
        order = np.argsort(dataset.pixels[position], axis=None, kind="stable")
        assert (np.diff(styled[j].numpy().ravel()[order]) >= -1e-6).all()  # a rising curve: nothing moves


def test_style_takes_training_images_only_and_needs_a_second_source(dataset):
    styles = dataclasses.replace(OFF, style=1.0, style_strength=1.0)
    positions = np.flatnonzero([row.split == "train" for row in dataset.rows])
    blank = dataset.pixels.copy()
    blank[[row.split != "train" for row in dataset.rows]] = 255
    assert torch.equal(
        view(dataset, positions, positions, styles),
        view(dataclasses.replace(dataset, pixels=blank), positions, positions, styles),
    )
    rows = tuple(dataclasses.replace(row, split="" if row.source == "b" else row.split) for row in dataset.rows)
    with pytest.raises(DataError, match=r"two sources or more, found \['a'\]"):
        view(dataclasses.replace(dataset, rows=rows), [0], [0], styles)


@pytest.mark.parametrize("fields", [{"noise_poisson": -0.1}, {"style": 1.1}, {"style": 0.5}, {"style_strength": 0.5}])
def test_impossible_settings_for_unseen_sources_are_refused(fields):
    with pytest.raises(ConfigError, match=r"style_strength|from 0 to 1"):
        AugmentationConfig(**fields)
