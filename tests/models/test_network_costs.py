import pytest
import torch
from torch import nn

from pocketcxr.evaluation.costs import measure_peak_memory
from pocketcxr.models.checkpoints import save_network
from pocketcxr.models.costs import CHECKPOINT_PROGRAM, network_costs
from pocketcxr.models.networks import NetworkSpec, build_network


def test_parameters_and_macs_by_hand():
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),  # 72 weights, 72 * 16 * 16 MACs
        nn.BatchNorm2d(8),  # 16 parameters, not counted as MACs
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False),  # depthwise: 72 weights, 72 * 8 * 8 MACs
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),  # 27 parameters, 24 MACs
    )
    found = network_costs(network, image_size=16)
    assert found.parameters == 72 + 16 + 72 + 27
    assert found.macs == 72 * 256 + 72 * 64 + 24


def test_counting_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network_costs(network, image_size=8)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.slow
def test_peak_memory_of_a_checkpoint_is_measured_in_a_fresh_process(tmp_path):
    spec = NetworkSpec("student", ("mobilenetv2_035",), ("negative", "typical"), image_size=64)
    save_network(tmp_path / "model.safetensors", build_network(spec), spec, {})
    with_network = measure_peak_memory(CHECKPOINT_PROGRAM, [str(tmp_path / "model.safetensors")])
    assert with_network > measure_peak_memory("import torch")
