"""One scoring process: takes paths, gives answers, one line of JSON each; `pool` is the other end.

A process of its own, with one thread: two of them use two cores better than one process with two threads, and a decoder
that crashes or is ended for its memory takes nothing else with it. It ends when its input does, also when its parent
was killed.

Lines in: first the options, then paths, as JSON strings. Lines out: first ``{"ready": true}``, then one record per path
in the same order; ``{"failed": words}`` for a bundle that cannot be used, ``{"errno": ..., ...}`` when a heatmap cannot
be written.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import PocketCxrError
from pocketcxr.inference.batch import score
from pocketcxr.inference.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from pocketcxr.inference.loading import LoadingBundle
    from pocketcxr.inference.prediction import Prediction
    from pocketcxr.inference.session import Bundle


def main() -> None:
    """Serve the parent on standard input and output until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who closes the input
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a C library prints must not look like an answer
    lines = iter(sys.stdin)
    options = json.loads(next(lines))
    try:
        _serve(lines, answers, options)
    except PocketCxrError as error:
        _tell(answers, {"failed": str(error)})
    except BrokenPipeError:  # the parent is gone
        os._exit(1)
    except OSError as error:
        _tell(answers, {"errno": error.errno, "strerror": error.strerror, "filename": str(error.filename or "")})


def _serve(lines: Iterable[str], answers: TextIO, options: dict[str, Any]) -> None:
    heatmaps = Path(options["heatmaps"]) if options["heatmaps"] else None
    from pocketcxr.inference.session import load_bundle

    bundle = load_bundle(Path(options["bundle"]), threads=1)
    predictor = make_predictor(bundle, exact=options["exact"], heatmaps=heatmaps)
    _tell(answers, {"ready": True})
    for line in lines:
        _tell(answers, score_and_draw(predictor, Path(json.loads(line)), heatmaps).record())


def make_predictor(bundle: Bundle | LoadingBundle, *, exact: bool, heatmaps: Path | None) -> Predictor:
    """Make ready for scoring; with heatmaps, pictures keep as many pixels as those show."""
    smallest_side = 0
    if heatmaps is not None:
        from pocketcxr.inference.saliency import LONGEST_SIDE

        smallest_side = LONGEST_SIDE
    return Predictor(bundle, exact=exact, smallest_side=smallest_side)


def score_and_draw(predictor: Predictor, path: Path, heatmaps: Path | None) -> Prediction:
    """Score one file and write its heatmap where a folder for it is given and there is one; return the answer."""
    scored = score(predictor, path)
    if heatmaps is not None and scored.radiograph is not None and scored.prediction.saliency is not None:
        from pocketcxr.inference.saliency import write_heatmap

        write_heatmap(heatmaps, scored.prediction, scored.radiograph.pixels, manifest=predictor.bundle.manifest)
    return scored.prediction


def _tell(answers: TextIO, record: dict[str, Any]) -> None:
    answers.write(json.dumps(record) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
