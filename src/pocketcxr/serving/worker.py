"""The process that reads and scores images for the service: a damaged file can neither hang nor end the service itself.

Decoders are C code of other projects: a crafted file could stop them for minutes or end their process. Here it ends a
worker, which the pool replaces. The process writes no file, and its output is discarded, because decoders print what
they find in headers.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import InputError
from pocketcxr.inference.processes.process import run_worker

if TYPE_CHECKING:
    from pocketcxr.inference.predictor import Predictor
    from pocketcxr.inference.processes import process
    from pocketcxr.inference.session import Bundle

_MOST_PLACES = 6


@dataclass(frozen=True)
class Answer:
    """Answer of a worker to one image.

    `record` is what `pocketcxr predict --format json` writes. `heatmap` is a PNG where one was asked for and the
    picture was scored. `failure` is a code of `problems.KINDS` where the picture has no answer. `place` tells, for the
    log, where the program failed; it holds names of functions and no data.
    """

    record: dict[str, Any]
    heatmap: bytes | None = None
    failure: str = ""
    place: str = ""


def main() -> None:
    """Score the images that the service sends, each with a name and whether a heatmap is wanted."""
    run_worker(_prepare, quiet=True)


def _prepare(options: dict[str, Any]) -> tuple[dict[str, Any], process.Answer]:
    loaded = _load(None if options["bundle"] is None else Path(options["bundle"]))
    predictors = {heatmap: predictor_for(loaded, heatmap=heatmap) for heatmap in (False, True)}

    def answer(message: dict[str, Any], data: bytes) -> process.Message:
        name, heatmap = message["name"], message["heatmap"]
        scored = score(predictors[heatmap], data, name, heatmap=heatmap, max_pixels=options["max_pixels"])
        return {"record": scored.record, "failure": scored.failure, "place": scored.place}, scored.heatmap or b""

    return {"sha256": loaded.sha256}, answer


def predictor_for(bundle: Bundle, *, heatmap: bool) -> Predictor:
    """Return a predictor whose reduced pictures keep as many pixels as a heatmap shows, where one is wanted."""
    from pocketcxr.inference.predictor import Predictor
    from pocketcxr.inference.saliency import LONGEST_SIDE

    return Predictor(bundle, smallest_side=LONGEST_SIDE if heatmap else 0)


def score(predictor: Predictor, data: bytes, name: str, *, heatmap: bool, max_pixels: int | None = None) -> Answer:
    """Read and score one picture from memory; every failure becomes an answer."""
    from pocketcxr.inference.heatmap_file import heatmap_png

    try:
        prediction, radiograph = predictor.read_bytes_and_predict(data, name, max_pixels=max_pixels)
        drawn = heatmap and prediction.saliency is not None
        png = heatmap_png(prediction, radiograph.pixels, manifest=predictor.bundle.manifest) if drawn else None
    except InputError as error:
        return failed(name, error.category, str(error), identity=predictor.bundle.identity)
    except MemoryError:
        words = f"{name}: the picture takes more memory than it may; export it smaller"
        return failed(name, "unreadable", words, identity=predictor.bundle.identity)
    except Exception as error:  # noqa: BLE001  # a fault of ours must not end the worker; the service logs its place
        words = f"{name}: the service failed on this picture; report it"
        answer = failed(name, "internal", words, identity=predictor.bundle.identity)
        return Answer(answer.record, failure=answer.failure, place=place_of(error))
    return Answer(prediction.record(), png)


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
    import simplejpeg  # noqa: F401  # pyright: ignore[reportMissingTypeStubs]

    from pocketcxr.inference.session import load_bundle

    bundle = load_bundle(path, threads=1)
    size = bundle.manifest.preprocessing.size
    bundle(np.zeros((1, 1, size, size), dtype=np.float32))  # ONNX Runtime prepares itself in the first pass
    return bundle


if __name__ == "__main__":
    main()
