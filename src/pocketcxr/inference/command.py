"""What ``pocketcxr predict`` does: score files and folders, write predictions as they come, say what failed."""

from __future__ import annotations

import logging
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pocketcxr.bundle.verified import read_verified
from pocketcxr.errors import ConfigError, require_extra
from pocketcxr.files import check_output
from pocketcxr.imaging.folders import PassedOver
from pocketcxr.inference.batch import find_images, named_once, predict_files
from pocketcxr.inference.prediction import ERROR
from pocketcxr.inference.standard_input import STANDARD_INPUT
from pocketcxr.inference.writers.formats import FORMATS, writer_for
from pocketcxr.plain_text import one_line, path_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path
    from typing import TextIO

    from pocketcxr.bundle.verified import VerifiedFile
    from pocketcxr.inference.prediction import Prediction

EXIT_ANSWERED = 0
"""Every file was read; ``uncertain`` and ``refused`` are predictions."""

EXIT_SOME_FAILED = 1
"""At least one file could not be read (decision ``error``); the others were scored."""

EXIT_NOTHING_READ = 2
"""Not one file could be read."""

LOCAL, RAY = "local", "ray"
"""Engines: processes of this machine, or those of a cluster."""

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Scoring:
    """How to score: the verified bundle, all pixels or not, heatmap folder, processes, threads, runtime and engine."""

    file: VerifiedFile
    exact: bool
    heatmaps: Path | None
    workers: int | None
    threads: int | None
    runtime: str
    engine: str


def run_predict(
    paths: Iterable[Path],
    *,
    bundle: Path | None,
    output_format: str | None,
    heatmaps: Path | None,
    stream: TextIO,
    output: Path | None = None,
    workers: int | None = None,
    exact: bool = False,
    threads: int | None = None,
    runtime: str = "onnxruntime",
    engine: str = LOCAL,
) -> int:
    """Score files and folders and write one prediction each, in the order of `find_images`.

    Args:
        paths: files, and folders to be searched recursively; ``-`` alone is an image from standard input.
        bundle: the bundle's file; None takes the one that comes with the package.
        output_format: one of `writers.formats.FORMATS`; None takes a table, or what `output` is named for.
        heatmaps: folder for one PNG per scored image, or None; see `pocketcxr.inference.saliency`.
        stream: where the predictions go without `output`. A failure is said there or, where it is neither a table nor a
            screen, in the log ``pocketcxr``.
        output: file that grows line by line. Files that it holds already are not scored again, so that the same command
            continues after a stop; see `pocketcxr.inference.writers.scores_file`.
        workers: processes; None takes this one for a few files and otherwise one per core.
        exact: read every pixel; see `pocketcxr.inference.predictor.Predictor`.
        threads: inside this process; see `pocketcxr.inference.session.load_bundle`. Processes of a pool have one each.
        runtime: ``auto`` or one of `pocketcxr.inference.runtimes.sessions.MODULES`.
        engine: ``local``, or ``ray`` for a cluster, which takes addresses such as ``s3://bucket/folder`` and
            ``dicomweb+https://archive.example/dicom-web`` too; see `pocketcxr.inference.cluster`.

    Returns:
        Exit status `EXIT_ANSWERED`, `EXIT_SOME_FAILED` or `EXIT_NOTHING_READ`.

    Raises:
        ConfigError: unknown format, no path, a folder for heatmaps that cannot be made, a file of other predictions.
        BundleError: no usable bundle.
        OSError: the predictions or a heatmap cannot be written (disk full, closed pipe).
    """
    paths = list(paths)
    _check_request(paths, output_format, output=output, heatmaps=heatmaps, workers=workers, engine=engine)
    if STANDARD_INPUT in paths:
        workers = None  # another process cannot read it
    if heatmaps is not None:
        check_output(heatmaps, folder=True)  # before the first image is scored, not after
    if output is not None:
        check_output(output, folder=False)
    file = read_verified(bundle)
    scoring = _Scoring(file, exact, heatmaps, workers, threads, _runtime(file, runtime), engine)
    if output is not None:
        return _into_file(paths, output, output_format, scoring)
    output_format = output_format or "table"
    passed_over = PassedOver() if output_format == "table" else None  # which ends with their number
    writer = writer_for(
        output_format,
        stream,
        scoring.file.manifest.labels,
        heatmaps=heatmaps is not None,
        multilabel=scoring.file.manifest.multilabel,
        passed_over=passed_over,
    )
    writer.begin()
    seen = output_format == "table" or stream.isatty()
    done = failed = 0
    with closing(_predictions(_found(paths, engine, passed_over), scoring)) as predictions:
        for prediction in _with_progress(predictions, paths, engine, log=False):
            writer.write(prediction)
            done += 1
            failed += _failed(prediction, told=not seen)
    writer.end()
    return _status(done, failed)


def _check_request(
    paths: list[Path],
    output_format: str | None,
    *,
    output: Path | None,
    heatmaps: Path | None,
    workers: int | None,
    engine: str,
) -> None:
    if output_format is not None and output_format not in FORMATS and output is None:
        raise ConfigError(f"format: expected one of {', '.join(FORMATS)}, found {output_format!r}")
    if not paths:
        raise ConfigError("expected files or folders to score, found none")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers: expected at least 1, found {workers}")
    if STANDARD_INPUT in paths and (len(paths) > 1 or output is not None):
        raise ConfigError(
            "- is one image from standard input: leave out other paths, and -o, which could not tell it from others"
        )
    if engine != LOCAL:
        if heatmaps is not None or STANDARD_INPUT in paths:
            raise ConfigError(f"engine {engine}: expected neither --heatmaps nor standard input; leave out one of them")
        require_extra("cluster", "ray", "pandas", "pyarrow", "fsspec")


