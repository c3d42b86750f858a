"""A bundle is whole, or it is refused in one line."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketcxr.bundle import format as bundle_format
from pocketcxr.bundle.format import (
    MANIFEST_KEY,
    SHA256_KEY,
    default_bundle_path,
    read_bundle,
    read_manifest,
    seal,
    sha256_of,
    verify,
    with_calibration,
)
from pocketcxr.bundle.manifest import InputFilter
from pocketcxr.errors import BundleError


def _model(metadata: dict[str, str]) -> bytes:
    """Write a ModelProto by hand: ir_version 10, then metadata_props; long values need a two-byte length."""

    def field(number: int, content: bytes) -> bytes:
        length = len(content)
        head = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
        return bytes([number << 3 | 2]) + head + content

    entries = (field(1, key.encode()) + field(2, value.encode()) for key, value in metadata.items())
    return b"\x08\x0a" + b"".join(field(14, entry) for entry in entries)


@pytest.fixture(scope="module")
def model(tiny_manifest) -> bytes:
    return _model({"other": "entry", MANIFEST_KEY: tiny_manifest.to_json()})


def test_seal_appends_the_hash_of_all_bytes_before_it(model):
    sealed = seal(model)
    assert sealed.startswith(model)
    assert sha256_of(sealed, "x") == hashlib.sha256(model).hexdigest()


def test_manifest_comes_back_unchanged(model, tiny_manifest):
    assert read_manifest(seal(model), "x") == tiny_manifest


def test_sealed_file_is_still_an_onnx_model_to_the_onnx_package(tiny_model):
    onnx = pytest.importorskip("onnx")
    loaded = onnx.load_from_string(seal(tiny_model))
    onnx.checker.check_model(loaded)
    assert {entry.key for entry in loaded.metadata_props} == {MANIFEST_KEY, SHA256_KEY}


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    for path in (tmp_path / "absent.onnx", tmp_path):
        with pytest.raises(BundleError, match=r"cannot read bundle .*: .*; give the \.onnx file of a bundle"):
            read_bundle(path)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_noticed(model, data):
    sealed = bytearray(seal(model))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BundleError):
        verify(bytes(sealed), "flipped.onnx")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_truncation_is_noticed(model, data):
    sealed = seal(model)
    with pytest.raises(BundleError):
        verify(sealed[: data.draw(st.integers(0, len(sealed) - 1))], "cut.onnx")


@pytest.mark.parametrize("extra", [b"\n", b"\x08\x0a", b"more"])
def test_bytes_after_the_seal_are_noticed(model, extra):
    with pytest.raises(BundleError):
        verify(seal(model) + extra, "longer.onnx")


def test_changed_model_with_a_whole_structure_is_named_as_changed(model):
    sealed = seal(model).replace(b"CC0-1.0", b"MIT-1.0")
    with pytest.raises(BundleError, match=r"swap\.onnx: the bundle was changed after it was sealed"):
        verify(sealed, "swap.onnx")


def test_cut_file_is_named_as_incomplete(model):
    with pytest.raises(BundleError, match=r"cut\.onnx: not a complete ONNX file"):
        verify(seal(model)[:-3], "cut.onnx")


def test_unsealed_model_is_refused(model):
    with pytest.raises(BundleError, match="changed after it was sealed"):
        verify(model, "unsealed.onnx")


def test_onnx_without_a_manifest_is_no_bundle():
    with pytest.raises(BundleError, match=r"resnet\.onnx: an ONNX model, but no pocketcxr bundle"):
        verify(_model({"author": "someone"}), "resnet.onnx")


@pytest.mark.parametrize("data", [b"", b"just some text\n", b"\x89PNG\r\n\x1a\n", b"\x00" * 500, b"\xff" * 50])
def test_other_files_are_not_onnx(data):
    with pytest.raises(BundleError, match="not a complete ONNX file"):
        verify(data, "notes.txt")


def test_other_format_version_is_refused_with_both_numbers(tiny_manifest):
    newer = dataclasses.replace(tiny_manifest, format_version=99)
    with pytest.raises(BundleError, match=r"new\.onnx: bundle has format version 99, expected 2"):
        read_manifest(_model({MANIFEST_KEY: newer.to_json()}), "new.onnx")


def test_version_1_is_read_as_a_bundle_without_a_learned_input_filter(tiny_manifest):
    table = json.loads(tiny_manifest.to_json())
    del table["input_gate"]  # a field that version 1 did not have
    table["format_version"] = 1
    old = read_manifest(_model({MANIFEST_KEY: json.dumps(table)}), "old.onnx")
    assert (old.format_version, old.input_filter) == (1, None)
    assert dataclasses.replace(old, format_version=2) == tiny_manifest


def test_learned_input_filter_comes_back_unchanged(tiny_manifest):
    learned = InputFilter(("frontal", "ct"), "frontal", 0.25, {"ct": "a CT slice"})
    filtered = dataclasses.replace(tiny_manifest, input_filter=learned)
    text = filtered.to_json()
    assert "input_gate" in json.loads(text)  # the key of the file format, whatever the attribute is called
    assert read_manifest(_model({MANIFEST_KEY: text}), "x") == filtered


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"accept": "knee"}, "with 'knee' among them"),
        ({"kinds": ["frontal"]}, "two or more"),
        ({"threshold": 1.0}, "between 0 and 1, found 1.0"),
        ({"words": {}}, r"none for \['ct'\]"),
        ({"colour": "red"}, "cannot be read"),
    ],
)
def test_learned_input_filter_that_contradicts_itself_is_refused(tiny_manifest, changes, message):
    table = json.loads(tiny_manifest.to_json())
    learned = {"kinds": ["frontal", "ct"], "accept": "frontal", "threshold": 0.5, "words": {"ct": "a CT slice"}}
    table["input_gate"] = learned | changes
    with pytest.raises(BundleError, match=message):
        read_manifest(_model({MANIFEST_KEY: json.dumps(table)}), "x.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": 1}', '{"format_version": 1, "labels": 3}'])
def test_manifest_that_cannot_be_read_is_refused(text):
    with pytest.raises(BundleError):
        read_manifest(_model({MANIFEST_KEY: text}), "odd.onnx")


def test_seal_refuses_a_model_without_manifest_or_sealed_already(model):
    with pytest.raises(BundleError):
        seal(_model({"author": "someone"}))
    with pytest.raises(BundleError, match="sealed already"):
        seal(seal(model))


def test_absent_default_bundle_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(bundle_format, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(BundleError, match="--bundle FILE"):
        default_bundle_path()


def test_default_bundle_is_the_one_file_and_two_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(bundle_format, "WEIGHTS_FOLDER", tmp_path)
    (tmp_path / "student.onnx").touch()
    (tmp_path / "student.golden.npz").touch()
    assert default_bundle_path() == tmp_path / "student.onnx"
    (tmp_path / "teacher.onnx").touch()
    with pytest.raises(BundleError, match=r"student\.onnx, teacher\.onnx"):
        default_bundle_path()


def test_a_new_calibration_changes_the_manifest_and_the_temperature_and_no_other_byte(tiny_model, tiny_manifest):
    onnx = pytest.importorskip("onnx")
    limits = ("x" * 20_000,)  # a length of three bytes
    manifest = dataclasses.replace(tiny_manifest, temperature=3.5, limits=limits)
    changed = with_calibration(seal(tiny_model), manifest, "x")
    assert read_manifest(changed, "x") == manifest
    assert changed == with_calibration(with_calibration(seal(tiny_model), tiny_manifest, "x"), manifest, "x")
    before, after = onnx.load_from_string(seal(tiny_model)), onnx.load_from_string(changed)
    onnx.checker.check_model(after)
    constants = {one.name: one for one in after.graph.initializer}
    assert onnx.numpy_helper.to_array(constants["pocketcxr.temperature"]).tolist() == [3.5]
    for one in before.graph.initializer:
        if one.name == "pocketcxr.temperature":
            one.CopyFrom(constants[one.name])
    del before.metadata_props[:], after.metadata_props[:]
    assert before.SerializeToString(deterministic=True) == after.SerializeToString(deterministic=True)


def test_a_model_without_our_temperature_is_refused(model, tiny_manifest):
    with pytest.raises(BundleError, match="expected 1 float32"):
        with_calibration(seal(model), tiny_manifest, "x")
