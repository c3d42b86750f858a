"""Teacher and student behind the signature that evaluation is written against."""

import numpy as np
import pytest
import torch

from pocketcxr.models.networks import NetworkSpec, build_network
from pocketcxr.models.predict import as_predict


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((5, 1, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return build_network(
        NetworkSpec(kind="student", backbones=("test_resnet.r160_in1k",), labels=("a", "b", "c"), image_size=32)
    )


def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature(student, images):
    outputs = as_predict(student, temperature=2.0)(images)
    wanted = np.exp(outputs.logits / 2)
    assert np.allclose(outputs.probabilities, wanted / wanted.sum(axis=1, keepdims=True), atol=1e-6)
    assert outputs.probabilities.dtype == outputs.logits.dtype == outputs.embedding.dtype == np.float32
    assert outputs.saliency is not None
    assert outputs.saliency.shape[:2] == (5, 3)
    assert outputs.novelty is None


def test_the_batch_does_not_change_the_answer(student, images):
    one, all_at_once = (as_predict(student, batch_size=size)(images) for size in (2, 64))
    assert np.allclose(one.logits, all_at_once.logits, atol=1e-5)
    assert np.allclose(one.saliency, all_at_once.saliency, atol=1e-5)


def test_a_network_left_in_training_mode_is_scored_in_evaluation_mode(student, images):
    predict = as_predict(student)
    before = predict(images).logits
    student.train()
    assert np.array_equal(predict(images).logits, before)


def test_a_teacher_has_no_maps(images):
    spec = NetworkSpec(kind="teacher", backbones=("test_resnet.r160_in1k",), labels=("a", "b"), image_size=32)
    outputs = as_predict(build_network(spec))(images)
    assert outputs.saliency is None
    assert outputs.embedding.shape == (5, 512)


def test_no_images_give_empty_arrays_of_the_right_shape(student):
    outputs = as_predict(student)(np.zeros((0, 1, 32, 32), np.float32))
    assert outputs.probabilities.shape == (0, 3)
    assert outputs.saliency is not None
    assert outputs.saliency.shape[:2] == (0, 3)
