"""Scoring processes may take so much memory more than the model and no more; real processes under the real limit."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketcxr.errors import UnreadableImageError
from pocketcxr.imaging import reading
from pocketcxr.inference.batch import find_images
from pocketcxr.inference.processes.memory import MOST_BYTES
from pocketcxr.inference.processes.pool import PoolOptions, predict_in_processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no other system holds a process to the limit")
MEGABYTE = 2**20
LARGEST_MEASURED = 1226 * MEGABYTE  # docs/results/attacks.md

_PROGRAM = """
import sys
import numpy as np
from pocketcxr.inference.processes.memory import limit_memory
{before}
limit_memory()
try:
    np.empty(int(sys.argv[1]), np.uint8)  # address space only: nothing is written to it
except MemoryError:
    print("refused")
else:
    print("given")
"""


def taking(size, before=""):
    program = _PROGRAM.format(before=before)
    done = subprocess.run([sys.executable, "-c", program, str(size)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_is_allowed_is_given_and_more_is_refused():
    assert taking(MOST_BYTES - 32 * MEGABYTE) == "given"
    assert taking(MOST_BYTES + MEGABYTE) == "refused"


def test_the_largest_pictures_that_are_read_have_room():
    assert 1.2 * LARGEST_MEASURED <= MOST_BYTES < 2 * LARGEST_MEASURED


def test_a_tighter_limit_of_the_machine_stays():
    before = "import resource; resource.setrlimit(resource.RLIMIT_DATA, (10**9, 10**9))"
    assert taking(10**9, before) == "refused"
    assert taking(10**8, before) == "given"


def limit_of(process):
    text = Path(f"/proc/{process.pid}/limits").read_text()
    return int(re.search(r"Max data size +(\d+)", text)[1])


def test_the_processes_of_predict_have_it(tiny_bundle_path, bundle, save_picture, tmp_path):
    paths = [save_picture(tmp_path / "films" / f"{number}.png", brightness=0.8) for number in range(3)]
    answers = predict_in_processes(find_images(paths), PoolOptions(tiny_bundle_path, bundle.identity), workers=1)
    next(answers)
    (worker,) = answers.gi_frame.f_locals["pool"]._workers
    assert MOST_BYTES < limit_of(worker.process) < MOST_BYTES + 2**30
    assert len(list(answers)) == 2


def new_pages_of(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7])  # minflt, proc(5)


def pages_per_picture(path, options):
    answers = predict_in_processes([path] * 30, options, workers=1)
    for _ in range(10):
        next(answers)
    (worker,) = answers.gi_frame.f_locals["pool"]._workers
    before = new_pages_of(worker.process)
    for _ in range(15):
        next(answers)
    after = new_pages_of(worker.process)
    answers.close()
    return (after - before) / 15


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_room_of_an_ordinary_picture_is_used_again(tiny_bundle_path, bundle, tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 256, (95, 95), dtype=np.uint8)
    path = tmp_path / "film.jpg"  # 1.7 MB as red, green and blue, 2.3 MB as float32
    Image.fromarray(values).resize((760, 760)).convert("RGB").save(path)
    options = PoolOptions(tiny_bundle_path, bundle.identity)
    assert pages_per_picture(path, options) < 100
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")  # the user's own setting stays
    assert pages_per_picture(path, options) > 500


def test_a_picture_that_takes_too_much_is_one_error(monkeypatch):
    def greedy(*_):
        raise MemoryError

    monkeypatch.setattr(reading, "_decode", greedy)
    with pytest.raises(UnreadableImageError, match="takes more memory than it may"):
        reading.read_image_bytes(b"x", "film.png")
