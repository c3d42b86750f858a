"""The pixel store: what it holds is what a prediction sees, whatever was killed, cut, flipped or full before."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pocketcxr.data import pixels as store
from pocketcxr.data.index import build_index
from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.splits.assign import assign_folds, assign_splits
from pocketcxr.errors import CacheError, DataError, LeakError
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize
from pocketcxr.labels import TASKS

TASK = TASKS["covid-binary"]
IMAGES = 24


@pytest.fixture(scope="module")
def rows(tmp_path_factory, picture):
    root = tmp_path_factory.mktemp("images") / "set"
    for seed in range(IMAGES):
        picture(root / ("normal", "covid19")[seed % 2] / f"{seed}.png", seed, size=64)
    picture(root / "tuberculosis" / "t.png", 99)
    return assign_splits(build_index([root], progress=False).rows, TASK)


def opened(rows, cache, **options):
    return open_dataset(rows, TASK, cache=cache, progress=False, **({"size": 32} | options))


@pytest.fixture
def decoded(monkeypatch):
    """Paths that are decoded from now on."""
    paths = []
    original = store._decode
    monkeypatch.setattr(store, "_decode", lambda row, *rest: paths.append(row.path) or original(row, *rest))
    return paths


def files(cache):
    (folder,) = cache.iterdir()
    return folder / "pixels.npy", folder / "checks.npy"


@pytest.mark.parametrize("aspect", ["squash", "pad"])
def test_pixels_are_what_a_prediction_sees_rounded_to_8_bits(rows, tmp_path, aspect):
    dataset = opened(rows, tmp_path, aspect=aspect)
    assert dataset.pixels.shape == (IMAGES, 32, 32)
    assert isinstance(dataset.pixels, np.memmap)
    for i, row in enumerate(dataset.rows):
        seen = resize(read_image(tmp_path / row.path).pixels, size=32, aspect=aspect)
        stored = dataset.images(np.array([i]))[0, 0]
        assert np.abs(stored - seen).max() <= 1 / 510 + 1e-6


def test_labels_and_splits_belong_to_their_images(rows, tmp_path):
    dataset = opened(rows, tmp_path)
    assert [TASK.labels[label] for label in dataset.labels] == [row.label for row in dataset.rows]
    placed = np.concatenate([dataset.positions(split) for split in ("train", "calibration", "test")])
    assert sorted(placed) == list(range(IMAGES))
    assert all("/tuberculosis/" not in row.path for row in dataset.rows)


def test_unlabelled_material_comes_only_when_asked_for_and_never_as_a_labelled_position(rows, tmp_path):
    dataset = opened(rows, tmp_path, unlabelled=True)
    (extra,) = np.flatnonzero(dataset.labels == -1)
    assert dataset.rows[extra].path.endswith("t.png")
    assert extra not in dataset.positions("train")


def test_a_second_run_decodes_nothing_and_row_order_does_not_matter(rows, tmp_path, decoded):
    first = opened(rows, tmp_path)
    assert len(decoded) == IMAGES
    second = opened(rows[::-1], tmp_path)
    assert len(decoded) == IMAGES
    assert second.fingerprint == first.fingerprint
    assert second.rows == first.rows


def test_splits_and_folds_of_the_same_images_share_a_store_but_not_a_fingerprint(rows, tmp_path, decoded):
    prints = {
        opened(rows, tmp_path).fingerprint,
        opened(assign_splits(rows, TASK, seed=5), tmp_path).fingerprint,
        opened(assign_folds(rows, TASK, folds=3), tmp_path).fingerprint,
    }
    assert len(prints) == 3
    assert len(decoded) == IMAGES
    opened(rows, tmp_path, size=16)
    opened(rows, tmp_path, aspect="pad")
    assert len(decoded) == 3 * IMAGES


@pytest.mark.parametrize("damage", ["flip", "cut pixels", "cut checks", "empty", "header", "gone", "foreign check"])
def test_a_damaged_store_is_repaired(rows, tmp_path, decoded, damage, caplog):
    whole = np.array(opened(rows, tmp_path).pixels)
    pixels, checks = files(tmp_path)
    decoded.clear()
    if damage == "flip":
        data = bytearray(pixels.read_bytes())
        data[-5 * 32 * 32 - 7] ^= 1
        pixels.write_bytes(data)
    elif damage == "cut pixels":
        os.truncate(pixels, pixels.stat().st_size - 3 * 32 * 32 - 10)
    elif damage == "cut checks":
        os.truncate(checks, checks.stat().st_size - 8)
    elif damage == "empty":
        os.truncate(pixels, 0)
    elif damage == "header":
        pixels.write_bytes(b"\x00" * 40 + pixels.read_bytes()[40:])
    elif damage == "gone":
        pixels.unlink()
    else:
        data = bytearray(checks.read_bytes())
        data[-1] ^= 255
        checks.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(opened(rows, tmp_path).pixels, whole)
    again = {"flip": 1, "cut pixels": 4, "cut checks": 2, "empty": IMAGES, "header": 0, "gone": IMAGES}
    assert len(decoded) == again.get(damage, 1)
    if damage == "flip":
        assert "1 of 24 images are damaged and are decoded again" in caplog.text


SLOW_STORE = """
import pickle, sys, time
from pathlib import Path
from pocketcxr.data import pixels
from pocketcxr.labels import TASKS
original = pixels._decode
pixels._decode = lambda *given: (time.sleep(0.1), original(*given))[1]
rows = pickle.loads(Path(sys.argv[1]).read_bytes())
pixels.open_dataset(rows, TASKS["covid-binary"], size=32, cache=Path(sys.argv[2]), workers=1, progress=False)
"""


def done(cache):
    try:
        return int(np.count_nonzero(np.load(files(cache)[1])))
    except (OSError, ValueError, EOFError):
        return 0


def test_a_killed_run_is_resumed_and_ends_the_same(rows, tmp_path, decoded):
    (tmp_path / "rows").write_bytes(pickle.dumps(rows))
    cache = tmp_path / "cache"
    cache.mkdir()
    child = subprocess.Popen([sys.executable, "-c", SLOW_STORE, tmp_path / "rows", cache])
    deadline = time.monotonic() + 30
    while done(cache) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    survived = done(cache)
    assert 5 <= survived < IMAGES
    resumed = opened(rows, cache)
    assert len(decoded) == IMAGES - survived
    assert np.array_equal(resumed.pixels, opened(rows, tmp_path / "fresh").pixels)


def test_a_full_disk_is_one_clear_line_and_what_is_done_stays(rows, tmp_path, decoded, monkeypatch):
    original = store._write
    written = []

    def until_full(stream, position, data):
        if len(written) == 14:  # pixels and check of 7 images
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(position)
        original(stream, position, data)

    monkeypatch.setattr(store, "_write", until_full)
    with pytest.raises(CacheError, match=r"No space left on device .*MiB free there.* what is decoded stays") as caught:
        opened(rows, tmp_path)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(store, "_write", original)
    decoded.clear()
    opened(rows, tmp_path)
    assert len(decoded) == IMAGES - 7


LIMITED = """
import pickle, resource, sys
from pathlib import Path
from pocketcxr.data.pixels import open_dataset
from pocketcxr.errors import CacheError
from pocketcxr.labels import TASKS
rows = pickle.loads(Path(sys.argv[1]).read_bytes())
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    open_dataset(rows, TASKS["covid-binary"], size=32, cache=Path(sys.argv[2]), progress=False)
except CacheError as error:
    print(error)
