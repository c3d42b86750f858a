"""Workers and archive are killed at random moments; nothing may be lost, doubled or damaged."""

import pytest

from pacs_chaos import survive

pytestmark = [pytest.mark.pacs, pytest.mark.usefixtures("installed")]


YEAR_S = 365 * 86400.0


def check(outcome, kills):
    print(outcome)
    assert outcome.kills.total() == kills
    assert outcome.images > 0
    assert (outcome.ended_alone, outcome.lost, outcome.doubled, outcome.damaged) == (0, [], [], [])


def test_a_few_kills_and_clock_steps_lose_and_double_nothing(tiny_bundle_path, tmp_path):
    outcome = survive(tmp_path, tiny_bundle_path, kills=6, seed=1, pause_s=(0.5, 4.0), arrival_s=1.0, steps_s=YEAR_S)
    check(outcome, 6)
    assert outcome.clock_steps == 6


@pytest.mark.slow
def test_three_hundred_kills_lose_and_double_nothing(tiny_bundle_path, tmp_path):
    given = {"pause_s": (1, 14), "arrival_s": 12, "steps_s": YEAR_S}
    check(survive(tmp_path, tiny_bundle_path, kills=300, seed=2, **given), 300)
