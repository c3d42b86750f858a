"""Very many files: the parent's memory does not grow with them, and kill -9 loses and repeats nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

FILES, DRAWN = 6_000, 4


@pytest.fixture
def many(save_picture, tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(DRAWN):
        save_picture(tmp_path / f"{number}.png", brightness=0.8, shape=(100, 100))
    for number in range(FILES):
        os.link(tmp_path / f"{number % DRAWN}.png", tmp_path / "images" / f"{number}.png")
    return tmp_path / "images"


def _resident_kb(process):
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory where Linux tells it")
def test_memory_stays_constant_and_a_kill_repeats_and_loses_nothing(tiny_bundle_path, many, tmp_path):
    output = tmp_path / "scores.jsonl"
    command = [sys.executable, "-m", "pocketcxr.cli", "predict", str(many), "-o", str(output), "--workers", "2"]
    command += ["--bundle", str(tiny_bundle_path)]
    memory_kb = {}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        for part in (0.1, 0.6):
            while not output.exists() or output.read_bytes().count(b"\n") < part * FILES:
                assert process.poll() is None
                time.sleep(0.05)
            memory_kb[part] = _resident_kb(process.pid)
        process.send_signal(signal.SIGKILL)
    assert memory_kb[0.6] - memory_kb[0.1] < 2_000, memory_kb  # 3,000 predictions take 5,000 and more
    assert output.read_bytes().count(b"\n") < FILES
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    predictions = Counter(json.loads(line)["path"] for line in output.read_text().splitlines())
    assert len(predictions) == FILES
    assert set(predictions.values()) == {1}
