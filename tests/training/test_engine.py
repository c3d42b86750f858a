"""Depthwise convolutions in float32 under bf16: the same network, only those layers, more exact and not less."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pocketcxr.training.engine import DepthwiseFloat32, Engine, depthwise_in_float32


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1, groups=2))


def test_only_depthwise_convolutions_change_and_no_weight_does(network):
    before = copy.deepcopy(network.state_dict())
    changed = depthwise_in_float32(network)
    assert [type(module) is DepthwiseFloat32 for module in changed] == [False, True, False]
    after = changed.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_under_bf16_it_computes_in_float32_and_answers_in_bf16(network):
    images = torch.randn(2, 8, 6, 6).bfloat16()
    layer = network[1]
    exact = layer(images.float()).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = layer(images)
        found = depthwise_in_float32(network)[1](images)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact)
    assert (plain.float() - exact.float()).abs().max() > 0  # else this test could not tell the two apart


def test_gradients_reach_its_own_weights_in_a_copy_too(network):
    average = copy.deepcopy(depthwise_in_float32(network))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        average(torch.randn(2, 1, 8, 8)).float().sum().backward()
    assert average[1].weight.grad is not None
    assert average[1].weight.grad.dtype == torch.float32
    assert network[1].weight.grad is None


@pytest.mark.parametrize(("precision", "swapped"), [("fp32", False), ("bf16", True)])
def test_the_engine_asks_for_it_under_bf16_on_a_processor(network, precision, swapped):
    if torch.cuda.is_available():
        pytest.skip("a GPU is there, and trains on it")
    assert isinstance(Engine(precision).ready(network)[1], DepthwiseFloat32) is swapped
