"""A checkpoint gives back the very network that was saved, or says in one line why it cannot."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from pocketcxr.errors import CheckpointError
from pocketcxr.models.checkpoints import checkpoint_sha256, load_network, read_record, save_network
from pocketcxr.models.networks import NetworkSpec, build_network

SPEC = NetworkSpec(kind="student", backbones=("test_resnet.r160_in1k",), labels=("a", "b"), image_size=32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(SPEC).train()


@pytest.fixture
def checkpoint(network, tmp_path):
    path = tmp_path / "folder" / "student.safetensors"
    save_network(path, network, SPEC, {"epoch": 3, "calibration": {"auroc": 0.5}})
    return path


def test_what_is_loaded_is_what_was_saved(network, checkpoint):
    found, spec, record = load_network(checkpoint)
    assert spec == SPEC
    assert record == {"epoch": 3, "calibration": {"auroc": 0.5}}
    assert read_record(checkpoint) == record
    assert not found.training
    state = found.state_dict()
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_the_normalisation_travels_with_the_weights(network, tmp_path):
    other = build_network(SPEC)
    other.backbone.normalise(0.25, 0.75)
    save_network(tmp_path / "x.safetensors", other, SPEC, {})
    found, _, _ = load_network(tmp_path / "x.safetensors")
    assert (float(found.backbone.mean), float(found.backbone.std)) == (0.25, 0.75)


def test_a_truncated_file_is_refused(checkpoint):
    data = checkpoint.read_bytes()
    for length in (0, 5, 400, len(data) - 1):
        checkpoint.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="truncated or no safetensors file"):
            load_network(checkpoint)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nothing\.safetensors"):
        load_network(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="cannot read checkpoint"):
        checkpoint_sha256(tmp_path / "nothing.safetensors")


def test_a_safetensors_file_of_others_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="expected a checkpoint of pocketcxr"):
        load_network(path)
    with pytest.raises(CheckpointError, match="expected a checkpoint of pocketcxr"):
        read_record(path)


def test_weights_of_another_network_than_described_are_refused(network, checkpoint):
    wrong = NetworkSpec(**{**vars(SPEC), "labels": ("a", "b", "c")})
    save_network(checkpoint, network, wrong, {})
    with pytest.raises(CheckpointError, match=r"weights do not fit student test_resnet\.r160_in1k") as caught:
        load_network(checkpoint)
    assert "\n" not in str(caught.value)


def test_a_specification_that_cannot_be_built_is_refused(network, checkpoint):
    tensors = load_file(checkpoint)
    for spec in (
        '{"kind": "student"}',
        "[]",
        "{",
        '{"kind": "student", "backbones": ["nothing"], "labels": [], "image_size": 8}',
    ):
        save_file(tensors, checkpoint, {"pocketcxr.spec": spec, "pocketcxr.record": "{}"})
        with pytest.raises(CheckpointError, match=r"specification cannot be used|expected a checkpoint"):
            load_network(checkpoint)


def test_a_folder_that_cannot_be_written_is_one_line(network, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        save_network(tmp_path / "file" / "x.safetensors", network, SPEC, {})


def test_the_hash_names_the_bytes(checkpoint, network, tmp_path):
    again = tmp_path / "again.safetensors"
    save_network(again, network, SPEC, {"epoch": 3, "calibration": {"auroc": 0.5}})
    assert checkpoint_sha256(again) == checkpoint_sha256(checkpoint)
    save_network(again, network, SPEC, {"epoch": 4})
    assert checkpoint_sha256(again) != checkpoint_sha256(checkpoint)
