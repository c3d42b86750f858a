"""Near duplicates are found through re-encoding, scaling, contrast and cropping, and other images stay apart."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pocketcxr.data.duplicates.grouping import duplicate_groups, with_duplicate_groups
from pocketcxr.data.duplicates.hashing import close_pairs, connected, perceptual_hash, thumbnail
from pocketcxr.data.index import build_index
from pocketcxr.data.rows import IndexRow
from pocketcxr.errors import DataError


def distance(first, second):
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.fixture
def pixels(tmp_path, picture):
    return np.asarray(Image.open(picture(tmp_path / "a.png", 5, size=240)), np.float32) / 255


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: np.clip(0.5 * x + 0.3, 0, 1),
        lambda x: x[::2, ::2],
        lambda x: np.kron(x, np.ones((1, 2), np.float32)),
        lambda x: x**1.4,
    ],
)
def test_the_hash_survives_contrast_scale_and_aspect(pixels, change):
    changed = np.ascontiguousarray(change(pixels), np.float32)
    assert distance(perceptual_hash(thumbnail(pixels)), perceptual_hash(thumbnail(changed))) <= 30


def test_the_hash_has_256_bits_half_of_them_set(pixels):
    bits = perceptual_hash(thumbnail(pixels))
    assert len(bits) == 64
    assert int(bits, 16).bit_count() == 128


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=12), st.integers(0, 256))
def test_close_pairs_are_all_pairs_within_the_distance(hashes, most):
    words = [value.hex() for value in hashes]
    expected = {(i, j) for (i, a), (j, b) in combinations(enumerate(words), 2) if distance(a, b) <= most}
    assert {tuple(pair) for pair in close_pairs(words, max_hamming=most).tolist()} == expected


def test_close_pairs_are_found_across_blocks():
    rng = np.random.default_rng(0)
    words = [rng.bytes(32).hex() for _ in range(1100)]
    words[1050] = words[3]
    assert close_pairs(words, max_hamming=40).tolist() == [[3, 1050]]


def test_connected_follows_chains():
    assert connected(6, [(4, 1), (1, 3), (5, 2)]) == [0, 1, 2, 1, 1, 2]


def make_copies(root, original):
    """Copies as public sets make them: re-encoded, smaller, other contrast, cropped with a black border."""
    image = Image.open(original)
    root.mkdir(parents=True)
    image.save(root / "jpeg.jpg", quality=30)
    image.resize((150, 130), Image.Resampling.BICUBIC).save(root / "small.png")
    image.point(lambda v: 40 + v * 0.6).save(root / "contrast.png")
    image.crop((5, 5, 235, 237)).save(root / "cropped.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "mirrored.png")
    Image.eval(image.crop((14, 14, 226, 226)), lambda v: 255 - v).save(root / "inverted, cropped.png")
    return 6


def test_copies_are_grouped_and_other_images_are_not(tmp_path, picture):
    originals = [picture(tmp_path / "set" / "normal" / f"{seed}.png", seed, size=240) for seed in range(8)]
    copies = make_copies(tmp_path / "set" / "covid", originals[2])
    index = build_index([tmp_path / "set"], progress=False)
    groups = {row.path: row.duplicate_group for row in index.rows}
    together = {path for path, group in groups.items() if group == groups[str(originals[2])]}
    assert len(together) == 1 + copies
    assert len(set(groups.values())) == 8


def test_groups_depend_neither_on_order_nor_on_folders(tmp_path, picture):
    originals = [picture(tmp_path / "set" / "normal" / f"{seed}.png", seed) for seed in range(3)]
    make_copies(tmp_path / "set" / "covid", originals[0])
    rows = list(build_index([tmp_path / "set"], progress=False).rows)
    backwards = duplicate_groups(rows[::-1])
    assert duplicate_groups(rows) == backwards[::-1]
    (tmp_path / "set").rename(tmp_path / "moved")
    moved = [dataclasses.replace(row, path=row.path.replace("/set/", "/moved/")) for row in rows]
    assert duplicate_groups(moved) == duplicate_groups(moved)[:] == backwards[::-1]


def test_rows_without_a_hash_are_one_clear_line_or_stay_without_a_group(tmp_path):
    rows = [IndexRow("a.png", "s", "covid19")]
    with pytest.raises(DataError, match=r"a\.png: the index holds no hash"):
        duplicate_groups(rows)
    assert with_duplicate_groups(rows) == rows


def test_a_candidate_that_has_gone_is_one_clear_line(tmp_path, picture):
    first = picture(tmp_path / "set" / "normal" / "a.png", 1, size=240)
    Image.open(first).save(tmp_path / "set" / "normal" / "b.jpg", quality=60)
    rows = build_index([tmp_path / "set"], progress=False).rows
    first.unlink()
    with pytest.raises(DataError, match="run  pocketcxr index  again"):
        duplicate_groups(rows)
