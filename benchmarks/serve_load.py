"""Load on `pocketcxr serve`: four times what it can do, for a minute; does it answer or say 503, and is it ever wrong?

    python benchmarks/serve_load.py --bundle runs/mine/bundle/student.onnx --seconds 60

Starts the service on a free port of 127.0.0.1 and asks in three ways. *Calm*: as many clients as workers, each waiting
for its answer: the capacity. *Overload*: pictures at a fixed multiple of that rate, whether or not any were answered;
who is sent away does not return. *Rush*: so many clients at once, each with one picture, who all come back after the
seconds that `Retry-After` told. Every answer is compared with the one that `Predictor` gives. Requests are bounded in
number and time. The capacity is measured before and after, and goodput is compared with the mean, for other programs
come and go; the load average tells of them. Latencies are those of the service's log (first byte of the request to last of the answer), and those
that this process saw, which shares the processors with the service and is slow for that reason, too.
Prints a table, writes JSON, and exits with 1 where an answer was wrong or was neither 200 nor 503.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx2 as httpx
import numpy as np
from PIL import Image

from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_REQUESTS = 20_000
MOST_IN_FLIGHT = 400
REQUEST_TIMEOUT_S = 60.0
START_TIMEOUT_S = 180.0
MOST_RETURNS = 20


def drawn_pictures(number: int, side: int) -> list[bytes]:
    """JPEG pictures, each different: two dark soft ovals on grey, of other sizes and brightness, with grain."""
    generator = np.random.default_rng(7)
    x, y = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    pictures = []
    for index in range(number):
        pixels = np.full((side, side), 0.55 + 0.3 * index / number)
        for centre in (0.3, 0.7):
            distance = ((x - centre) / (0.12 + 0.06 * generator.random())) ** 2 + ((y - 0.5) / 0.33) ** 2
            pixels -= 0.4 / (1 + np.exp(np.clip(8 * (distance - 1), -50, 50)))
        pixels += generator.normal(0, 0.02, pixels.shape)
        stream = io.BytesIO()
        Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        pictures.append(stream.getvalue())
    return pictures


def expected_records(bundle: Path, pictures: list[bytes]) -> list[dict]:
    """What `Predictor` says of the pictures."""
    predictor = Predictor(load_bundle(bundle, threads=1))
    return [predictor.read_bytes_and_predict(data, "picture")[0].record() for data in pictures]


@contextlib.contextmanager
def running_service(bundle: Path, *, workers: int, log: Path) -> Iterator[tuple[str, int]]:
    """Yield address and process id of a service that ends with the block."""
    command = [sys.executable, "-m", "pocketcxr.cli", "serve", "--port", "0", "--bundle", str(bundle)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen([*command, "--workers", str(workers)], stderr=stream, env=environment)
    try:
        until = time.monotonic() + START_TIMEOUT_S
        while not (found := re.search(r'"url": "([^"]+)"', log.read_text())):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the service did not start: {log.read_text()}")
            time.sleep(0.05)
        yield found[1], process.pid
    finally:
        process.terminate()
        process.wait(120)


class Memory:
    """Samples the resident memory (MB) of a process and its children, four times a second."""

    def __init__(self, pid: int) -> None:
        self.samples: list[float] = []
        self._pid, self._stop = pid, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.25):
            self.samples.append(resident_mb(self._pid))


def resident_mb(pid: int) -> float:
    """Resident memory of a process and its children in MB, from /proc (Linux)."""
    total = 0
    children = Path(f"/proc/{pid}/task/{pid}/children")
    everyone = [pid, *map(int, children.read_text().split())] if children.exists() else [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        everyone.extend(map(int, task.read_text().split()))
    for one in set(everyone):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


class Tally:
    """What came back."""

    def __init__(self, pictures: list[bytes], expected: list[dict]) -> None:
        self.statuses: Counter[str] = Counter()
        self.wrong = self.unmannered = 0
        self.seconds: list[float] = []
        self._pictures, self._expected = pictures, expected

    async def ask(self, client: httpx.AsyncClient, index: int) -> int:
        """Send one picture and compare the answer; return the seconds after which to come back, 0 for never."""
        place = index % len(self._pictures)
        started = time.perf_counter()
        try:
            response = await client.post(
                "/v1/predictions", content=self._pictures[place], headers={"content-type": "image/jpeg"}
            )
        except httpx.HTTPError as error:
            self.statuses[type(error).__name__] += 1
            return 0
        self.statuses[str(response.status_code)] += 1
        if response.status_code == 200:
            self.seconds.append(time.perf_counter() - started)
            self.wrong += response.json() != {"predictions": [self._expected[place]]}
        elif response.status_code == 503:
            told = int(response.headers.get("retry-after", 0))
            self.unmannered += response.json()["code"] != "busy" or told < 1
            return told
        return 0


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=MOST_IN_FLIGHT, max_keepalive_connections=MOST_IN_FLIGHT)
    return httpx.AsyncClient(base_url=url, timeout=REQUEST_TIMEOUT_S, limits=limits, trust_env=False)


async def measure_capacity(url: str, tally: Tally, *, clients: int, seconds: float) -> float:
    """Pictures per second with clients that each wait for their answer."""
    until = time.monotonic() + seconds

    async def one(client: httpx.AsyncClient, start: int) -> int:
        done = 0
        while time.monotonic() < until and done < MOST_REQUESTS:
            await tally.ask(client, start + done)
            done += 1
        return done

    started = time.monotonic()
    async with _client(url) as client:
        done = await asyncio.gather(*(one(client, number * 3) for number in range(clients)))
    return sum(done) / (time.monotonic() - started)


async def overload(url: str, tally: Tally, *, rate: float, seconds: float) -> float:
    """Send at `rate` per second, answered or not; return the rate that was really sent."""
    started = time.monotonic()
    tasks: set[asyncio.Task] = set()
    sent = 0
    async with _client(url) as client:
        while (now := time.monotonic() - started) < seconds and sent < MOST_REQUESTS:
            while sent < rate * now and len(tasks) < MOST_IN_FLIGHT:
                task = asyncio.create_task(tally.ask(client, sent))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                sent += 1
            await asyncio.sleep(0.005)
        took = time.monotonic() - started
        await asyncio.gather(*tasks)
    return sent / took


async def rush(url: str, tally: Tally, *, clients: int) -> dict:
    """All at once, each until its picture is answered, obeying `Retry-After`; how often they had to come."""
    visits: list[int] = []
    started = time.monotonic()

    async def one(client: httpx.AsyncClient, index: int) -> None:
        for visit in range(1, MOST_RETURNS + 1):
            seconds = await tally.ask(client, index)
            if not seconds:
                visits.append(visit)
                return
            await asyncio.sleep(seconds)

    async with _client(url) as client:
        await asyncio.gather(*(one(client, index) for index in range(clients)))
    took = time.monotonic() - started
    return {
        "clients": clients,
        "never_answered": clients - len(visits),
        "seconds": round(took, 1),
        "answered_per_s": round(len(visits) / took, 1),
        "visits": {str(number): count for number, count in sorted(Counter(visits).items())},
    }


def logged_seconds(log: Path, start: int) -> tuple[list[float], list[float], int]:
    """Seconds of answered (200) and of refused (503) requests, sorted, from byte `start` of a log, and its new end."""
    text = log.read_bytes()[start:]
    end = start + text.rfind(b"\n") + 1
    seconds: dict[int, list[float]] = {200: [], 503: []}
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            fields = json.loads(line)
            if fields.get("route") == "/v1/predictions" and fields.get("status") in seconds:
                seconds[fields["status"]].append(fields["seconds"])
    return sorted(seconds[200]), sorted(seconds[503]), end


def percentiles(seconds: list[float]) -> dict[str, float] | None:
    """Median, 95th, 99th percentile and largest."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    places = {"median": 0.5, "p95": 0.95, "p99": 0.99, "largest": 1.0}
    return {name: round(ordered[int(place * (len(ordered) - 1))], 3) for name, place in places.items()}


