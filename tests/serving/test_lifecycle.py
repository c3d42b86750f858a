"""A service stops without losing an answer, replaces workers that hang or die, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2 as httpx
import pytest

from pocketcxr.errors import BundleError
from pocketcxr.inference.processes.memory import MOST_BYTES
from pocketcxr.serving.pool import Worker
from refused_bundles import REFUSED, write_refused

if TYPE_CHECKING:
    from pocketcxr.serving.worker import Answer

WAIT_S = 60
START_S = 180


def wait_for(condition):
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def large(pictures, brightness):
    """A picture that takes a worker a tenth of a second and more."""
    return pictures.raster(brightness, shape=(3000, 3000))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_loses_no_accepted_request_and_takes_no_new_one(start, pictures, number):
    service = start(cli=["--port", "0", "--workers", "1"])
    files = [large(pictures, 0.8), large(pictures, 0.2)] * 5
    with ThreadPoolExecutor(len(files)) as threads:
        waiting = [threads.submit(service.post, data, "image/png") for data in files]
        with httpx.Client(base_url=service.url, trust_env=False, timeout=WAIT_S) as other:
            wait_for(lambda: "pocketcxr_pictures_held 10.0" in other.get("/metrics").text)
            service.process.send_signal(number)
            answers = [future.result() for future in waiting]
    assert [answer.status_code for answer in answers] == [200] * len(files)
    decisions = [answer.json()["predictions"][0]["decision"] for answer in answers]
    assert decisions == ["bright", "dark"] * 5
    assert service.process.wait(WAIT_S) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/health/live", trust_env=False)
    assert [line["event"] for line in service.lines()][-1] == "stopped"
    assert "stopping" in [line["event"] for line in service.lines()]


def test_workers_end_with_a_service_that_was_killed(start):
    service = start()
    children = _children(service.process.pid)
    assert children
    service.process.kill()
    service.process.wait()
    wait_for(lambda: not any(_alive(child) for child in children))


def test_picture_that_takes_too_long_ends_its_worker_and_not_the_service(start, pictures):
    service = start(limits={"picture_timeout_s": 0.02})
    slow = pictures.raster(0.8, shape=(6000, 6000))  # far beyond, also where the service itself is woken late
    response = service.post(slow, "image/png")
    assert (response.status_code, response.json()["code"]) == (422, "picture-timeout")
    wait_for(lambda: service.client.get("/health/ready").status_code == 200)
    wait_for(lambda: service.metric("pocketcxr_worker_restarts") == 1)


@pytest.fixture
def worker(tiny_bundle_path, predictor):
    worker = Worker(tiny_bundle_path, sha256=predictor.bundle.sha256)
    worker.start()
    yield worker
    worker.stop()


def _ask(worker, data) -> Answer | None:
    return worker.ask(data, "picture", heatmap=False, timeout_s=WAIT_S)


def test_worker_that_dies_over_a_picture_says_so_and_the_next_one_is_answered(worker, pictures):
    victim = worker._process.process.pid
    os.kill(victim, signal.SIGSTOP)  # so that it cannot be done before it dies, however fast the machine
    killer = threading.Timer(0.2, os.kill, (victim, signal.SIGKILL))
    killer.start()
    assert _ask(worker, pictures.raster(0.8)) is None
    killer.join()
    assert _ask(worker, pictures.raster(0.8)).record["decision"] == "bright"
    assert worker._process.process.pid != victim


def test_worker_that_dies_while_idle_costs_no_picture(worker, pictures):
    os.kill(worker._process.process.pid, signal.SIGKILL)
    wait_for(lambda: not worker.running)
    assert _ask(worker, pictures.raster(0.2)).record["decision"] == "dark"


_DIES_WHILE_STARTING = """
import os, signal, sys
from pathlib import Path
if any(name in sys.orig_argv for name in ("pocketcxr.serving.worker", "pocketcxr.inference.worker")):
    starts = Path(__file__).with_name("starts")
    count = len(starts.read_text()) + 1 if starts.exists() else 1
    starts.write_text("x" * count)
    if count <= DEATHS:
        os.kill(os.getpid(), signal.SIGKILL)
