"""What ``pocketcxr predict`` does: score files and folders, write answers as they come, say what failed."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from pocketcxr.errors import ConfigError
from pocketcxr.inference.batch import find_images, predict_paths
from pocketcxr.inference.output import FORMATS, writer_for
from pocketcxr.inference.predictor import ERROR, Predictor
from pocketcxr.inference.session import load_bundle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import TextIO

    from pocketcxr.inference.batch import Scored

EXIT_ANSWERED = 0
"""Every file was read and answered; ``uncertain`` and ``refused`` are answers."""

EXIT_SOME_FAILED = 1
"""At least one file could not be read (decision ``error``); the others were answered."""

_LOGGER = logging.getLogger(__name__)


def run_predict(
    paths: Iterable[Path],
    *,
    bundle: Path | None,
    output_format: str,
    heatmaps: Path | None,
    stream: TextIO,
    threads: int | None = None,
) -> int:
    """Score files and folders and write one answer each.

    Args:
        paths: files, and folders to be searched recursively.
        bundle: the bundle's file; None takes the one that comes with the package.
        output_format: one of `pocketcxr.inference.output.FORMATS`.
        heatmaps: folder for one PNG per scored picture, or None; see `pocketcxr.inference.saliency`.
        stream: where the answers go. Failures also go to the log ``pocketcxr``, a progress bar to a terminal's stderr.
        threads: see `pocketcxr.inference.session.load_bundle`.

    Returns:
        Exit status `EXIT_ANSWERED` or `EXIT_SOME_FAILED`.

    Raises:
        ConfigError: unknown format, no path, a folder for heatmaps that cannot be made.
        BundleError: no usable bundle.
        OSError: the answers or a heatmap cannot be written (disk full, closed pipe).
    """
    paths = list(paths)
    if output_format not in FORMATS:
        raise ConfigError(f"format: expected one of {', '.join(FORMATS)}, found {output_format!r}")
    if not paths:
        raise ConfigError("expected files or folders to score, found none")
    if heatmaps is not None:
        _make_folder(heatmaps)  # before the first picture is scored, not after
    predictor = Predictor(load_bundle(bundle, threads=threads))
    manifest = predictor.bundle.manifest
    writer = writer_for(output_format, stream, manifest.labels)
    failed = 0
    writer.begin()
    for scored in _with_progress(predict_paths(predictor, paths), paths):
        writer.write(scored.prediction)
        if scored.prediction.decision == ERROR:
            failed += 1
            _LOGGER.error("%s", scored.prediction.reasons[0].words)
        if heatmaps is not None and scored.radiograph is not None and scored.prediction.saliency is not None:
            from pocketcxr.inference.saliency import write_heatmap

            write_heatmap(heatmaps, scored.prediction, scored.radiograph.pixels, manifest=manifest)
    writer.end()
    return EXIT_SOME_FAILED if failed else EXIT_ANSWERED


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder for heatmaps {folder}: {error.strerror}; name another") from error


def _with_progress(answers: Iterator[Scored], paths: list[Path]) -> Iterator[Scored]:
    """Show a bar where a person watches and more than one named file is scored."""
    if not sys.stderr.isatty() or (len(paths) == 1 and not paths[0].is_dir()):
        yield from answers
        return
    from tqdm import tqdm

    total = sum(1 for _ in find_images(paths))  # counted by names alone, so that memory stays constant
    with tqdm(total=total, unit="image", file=sys.stderr) as bar:
        for answer in answers:
            bar.update()
            bar.clear()
            yield answer
            bar.refresh()
