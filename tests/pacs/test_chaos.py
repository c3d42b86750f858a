"""Workers and archive are killed at random moments; nothing may be lost, doubled or damaged."""

import pytest

from pacs_chaos import survive

pytestmark = [pytest.mark.pacs, pytest.mark.usefixtures("installed")]


def check(outcome, kills):
    print(outcome)
    assert outcome.kills.total() == kills
    assert outcome.images > 0
    assert (outcome.lost, outcome.doubled, outcome.damaged) == ([], [], [])


def test_a_few_kills_lose_and_double_nothing(tiny_bundle_path, tmp_path):
    outcome = survive(tmp_path, tiny_bundle_path, kills=6, seed=1, pause_s=(0.5, 4.0), arrival_s=1.0)
    check(outcome, 6)


@pytest.mark.slow
def test_three_hundred_kills_lose_and_double_nothing(tiny_bundle_path, tmp_path):
    check(survive(tmp_path, tiny_bundle_path, kills=300, seed=2, pause_s=(1, 14), arrival_s=12), 300)
