"""The line is bounded by its time, and whoever is sent away is told an honest time."""

from __future__ import annotations

import pytest

from pocketcxr.serving.backpressure import LONGEST_RETRY_S, Admission
from pocketcxr.serving.problems import ProblemError
from pocketcxr.serving.settings import Limits


class Pace:
    """What `Admission` asks of a pool."""

    def __init__(self, pace_s, size=2):
        self.pace_s, self.size = pace_s, size


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def fill(admission, most=10_000):
    """Let pictures in until one is sent away; return how many came in and the seconds that it was told."""
    for count in range(most):
        try:
            admission.take(1, 10)
        except ProblemError as problem:
            return count, int(problem.headers["Retry-After"])
    raise AssertionError("nobody was sent away")


@pytest.mark.parametrize(("pace_s", "expected"), [(0.05, 42), (0.5, 6), (1.0, 4), (10, 2)])
def test_a_line_is_as_long_as_its_pace_allows(pace_s, expected, clock):
    """Both workers busy, then as many as start within two seconds, and one more."""
    admission = Admission(Limits(wait_s=2), Pace(pace_s), clock=clock)
    assert fill(admission)[0] == expected
    assert admission.wait_s > 2


def test_the_line_never_exceeds_the_number_of_pictures_and_the_bytes(clock):
    assert fill(Admission(Limits(queue=20), Pace(0.001), clock=clock))[0] == 20
    limits = Limits(file_bytes=10, request_bytes=10, held_bytes=100)
    assert fill(Admission(limits, Pace(0.001), clock=clock))[0] == 10


def test_many_files_of_one_request_wait_for_what_is_before_them_alone(clock):
    admission = Admission(Limits(wait_s=2), Pace(1.0), clock=clock)
    with admission.admit(100) as ticket:
        ticket.take(pictures=15)
        assert admission.pictures == 16
        with pytest.raises(ProblemError, match="busy"), admission.admit(100):
            pass
        assert (admission.pictures, admission.bytes) == (16, 100)
    assert (admission.pictures, admission.bytes) == (0, 0)


def test_those_who_are_sent_away_are_told_times_one_after_the_other(clock):
    admission = Admission(Limits(wait_s=2), Pace(0.25), clock=clock)
    fill(admission)
    told = [fill(admission)[1] for _ in range(40)]
    assert told == sorted(told)
    assert told[0] == 1
    assert 9 <= told[-1] <= 12  # 40 pictures at 4 a second
    assert max(told.count(second) for second in told) <= 5
    clock.now += 60  # nobody came back; what was promised is past
    assert fill(admission)[1] == 1


def test_an_empty_line_ends_what_was_promised_to_clients_that_never_came_back(clock):
    admission = Admission(Limits(wait_s=2), Pace(0.25), clock=clock)
    with admission.admit(1):
        taken, _ = fill(admission)
        assert max(fill(admission)[1] for _ in range(100)) > 20
        admission.pictures -= taken  # all of those were answered
    assert fill(admission)[1] == 1


def test_no_time_is_beyond_the_longest(clock):
    admission = Admission(Limits(wait_s=2), Pace(20), clock=clock)
    assert max(fill(admission)[1] for _ in range(50)) == LONGEST_RETRY_S


def test_bytes_that_do_not_fit_promise_no_place_in_the_line(clock):
    limits = Limits(file_bytes=10, request_bytes=10, held_bytes=100)
    admission = Admission(limits, Pace(1.0, size=1000), clock=clock)
    assert [fill(admission)[1] for _ in range(3)] == [1, 2, 3]
