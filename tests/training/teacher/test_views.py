"""Cached teacher views: the teacher's own outputs for the student's own pixels, never a stale one."""

import dataclasses
import signal

import numpy as np
import pytest
import tiny_runs
import torch

from pocketcxr.errors import CacheError, CheckpointError, ConfigError, DataError
from pocketcxr.models.checkpoints import load_network
from pocketcxr.training.augmentation import AugmentedViews
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.teacher.views import cache_views, check_views, views_key


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("views")


@pytest.fixture(scope="module")
def views(dataset, teacher, folder):
    return tiny_runs.cache_tiny_views(dataset, teacher, folder)


def test_what_is_cached_is_what_the_teacher_says_of_those_pixels(dataset, teacher, views):
    network, _, _ = load_network(teacher)
    generator = np.random.default_rng(0)
    positions = generator.choice(training_positions(dataset, unlabelled=True), 20)
    numbers = generator.integers(0, tiny_runs.VIEWS.count, 20)
    images = AugmentedViews(dataset, tiny_runs.VIEWS.augmentation, seed=tiny_runs.VIEWS.seed)(positions, numbers)
    with torch.inference_mode():
        wanted = network(images)
    logits, embedding = views.lookup(positions, numbers)
    assert torch.allclose(logits, wanted.logits, atol=1e-4)
    assert torch.allclose(embedding, wanted.embedding, atol=1e-4, rtol=1e-3)
    assert logits.dtype == embedding.dtype == torch.float32
    assert len(logits.unique(dim=0)) == len(set(zip(positions.tolist(), numbers.tolist(), strict=True)))


def test_images_without_a_label_are_covered_and_other_splits_are_not(dataset, views):
    rows = views.store.positions
    assert set(np.flatnonzero(dataset.labels < 0)) <= set(rows.tolist())
    assert {dataset.rows[row].split for row in rows} == {"train"}


def test_a_complete_cache_is_returned_without_running_the_teacher(dataset, teacher, views, folder):
    before = views.store.done.ctypes.data
    again = tiny_runs.cache_tiny_views(dataset, teacher, folder)
    assert again.store.folder == views.store.folder
    assert again.missing == 0
    assert before != again.store.done.ctypes.data  # mapped anew, not the same object


@pytest.mark.parametrize("what", ["teacher", "data", "seed", "count", "augmentation"])
def test_another_input_is_another_cache(dataset, teacher, views, folder, tmp_path, what):
    config, data, path = tiny_runs.VIEWS, dataset, teacher
    if what == "teacher":
        path = tiny_runs.train_tiny_teacher(dataset, tmp_path, dataclasses.replace(tiny_runs.TEACHER, seed=1, epochs=1))
    elif what == "data":
        data = tiny_runs.make_dataset(fingerprint="other")
    else:
        flip = dataclasses.replace(config.augmentation, flip=0.4)
        config = dataclasses.replace(config, **{what: {"seed": 6, "count": 2, "augmentation": flip}[what]})
    other = cache_views(data, path, config, out=folder, progress=False)
    assert other.store.folder != views.store.folder
    assert other.missing == 0


def test_the_batch_size_is_no_part_of_the_key(dataset, teacher, views, folder):
    config = dataclasses.replace(tiny_runs.VIEWS, batch_size=7)
    assert cache_views(dataset, teacher, config, out=folder, progress=False).store.folder == views.store.folder


def test_killed_in_the_middle_it_loses_one_batch_at_most(processes, dataset, teacher, views, tmp_path):
    done = tmp_path / views.store.key / "done.npy"

    def computed():
        return int(np.load(done, mmap_mode="r").sum()) if done.exists() else 0

    code = tiny_runs.start_and_kill(
        processes, tiny_runs.run_views, (str(teacher), str(tmp_path)), reached=lambda: computed() >= 32
    )
    assert code == -signal.SIGKILL
    before = computed()
    assert before >= 32
    again = tiny_runs.cache_tiny_views(dataset, teacher, tmp_path)
    assert again.missing == 0
    for name, array in again.store.arrays.items():
        assert np.allclose(array, views.store.arrays[name], atol=1e-3), name


def test_an_incomplete_cache_teaches_nobody(dataset, teacher, tmp_path):
    part = tiny_runs.cache_tiny_views(dataset, teacher, tmp_path)
    part.store.done[0, 3:5] = 0
    with pytest.raises(CacheError, match=r"2 of .* teacher views are still missing"):
        check_views(part, dataset, tiny_runs.VIEWS)


def test_a_cache_of_other_data_or_views_teaches_nobody(dataset, views):
    with pytest.raises(CacheError, match="computed for other data"):
        check_views(views, tiny_runs.make_dataset(fingerprint="other"), tiny_runs.VIEWS)
    with pytest.raises(CacheError, match="holds other views"):
        check_views(views, dataset, dataclasses.replace(tiny_runs.VIEWS, seed=9))


def test_a_student_teaches_another_network(dataset, tmp_path):
    student = tiny_runs.train_tiny_student(dataset, tmp_path / "a", dataclasses.replace(tiny_runs.BASELINE, epochs=1))
    cached = tiny_runs.cache_tiny_views(dataset, student, tmp_path)
    network, _, _ = load_network(student)
    positions, views = dataset.positions("train")[:5], np.array([0, 1, 2, 0, 1])
    logits, embedding = cached.lookup(positions, views)
    pixels = AugmentedViews(dataset, tiny_runs.VIEWS.augmentation, seed=tiny_runs.VIEWS.seed)(positions, views)
    with torch.no_grad():
        expected = network(pixels)
    assert torch.allclose(logits, expected.logits, atol=1e-4)
    assert torch.allclose(embedding, expected.embedding, atol=1e-2)  # kept in half precision
    taught = dataclasses.replace(tiny_runs.STUDENT, backbone="mobilenetv2_035", epochs=1)
    _, spec, record = load_network(tiny_runs.train_tiny_student(dataset, tmp_path / "b", taught, views=cached))
    assert spec.backbones == ("mobilenetv2_035",)
    assert record["teacher"]["sha256"] == cached.teacher_sha256


def test_a_teacher_for_other_images_is_refused(dataset, teacher, tmp_path):
    larger = dataclasses.replace(dataset, pixels=dataset.pixels.repeat(2, axis=1).repeat(2, axis=2))
    with pytest.raises(ConfigError, match=r"at 32 px, but the data are .* at 64 px"):
        tiny_runs.cache_tiny_views(larger, teacher, tmp_path)


def test_a_data_set_without_training_images_is_refused(teacher, tmp_path):
    nothing = tiny_runs.make_dataset(split="test", unlabelled=0)
    with pytest.raises(DataError, match="no image in split 'train'"):
        tiny_runs.cache_tiny_views(nothing, teacher, tmp_path)


def test_a_missing_teacher_is_refused(dataset, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        tiny_runs.cache_tiny_views(dataset, tmp_path / "none.safetensors", tmp_path)


def test_caches_of_earlier_versions_keep_their_key(dataset):
    key = views_key("0" * 64, dataset, tiny_runs.VIEWS, precision="fp32")
    assert key == "dcd1f2ce7761a360"
