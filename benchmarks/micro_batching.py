"""Would it pay to score pictures of several requests in one pass of the network (micro-batching)?

    python benchmarks/micro_batching.py student.onnx --workers 2

As many processes as workers do what a worker of the service does, at batch sizes 1, 4 and 8, which take turns so that a
busy machine slows all alike: the network alone, and whole requests (read, input gate, resize, network, decision) with
only the network's part batched. Nobody waits for a batch to fill here, which flatters batching. Prints a table of
processor milliseconds per picture (each process's own time, so that other programs hardly count), writes JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.imaging.input_checks import refusal_reasons
from pocketcxr.imaging.reading import read_image_bytes
from pocketcxr.imaging.resize import resize
from pocketcxr.imaging.scaled_decoding import side_for
from pocketcxr.inference.predictor import decide
from pocketcxr.inference.session import load_bundle
from serve_load import drawn_pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from pocketcxr.inference.session import Bundle

BATCHES = (1, 4, 8)
PICTURES = 8
ROUNDS = 15


def network_alone(bundle: Bundle, images: np.ndarray, batch: int) -> None:
    """Score all images in passes of `batch`."""
    for start in range(0, len(images), batch):
        bundle(images[start : start + batch])


def whole_requests(bundle: Bundle, pictures: list[bytes], batch: int) -> None:
    """Read, check, resize and decide each picture; score in passes of `batch`."""
    manifest = bundle.manifest
    preprocessing = manifest.preprocessing
    for start in range(0, len(pictures), batch):
        images = []
        for data in pictures[start : start + batch]:
            radiograph = read_image_bytes(data, "picture", side=side_for(preprocessing.size))
            assert not refusal_reasons(radiograph)
            images.append(
                resize(
                    radiograph.pixels, size=preprocessing.size, aspect=preprocessing.aspect, region=radiograph.region
                )
            )
        outputs = bundle(np.stack(images)[:, None])
        for row in outputs.probabilities:
            decide(dict(zip(manifest.labels, map(float, row), strict=True)), manifest)


def measure(path: Path, pictures: list[bytes], results: multiprocessing.Queue) -> None:
    """Median processor milliseconds per picture for every batch size, in one process."""
    bundle = load_bundle(path, threads=1)
    size = bundle.manifest.preprocessing.size
    images = np.random.default_rng(0).random((len(pictures), 1, size, size), dtype=np.float32)
    times: dict[str, list[float]] = {}

    def timed(name: str, run: Callable[[], None]) -> None:
        started = time.process_time()
        run()
        times.setdefault(name, []).append(1000 * (time.process_time() - started) / len(pictures))

    for _ in range(ROUNDS):
        for batch in BATCHES:
            timed(f"network alone, {batch}", lambda batch=batch: network_alone(bundle, images, batch))
        for batch in BATCHES:
            timed(f"whole request, {batch}", lambda batch=batch: whole_requests(bundle, pictures, batch))
    results.put({name: statistics.median(values[1:]) for name, values in times.items()})


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--side", type=int, default=2048, help="pixels of a side of the drawn JPEG pictures")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/benchmarks/micro_batching.json"))
    options = parser.parse_args()
    pictures = drawn_pictures(PICTURES, options.side)
    context = multiprocessing.get_context("spawn")
    figures: dict[str, object] = {"workers": options.workers, "picture": f"JPEG, {options.side} pixels a side"}
    for path in options.bundles:
        results = context.Queue()
        processes = [context.Process(target=measure, args=(path, pictures, results)) for _ in range(options.workers)]
        for process in processes:
            process.start()
        found = [results.get(timeout=600) for _ in processes]
        for process in processes:
            process.join()
        size = load_bundle(path, threads=1).manifest.preprocessing.size
        name = f"{path.stem}, {size} pixels"
        figures[name] = {key: round(statistics.mean(one[key] for one in found), 2) for key in found[0]}
        print(f"{name}: milliseconds per picture")
        for key, value in figures[name].items():
            print(f"  {key:20}{value:8.2f}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
