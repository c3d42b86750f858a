"""A stop signal ends a stage whose step does not end, and leaves one alone that ends in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from pocketcxr.training.run import interruption
from pocketcxr.training.run.interruption import stop_requests

_ENDLESS = """
import logging, os, signal, threading
from pocketcxr.training.run.interruption import stop_requests
logging.basicConfig(format="%(message)s")
with stop_requests():
    os.kill(os.getpid(), NUMBER)
    threading.Event().wait()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_step_that_does_not_end_is_cut_off(number):
    program = _ENDLESS.replace("NUMBER", str(int(number)))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 128 + number
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"stopped by {number.name} in the middle of a step")
    assert "the same command goes on from the last saved state" in line


def test_a_stage_that_leaves_in_time_is_not_cut_off_later(monkeypatch):
    monkeypatch.setattr(interruption, "GRACE_S", 30)  # this very process would be ended on a busy machine
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        timer = request._timer
        assert timer.is_alive()
        with pytest.raises(SystemExit) as stop:
            request.leave("all is saved")
    assert stop.value.code == 143
    timer.join(60)
    assert timer.finished.is_set()  # cancelled: else this process would be gone
