"""The arithmetic of a step, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import nn

from pocketcxr.training.config import OptimisationConfig
from pocketcxr.training.optimisation import learning_rate, make_optimiser, seed_step, update_average

CONFIG = OptimisationConfig(epochs=5, learning_rate=0.1, warmup_epochs=1.0, weight_decay=0.3)


def rates(config=CONFIG, steps_per_epoch=10):
    total = config.epochs * steps_per_epoch
    return [learning_rate(step, config=config, steps_per_epoch=steps_per_epoch) for step in range(total)]


def test_the_rate_warms_up_and_falls_along_half_a_cosine():
    found = rates()
    assert found[0] == pytest.approx(0.1 / 11)
    assert found[9] == pytest.approx(0.1 * 10 / 11)
    assert found[10] == pytest.approx(0.1)
    assert found[30] == pytest.approx(0.05)  # half way between steps 10 and 50
    assert found[49] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 39 / 40)))
    assert found[10:] == sorted(found[10:], reverse=True)
    assert min(found) > 0


def test_a_run_of_one_step_has_a_rate():
    config = OptimisationConfig(epochs=1, learning_rate=0.1, warmup_epochs=3.0)
    assert rates(config, 1) == [pytest.approx(0.1)]


def test_decay_acts_on_matrices_only_and_frozen_parameters_are_left_out():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 5), nn.Linear(5, 6))
    network[3].requires_grad_(requires_grad=False)
    decayed, free = make_optimiser(network, CONFIG).param_groups
    assert decayed["weight_decay"] == 0.3
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 1, 3, 3), (5, 4)]
    assert free["weight_decay"] == 0.0
    assert [tuple(p.shape) for p in free["params"]] == [(2,), (2,), (2,), (5,)]


def test_the_average_starts_fast_and_takes_in_batch_norm():
    ours, theirs = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    theirs.running_mean.fill_(1.0)
    theirs.num_batches_tracked.fill_(7)
    update_average(ours, theirs, step=0, decay=0.99)  # (1 + 0) / (10 + 0) of the old is kept
    assert ours.running_mean.tolist() == pytest.approx([0.9, 0.9])
    assert int(ours.num_batches_tracked) == 7
    update_average(ours, theirs, step=10_000, decay=0.99)
    assert ours.running_mean.tolist() == pytest.approx([0.901, 0.901])


def test_without_averaging_the_average_is_the_network():
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    update_average(ours, theirs, step=5, decay=0.0)
    assert torch.equal(ours.weight, theirs.weight)


def test_a_step_has_its_own_random_numbers_which_replay():
    def draw(*numbers):
        seed_step(*numbers)
        return torch.rand(3).tolist()

    assert draw(0, 5) == draw(0, 5)
    assert len({tuple(draw(*numbers)) for numbers in [(0, 5), (0, 6), (1, 5)]}) == 3
