"""A stop signal ends a stage whose step does not end, and leaves one alone that ends in time."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_ENDLESS = """
import logging, os, signal, threading
from pocketcxr.training.run.interruption import stop_requests
logging.basicConfig(format="%(message)s")
with stop_requests():
    os.kill(os.getpid(), NUMBER)
    threading.Event().wait()
"""

_LEAVES = """
import logging, os, signal
from pocketcxr.training.run import interruption
logging.basicConfig(format="%(message)s")
interruption.GRACE_S = 60  # more than a busy machine takes to get from here to the end
try:
    with interruption.stop_requests() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        timer = request._timer
        print("waits", timer.is_alive(), flush=True)
        request.leave("all is saved")
finally:
    timer.join(50)
    print("cancelled", timer.finished.is_set(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_step_that_does_not_end_is_cut_off(number):
    program = _ENDLESS.replace("NUMBER", str(int(number)))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 128 + number
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"stopped by {number.name} in the middle of a step")
    assert "the same command goes on from the last saved state" in line


def test_a_stage_that_leaves_in_time_is_not_cut_off_later():
    done = subprocess.run([sys.executable, "-c", _LEAVES], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (143, "waits True\ncancelled True\n")
    assert done.stderr.splitlines() == ["stopped by SIGTERM; all is saved"]
