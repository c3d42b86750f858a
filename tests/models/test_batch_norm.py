"""Folded batch norms: why they must be unfolded before training, and that unfolding changes no answer."""

import os
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from pocketcxr.models.batch_norm import has_folded_batch_norm, unfold_batch_norm
from pocketcxr.models.weights import load_weight_file


def norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.fixture
def images():
    """In float64, so that what is left between folded and unfolded is the algebra and not its rounding."""
    return torch.rand(48, 1, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def trained(images):
    """A network whose batch norms hold real statistics and parameters, as after training."""
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv2_035", num_classes=0, in_chans=1).double()
    for norm in norms(network):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.momentum = None  # a plain average
    network.train()
    with torch.no_grad():
        network(images)
        network(images)
    return network.eval()


def fold(network):
    """What converters do: put the statistics into scale and shift."""
    for norm in norms(network):
        scale = norm.weight.data / (norm.running_var + norm.eps).sqrt()
        norm.bias.data -= norm.running_mean * scale
        # the layer itself divides by sqrt(1 + eps)
        norm.weight.data = scale * (1 + norm.eps) ** 0.5
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
    return network


@torch.no_grad()
def train_mode_answer(network, images):
    network.train()
    answer = network(images)
    network.eval()
    return answer


@torch.no_grad()
def test_unfolding_keeps_the_answers_and_makes_training_mode_agree(trained, images):
    before = trained(images)
    fold(trained)
    assert has_folded_batch_norm(trained)
    folded = trained(images)
    assert torch.allclose(folded, before, atol=1e-8)
    destroyed = train_mode_answer(trained, images)
    for norm in norms(trained):  # that pass in training mode moved them
        norm.running_mean.zero_()
        norm.running_var.fill_(1)

    assert unfold_batch_norm(trained, images, batch_size=20) is True
    assert not has_folded_batch_norm(trained)
    assert torch.allclose(trained(images), folded, atol=1e-8)
    agreeing = train_mode_answer(trained, images)
    assert (agreeing - folded).abs().mean() < 1e-3 * (destroyed - folded).abs().mean()


def test_unfolding_leaves_the_mode_and_no_hooks(trained, images):
    fold(trained)
    trained.train()
    unfold_batch_norm(trained, images)
    assert trained.training
    assert not any(norm._forward_pre_hooks for norm in norms(trained))


def test_a_fresh_network_is_left_alone(images):
    network = timm.create_model("test_resnet.r160_in1k", num_classes=0, in_chans=1).double()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert unfold_batch_norm(network, images) is False
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_network_with_statistics_is_left_alone(trained, images):
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    assert unfold_batch_norm(trained, images) is False
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.state_dict().items())


def test_a_network_without_batch_norm_is_left_alone(images):
    assert unfold_batch_norm(nn.Sequential(nn.Conv2d(1, 2, 3)).double(), images) is False


@torch.no_grad()
def test_the_real_folded_weights_can_be_trained_afterwards(images):
    folder = os.environ.get("POCKETCXR_WEIGHTS", "")
    path = Path(folder) / "mobilenetv2_100.imagenet.safetensors"
    if not folder or not path.is_file():
        pytest.skip("POCKETCXR_WEIGHTS names no folder with mobilenetv2_100.imagenet.safetensors")
    backbone = load_weight_file("mobilenetv2_100", path, image_size=64).double().eval()
    assert has_folded_batch_norm(backbone)
    folded = backbone(images)
    assert unfold_batch_norm(backbone, images)
    assert torch.allclose(backbone(images), folded, atol=1e-8)
    assert (train_mode_answer(backbone, images) - folded).abs().mean() < 1e-3
