"""Progress says how much, how fast and how long still, and never waits for the counting."""

from __future__ import annotations

import io
import threading

import pytest

from pocketcxr.inference.progress import Progress, duration


def test_rate_and_time_left_count_this_run_only():
    counted = threading.Event()
    progress = Progress(lambda: counted.set() or 1000, already=400, stream=io.StringIO())
    counted.wait(5)
    for _ in range(100):
        progress.step()
    assert _settled(progress, 10.0) == "500 of 1,000 (50%), 10.0/s, 50 s left"


def test_without_a_total_yet_there_is_a_rate():
    never = threading.Event()
    progress = Progress(lambda: never.wait(60) or 0, stream=io.StringIO())
    for _ in range(20):
        progress.step()
    assert progress.line(2.0) == "20 done, 10.0/s"
    never.set()


def _settled(progress, elapsed_s):
    for _ in range(1000):
        line = progress.line(elapsed_s)
        if " of " in line:
            return line
    return progress.line(elapsed_s)


@pytest.mark.parametrize(
    "seconds, words", [(4.4, "4 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (4680, "1 h 18 min")]
)
def test_durations_are_read_at_a_glance(seconds, words):
    assert duration(seconds) == words


class _Screen(io.StringIO):
    def isatty(self):
        return True


def test_on_a_screen_the_line_comes_back_after_it_was_cleared():
    screen = _Screen()
    progress = Progress(lambda: 10, stream=screen)
    progress.step()
    assert screen.getvalue() == ""  # too early to tell
    progress.clear()
    progress.step()
    assert screen.getvalue().startswith("\r\x1b[K\r2 ")