"""


def test_a_limit_set_by_the_system_is_one_clear_line_not_a_crash(rows, tmp_path):
    pytest.importorskip("resource", reason="limits of this kind are POSIX's")
    (tmp_path / "rows").write_bytes(pickle.dumps(rows))
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path / "rows", tmp_path / "cache"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "File too large" in ran.stdout
    assert ran.stdout.count("\n") == 1


def test_a_cache_folder_that_cannot_be_made_is_one_clear_line(rows, tmp_path):
    (tmp_path / "cache").write_text("a file stands here")
    with pytest.raises(CacheError, match=r"pixel store .*cache"):
        opened(rows, tmp_path / "cache")


def test_a_file_that_changed_or_vanished_since_it_was_indexed_is_refused(tmp_path, picture):
    for seed in range(8):
        picture(tmp_path / "set" / ("normal", "covid19")[seed % 2] / f"{seed}.png", seed)
    rows = assign_splits(build_index([tmp_path / "set"], progress=False).rows, TASK, fractions=(0.5, 0.25, 0.25))
    path = picture(tmp_path / "set" / "normal" / "0.png", 55)
    with pytest.raises(DataError, match=r"0\.png: the file changed since it was indexed"):
        opened(rows, tmp_path / "cache")
    path.unlink()
    with pytest.raises(DataError, match=r"0\.png: cannot be read"):
        opened(rows, tmp_path / "cache")


def test_a_leaking_table_is_refused_before_anything_is_decoded(rows, tmp_path, decoded):
    train = next(row for row in rows if row.split == "train")
    test = next(row for row in rows if row.split == "test")
    joined = {train.path, test.path}
    leaky = [dataclasses.replace(row, patient_id="p") if row.path in joined else row for row in rows]
    with pytest.raises(LeakError):
        opened(leaky, tmp_path)
    assert decoded == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"label": ""}, "no image has a class and a split"),
        ({"split": ""}, "no image has a class and a split"),
        ({"sha256": ""}, "the index holds no sha256"),
    ],
)
def test_a_table_without_what_is_needed_is_one_clear_line(rows, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        opened([dataclasses.replace(row, duplicate_group="", **change) for row in rows], tmp_path)
