"""A long loop leaves few lines in a log and draws a bar on a screen."""

from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace

import pytest

from pocketcxr import progress
from pocketcxr.progress import Bar


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def run(bar, clock, *, steps, seconds):
    with bar:
        for _ in range(steps):
            clock.s += seconds
            bar.update()
            bar.refresh()


def test_a_file_gets_a_line_a_minute_at_first_then_ever_fewer_and_no_bar(clock, caplog, monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        run(Bar(total=1_200, desc="teacher", unit="image"), clock, steps=1_200, seconds=30)
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "teacher: 2 of 1,200 images, 0.0/s, 9:59:00 left"
    assert told[1].startswith("teacher: 4 of")
    assert 60 < len(told) < 120
    assert file.getvalue() == ""


def test_a_short_loop_and_a_silenced_one_leave_no_line(clock, caplog, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        run(Bar(total=59, desc="index", unit="image"), clock, steps=59, seconds=1)
        run(Bar(total=900, desc="index", unit="image", disable=True), clock, steps=900, seconds=1)
    assert not caplog.records


def test_a_bar_that_goes_on_counts_its_rate_from_where_it_began_and_one_without_a_total_has_none(clock, caplog):
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        run(Bar(total=1000, initial=900, desc="views", unit="image"), clock, steps=60, seconds=1)
        run(Bar(desc="search", unit="recipe"), clock, steps=60, seconds=1)
    assert [record.getMessage() for record in caplog.records] == [
        "views: 960 of 1,000 images, 1.0/s, 00:40 left",
        "search: 60 recipes",
    ]


def test_a_screen_gets_the_bar_itself(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    assert list(Bar(range(3), desc="decode", unit="image")) == [0, 1, 2]
    assert "decode: 100%" in screen.getvalue()
