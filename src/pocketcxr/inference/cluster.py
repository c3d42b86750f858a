"""Scoring on a cluster: Ray Data hands parts of the list of files to machines, in the order of the files.

A part is scored by `pocketcxr.inference.processes.pool`, as on one machine: a decoder that crashes takes one file with
it. A part whose process or machine is lost is scored again by Ray, and its answers count once. Only names and answers
travel, and a window of parts at a time, so that memory is bounded however long the list is.
"""
# Ray is optional and has few types:
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false, reportMissingModuleSource=false

from __future__ import annotations

import itertools
import json
import logging
import os
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr import errors
from pocketcxr.data.parallel import ordered_map
from pocketcxr.errors import ConfigError, PocketCxrError, UnreadableImageError, require_extra
from pocketcxr.imaging.input_checks import Reason
from pocketcxr.inference.archive_files import ArchiveFiles, is_archive
from pocketcxr.inference.prediction import Prediction
from pocketcxr.inference.processes.pool import PoolOptions, predict_in_processes
from pocketcxr.inference.remote_files import address_of, fetch
from pocketcxr.plain_text import one_line, path_of_text, path_text
from pocketcxr.version import __version__

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

LARGEST_PART, SMALLEST_PART = 512, 32
"""Files that one task scores. Each starts a scoring process; and all of them are scored again after a loss."""
WINDOW = 8 * LARGEST_PART
"""Files per processor of the cluster that the driver knows at a time; as many again are listed ahead."""
_FETCHED_AT_ONCE = 4  # of an archive one, which is whole in memory for a moment
_ANSWERS_WITHIN_S = 10  # a cluster's first machine; Ray itself would try for minutes
_OBJECT_STORE_BYTES = 256 * 2**20  # of a cluster on this machine alone; Ray would take a third of its memory


def predict_on_cluster(
    files: Iterator[Path | str], options: PoolOptions, *, workers: int | None = None
) -> Generator[Prediction]:
    """Score files on the machines of a Ray cluster: that of ``RAY_ADDRESS``, otherwise one on this machine alone.

    Args:
        files: of `pocketcxr.inference.remote_files.find_files`; every machine must see them, and the bundle, under the
            same names.
        options: as for `predict_in_processes`; no heatmaps.
        workers: parts that are scored at the same time; None takes one per processor of the cluster.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: there is no cluster at the address, or a machine has another version of this program or bundle.
        PocketCxrError: what `predict_in_processes` raises, on any machine; or the cluster itself failed.
    """
    require_extra("cluster", "ray", "pandas", "pyarrow")
    import ray
    from ray.exceptions import RayError

    names = map(path_text, files)
    first = list(itertools.islice(names, 1))
    if not first:
        return
    _connect(workers)
    try:
        slots = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        windows = iter(lambda: list(itertools.islice(names, slots * WINDOW)), [])
        with ThreadPoolExecutor(1) as listing:  # the next files are looked for while some are scored
            window = first + next(windows, [])
            while window:
                following = listing.submit(next, windows, [])
                yield from _scored(window, options, slots=slots, most=workers)
                window = following.result()
    except RayError as error:
        last = one_line(str(error).strip().rpartition("\n")[2])
        raise PocketCxrError(f"the cluster failed ({last}): run the same command again") from error
    finally:
        ray.shutdown()


def _connect(workers: int | None) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # else Ray reports every cluster to its maker
    address = os.environ.get("RAY_ADDRESS") or "local"
    _refuse_silent(address)
    import ray
    import ray.data

    local = {"num_cpus": workers, "object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False}
    given = local if address == "local" else {}
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **given)
    except Exception as error:  # Ray raises several kinds, bare ones among them
        first = one_line(str(error).strip().partition("\n")[0])
        if address == "local":
            raise PocketCxrError(f"Ray does not start on this machine: {first}") from error
        raise ConfigError(f"RAY_ADDRESS: expected the address of a Ray cluster, {address} is none ({first})") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is raised, too


