"""A bundle loads and scores by its contract, or is refused in one line."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pocketcxr.bundle import format as bundle_format
from pocketcxr.bundle.contract import INPUT_NAME, OUTPUT_NAMES
from pocketcxr.bundle.format import MANIFEST_KEY, seal
from pocketcxr.errors import BundleError, InputError
from pocketcxr.inference.session import load_bundle


def _images(*brightness: float) -> np.ndarray:
    return np.stack([np.full((1, 32, 32), value, dtype=np.float32) for value in brightness])


def _edited(model: bytes, manifest, **changes) -> bytes:
    """Return the tiny model under another manifest, sealed."""
    import onnx

    loaded = onnx.load_from_string(model)
    for entry in loaded.metadata_props:
        if entry.key == MANIFEST_KEY:
            entry.value = dataclasses.replace(manifest, **changes).to_json()
    return seal(loaded.SerializeToString())


def _unsealed(sealed: bytes) -> bytes:
    import onnx

    model = onnx.load_from_string(sealed)
    del model.metadata_props[-1]
    return model.SerializeToString()


def test_outputs_are_those_computed_by_hand(bundle):
    outputs = bundle(_images(0.3, 0.6))
    np.testing.assert_allclose(outputs.logits, [[2, -2], [-1, 1]], atol=1e-5)
    bright = 1 / (1 + np.exp([2, -1]))  # the logits' difference over the temperature of 2
    np.testing.assert_allclose(outputs.probabilities[:, 1], bright, atol=1e-5)
    np.testing.assert_allclose(outputs.embedding, [[0.3, 0.7], [0.6, 0.4]], atol=1e-6)
    np.testing.assert_allclose(outputs.novelty, [0.5, 0.25], atol=1e-5)
    assert outputs.saliency.shape == (2, 2, 4, 4)
    np.testing.assert_allclose(outputs.saliency.mean((2, 3)), outputs.logits, atol=1e-5)


def test_a_large_batch_equals_its_images_one_by_one(bundle):
    images = np.random.default_rng(0).random((37, 1, 32, 32), dtype=np.float32)
    whole = bundle(images)
    for name in OUTPUT_NAMES:
        single = np.concatenate([getattr(bundle(images[i : i + 1]), name) for i in range(37)])
        np.testing.assert_allclose(getattr(whole, name), single, atol=1e-5)


def test_threads_are_those_asked_for_and_never_left_to_the_host(tiny_bundle_path):
    assert load_bundle(tiny_bundle_path, threads=3).session.get_session_options().intra_op_num_threads == 3
    assert 1 <= load_bundle(tiny_bundle_path).session.get_session_options().intra_op_num_threads <= 4


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 1, 32, 32), dtype=np.float64),
        np.zeros((1, 1, 32, 32), dtype=np.uint8),
        np.zeros((1, 3, 32, 32), dtype=np.float32),
        np.zeros((1, 1, 64, 64), dtype=np.float32),
        np.zeros((32, 32), dtype=np.float32),
        [[0.0]],
    ],
)
def test_wrong_shape_or_type_is_refused_with_what_was_expected(bundle, images):
    with pytest.raises(InputError, match=r"expected images float32 \[n, 1, 32, 32\] in \[0, 1\], found"):
        bundle(images)


@pytest.mark.parametrize("value", [255.0, -0.5, np.nan, np.inf])
def test_wrong_range_is_refused(bundle, value):
    images = _images(0.5)
    images[0, 0, 3, 4] = value
    with pytest.raises(InputError, match="found values from"):
        bundle(images)


def test_no_image_is_refused(bundle):
    with pytest.raises(InputError, match="found no image"):
        bundle(np.zeros((0, 1, 32, 32), dtype=np.float32))


def test_absent_file_and_folder_are_refused(tmp_path):
    with pytest.raises(BundleError, match=r"cannot read bundle .*none\.onnx: No such file"):
        load_bundle(tmp_path / "none.onnx")
    with pytest.raises(BundleError, match="cannot read bundle"):
        load_bundle(tmp_path)


def test_no_bundle_in_the_package_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr(bundle_format, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(BundleError, match="brings no trained student") as caught:
        load_bundle()
    assert "\n" not in str(caught.value)


def test_flipped_byte_truncation_and_text_file_are_refused(tiny_bundle_path, tmp_path):
    whole = tiny_bundle_path.read_bytes()
    path = tmp_path / "bad.onnx"
    for data in (whole[:500] + bytes([whole[500] ^ 1]) + whole[501:], whole[:-40], b"hello\n", b""):
        path.write_bytes(data)
        with pytest.raises(BundleError, match=r"bad\.onnx"):
            load_bundle(path)


def test_other_format_version_is_refused(tiny_model, tiny_manifest, tmp_path, monkeypatch):
    path = tmp_path / "new.onnx"
    with monkeypatch.context() as patch:
        patch.setattr(bundle_format, "read_manifest", lambda *_: None)  # what a later version would seal
        path.write_bytes(_edited(tiny_model, tiny_manifest, format_version=4))
    with pytest.raises(BundleError, match="format version 4, expected 2"):
        load_bundle(path)


def test_manifest_of_another_size_or_number_of_classes_is_refused(tiny_model, tiny_manifest, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(
        _edited(tiny_model, tiny_manifest, preprocessing=dataclasses.replace(tiny_manifest.preprocessing, size=224))
    )
    with pytest.raises(BundleError, match="expected the input"):
        load_bundle(path)
    path.write_bytes(_edited(tiny_model, tiny_manifest, labels=("a", "b", "c"), positive="c", operating_points=()))
    with pytest.raises(BundleError, match="output probabilities has 2 classes, the manifest names 3"):
        load_bundle(path)


def test_graph_without_one_of_the_outputs_is_refused(tiny_model, tmp_path):
    import onnx

    model = onnx.load_from_string(tiny_model)
    del model.graph.output[-1]
    path = tmp_path / "four.onnx"
    path.write_bytes(seal(model.SerializeToString()))
    with pytest.raises(BundleError, match="expected outputs"):
        load_bundle(path)


def test_sealed_graph_that_the_runtime_cannot_load_is_one_line(tiny_model, tmp_path, capfd):
    import onnx

    model = onnx.load_from_string(tiny_model)
    model.graph.node[0].op_type = "NoSuchOperator"
    path = tmp_path / "odd.onnx"
    path.write_bytes(seal(model.SerializeToString()))
    with pytest.raises(BundleError, match=r"odd\.onnx: ONNX Runtime .* cannot load it") as caught:
        load_bundle(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_input_filter_is_a_sixth_output_and_none_is_five(bundle, gated):
    assert bundle(_images(0.5)).input_kind is None
    kinds = gated.bundle(_images(0.1, 0.5, 0.9)).input_kind
    assert kinds.argmax(axis=1).tolist() == [1, 0, 2]
    np.testing.assert_allclose(kinds.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(kinds[1], np.exp([6, 0, 0]) / (np.exp(6) + 2), atol=1e-5)


def test_gate_in_the_manifest_but_not_in_the_graph_and_the_reverse_are_refused(
    tiny_model, tiny_manifest, gated, tmp_path
):
    path = tmp_path / "x.onnx"
    path.write_bytes(_edited(tiny_model, tiny_manifest, input_filter=gated.bundle.manifest.input_filter))
    with pytest.raises(BundleError, match=r"expected outputs .*input_kind.*, found"):
        load_bundle(path)
    sealed = gated.bundle.path.read_bytes()
    path.write_bytes(_edited(_unsealed(sealed), tiny_manifest))
    with pytest.raises(BundleError, match="expected outputs"):
        load_bundle(path)


def test_input_filter_with_another_number_of_kinds_is_refused(tiny_manifest, gated, tmp_path):
    input_filter = gated.bundle.manifest.input_filter
    fewer = dataclasses.replace(input_filter, kinds=input_filter.kinds[:2])
    path = tmp_path / "x.onnx"
    path.write_bytes(_edited(_unsealed(gated.bundle.path.read_bytes()), tiny_manifest, input_filter=fewer))
    with pytest.raises(BundleError, match="output input_kind has 3 kinds, the manifest names 2"):
        load_bundle(path)


def test_input_name_is_that_of_the_contract(bundle):
    assert [node.name for node in bundle.session.get_inputs()] == [INPUT_NAME]