"""
"""As `sitecustomize`, read by every Python that starts: ends the first processes that are to score."""


@pytest.fixture
def dying(tmp_path, monkeypatch):
    """Function: how many scoring processes die before they are ready -> function that tells how many were started."""

    def dying(deaths):
        (tmp_path / "sitecustomize.py").write_text(_DIES_WHILE_STARTING.replace("DEATHS", str(deaths)))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
        return lambda: len((tmp_path / "starts").read_text())

    return dying


def test_worker_that_dies_while_starting_is_started_again(dying, tiny_bundle_path, predictor, pictures):
    starts = dying(2)
    worker = Worker(tiny_bundle_path, sha256=predictor.bundle.sha256)
    try:
        assert _ask(worker, pictures.raster(0.8)).record["decision"] == "bright"
    finally:
        worker.stop()
    assert starts() == 3


def test_service_whose_workers_do_not_come_up_ends_with_one_line(dying, tiny_bundle_path, tmp_path):
    starts = dying(1000)
    command = [sys.executable, "-m", "pocketcxr.cli", "serve", "--port", "0", "--workers", "1"]
    command += ["--bundle", str(tiny_bundle_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=START_S, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert re.search("was ended by SIGKILL.* while it was starting, 3 times in a row: use fewer --workers", line)
    assert starts() == 3


def test_scoring_processes_of_predict_that_die_while_starting_are_started_again(
    dying, tiny_bundle_path, pictures, tmp_path
):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(pictures.raster(0.8))
    command = [sys.executable, "-m", "pocketcxr.cli", "predict", "--bundle", str(tiny_bundle_path), "--workers", "1"]
    command += [*map(str, sorted(tmp_path.glob("*.png"))), "--format", "csv"]
    for deaths, status, said in ((2, 0, ""), (1000, 2, "while it was starting, 3 times in a row")):
        (tmp_path / "starts").unlink(missing_ok=True)
        starts = dying(deaths)
        ended = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)
        assert ended.returncode == status, ended.stderr
        assert said in ended.stderr
        assert starts() == 3
        assert ended.stdout.count(".png,bright,") == (3 if not status else 0)


def test_worker_ignores_stop_signals_that_the_whole_group_gets(worker, pictures):
    os.kill(worker._process.process.pid, signal.SIGTERM)
    os.kill(worker._process.process.pid, signal.SIGINT)
    assert _ask(worker, pictures.raster(0.8)).record["decision"] == "bright"


def test_worker_does_not_answer_with_another_model(tiny_bundle_path, tmp_path):
    exchanged = Worker(tiny_bundle_path, sha256="0" * 64)
    with pytest.raises(BundleError, match="was exchanged"):
        exchanged.start()
    assert not exchanged.running
    (tmp_path / "damaged.onnx").write_bytes(tiny_bundle_path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"damaged\.onnx"):
        Worker(tmp_path / "damaged.onnx", sha256="0" * 64).start()


def test_no_file_is_left_or_even_opened(start, pictures):
    """Uploads above any spooling limit, in a form and bare; the folder for temporary files stays empty all the time."""
    service = start()
    data = pictures.dicom(0.8, DataSetTrailingPadding=bytes(4_500_000))
    files_seen, stop = set(), threading.Event()

    def watch():
        while not stop.is_set():
            files_seen.update(service.folder.iterdir())
            for process in [service.process.pid, *_children(service.process.pid)]:
                files_seen.update(_deleted_files(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert service.post_files([(f"{index}.dcm", data) for index in range(4)]).status_code == 200
        assert service.post(data, "application/dicom", "?heatmap=true").status_code == 200
    finally:
        stop.set()
        watcher.join()
    assert not files_seen
    assert not list(service.folder.iterdir())


def _children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _deleted_files(pid):
    """Files on a disk that a process holds open though they have no name any more, as temporary files have."""
    found = []
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target.endswith(" (deleted)") and not target.startswith(("/dev/", "/memfd:")):
                found.append(target)
    except FileNotFoundError:
        pass
    return found


@pytest.mark.parametrize("case", ["external data", "negative limit", "fails on images"])
def test_a_bundle_that_cannot_be_used_ends_the_start_with_one_line(case, tiny_model, tmp_path):
    path = write_refused(case, tiny_model, tmp_path)
    command = [sys.executable, "-m", "pocketcxr.cli", "serve", "--port", "0", "--workers", "1", "--bundle", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=START_S, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    assert re.search(REFUSED[case][1], ended.stderr)
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="no other system holds a process to the limit")
def test_every_worker_may_take_so_much_memory_and_no_more(service):
    workers = _children(service.process.pid)
    assert len(workers) == 2
    for number in workers:
        found = re.search(r"Max data size +(\d+)", Path(f"/proc/{number}/limits").read_text())
        assert found
        assert MOST_BYTES < int(found[1]) < MOST_BYTES + 2**30
