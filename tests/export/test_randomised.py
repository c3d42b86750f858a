"""Randomised bundles are the same network with other weights, from the classifier down."""

import numpy as np
import pytest

from pocketcxr.errors import BundleError
from pocketcxr.export.randomised import randomised_bundle
from pocketcxr.inference.session import load_bundle


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 1, 32, 32), dtype=np.float32)


def test_the_classifier_goes_first_then_all_layers(tiny_bundle_path, images):
    plain = load_bundle(tiny_bundle_path)(images)
    versions = dict(randomised_bundle(tiny_bundle_path, seed=1)())
    assert next(iter(versions)) == "classifier"
    head, everything = versions["classifier"](images), versions["all layers"](images)
    np.testing.assert_allclose(head.embedding, plain.embedding, atol=1e-6)  # below the classifier nothing changed
    assert np.abs(head.logits - plain.logits).max() > 0.1
    assert np.abs(everything.embedding - plain.embedding).max() > 0.01


def test_logits_and_maps_stay_one_classifier(tiny_bundle_path, images):
    for what, predict in randomised_bundle(tiny_bundle_path, seed=1)():
        outputs = predict(images)
        assert outputs.saliency is not None
        np.testing.assert_allclose(outputs.saliency.mean(axis=(2, 3)), outputs.logits, atol=1e-4, err_msg=what)


def test_the_seed_decides(tiny_bundle_path, images):
    def answers(seed):
        return [predict(images).logits for _, predict in randomised_bundle(tiny_bundle_path, seed=seed)()]

    np.testing.assert_array_equal(answers(1), answers(1))
    assert not np.array_equal(answers(1), answers(2))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(BundleError):
        randomised_bundle(tmp_path / "no.onnx")
