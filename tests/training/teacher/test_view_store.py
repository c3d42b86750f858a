"""Computed arrays outlive kills, full disks and damage: what is flagged as there is there."""

from __future__ import annotations

import logging
import os
import resource
import signal

import numpy as np
import pytest

from pocketcxr.errors import CacheError
from pocketcxr.training.teacher.view_store import fill_store, open_store

POSITIONS = np.array([2, 3, 5, 8, 13, 21, 34], dtype=np.int64)
SHAPES = {"logits": (np.float32, (3,)), "embedding": (np.float16, (2,))}


def make(parent, key="key", views=3):
    return open_store(parent, key, positions=POSITIONS, views=views, shapes=SHAPES)


def answers(batch, view):
    logits = np.stack([batch, batch * 0 + view, batch * 10.0 + view], axis=1).astype(np.float32)
    return {"logits": logits, "embedding": logits[:, :2]}


def fill(store, compute=answers, **options):
    fill_store(store, compute, batch_size=2, progress=False, title="test", **options)


def assert_whole(store):
    assert store.missing == 0
    for view in range(3):
        assert np.array_equal(store.arrays["logits"][view], answers(POSITIONS, view)["logits"])


def test_entries_are_found_by_image_and_view(tmp_path):
    store = make(tmp_path)
    assert store.missing == 21
    fill(store)
    assert_whole(make(tmp_path))
    rows = store.rows_of(np.array([34, 2]))
    assert store.arrays["logits"][np.array([1, 2]), rows, 2].tolist() == [341.0, 22.0]


@pytest.mark.parametrize("position", [1, 4, 35])
def test_an_image_that_is_not_in_it_is_refused(tmp_path, position):
    with pytest.raises(CacheError, match="not in this cache"):
        make(tmp_path).rows_of(np.array([2, position]))


def test_a_stop_loses_nothing_that_was_done(tmp_path):
    calls = []

    def fails_later(batch, view):
        calls.append((batch.tolist(), view))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return answers(batch, view)

    with pytest.raises(KeyboardInterrupt):
        fill(make(tmp_path), fails_later)
    store = make(tmp_path)
    assert store.missing == 21 - 7 - 0  # 4 batches of 2, 2, 2, 1
    later = []
    fill(store, lambda batch, view: later.append((batch.tolist(), view)) or answers(batch, view))
    assert later[0] == calls[-1]
    assert not [call for call in calls[:-1] if call in later]
    assert_whole(make(tmp_path))


def test_a_finished_store_computes_nothing(tmp_path):
    fill(make(tmp_path))

    def never(batch, view):
        raise AssertionError

    fill(make(tmp_path), never)


def test_another_key_is_another_folder(tmp_path):
    fill(make(tmp_path))
    assert make(tmp_path, "other").missing == 21
    assert make(tmp_path).missing == 0


@pytest.mark.parametrize("name", ["logits.npy", "embedding.npy", "done.npy", "store.json"])
def test_a_truncated_file_is_said_and_computed_again(tmp_path, caplog, name):
    fill(make(tmp_path))
    path = tmp_path / "key" / name
    path.write_bytes(path.read_bytes()[:-3])
    with caplog.at_level(logging.WARNING, logger="pocketcxr"):
        store = make(tmp_path)
    assert store.missing == 21
    assert "is damaged" in caplog.text
    fill(store)
    assert_whole(make(tmp_path))


def test_a_changed_bit_in_a_complete_store_is_noticed(tmp_path, caplog):
    fill(make(tmp_path))
    path = tmp_path / "key" / "logits.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING, logger="pocketcxr"):
        assert make(tmp_path).missing == 21
    assert "logits.npy was changed after it was complete" in caplog.text


def test_other_images_under_the_same_key_are_never_mixed_in(tmp_path):
    fill(make(tmp_path))
    other = open_store(tmp_path, "key", positions=POSITIONS + 1, views=3, shapes=SHAPES)
    assert other.missing == 21


def test_an_answer_that_is_not_finite_is_refused(tmp_path):
    def overflows(batch, view):
        return {name: values * 1e6 for name, values in answers(batch, view).items()}  # float16 ends at 65504

    with pytest.raises(CacheError, match="embedding of view 0 is not finite"), np.errstate(over="ignore"):
        fill(make(tmp_path), overflows)
    assert make(tmp_path).missing == 21


def test_a_full_disk_is_one_line_before_any_work(tmp_path):
    """A limit on the size of files stands for the disk: the same failing write, in a process of its own."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            open_store(tmp_path, "big", positions=np.arange(1000), views=8, shapes=SHAPES)
        except CacheError as error:
            status = 0 if "cannot make cache" in str(error) and "\n" not in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert list(tmp_path.iterdir()) == []  # nothing half-made stays


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="cannot make cache"):
        make(tmp_path / "file")