def _into_file(paths: list[Path], output: Path, asked: str | None, scoring: _Scoring) -> int:
    """Append what the file lacks; errors that it holds from before count for the status, too."""
    from pocketcxr.inference.writers import scores_file

    output_format, collected = scores_file.scores_format(output, asked), scores_file.collected_in(output)
    if output_format == "parquet":
        from pocketcxr.inference.writers.parquet import reopen_parquet

        reopen_parquet(output, collected)
    paths, labels, drawn = named_once(paths), scoring.file.manifest.labels, scoring.heatmaps is not None
    multilabel = scoring.file.manifest.multilabel
    stream, finished = scores_file.open_scores(
        collected, identity=scoring.file.identity, labels=labels, heatmaps=drawn, multilabel=multilabel
    )
    done, failed = len(finished), finished.errors
    with stream:
        kind = "csv" if output_format == "csv" else "jsonl"
        writer = writer_for(kind, stream, labels, heatmaps=drawn, multilabel=multilabel)
        if stream.tell() == 0:
            writer.begin()
        missing = (path for path in _found(paths, scoring.engine) if path_text(path) not in finished)
        with closing(_predictions(missing, scoring)) as predictions:
            for prediction in _with_progress(predictions, paths, scoring.engine, log=True, already=len(finished)):
                writer.write(prediction)
                done += 1
                failed += _failed(prediction, told=True)
        scores_file.finish_on_disk(stream)
        if output_format == "parquet":
            from pocketcxr.inference.writers.parquet import write_parquet

            write_parquet(collected, output, labels, multilabel=multilabel)
    return _status(done, failed)


def _found(paths: list[Path], engine: str, passed_over: PassedOver | None = None) -> Iterator[Path | str]:
    if engine != RAY:
        return find_images(paths, passed_over=passed_over)
    from pocketcxr.inference.remote_files import find_files

    return find_files(paths, passed_over=passed_over)


def _how_many(paths: list[Path], engine: str) -> int:
    """How many files there will be; 0 where only an archive knows, which is not asked everything twice."""
    if engine == RAY:
        from pocketcxr.inference.archive_files import is_archive
        from pocketcxr.inference.remote_files import address_of

        if any(is_archive(address_of(path)) for path in paths):
            return 0
    return sum(1 for _ in _found(paths, engine, PassedOver()))


def _predictions(files: Iterator[Path | str], scoring: _Scoring) -> Generator[Prediction]:
    if scoring.engine == RAY:
        from pocketcxr.inference.cluster import predict_on_cluster
        from pocketcxr.inference.processes.pool import PoolOptions

        options = PoolOptions(
            scoring.file.path.absolute(), scoring.file.identity, exact=scoring.exact, runtime=scoring.runtime
        )
        return predict_on_cluster(files, options, workers=scoring.workers)

    def start_here() -> Callable[[Path], Prediction]:
        from pocketcxr.inference.loading import LoadingBundle

        bundle = LoadingBundle(scoring.file, threads=scoring.threads, runtime=scoring.runtime)
        from pocketcxr.inference.worker import make_predictor, score_and_draw  # while the bundle loads

        predictor = make_predictor(bundle, exact=scoring.exact, heatmaps=scoring.heatmaps)

        def score(path: Path) -> Prediction:
            prediction = score_and_draw(predictor, path, scoring.heatmaps)
            bundle.loaded()  # an image that could not be read asked for no bundle, and would hide that it is unusable
            return prediction

        return score

    return predict_files(
        cast("Iterator[Path]", files),  # addresses are of clusters alone
        start_here=start_here,
        bundle=(scoring.file.path, scoring.file.identity),
        exact=scoring.exact,
        heatmaps=scoring.heatmaps,
        workers=scoring.workers,
        runtime=scoring.runtime,
    )


def _runtime(file: VerifiedFile, asked: str) -> str:
    """Refuse an unknown or missing runtime before an image is read, and choose where that was asked for."""
    if asked == "onnxruntime":  # the usual start imports nothing for it
        return asked
    from pocketcxr.inference.runtimes.sessions import AUTO, check_runtime

    check_runtime(asked)
    if asked != AUTO:
        return asked
    from pocketcxr.inference.fastest import fastest_runtime

    return fastest_runtime(file, threads=1)


def _failed(prediction: Prediction, *, told: bool) -> bool:
    if prediction.decision != ERROR:
        return False
    if told:
        _LOGGER.error("%s", one_line(prediction.reasons[0].words))
    return True


def _status(done: int, failed: int) -> int:
    if not failed:
        return EXIT_ANSWERED
    return EXIT_NOTHING_READ if failed == done else EXIT_SOME_FAILED


def _with_progress(
    predictions: Iterator[Prediction], paths: list[Path], engine: str, *, log: bool, already: int = 0
) -> Iterator[Prediction]:
    """Tell how far it is where a person watches, or in a log of a long run, unless one named file is scored."""
    one_file = len(paths) == 1 and engine == LOCAL and not paths[0].is_dir()
    if one_file or not (sys.stderr.isatty() or log):
        yield from predictions
        return
    from pocketcxr.inference.writers.progress import Progress

    progress = Progress(lambda: _how_many(paths, engine), already=already)
    for prediction in predictions:
        if not log or prediction.decision == ERROR:  # what is written about it goes to the same screen
            progress.clear()
        yield prediction
        progress.step()
    if log:
        progress.end()
    else:
        progress.clear()
