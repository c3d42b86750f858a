"""An ONNX classifier that is no bundle gives probabilities by its description, or one clear error."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra train, to write a tiny ONNX model")

from foreign_models import write_brightness_classifier
from pocketcxr.errors import BundleError, ConfigError, DataError
from pocketcxr.inference.foreign import load_foreign_model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((37, 1, 32, 32), dtype=np.float32)


def _expected(images):
    odds = np.exp(8 * (images.mean(axis=(1, 2, 3), dtype=np.float64) - 0.5))
    return np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)


@pytest.mark.parametrize("batch", ["n", 1, 16, 64])
def test_probabilities_do_not_depend_on_the_batch_of_the_graph(images, tmp_path, batch):
    model = load_foreign_model(write_brightness_classifier(tmp_path, batch=batch))
    assert (model.labels, model.image_size) == (("normal", "covid19"), 32)
    found = model(images)
    assert (found.shape, found.dtype) == ((37, 2), np.float32)
    np.testing.assert_allclose(found, _expected(images), atol=1e-5)
    np.testing.assert_array_equal(model.predict(images[:0]), np.zeros((0, 2)))


def test_what_does_not_fit_is_one_clear_error(images, tmp_path):
    path = write_brightness_classifier(tmp_path)
    with pytest.raises(DataError, match=r"brightness\.onnx: .*dimension"):
        load_foreign_model(path)(images[:, :, :16])
    write_brightness_classifier(tmp_path, extra="channels = 3\n")
    with pytest.raises(DataError, match=r"channel|dimension"):
        load_foreign_model(path)(images)
    description = path.with_suffix(".toml").read_text()
    path.with_suffix(".toml").write_text(description.replace('"logits"', '"probabilities"'))
    with pytest.raises(ConfigError, match="expected the output 'probabilities', found mean, logits"):
        load_foreign_model(path)
    path.with_suffix(".toml").write_text(description.replace('"logits"', '"mean"').replace("channels = 3", ""))
    with pytest.raises(DataError, match=r"expected an output \[n, 2\], found \[16, 1\]"):
        load_foreign_model(path)(images)
    path.write_bytes(b"no model")
    with pytest.raises(BundleError, match="not a complete ONNX file"):
        load_foreign_model(path)
    path.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        load_foreign_model(path)
    path.with_suffix(".toml").unlink()
    with pytest.raises(ConfigError, match="cannot be read as the description"):
        load_foreign_model(path)
