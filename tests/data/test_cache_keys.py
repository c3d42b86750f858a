"""Decoded pixels and remembered readings are found again for the same files and settings only."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

import pocketcxr.data.index as index_module
from pocketcxr.data import pixels as store
from pocketcxr.data.index import build_index
from pocketcxr.data.rows import IndexRow
from pocketcxr.labels import TASKS

TASK = TASKS["covid-3class"]
ROWS = tuple(
    IndexRow(f"/x/{i}.png", "set", "other", sha256=f"{i:064x}", label=TASK.labels[i % 3], split=split, fold=str(i % 2))
    for i, split in enumerate(("train", "train", "train", "calibration", "test"))
)


def fingerprint(rows=ROWS, task=TASK, size=32, aspect="squash"):
    return store._fingerprint(rows, task, size, aspect)


def with_row(place, **fields):
    return (*ROWS[:place], dataclasses.replace(ROWS[place], **fields), *ROWS[place + 1 :])


@pytest.mark.parametrize("place", [0, 4])
@pytest.mark.parametrize(
    "fields", [{"sha256": "f" * 64}, {"label": "other"}, {"split": "other"}, {"fold": "9"}, {"label": "", "split": "x"}]
)
def test_each_image_label_split_and_fold_is_in_the_fingerprint_of_a_data_set(place, fields):
    assert fingerprint(with_row(place, **fields)) != fingerprint()


def test_size_aspect_task_classes_their_order_and_the_images_order_are_in_the_fingerprint(monkeypatch):
    values = [
        fingerprint(),
        fingerprint(size=33),
        fingerprint(aspect="pad"),
        fingerprint(task=dataclasses.replace(TASK, name="other")),
        fingerprint(task=dataclasses.replace(TASK, labels=TASK.labels[::-1])),
        fingerprint(ROWS[:-1]),
        fingerprint(ROWS[::-1]),
    ]
    monkeypatch.setattr(store, "STORE_VERSION", store.STORE_VERSION + 1)
    assert len({*values, fingerprint()}) == len(values) + 1


def test_the_folder_of_the_images_is_not_in_the_fingerprint():
    assert fingerprint(with_row(0, path="/elsewhere/0.png")) == fingerprint()


def test_the_store_of_decoded_pixels_is_kept_by_version_size_aspect_and_images(monkeypatch, tmp_path):
    class Asked(Exception):
        pass

    def folder(rows=ROWS, size=32, aspect="squash"):
        def prepare(folder, *_):
            raise Asked(folder)

        monkeypatch.setattr(store, "_prepare", prepare)
        with pytest.raises(Asked) as caught:
            store._open_store(rows, size=size, aspect=aspect, cache=tmp_path, workers=1, progress=False)
        return caught.value.args[0]

    folders = [
        folder(),
        folder(size=33),
        folder(aspect="pad"),
        folder(with_row(0, sha256="f" * 64)),
        folder(with_row(4, sha256="f" * 64)),
        folder(ROWS[:-1]),
        folder(ROWS[::-1]),
    ]
    assert folder() == folders[0]
    assert folder(with_row(0, label="other", split="test", fold="7")) == folders[0]  # tasks and splits share one
    monkeypatch.setattr(store, "STORE_VERSION", store.STORE_VERSION + 1)
    assert len({*folders, folder()}) == len(folders) + 1


def test_the_check_of_a_decoded_image_depends_on_its_file_and_on_each_pixel():
    image = np.zeros((4, 4), np.uint8)
    others = [store._check(ROWS[1], image)]
    for place in range(16):
        other = image.copy()
        other.flat[place] = 1
        others.append(store._check(ROWS[0], other))
    assert store._check(ROWS[0], image) not in others
    assert len(set(others)) == 17
    assert 0 not in others


@pytest.fixture
def remembered(tmp_path, picture, monkeypatch):
    """Return a function that indexes two images with a memory and names the files that were read again."""
    for seed in (0, 1):
        picture(tmp_path / "set" / "normal" / f"{seed}.png", seed)
    read = []
    original = index_module.read_metadata
    monkeypatch.setattr(index_module, "read_metadata", lambda path, key: read.append(path.name) or original(path, key))

    def again(**options):
        read.clear()
        build_index([tmp_path / "set"], memory=tmp_path / "memory.jsonl", progress=False, workers=1, **options)
        return sorted(read)

    assert again() == ["0.png", "1.png"]
    assert again() == []
    return again


def test_a_file_of_another_time_is_read_again(remembered, tmp_path):
    path = tmp_path / "set" / "normal" / "0.png"
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert remembered() == ["0.png"]


def test_a_file_of_another_size_and_the_same_time_is_read_again(remembered, tmp_path):
    path = tmp_path / "set" / "normal" / "0.png"
    status = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert remembered() == ["0.png"]


def test_a_file_of_another_name_is_read_again(remembered, tmp_path):
    path = tmp_path / "set" / "normal" / "0.png"
    path.rename(path.with_name("2.png"))
    assert remembered() == ["2.png"]


def test_all_are_read_again_by_another_version_or_under_another_key(remembered, tmp_path, monkeypatch):
    (tmp_path / "other.key").write_text((tmp_path / "pseudonyms.key").read_text()[::-1])
    assert remembered(key=tmp_path / "other.key") == ["0.png", "1.png"]
    monkeypatch.setattr(index_module, "_MEMORY_VERSION", index_module._MEMORY_VERSION + 1)
    assert remembered(key=tmp_path / "other.key") == ["0.png", "1.png"]


def test_groups_of_copies_are_remembered_for_the_very_same_images(tmp_path, picture, monkeypatch):
    for seed in (0, 1):
        picture(tmp_path / "set" / "normal" / f"{seed}.png", seed)
    compared = []
    original = index_module.with_duplicate_groups
    monkeypatch.setattr(
        index_module, "with_duplicate_groups", lambda rows, **more: compared.append(len(rows)) or original(rows, **more)
    )

    def index():
        return build_index([tmp_path / "set"], memory=tmp_path / "memory.jsonl", progress=False, workers=1)

    first = index()
    assert index() == first
    assert compared == [2]
    picture(tmp_path / "set" / "normal" / "0.png", 5)
    index()
    picture(tmp_path / "set" / "normal" / "2.png", 6)
    index()
    assert compared == [2, 2, 3]