def _refuse_silent(address: str) -> None:
    """Refuse host:port where nothing listens; other addresses (``local``, ``auto``, ``ray://``) are left to Ray."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "://" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        words = f"expected the address of a Ray cluster, at {one_line(address)} nothing answers"
        raise ConfigError(f"RAY_ADDRESS: {words} ({one_line(str(error))})") from error


def _scored(window: list[str], options: PoolOptions, *, slots: int, most: int | None) -> Iterator[Prediction]:
    import ray.data

    size = min(LARGEST_PART, max(SMALLEST_PART, -(-len(window) // (4 * slots))))
    items = [{"name": name, "place": address_of(name) or os.path.abspath(path_of_text(name))} for name in window]  # noqa: PTH100
    rows = ray.data.from_items(items, override_num_blocks=-(-len(items) // size))
    scored = rows.map_batches(
        score_part_or_fault,
        batch_size=None,
        fn_kwargs={"options": options, "version": __version__},
        num_cpus=1,
        concurrency=most,
    )
    for name, row in zip(window, scored.iter_rows(), strict=True):
        record = json.loads(row["record"])
        if "fault" in record:
            kind, words = record["fault"]
            raise getattr(errors, kind)(words)
        prediction = Prediction.from_record(record)
        if prediction.path != name:
            raise PocketCxrError(f"expected the cluster's answer for {one_line(name)}, found another file's")
        yield prediction


def score_part_or_fault(part: dict[str, Any], **given: Any) -> dict[str, Any]:
    """As `score_part`; an error of ours comes back as rows that hold its kind and words, for Ray keeps neither."""
    try:
        return score_part(part, **given)
    except (PocketCxrError, OSError) as error:
        kind = type(error) if isinstance(error, PocketCxrError) else PocketCxrError
        fault = json.dumps({"fault": [kind.__name__, str(error)]})
        return {"record": np.array([fault] * len(part["name"]), dtype=object)}


def score_part(part: dict[str, Any], *, options: PoolOptions, version: str) -> dict[str, Any]:
    """Score a part on one of the cluster's machines.

    Args:
        part: columns ``name``, as answers name a file, and ``place``, where it is read: an absolute path or an address.
        options: as for `predict_in_processes`.
        version: of this program where the cluster is driven from.

    Returns:
        Column ``record``: the answers as JSON, in the order of the part.

    Raises:
        ConfigError: this machine has another version of the program or of the bundle.
    """
    if version != __version__:
        raise ConfigError(f"a machine of the cluster has pocketcxr {__version__}, expected {version} as on the first")
    names, places = [str(one) for one in part["name"]], [str(one) for one in part["place"]]
    records: list[str] = []
    refused: dict[Path, Reason] = {}
    with tempfile.TemporaryDirectory(prefix="pocketcxr-") as folder, closing(ArchiveFiles()) as archives:

        def here(number: int) -> Path:
            address = address_of(places[number])
            if not address:
                return Path(path_of_text(places[number]))
            of_archive = is_archive(address)
            copy = Path(folder) / f"{number}{'.dcm' if of_archive else Path(address).suffix}"
            try:
                (archives.fetch if of_archive else fetch)(address, copy)
            except FileNotFoundError:
                pass  # which reading the copy says
            except PermissionError:
                refused[copy] = Reason("unreadable", f"{names[number]}: access to it is denied")
            except UnreadableImageError as error:
                refused[copy] = Reason(error.code, f"{names[number]}: {error}")
            return copy

        at_once = 1 if any(map(is_archive, places)) else _FETCHED_AT_ONCE
        with closing(ordered_map(here, range(len(names)), workers=at_once)) as copies:
            given, noted = itertools.tee(copies)
            answers = zip(names, places, noted, predict_in_processes(given, options, workers=1), strict=True)
            for name, place, read, found in answers:
                prediction = _renamed(found, read, name, refused.get(read))
                if prediction.bundle != options.identity:
                    raise ConfigError(f"a machine has bundle {prediction.bundle}, expected {options.identity}")
                records.append(json.dumps(prediction.record()))
                if address_of(place):
                    read.unlink(missing_ok=True)
    return {"record": np.array(records, dtype=object)}


def _renamed(prediction: Prediction, place: Path, name: str, refused: Reason | None) -> Prediction:
    """The prediction with the file's name in place of where it was read, also where its reasons say it."""
    reasons = tuple(replace(one, words=one.words.replace(path_text(place), name)) for one in prediction.reasons)
    return replace(prediction, path=name, reasons=(refused,) if refused else reasons)
