"""Radiographs from C-STORE to stored results: Orthanc alone, then with a worker beside it.

``python benchmarks/pacs_speed.py FOLDER --count 40``: the X-rays in FOLDER (PNG, JPEG, DICOM) are sent as CR images
of 12 bits, 2,000 x 2,400 pixels. Times on a busy machine say little; processor times depend on it much less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pacs_archive import Orthanc, settings_file, worker_command, xray
from pocketcxr.bundle.format import default_bundle_path
from pocketcxr.imaging.reading import read_image

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS, ROWS = 2000, 2400
_PATIENCE_S = 600.0
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print a table as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("images", type=Path, help="folder of X-rays")
    parser.add_argument("--count", type=int, default=40, help="images to send (default 40)")
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), options.images, options.bundle, options.count), indent=1))


def measure(folder: Path, images: Path, bundle: Path, count: int) -> dict[str, Any]:
    """Times of Orthanc alone and with the worker, a file at a time."""
    files = list(_files(folder, images, count))
    alone = Orthanc(folder / "alone").start()
    start, before = time.monotonic(), _processor_s(alone.process.pid)
    for path in files:
        alone.send(path)
    figures = {
        "images": count,
        "pixels": [COLUMNS, ROWS],
        "processors": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "orthanc_alone_s_per_image": (time.monotonic() - start) / count,
        "orthanc_alone_processor_s_per_image": (_processor_s(alone.process.pid) - before) / count,
    }
    alone.end()
    figures |= _drained(folder, files, bundle)
    archive = Orthanc(folder / "beside").start()
    settings = settings_file(folder, archive, bundle, processes=1)
    worker = subprocess.Popen(worker_command("run", settings), stderr=subprocess.DEVNULL)
    try:
        _latency(archive, files[0], 1)  # the scoring process starts with the first image
        tree = [worker.pid, *_children(worker.pid)]
        latencies = sorted(_latency(archive, path, number) for number, path in enumerate(files[1:], 2))
        figures |= {
            "c_store_to_report_s_median": statistics.median(latencies),
            "c_store_to_report_s_p95": latencies[int(0.95 * (len(latencies) - 1))],
            "worker_memory_peak_mb": sum(map(_peak_mb, tree)),
            "objects": archive.get("/statistics")["CountInstances"],
        }
    finally:
        worker.terminate()
        worker.wait()
        archive.end()
    return figures


def _drained(folder: Path, files: list[Path], bundle: Path) -> dict[str, float]:
    """Times of scoring an archive that holds the images already, the start of the worker included."""
    archive = Orthanc(folder / "drained").start()
    settings = settings_file(folder, archive, bundle, processes=1)
    for path in files:
        archive.send(path)
    start, before, archive_before = time.monotonic(), _children_s(), _processor_s(archive.process.pid)
    subprocess.run(worker_command("once", settings), check=True, capture_output=True)
    figures = {
        "once_s_per_image": (time.monotonic() - start) / len(files),
        "once_worker_processor_s_per_image": (_children_s() - before) / len(files),
        "once_orthanc_processor_s_per_image": (_processor_s(archive.process.pid) - archive_before) / len(files),
    }
    archive.end()
    return figures


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _files(folder: Path, images: Path, count: int) -> Iterator[Path]:
    found = sorted(path for path in images.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".dcm"})
    for number, path in enumerate(found[:count], 1):
        grey = Image.fromarray(np.round(255 * read_image(path).pixels).astype(np.uint8)).resize((COLUMNS, ROWS))
        rng = np.random.default_rng(number)
        pixels = np.asarray(grey, np.uint16) * 16 + rng.integers(0, 16, (ROWS, COLUMNS), np.uint16)
        yield xray(folder / f"{number}.dcm", number, pixels=pixels)


def _latency(archive: Orthanc, path: Path, number: int) -> float:
    start = time.monotonic()
    archive.send(path)
    where = f"/dicom-web/studies/1.2.3.{number}/instances?Modality=SR"
    while not archive.get(where):
        if time.monotonic() - start > _PATIENCE_S:
            raise RuntimeError(f"no report of image {number} after {_PATIENCE_S:g} s")
        time.sleep(0.02)
    return time.monotonic() - start


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        if task.name != str(pid)
        for child in (task / "children").read_text().split()
    ]


if __name__ == "__main__":
    main()
