"""One scoring process of `pool`: takes paths, gives records.

A process of its own, with one thread: two of them use two cores better than one process with two threads, and a decoder
that crashes or is ended for its memory takes nothing else with it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr.imaging.decoder_warnings import decoder_warnings_ignored
from pocketcxr.inference.batch import score
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.processes.process import run_worker
from pocketcxr.plain_text import path_text

if TYPE_CHECKING:
    from pocketcxr.inference.loading import LoadingBundle
    from pocketcxr.inference.prediction import Prediction
    from pocketcxr.inference.processes.process import Answer
    from pocketcxr.inference.session import Bundle


def main() -> None:
    """Score the files that the parent names, one record per file."""
    with decoder_warnings_ignored():  # once, not anew for every file
        run_worker(_prepare)


def _prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Answer]:
    from pocketcxr.inference.session import load_bundle

    heatmaps = Path(options["heatmaps"]) if options["heatmaps"] else None
    predictor = make_predictor(
        load_bundle(Path(options["bundle"]), threads=1, runtime=options["runtime"]),
        exact=options["exact"],
        heatmaps=heatmaps,
    )
    return {}, lambda message, _: (score_and_draw(predictor, Path(message["path"]), heatmaps).record(), b"")


def make_predictor(bundle: Bundle | LoadingBundle, *, exact: bool, heatmaps: Path | None) -> Predictor:
    """Make ready for scoring; with heatmaps, pictures keep as many pixels as those show."""
    smallest_side = 0
    if heatmaps is not None:
        from pocketcxr.inference.saliency import LONGEST_SIDE

        smallest_side = LONGEST_SIDE
    return Predictor(bundle, exact=exact, smallest_side=smallest_side)


def score_and_draw(predictor: Predictor, path: Path, heatmaps: Path | None) -> Prediction:
    """Score one file and write its heatmap where a folder for it is given and there is one; the answer names it."""
    scored = score(predictor, path)
    if heatmaps is not None and scored.radiograph is not None and scored.prediction.saliency is not None:
        from pocketcxr.inference.heatmap_file import write_heatmap

        written = write_heatmap(
            heatmaps, scored.prediction, scored.radiograph.pixels, manifest=predictor.bundle.manifest
        )
        return replace(scored.prediction, heatmap_file=path_text(written))
    return scored.prediction


if __name__ == "__main__":
    main()
