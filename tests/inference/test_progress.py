"""Progress says how much, how fast and how long still, and never waits for the counting."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace

import pytest

from pocketcxr.inference.writers import progress as progress_module
from pocketcxr.inference.writers.progress import Progress, duration


def test_rate_and_time_left_count_this_run_only():
    counted = threading.Event()
    progress = Progress(lambda: counted.set() or 1000, already=400, stream=io.StringIO())
    counted.wait(5)
    for _ in range(101):  # the rate counts from the first prediction
        progress.step()
    assert _settled(progress, 10.0) == "501 of 1,000 (50%), 10.0/s, 50 s left"


def test_without_a_total_yet_there_is_a_rate():
    never = threading.Event()
    progress = Progress(lambda: never.wait(60) or 0, stream=io.StringIO())
    progress.step()
    assert progress.line(2.0) == "1 done"  # no rate from one prediction
    for _ in range(20):
        progress.step()
    assert progress.line(2.0) == "21 done, 10.0/s"
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


@pytest.mark.parametrize("already, words", [(0, "3 scored in 0 s\n"), (40, "3 scored in 0 s, 40 had been before\n")])
def test_the_end_says_what_this_run_did(already, words):
    log = io.StringIO()
    progress = Progress(lambda: 43, already=already, stream=log)
    for _ in range(3):
        progress.step()
    progress.end()
    assert log.getvalue() == words


def test_nothing_done_is_nothing_said():
    log = io.StringIO()
    Progress(lambda: 0, stream=log).end()
    assert log.getvalue() == ""


def test_a_log_gets_ever_fewer_lines(monkeypatch):
    now, log = SimpleNamespace(s=0.0), io.StringIO()
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: now.s))
    progress = Progress(lambda: 10**6, stream=log)
    for _ in range(3600):  # ten hours
        now.s += 10
        progress.step()
    lines = log.getvalue().splitlines()
    assert 60 < len(lines) < 130
    assert lines[0].startswith("3 ")
