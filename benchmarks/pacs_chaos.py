"""Kills workers and archive at random moments while images arrive, then counts what was lost and what was doubled.

``python -m pytest -m slow tests/pacs/test_chaos.py`` runs it with 300 kills.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

import pydicom
import requests

from pacs_archive import Orthanc, settings_file, worker_command, xray
from pocketcxr.bundle.verified import read_verified
from pocketcxr.pacs.results.identity import CAPTURE, KINDS, MAP, REPORT, result_uid

if TYPE_CHECKING:
    from pathlib import Path

LONG_PAUSE_SHARE, LONG_PAUSE_S = 0.05, 8.0
_PASSES = 20
_CLOCK = """
import datetime, os, time
true = time.time
def stepped():
    with open(os.environ["CLOCK"]) as file:
        return true() + float(file.read())
class Stepped(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(stepped(), tz)
time.time, datetime.datetime = stepped, Stepped
"""


@dataclass
class Outcome:
    """What was done, and what is wrong: workers that `ended_alone`, `lost` and `doubled` objects, `damaged` files."""

    kills: Counter = field(default_factory=Counter)
    clock_steps: int = 0
    ended_alone: int = 0
    images: int = 0
    stored_before_end: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    seconds: float = 0.0


class _Sender(threading.Thread):
    """A modality: sends one image after another, again where the archive did not acknowledge it."""

    def __init__(self, archive: Orthanc, folder: Path, pause_s: float) -> None:
        super().__init__(daemon=True)
        self.archive, self.folder, self.pause_s, self.sent, self.ended = archive, folder, pause_s, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(self.pause_s):
            number = self.sent + 1
            wrong = {"ViewPosition": "LL"} if number % 5 == 0 else {}
            path = xray(self.folder / "next.dcm", number, **wrong)
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self.archive.send(path, check=False):
                    self.sent = number


def survive(
    folder: Path,
    bundle: Path,
    *,
    kills: int,
    seed: int,
    pause_s: tuple[float, float],
    arrival_s: float,
    workers: int = 2,
    steps_s: float = 0.0,
) -> Outcome:
    """Let images arrive, kill a worker or the archive every `pause_s`, start it again, and count at the end.

    After each kill the clock of all workers steps by up to `steps_s`, forth or back, while they run.

    An image arrives every `arrival_s`; every fifth is a side view, which is not to be scored.
    """
    rng, outcome, start = random.Random(seed), Outcome(), time.monotonic()
    archive = Orthanc(folder / "orthanc").start()
    settings = settings_file(folder, archive, bundle, sweep_s=5)
    clock = folder / "clock"
    clock.write_text("+0")
    running = [_worker(settings, clock) for _ in range(workers)]
    sender = _Sender(archive, folder, arrival_s)
    sender.start()
    try:
        for _ in range(kills):
            time.sleep(rng.uniform(*pause_s))
            if rng.random() < 0.4:
                archive.end(signal.SIGKILL)
                time.sleep(LONG_PAUSE_S if rng.random() < LONG_PAUSE_SHARE else rng.uniform(0, 0.5))
                archive.start()
                outcome.kills["archive"] += 1
            else:
                which = rng.randrange(workers)
                outcome.ended_alone += running[which].poll() is not None
                running[which].kill()
                running[which].wait()
                running[which] = _worker(settings, clock)
                outcome.kills["worker"] += 1
            if steps_s:
                replacement = folder / "clock.new"
                replacement.write_text(f"{rng.uniform(-steps_s, steps_s):+.0f}")
                replacement.replace(clock)
                outcome.clock_steps += 1
        sender.ended.set()
        sender.join()
        outcome.stored_before_end = len(archive.get("/series?expand")) - sender.sent
    finally:
        sender.ended.set()
        for one in running:
            one.kill()
            one.wait()
    _finish(settings)
    outcome.images = sender.sent
    _examine(archive, read_verified(bundle).sha256, outcome)
    archive.end()
    outcome.seconds = time.monotonic() - start
    return outcome


def _worker(settings: Path, clock: Path) -> subprocess.Popen:
    """A worker whose clock is the computer's plus the seconds in a file, which may change while it runs.

    Debian's faketime does not serve: where CLOCK_MONOTONIC stays true, as when a clock is set, Python cannot sleep.
    """
    (clock.parent / "sitecustomize.py").write_text(_CLOCK)
    environment = {**os.environ, "CLOCK": str(clock)}
    environment["PYTHONPATH"] = os.pathsep.join([str(clock.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        worker_command("run", settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )


def _finish(settings: Path) -> None:
    """Score what is left, undisturbed."""
    for _ in range(_PASSES):
        done = subprocess.run(worker_command("once", settings), capture_output=True, text=True, check=True)
        if done.stdout.startswith("scored 0, not applicable 0"):
            return
    raise RuntimeError("the worker finds something to do again and again")


def _examine(archive: Orthanc, sha256: str, outcome: Outcome) -> None:
    """Compare what the archive holds with what it should hold, object by object."""
    objects = archive.objects()
    held = Counter(one["SOPInstanceUID"] for one in objects)
    expected: set[str] = set()
    for number in range(1, outcome.images + 1):
        uid = f"1.2.3.{number}.1.1"
        kinds = (REPORT,) if number % 5 == 0 else KINDS
        expected |= {uid, *(result_uid(uid, sha256, kind) for kind in kinds)}
        outcome.lost += [f"{number}: {kind}" for kind in kinds if result_uid(uid, sha256, kind) not in held]
        outcome.lost += [] if uid in held else [f"{number}: image"]
    # an image whose acknowledgement was lost may be there without having been counted as sent
    unsent = {f"1.2.3.{outcome.images + 1}.1.1"}
    unsent |= {result_uid(uid, sha256, kind) for uid in tuple(unsent) for kind in (REPORT, CAPTURE, MAP)}
    outcome.doubled = [uid for uid, count in held.items() if count > 1 or uid not in expected | unsent]
    for one in objects:
        try:
            pydicom.dcmread(BytesIO(archive.file(one["id"])))
        except (requests.RequestException, pydicom.errors.InvalidDicomError, EOFError):
            outcome.damaged.append(one["SOPInstanceUID"])