def run_load(
    bundle: Path,
    *,
    seconds: float,
    workers: int = 2,
    factor: float = 4,
    side: int = 1024,
    pictures: list[bytes] | None = None,
) -> dict:
    """Measure capacity, then overload, then a rush; return all figures."""
    pictures = pictures or drawn_pictures(12, side)
    expected = expected_records(bundle, pictures)
    calm, tally, rushed, after = (Tally(pictures, expected) for _ in range(4))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with running_service(bundle, workers=workers, log=log) as (url, pid):
            busy_before = os.getloadavg()[0]
            capacity = asyncio.run(measure_capacity(url, calm, clients=workers, seconds=max(3.0, seconds / 4)))
            before = resident_mb(pid)
            calm_logged, _, end = logged_seconds(log, 0)
            with Memory(pid) as memory:
                sent = asyncio.run(overload(url, tally, rate=factor * capacity, seconds=seconds))
            answered, refused, _ = logged_seconds(log, end)
            again = asyncio.run(measure_capacity(url, after, clients=workers, seconds=max(3.0, seconds / 4)))
            rush_figures = asyncio.run(rush(url, rushed, clients=round(10 * capacity)))
    goodput = tally.statuses["200"] / seconds
    return {
        "workers": workers,
        "bytes_per_picture": round(statistics.mean(map(len, pictures))),
        "processors": len(os.sched_getaffinity(0)),
        "load_average_before": round(busy_before, 1),
        "capacity_per_s": {"before": round(capacity, 1), "after": round(again, 1)},
        "sent_per_s": round(sent, 1),
        "seconds": seconds,
        "statuses": dict(tally.statuses),
        "answered_per_s": round(goodput, 1),
        "goodput_over_capacity": round(2 * goodput / (capacity + again), 2),
        "wrong": calm.wrong + tally.wrong + after.wrong + rushed.wrong,
        "busy_without_retry_after": tally.unmannered + rushed.unmannered,
        "latency_s_in_the_log": {
            "calm": percentiles(calm_logged),
            "overload, answered": percentiles(answered),
            "overload, 503": percentiles(refused),
        },
        "latency_s_as_clients_saw_it": {"calm": percentiles(calm.seconds), "overload": percentiles(tally.seconds)},
        "calm_statuses": dict(calm.statuses),
        "after_statuses": dict(after.statuses),
        "rush": rush_figures,
        "rush_statuses": dict(rushed.statuses),
        "memory_mb": {"before": round(before), "peak": round(max(memory.samples)), "end": round(memory.samples[-1])},
    }


def good(figures: dict) -> bool:
    """Whether every request was answered or told to come back, and no answer was wrong."""
    every = (figures["statuses"], figures["calm_statuses"], figures["after_statuses"], figures["rush_statuses"])
    statuses = {status for found in every for status in found}
    return statuses <= {"200", "503"} and not figures["wrong"] and not figures["busy_without_retry_after"]


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--factor", type=float, default=4)
    parser.add_argument("--side", type=int, default=1024, help="pixels of a side of the drawn pictures")
    parser.add_argument("--jpegs", type=Path, help="folder of JPEG files to send instead")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/benchmarks/serve_load.json"))
    options = parser.parse_args()
    pictures = [path.read_bytes() for path in sorted(options.jpegs.glob("*.jp*g"))] if options.jpegs else None
    figures = run_load(
        options.bundle,
        seconds=options.seconds,
        workers=options.workers,
        factor=options.factor,
        side=options.side,
        pictures=pictures,
    )
    for name, value in figures.items():
        print(f"{name:28}{value}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if good(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
