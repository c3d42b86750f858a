"""How fast this machine reads and scores an image, in processor time, which other programs hardly change."""

from __future__ import annotations

import io
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.imaging.reading import read_image_bytes
from pocketcxr.imaging.resize import resize
from pocketcxr.imaging.scaled_decoding import side_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from pocketcxr.inference.session import Bundle

IMAGE_SIDE = 2000
_MEASURED_S = 0.4  # for each speed


def measure_speed(bundle: Bundle) -> tuple[float, float]:
    """Milliseconds of one processor to read a drawn JPEG of `IMAGE_SIDE` pixels a side, and for the network."""
    size = bundle.manifest.preprocessing.size
    jpeg, side = _drawn_jpeg(), side_for(size)
    image = np.full((1, 1, size, size), 0.5, dtype=np.float32)

    def read() -> None:
        radiograph = read_image_bytes(jpeg, "JPEG", side=side)
        resize(radiograph.samples, size=size, region=radiograph.region)

    return _median_ms(read), _median_ms(lambda: bundle(image))


def _drawn_jpeg() -> bytes:
    """A JPEG of usual size and grain, in memory."""
    from PIL import Image

    axis = np.linspace(0, 1, IMAGE_SIDE, dtype=np.float32)
    grain = np.random.default_rng(0).standard_normal((IMAGE_SIDE, IMAGE_SIDE), dtype=np.float32)
    image = 128 + 60 * np.outer(np.cos(4 * axis), np.cos(6 * axis)) + 2.5 * grain
    stream = io.BytesIO()
    Image.fromarray(np.asarray(image, dtype=np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _median_ms(function: Callable[[], object]) -> float:
    """Median milliseconds of processor time."""
    function()  # the first call makes room and tables
    times: list[float] = []
    until = time.perf_counter() + _MEASURED_S
    while not times or time.perf_counter() < until:
        started = time.thread_time()
        function()
        times.append(time.thread_time() - started)
    return 1000 * statistics.median(times)
