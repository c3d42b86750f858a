"""The queue is limited by its waiting time; refused clients get a realistic `Retry-After`."""

from __future__ import annotations

import pytest

from pocketcxr.serving.api.problems import ProblemError
from pocketcxr.serving.backpressure import LONGEST_RETRY_S, Backpressure
from pocketcxr.serving.settings import Limits


class Pace:
    """What `Backpressure` asks of a pool."""

    def __init__(self, pace_s, size=2):
        self.pace_s, self.size = pace_s, size


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def fill(backpressure, most=10_000):
    """Let pictures in until one is sent away; return how many came in and the seconds that it was told."""
    for count in range(most):
        try:
            backpressure.take(1, 10)
        except ProblemError as problem:
            return count, int(problem.headers["Retry-After"])
    raise AssertionError("nobody was sent away")


@pytest.mark.parametrize(("pace_s", "expected"), [(0.05, 42), (0.5, 6), (1.0, 4), (10, 2)])
def test_a_line_is_as_long_as_its_pace_allows(pace_s, expected, clock):
    """Both workers busy, then as many as start within two seconds, and one more."""
    backpressure = Backpressure(Limits(wait_s=2), Pace(pace_s), clock=clock)
    assert fill(backpressure)[0] == expected
    assert backpressure.wait_s > 2


def test_the_line_never_exceeds_the_number_of_pictures_and_the_bytes(clock):
    assert fill(Backpressure(Limits(queue=20), Pace(0.001), clock=clock))[0] == 20
    limits = Limits(file_bytes=10, request_bytes=10, held_bytes=100)
    assert fill(Backpressure(limits, Pace(0.001), clock=clock))[0] == 10


def test_many_files_of_one_request_wait_for_what_is_before_them_alone(clock):
    backpressure = Backpressure(Limits(wait_s=2), Pace(1.0), clock=clock)
    with backpressure.admit() as ticket:
        assert (backpressure.pictures, backpressure.bytes) == (0, 0)  # nothing has arrived
        ticket.take(size=100)
        ticket.take(pictures=16)
        assert backpressure.pictures == 16
        with pytest.raises(ProblemError, match="busy"), backpressure.admit():
            pass
        assert (backpressure.pictures, backpressure.bytes) == (16, 100)
    assert (backpressure.pictures, backpressure.bytes) == (0, 0)


def test_those_who_are_sent_away_are_told_times_one_after_the_other(clock):
    backpressure = Backpressure(Limits(wait_s=2), Pace(0.25), clock=clock)
    fill(backpressure)
    told = [fill(backpressure)[1] for _ in range(40)]
    assert told == sorted(told)
    assert told[0] == 1
    assert 9 <= told[-1] <= 12  # 40 pictures at 4 a second
    assert max(told.count(second) for second in told) <= 5
    clock.now += 60  # nobody came back; what was promised is past
    assert fill(backpressure)[1] == 1


def test_an_empty_line_ends_what_was_promised_to_clients_that_never_came_back(clock):
    backpressure = Backpressure(Limits(wait_s=2), Pace(0.25), clock=clock)
    with backpressure.admit():
        taken, _ = fill(backpressure)
        assert max(fill(backpressure)[1] for _ in range(100)) > 20
        backpressure.pictures -= taken  # all of those were answered
    assert fill(backpressure)[1] == 1


def test_no_time_is_beyond_the_longest(clock):
    backpressure = Backpressure(Limits(wait_s=2), Pace(20), clock=clock)
    assert max(fill(backpressure)[1] for _ in range(50)) == LONGEST_RETRY_S


def test_bytes_that_do_not_fit_promise_no_place_in_the_line(clock):
    limits = Limits(file_bytes=10, request_bytes=10, held_bytes=100)
    backpressure = Backpressure(limits, Pace(1.0, size=1000), clock=clock)
    assert [fill(backpressure)[1] for _ in range(3)] == [1, 2, 3]
