"""Views that are cut out around the lungs."""

import dataclasses

import numpy as np
import pytest
import torch

from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays, synthetic_lung_mask
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize
from pocketcxr.labels import load_task
from pocketcxr.training import lung_boxes as module
from pocketcxr.training.augmentation import AugmentedViews, augmentation_identity
from pocketcxr.training.config import AugmentationConfig
from pocketcxr.training.geometry import LUNG_ROOM
from pocketcxr.training.lung_boxes import WHOLE, lung_boxes

OFF = AugmentationConfig(
    flip=0.0, rotation_degrees=0.0, crop=1.0, shift=0.0, stretch=0.0, gamma=0.0, contrast=0.0, brightness=0.0,
    noise=0.0, erase=0.0,
)  # fmt: skip
ALWAYS = dataclasses.replace(OFF, lungs=1.0)
SIZE = 96


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Ten films in the training split, one of them blank, and two in the test split; the true edges of the lungs."""
    folder = draw_synthetic_xrays(
        tmp_path_factory.mktemp("drawn") / "phantom", patients=16, masks=True, progress=False
    ).parent
    paths = sorted(path for path in (folder / "images").iterdir() if path.suffix in {".png", ".jpg"})[:12]
    pixels, edges = np.zeros((len(paths), SIZE, SIZE), np.uint8), []
    for place, path in enumerate(paths):
        pixels[place] = np.round(255 * resize(read_image(path).pixels, size=SIZE))
        mask = synthetic_lung_mask(path)
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        height, width = mask.shape
        edges.append((columns[0] / width, rows[0] / height, columns[-1] / width, rows[-1] / height))
    pixels[3] = 128
    splits = ["train"] * 10 + ["test"] * 2
    rows = tuple(
        IndexRow(str(path), "drawn", "normal", sha256=f"{place:064x}", split=split)
        for place, (path, split) in enumerate(zip(paths, splits, strict=True))
    )
    data = Dataset(load_task("covid-3class"), rows, pixels, np.zeros(len(rows), np.int64), "drawn")
    return data, np.array(edges)


@pytest.fixture(scope="module")
def boxed(drawn, tmp_path_factory):
    data, _ = drawn
    return dataclasses.replace(data, lungs=lung_boxes(data, cache=tmp_path_factory.mktemp("cache"), progress=False))


def test_boxes_are_the_edges_of_the_lungs_of_training_images(drawn, boxed):
    _, edges = drawn
    films = [0, 1, 2, *range(4, 10)]
    assert np.abs(boxed.lungs[films] - edges[films]).max() < 0.08
    assert (boxed.lungs[[3, 10, 11]] == WHOLE).all()  # blank; not in the training split


def test_boxes_are_kept_for_these_images_only(drawn, tmp_path, monkeypatch):
    data, _ = drawn
    found = lung_boxes(data, cache=tmp_path, progress=False)
    monkeypatch.setattr(module, "find_lungs", None)
    assert np.array_equal(lung_boxes(data, cache=tmp_path, progress=False), found)
    with pytest.raises(TypeError):  # searched again
        lung_boxes(dataclasses.replace(data, fingerprint="others"), cache=tmp_path, progress=False)


def test_a_view_shows_the_lungs_and_the_room_around_them(boxed):
    """The image's columns are told by their grey values, so that the view says where it was cut."""
    ramp = np.round(np.linspace(0, 255, SIZE)).astype(np.uint8)
    data = dataclasses.replace(boxed, pixels=np.tile(ramp, (len(boxed.rows), SIZE, 1)))
    for position in (0, 5):
        left, _, right, _ = boxed.lungs[position]
        for number in range(20):
            view = AugmentedViews(data, ALWAYS, seed=0)(np.array([position]), np.array([number]))[0, 0].numpy()
            first, last = view[SIZE // 2, 1], view[SIZE // 2, -2]
            room = [(left - first) / (right - left), (last - right) / (right - left)]
            for own, edge in zip(room, (left, 1 - right), strict=True):
                assert min(LUNG_ROOM[0], edge) - 0.04 < own < LUNG_ROOM[1] + 0.04


def test_images_without_plausible_lungs_and_views_that_are_not_drawn_so_stay_whole(boxed):
    views = AugmentedViews(boxed, ALWAYS, seed=0)
    whole = torch.from_numpy(boxed.images(np.array([3])))
    assert torch.allclose(views(np.array([3]), np.array([0])), whole, atol=1e-6)
    sometimes = AugmentedViews(boxed, dataclasses.replace(OFF, lungs=0.4), seed=0)
    positions = np.zeros(200, np.int64)
    image = torch.from_numpy(boxed.images(positions[:1]))
    same = (sometimes(positions, np.arange(200)) - image).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert 0.5 < same.float().mean() < 0.7


def test_masks_of_boxes_are_cut_out_with_the_view(boxed):
    left, top, right, bottom = boxed.lungs[0].tolist()
    _, masks = AugmentedViews(boxed, ALWAYS, seed=0).with_boxes(
        np.array([0]), np.array([4]), {0: np.array([[left, top, right, bottom]])}
    )
    least, most = (1 / (1 + 2 * room) ** 2 for room in reversed(LUNG_ROOM))
    assert (right - left) * (bottom - top) < least - 0.01  # in the image the lungs take less of the area
    assert least - 0.01 < masks.mean() < most + 0.01


def test_the_boxes_are_part_of_the_key_where_they_are_used(boxed):
    other = dataclasses.replace(boxed, lungs=boxed.lungs * np.float32(0.99))
    assert augmentation_identity(boxed, OFF) == augmentation_identity(other, OFF)
    assert augmentation_identity(boxed, ALWAYS) != augmentation_identity(other, ALWAYS)
