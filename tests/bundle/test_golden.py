"""Golden vectors pass for the bundle itself and fail for a port that gets something wrong."""

from __future__ import annotations

import dataclasses
import zipfile

import numpy as np
import pytest

from pocketcxr.bundle.golden import (
    LARGEST_GOLDEN,
    check_golden,
    drawn_inputs,
    golden_path,
    network_input,
    read_golden,
    write_golden,
)
from pocketcxr.errors import BundleError
from pocketcxr.inference.session import load_bundle


@pytest.fixture
def bundle(tiny_bundle_path):
    return load_bundle(tiny_bundle_path, threads=1)


@pytest.fixture
def written(bundle, tmp_path):
    path = tmp_path / "tiny.golden.npz"
    write_golden(path, bundle, drawn_inputs(32), sha256=bundle.sha256)
    return path


def test_the_bundle_meets_its_own_golden_vectors(bundle, written):
    golden = read_golden(written)
    assert golden.sha256 == bundle.sha256
    assert golden.inputs.dtype == np.uint8
    assert set(check_golden(bundle, golden).values()) == {0.0}


def test_the_learned_input_filter_is_a_sixth_array_and_must_be_ported_too(tiny_filter_path, bundle, tmp_path):
    filtered = load_bundle(tiny_filter_path, threads=1)
    path = tmp_path / "gated.golden.npz"
    write_golden(path, filtered, drawn_inputs(32), sha256=filtered.sha256)
    golden = read_golden(path)
    assert check_golden(filtered, golden)["input_kind"] == 0
    with pytest.raises(BundleError, match=r"output input_kind: expected shape \[6, 3\], found none"):
        check_golden(bundle, golden)


def test_an_input_filter_that_the_golden_vectors_lack_is_refused(tiny_filter_path, written):
    with pytest.raises(BundleError, match=r"output input_kind: expected shape none, found \[6, 3\]"):
        check_golden(load_bundle(tiny_filter_path, threads=1), read_golden(written))


def test_swapped_axes_are_found(bundle, written):
    def port(images):
        return bundle(np.ascontiguousarray(images.transpose(0, 1, 3, 2)))

    assert check_golden(port, read_golden(written))["saliency"] > 0.1


def test_wrong_scale_is_found(bundle, written):
    differences = check_golden(lambda images: bundle(images * np.float32(0.5)), read_golden(written))
    assert differences["logits"] > 0.1
    assert differences["novelty"] > 0.1


def test_missing_or_misshapen_output_is_refused(bundle, written):
    golden = read_golden(written)
    with pytest.raises(BundleError, match=r"output saliency: expected shape \[6, 2, 4, 4\], found none"):
        check_golden(lambda images: dataclasses.replace(bundle(images), saliency=None), golden)


def test_a_model_without_novelty_cannot_be_written(bundle, tmp_path):
    path = tmp_path / "x.golden.npz"
    with pytest.raises(BundleError, match="gives no novelty"):
        write_golden(
            path, lambda images: dataclasses.replace(bundle(images), novelty=None), drawn_inputs(32), sha256="0"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 broken"])
def test_damaged_vectors_are_refused(tmp_path, content):
    path = tmp_path / "x.golden.npz"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"cannot read golden vectors .*x\.golden\.npz"):
        read_golden(path)


def test_missing_vectors_are_refused(tmp_path):
    with pytest.raises(BundleError, match="cannot read golden vectors"):
        read_golden(tmp_path / "absent.golden.npz")


def test_drawn_inputs_use_the_whole_range_and_differ_along_each_axis():
    inputs = drawn_inputs(64)
    assert inputs.shape == (6, 64, 64)
    assert inputs.min() == 0
    assert inputs.max() == 255
    assert not np.array_equal(inputs[0], inputs[0].T)
    assert not np.array_equal(inputs[5], inputs[5].T)
    images = network_input(inputs)
    assert images.dtype == np.float32
    assert images.shape == (6, 1, 64, 64)
    assert images.max() == 1


def test_vectors_stand_beside_their_bundle(tmp_path):
    assert golden_path(tmp_path / "student.v2.onnx") == tmp_path / "student.v2.golden.npz"


def _rewritten(written, tmp_path, **changes):
    with np.load(written) as arrays:
        table = {**arrays, **changes}
    path = tmp_path / "changed.golden.npz"
    with path.open("wb") as stream:
        np.savez_compressed(stream, **{name: array for name, array in table.items() if array is not None})
    return path


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"inputs": np.zeros((6, 32, 32), np.float32)}, "expected inputs uint8"),
        ({"inputs": np.zeros((6, 32, 31), np.uint8)}, r"found uint8 \[6, 32, 31\]"),
        ({"inputs": np.zeros((0, 32, 32), np.uint8)}, "expected inputs uint8"),
        ({"inputs": np.uint8(3)}, "expected inputs uint8"),
        ({"novelty": np.zeros(5, np.float32)}, r"expected novelty float32 \[6, ...\], found float32 \[5\]"),
        ({"logits": np.array(["a"] * 6)}, "expected logits float32"),
        ({"logits": np.array([None] * 6, dtype=object)}, "Object arrays cannot be loaded"),
        ({"saliency": None}, "saliency"),
        ({"sha256": None}, "sha256"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(written, tmp_path, changes, message):
    with pytest.raises(BundleError, match=message) as caught:
        read_golden(_rewritten(written, tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_a_file_that_unpacks_to_more_than_any_bundle_needs_is_refused_before_it_is_unpacked(written, tmp_path):
    path = tmp_path / "bomb.golden.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("inputs.npy", "w") as stream:
        for _ in range(LARGEST_GOLDEN // 2**24 + 1):
            stream.write(bytes(2**24))
    assert path.stat().st_size < 2**20
    with pytest.raises(BundleError, match="expected at most"):
        read_golden(path)


@pytest.mark.parametrize("share", np.linspace(0.01, 0.99, 60))
def test_a_changed_byte_is_one_line_or_the_same_arrays(written, share):
    data = bytearray(written.read_bytes())
    data[int(share * len(data))] ^= 0xFF
    written.write_bytes(data)
    try:
        outcome = f"{len(read_golden(written).inputs)} inputs"
    except BundleError as error:
        outcome = str(error)
    assert outcome == "6 inputs" or "golden vectors" in outcome
    assert "\n" not in outcome
