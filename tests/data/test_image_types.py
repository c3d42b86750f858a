"""What an image is comes from what its set says, and the input filter's splits never part what belongs together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from pocketcxr.data.image_types import (
    image_type_of,
    input_filter_groups,
    input_filter_splits,
    modality_and_view_of_folder,
)
from pocketcxr.data.ood_images import with_ood_images
from pocketcxr.data.rows import IndexRow
from pocketcxr.data.synthetic.ood import draw_ood_images, screenshots
from pocketcxr.errors import DataError
from pocketcxr.labels import INPUT_KINDS

ROW = IndexRow("a.png", "s", "")


@pytest.mark.parametrize(
    "modality, view, kind",
    [
        ("", "", "frontal"),
        ("X-ray", "AP Supine", "frontal"),
        ("X-ray", "L", "lateral"),
        ("", "lateral", "lateral"),
        ("CT", "Axial", "ct"),
        ("CT", "", "ct"),
        ("photograph", "", "not_xray"),
        ("X-ray", "other part", "other_part"),
        ("DX", "XX", ""),
        ("MR", "", ""),
    ],
)
def test_kind_follows_modality_and_view_and_is_open_where_they_are(modality, view, kind):
    assert image_type_of(dataclasses.replace(ROW, modality=modality, view=view)) == kind
    assert not kind or kind in INPUT_KINDS


@pytest.mark.parametrize(
    "names, kind",
    [
        (("knee_xray",), "other_part"),
        (("chest_ct_slice",), "ct"),
        (("Photographs", "not_cxr"), "not_xray"),
        (("Lateral views",), "lateral"),
        (("2021", "hand-xray"), "other_part"),
        (("pictures",), ""),
        (("actual",), ""),  # holds the letters ct
        ((), ""),
    ],
)
def test_folder_names_tell_kinds_by_whole_words(names, kind):
    facts = modality_and_view_of_folder(names)
    assert (facts is None) == (kind == "")
    if facts:
        assert image_type_of(dataclasses.replace(ROW, modality=facts[0], view=facts[1])) == kind


def test_a_lateral_goes_where_its_patient_or_its_copy_is():
    rows = [
        dataclasses.replace(ROW, patient_id="s:1", split="test"),
        dataclasses.replace(ROW, patient_id="s:1", view="L"),
        dataclasses.replace(ROW, duplicate_group="d", split="calibration"),
        dataclasses.replace(ROW, duplicate_group="d", view="L"),
    ]
    assert input_filter_splits(rows) == ["test", "test", "calibration", "calibration"]


def test_the_rest_is_assigned_by_group_and_stays_where_it_is():
    rows = [dataclasses.replace(ROW, path=f"{i}", patient_id=f"s:{i // 2}", view="L") for i in range(2000)]
    splits = input_filter_splits(rows)
    assert splits[::2] == splits[1::2]
    assert input_filter_splits(rows[::-1]) == splits[::-1]
    shares = [splits.count(split) / len(splits) for split in ("train", "calibration", "test")]
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.04)


def test_groups_are_patient_then_copies_then_file():
    rows = [
        dataclasses.replace(ROW, patient_id="p", duplicate_group="d", sha256="s"),
        dataclasses.replace(ROW, duplicate_group="d", sha256="s"),
        dataclasses.replace(ROW, sha256="s"),
    ]
    assert input_filter_groups(rows) == ["p", "d", "s"]


def test_ood_images_of_folders_stand_beside_the_index_once(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("knee_xray/a.png", "ct/b.png", "photograph/c.png", "unknown/d.png"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (60, 60), dtype=np.uint8)).save(tmp_path / "x" / name)
    rows = with_ood_images([ROW], [tmp_path / "x"])
    assert sorted(map(image_type_of, rows)) == ["ct", "frontal", "not_xray", "other_part"]
    assert len(with_ood_images(rows, [tmp_path / "x", tmp_path / "x" / "ct"])) == len(rows)  # a folder that is a kind
    with pytest.raises(DataError, match="no folder whose name tells"):
        with_ood_images([], [tmp_path / "x" / "unknown"])
    with pytest.raises(DataError, match="found no"):
        with_ood_images([], [tmp_path / "nowhere"])


def test_drawn_ood_images_are_the_same_by_seed_have_contrast_and_differ():
    drawn = draw_ood_images(30, size=48, seed=3)
    assert drawn.shape == (30, 48, 48)
    np.testing.assert_array_equal(drawn, draw_ood_images(30, size=48, seed=3))
    assert not np.array_equal(drawn, draw_ood_images(30, size=48, seed=4))
    assert (np.ptp(drawn.reshape(30, -1), axis=1) >= 45).all()
    assert len({picture.tobytes() for picture in drawn}) == 30


def test_a_screenshot_shows_the_whole_image_small():
    images = np.full((3, 96, 96), 137, dtype=np.uint8)
    shown = screenshots(images, seed=0)
    assert shown.shape == images.shape
    shares = (shown == 137).mean(axis=(1, 2))
    assert ((shares > 0.08) & (shares < 0.5)).all()
    assert screenshots(images[:0], seed=0).shape == (0, 96, 96)
