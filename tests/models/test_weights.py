"""First weights: summed over RGB, looked for in the right order, and never silently absent."""

import logging
import os
import time

import pytest
import timm
import torch
from safetensors.torch import save_file

from pocketcxr.errors import CheckpointError, ConfigError
from pocketcxr.models.weights import WeightsRecord, hub_file, load_weight_file, prepare_backbone

NAME = "test_resnet.r160_in1k"
SIZE = 32


@pytest.fixture(scope="module")
def rgb():
    """A network with three input channels and a classifier, as published."""
    torch.manual_seed(1)
    return timm.create_model(NAME, num_classes=5, in_chans=3).eval()


@pytest.fixture
def weight_file(rgb, tmp_path):
    path = tmp_path / f"{NAME}.safetensors"
    save_file(rgb.state_dict(), path)
    return path


def assert_same_as_rgb(backbone, rgb):
    images = torch.rand(2, 1, SIZE, SIZE)
    with torch.no_grad():
        wanted = rgb.forward_features(((images - backbone.mean) / backbone.std).expand(-1, 3, -1, -1)).mean(dim=(2, 3))
        assert torch.allclose(backbone.eval()(images), wanted, atol=1e-5)


def test_a_grey_image_gives_what_it_gave_as_three_equal_channels(rgb, weight_file):
    backbone = load_weight_file(NAME, weight_file, image_size=SIZE)
    assert_same_as_rgb(backbone, rgb)


def test_a_pickled_state_dict_is_read_too(rgb, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": rgb.state_dict()}, path)
    backbone, record = prepare_backbone(NAME, str(path), image_size=SIZE)
    assert_same_as_rgb(backbone, rgb)
    assert record == WeightsRecord(NAME, str(path), "weights.pth")


def test_a_file_that_expects_minus_one_to_one_sets_the_normalisation(tmp_path):
    torch.manual_seed(1)
    network = timm.create_model("mobilenetv2_035", num_classes=0)
    path = tmp_path / "mobilenetv2_035.safetensors"
    save_file(network.state_dict(), path)
    usual = load_weight_file("mobilenetv2_035", path, image_size=SIZE)
    assert float(usual.mean) == pytest.approx((0.485 + 0.456 + 0.406) / 3)
    save_file(network.state_dict(), path, {"input": "RGB scaled to [-1, 1]"})
    said = load_weight_file("mobilenetv2_035", path, image_size=SIZE)
    assert (float(said.mean), float(said.std)) == (0.5, 0.5)


def test_pretrained_looks_into_the_folder_of_weights_first(weight_file, monkeypatch):
    monkeypatch.setenv("POCKETCXR_WEIGHTS", str(weight_file.parent))
    _, record = prepare_backbone(NAME, "pretrained", image_size=SIZE)
    assert record.source == weight_file.name


def test_a_longer_name_in_the_folder_is_another_network(rgb, tmp_path, monkeypatch):
    save_file(rgb.state_dict(), tmp_path / "mobilenetv2_0351.safetensors")
    monkeypatch.setenv("POCKETCXR_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    _, record = prepare_backbone("mobilenetv2_035", "pretrained", image_size=SIZE)
    assert record.source == "scratch"


def test_an_unreachable_hub_is_said_in_one_line_and_costs_no_time(monkeypatch, caplog):
    monkeypatch.delenv("POCKETCXR_WEIGHTS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="pocketcxr"):
        _, record = prepare_backbone(NAME, "pretrained", image_size=SIZE)
    assert time.monotonic() - started < 5
    assert record.source == "scratch"
    assert "cannot be reached" in record.detail
    assert [entry.getMessage() for entry in caplog.records] == [
        f"no pretrained weights for {NAME}: {record.detail}; training from scratch"
    ]


def test_a_network_that_timm_has_no_weights_for_is_said():
    assert hub_file("mobilenetv2_035") == (None, "timm knows none")


@pytest.mark.network
def test_the_real_hub_is_asked():
    path, obstacle = hub_file(NAME)
    if path is None and obstacle:
        pytest.skip(f"the hub is out of reach: {obstacle}")
    _, record = prepare_backbone(NAME, "pretrained", image_size=SIZE)
    assert record.source == "hub"


def test_scratch_is_scratch_whatever_is_at_hand(weight_file, monkeypatch):
    monkeypatch.setenv("POCKETCXR_WEIGHTS", str(weight_file.parent))
    _, record = prepare_backbone(NAME, "scratch", image_size=SIZE)
    assert record == WeightsRecord(NAME, "scratch", "scratch")


def test_a_named_file_that_is_absent_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"expected 'scratch', .* or a file, found"):
        prepare_backbone(NAME, str(tmp_path / "absent.pth"), image_size=SIZE)


def test_a_file_of_another_network_is_refused_with_the_tensor_named(weight_file):
    with pytest.raises(CheckpointError, match=r"lacks conv_stem\.weight, which mobilenetv2_035 needs"):
        load_weight_file("mobilenetv2_035", weight_file, image_size=SIZE)


def test_a_file_without_counters_of_batches_gives_the_same_network(rgb, weight_file, tmp_path):
    state = {name: one.contiguous() for name, one in rgb.state_dict().items() if "num_batches_tracked" not in name}
    assert len(state) < len(rgb.state_dict())
    save_file(state, tmp_path / "x.safetensors")
    images = torch.rand(2, 1, SIZE, SIZE)
    found, whole = (
        load_weight_file(NAME, path, image_size=SIZE).eval() for path in (tmp_path / "x.safetensors", weight_file)
    )
    with torch.inference_mode():
        assert torch.equal(found(images), whole(images))


def test_a_tensor_of_another_shape_is_refused(rgb, tmp_path):
    state = dict(rgb.state_dict())
    name = next(name for name, tensor in state.items() if tensor.ndim == 4 and tensor.shape[1] > 3)
    state[name] = state[name][:, :-1].contiguous()
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=f"{name} has shape"):
        load_weight_file(NAME, tmp_path / "x.safetensors", image_size=SIZE)


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"no weights at all")
    with pytest.raises(CheckpointError, match="cannot read weights"):
        load_weight_file(NAME, path, image_size=SIZE)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"state_dict": os.system}, path)
    with pytest.raises(CheckpointError, match="cannot read weights"):
        load_weight_file(NAME, path, image_size=SIZE)
