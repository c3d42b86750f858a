"""Frozen early blocks of a backbone, and plain VGG19 from the weights it is shipped with."""

import copy
import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch.nn import functional

from pocketcxr.errors import ConfigError
from pocketcxr.models.backbones import blocks_of, build_backbone, build_trunk
from pocketcxr.models.weights import prepare_backbone
from pocketcxr.training.config import StudentConfig
from pocketcxr.training.optimisation import make_optimiser

SIZE = 32
BLOCKS = {"vgg11_bn": 5, "resnetv2_50": 4, "mobilenetv2_035": 7, "test_resnet.r160_in1k": 4}


@pytest.mark.parametrize(("name", "number"), BLOCKS.items())
def test_the_blocks_of_the_three_families_are_counted(name, number):
    assert len(blocks_of(build_trunk(name, image_size=SIZE))) == number


def test_a_network_of_another_make_has_no_blocks_to_freeze():
    with pytest.raises(ConfigError, match="frozen_blocks: expected at most 0, the blocks of test_vit"):
        build_backbone("test_vit.r160_in1k", image_size=160).freeze(1)


@pytest.mark.parametrize(("name", "number"), BLOCKS.items())
def test_too_many_blocks_are_refused_with_the_number_there_is(name, number):
    with pytest.raises(ConfigError, match=rf"expected at most {number}, the blocks of {name}, found {number + 1}"):
        build_backbone(name, image_size=SIZE).freeze(number + 1)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_step_leaves_frozen_blocks_exactly_as_they_were_and_moves_the_rest(name):
    torch.manual_seed(0)
    backbone = build_backbone(name, image_size=SIZE)
    backbone.freeze(2)
    before = copy.deepcopy(backbone.state_dict())
    modules = [module for block in blocks_of(backbone.trunk)[:2] for module in block]
    early = {id(value) for module in modules for value in module.state_dict(keep_vars=True).values()}
    assert early
    optimiser = make_optimiser(backbone, StudentConfig(learning_rate=0.1))
    assert not early & {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    backbone.train()
    backbone(torch.rand(4, 1, SIZE, SIZE)).square().sum().backward()
    optimiser.step()
    after = backbone.state_dict(keep_vars=True)
    for key, value in after.items():
        if id(value) in early:
            assert torch.equal(value, before[key]), key
            assert value.grad is None, key
    moved = [key for key, value in after.items() if id(value) not in early and not torch.equal(value, before[key])]
    assert any("running_mean" in key for key in moved) or not any("running_mean" in key for key in before)
    assert any(key.endswith("weight") for key in moved)


def test_frozen_blocks_keep_no_activations_for_the_backward_pass():
    def kept(blocks):
        backbone = build_backbone("vgg11_bn", image_size=SIZE)
        backbone.freeze(blocks)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()), lambda _: None):
            backbone.train()(torch.rand(2, 1, SIZE, SIZE))
        return sum(sizes)

    weights_of_the_rest = kept(5)
    assert weights_of_the_rest == 0
    assert kept(0) > kept(2) > 0


def vgg19_file():
    path = Path(os.environ.get("POCKETCXR_WEIGHTS", "nowhere")) / "vgg19.imagenet.safetensors"
    if not path.is_file():
        pytest.skip("POCKETCXR_WEIGHTS names no folder with vgg19.imagenet.safetensors")
    return path


def test_plain_vgg19_answers_as_its_published_weights_do_on_minus_one_to_one():
    """By another route: the convolutions written out, in RGB, on the image scaled to [-1, 1]."""
    state = {key: tensor.float() for key, tensor in load_file(vgg19_file()).items()}
    backbone, record = prepare_backbone("vgg19", "pretrained", image_size=64)
    assert record.source == "vgg19.imagenet.safetensors"
    assert (float(backbone.mean), float(backbone.std)) == (0.5, 0.5)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 20_024_384 - 2 * 64 * 9
    images = torch.rand(2, 1, 64, 64)
    maps = (2 * images - 1).expand(-1, 3, -1, -1)
    for number, layer in enumerate(timm.create_model("vgg19", mlp_ratio=0.001).features):
        if isinstance(layer, torch.nn.Conv2d):
            maps = functional.conv2d(
                maps, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1
            ).relu()
        elif isinstance(layer, torch.nn.MaxPool2d):
            maps = functional.max_pool2d(maps, 2)
    with torch.no_grad():
        assert torch.allclose(backbone.eval()(images), maps.mean(dim=(2, 3)), rtol=1e-3, atol=1e-4)
    assert float(maps.std()) > 0.01
