"""A narrow MobileNetV2 out of a wide one: channels that do nothing go, and the network stays what it was."""

import pytest
import torch
from safetensors.torch import save_file

from pocketcxr.errors import CheckpointError
from pocketcxr.models.backbones import build_backbone
from pocketcxr.models.weights import load_weight_file
from pocketcxr.models.width_pruning import is_wider, prune_width

WIDE, NARROW, SIZE = "mobilenetv2_100", "mobilenetv2_050", 32


def make_wide(seed=0):
    torch.manual_seed(seed)
    backbone = build_backbone(WIDE, image_size=SIZE)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
    return backbone.eval()


@torch.no_grad()
def silence(wide, narrow):
    """Make as many channels silent as the narrow network lacks, at random: scale and shift 0 wherever they end."""
    kept = {}

    def silent(place, norm):
        if place not in kept:
            width = narrow.get_submodule(norm).num_features
            kept[place] = torch.randperm(wide.get_submodule(norm).num_features)[:width]
        mask = torch.zeros(wide.get_submodule(norm).num_features)
        mask[kept[place]] = 1
        wide.get_submodule(norm).weight.mul_(mask)
        wide.get_submodule(norm).bias.mul_(mask)

    for stage, blocks in enumerate(wide.blocks):
        for number in range(len(blocks)):
            block = f"blocks.{stage}.{number}"
            first = stage == 0
            silent(f"inside {block}", f"{block}.bn1" if first else f"{block}.bn2")
            silent(f"stream {stage}", f"{block}.bn2" if first else f"{block}.bn3")


@pytest.mark.parametrize("narrow_name", [NARROW, "mobilenetv2_035"])
def test_a_network_whose_other_channels_are_silent_stays_the_same_function(narrow_name):
    wide, narrow = make_wide(), build_backbone(narrow_name, image_size=SIZE).eval()
    silence(wide.trunk, narrow.trunk)
    narrow.trunk.load_state_dict(prune_width(wide.trunk.state_dict(), narrow.trunk.state_dict()))
    images = torch.rand(3, 1, SIZE, SIZE)
    with torch.no_grad():
        wanted = wide(images)
        assert wanted.std() > 0.01
        assert torch.allclose(narrow(images), wanted, atol=1e-4)


def test_a_file_of_a_wider_network_starts_a_narrow_one(tmp_path, caplog):
    path = tmp_path / "wide.safetensors"
    save_file(make_wide().trunk.state_dict(), path)
    with caplog.at_level("INFO"):
        backbone = load_weight_file(NARROW, path, image_size=SIZE)
    assert "strongest channels of the wider network in wide.safetensors" in caplog.text
    assert backbone.features == 1280


def test_a_narrower_network_does_not_start_a_wide_one(tmp_path):
    path = tmp_path / "narrow.safetensors"
    save_file(build_backbone(NARROW, image_size=SIZE).trunk.state_dict(), path)
    with pytest.raises(CheckpointError, match="has shape"):
        load_weight_file(WIDE, path, image_size=SIZE)


def test_folded_batch_norms_are_refused(tmp_path):
    path = tmp_path / "fresh.safetensors"
    save_file(build_backbone(WIDE, image_size=SIZE).trunk.state_dict(), path)  # statistics 0 and 1, as folded ones
    with pytest.raises(CheckpointError, match="train the wide one first"):
        load_weight_file(NARROW, path, image_size=SIZE)


def test_the_same_network_is_not_wider():
    state = make_wide().trunk.state_dict()
    assert not is_wider(state, state)
