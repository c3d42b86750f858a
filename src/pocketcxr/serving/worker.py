"""The process that reads and scores pictures, so that a damaged file can neither hang nor end the service.

Decoders are foreign C code: a picture made for it could stop them for minutes or end their process. Here it ends a
worker, which the pool replaces. The process has no network and writes no file, and its output is thrown away, because
decoders print what they find in headers.
"""

from __future__ import annotations

import math
import os
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import InputError, PocketCxrError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from pocketcxr.inference.predictor import Predictor
    from pocketcxr.inference.session import Bundle

_SILENCED = (1, 2)  # standard output and error
_MOST_PLACES = 6


@dataclass(frozen=True)
class Started:
    """First message of a worker: the model that it loaded, or why it could not."""

    sha256: str = ""
    failure: str = ""


@dataclass(frozen=True)
class Answer:
    """What a worker says of one picture.

    `record` is what `pocketcxr predict --format json` writes. `heatmap` is a PNG where one was asked for and the
    picture was scored. `failure` is a code of `problems.KINDS` where the picture has no answer. `place` tells, for the
    log, where the program failed; it holds names of functions and no data.
    """

    record: dict[str, Any]
    heatmap: bytes | None = None
    failure: str = ""
    place: str = ""


def work(connection: Connection, bundle: Path | None, max_pixels: int) -> None:
    """Load the bundle, then answer pairs of messages, ``(name, heatmap)`` and the file, until the pipe closes.

    Pictures of more than `max_pixels` are refused.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a stop signal to the whole group: the service ends us when all is done
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        loaded = _load(bundle)
        predictors = {heatmap: predictor_for(loaded, heatmap=heatmap) for heatmap in (False, True)}
    except PocketCxrError as error:
        connection.send(Started(failure=str(error)))
        return
    _silence()
    connection.send(Started(sha256=loaded.sha256))
    while True:
        try:
            name, heatmap = connection.recv()
            data = connection.recv_bytes()
        except EOFError:
            return
        connection.send(score(predictors[heatmap], data, name, heatmap=heatmap, max_pixels=max_pixels))


def predictor_for(bundle: Bundle, *, heatmap: bool) -> Predictor:
    """Return a predictor whose reduced pictures keep as many pixels as a heatmap shows, where one is wanted."""
    from pocketcxr.inference.predictor import Predictor
    from pocketcxr.inference.saliency import LONGEST_SIDE

    return Predictor(bundle, smallest_side=LONGEST_SIDE if heatmap else 0)


def score(predictor: Predictor, data: bytes, name: str, *, heatmap: bool, max_pixels: int | None = None) -> Answer:
    """Read and score one picture from memory; every failure becomes an answer."""
    from pocketcxr.inference.saliency import heatmap_png

    try:
        prediction, radiograph = predictor.read_bytes_and_predict(data, name, max_pixels=max_pixels)
        drawn = heatmap and prediction.saliency is not None
        png = heatmap_png(prediction, radiograph.pixels, manifest=predictor.bundle.manifest) if drawn else None
    except InputError as error:
        return failed(name, error.category, str(error), identity=predictor.bundle.identity)
    except Exception as error:  # noqa: BLE001  # a fault of ours must not end the worker; the service logs its place
        words = f"{name}: the service failed on this picture; report it"
        answer = failed(name, "internal", words, identity=predictor.bundle.identity)
        return Answer(answer.record, failure=answer.failure, place=place_of(error))
    record = prediction.record()
    if record["novelty"] is not None and not math.isfinite(record["novelty"]):
        record["novelty"] = None  # JSON has no NaN; the picture was refused
    return Answer(record, png)


def failed(name: str, code: str, words: str, *, identity: str) -> Answer:
    """Answer for a picture without one; the same keys as any other record."""
    record = {
        "path": name,
        "decision": "error",
        "probabilities": {},
        "novelty": None,
        "reasons": [{"code": code, "words": words}],
        "bundle": identity,
    }
    return Answer(record, failure=code)


def place_of(error: BaseException) -> str:
    """Class of an exception and the functions it went through; not its message, which may quote the input."""
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_PLACES:]
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return " < ".join([type(error).__name__, *reversed(places)])


def _load(path: Path | None) -> Bundle:
    import numpy as np

    # now rather than while the first picture waits
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin  # noqa: F401

    from pocketcxr.inference.session import load_bundle

    bundle = load_bundle(path, threads=1)
    size = bundle.manifest.preprocessing.size
    bundle(np.zeros((1, 1, size, size), dtype=np.float32))  # ONNX Runtime prepares itself in the first pass
    return bundle


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in _SILENCED:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
