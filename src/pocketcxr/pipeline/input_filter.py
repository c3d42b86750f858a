"""The stage that fits the learned input filter: pictures from the run's table, kinds from what their data sets say."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.data.dataset import evenly
from pocketcxr.data.image_types import image_type_of, input_filter_groups, input_filter_splits
from pocketcxr.data.ood_images import with_ood_images
from pocketcxr.data.pseudonyms import KEY_FILE
from pocketcxr.data.rows import read_rows
from pocketcxr.errors import PocketCxrError
from pocketcxr.files import named_path, write_json
from pocketcxr.former_names import with_former_names
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize
from pocketcxr.models.input_filter import load_input_filter, save_input_filter
from pocketcxr.progress import Bar
from pocketcxr.training.input_filter.batches import MADE, VIEWS_VERSION, KnownPictures, make
from pocketcxr.training.input_filter.fit import fit_input_filter, kinds_of, refusal_table
from pocketcxr.training.run.identity import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.models.input_filter import InputKindNetwork, InputKindSpec
    from pocketcxr.pipeline.run import Run

_LOGGER = logging.getLogger("pocketcxr")
MOST_FRONTAL = 4000
"""Frontal X-rays of a split that are used, evenly spaced where there are more: they are alike."""


def input_filter_stage(run: Run) -> Path | None:
    """Fit the input filter of a run, or return the one that is there; None where the data hold nothing to refuse.

    Args:
        run: with its split table; the student takes no part, so the filter may be fitted before or after it.
    """
    path = run.input_filter
    path.parent.mkdir(parents=True, exist_ok=True)
    folders = [named_path(folder) for folder in run.experiment.input_filter.ood]
    rows = with_ood_images(
        read_rows(run.splits), folders, memory=path.with_name("memory.jsonl"), key=run.folder / KEY_FILE
    )
    size, config = run.experiment.data.image_size, run.experiment.input_filter
    settings = with_former_names(dataclasses.asdict(config))  # filters of earlier versions keep their key
    content = sorted((row.sha256, row.split) for row in rows)
    key = fingerprint(VIEWS_VERSION, settings, size, run.experiment.data.aspect, content)
    if path.is_file() and load_input_filter(path)[2].get("fingerprint") == key:
        return path
    if {image_type_of(row) for row in rows} <= {"", "frontal"}:
        _LOGGER.info(
            "no input filter: the X-rays hold no lateral, CT slice, other body part or photograph to learn from; "
            "name some with  --set 'input_filter.ood=[\"FOLDER\"]'"
        )
        return None
    pictures, splits, groups = load_known(
        rows, size=max(size, config.pixels), aspect=run.experiment.data.aspect, progress=run.progress
    )
    train = pictures.of(splits == "train")
    if not kinds_of(train):
        _LOGGER.info("no input filter: too few out-of-distribution images; none of them is in the train split")
        return None
    held = (splits == "calibration") & (pictures.kinds == "frontal")
    calibration = pictures.of(held)
    network, spec = fit_input_filter(
        train,
        calibration.pixels,
        image_size=size,
        config=config,
        patients=groups[held].tolist(),
        progress=run.progress,
    )
    tested = refusal_table(network, spec, with_made(pictures.of(splits == "test"), seed=config.seed))
    record = {
        "fingerprint": key,
        "config": dataclasses.asdict(config),
        "images": {kind: int((train.kinds == kind).sum()) for kind in spec.kinds},
        "threshold_chosen_on": f"calibration split, {len(calibration.pixels)} frontal images",
        "test": tested,
    }
    save_input_filter(path, network, spec, record)
    write_json(path.with_name("refusals.json"), {"threshold": spec.threshold, "kinds": spec.kinds, **record})
    _LOGGER.info("%s\ninput filter: %s", describe(tested), path)
    return path


def fitted_input_filter(run: Run) -> tuple[InputKindNetwork, InputKindSpec, dict[str, Any]] | None:
    """The fitted input filter of a run, None where it has none."""
    return load_input_filter(run.input_filter) if run.input_filter.is_file() else None


def load_known(
    rows: Sequence[IndexRow], *, size: int, aspect: str, progress: bool, most_frontal: int = MOST_FRONTAL
) -> tuple[KnownPictures, np.ndarray, np.ndarray]:
    """Pictures of known kind, the split and the group (patient) of each; of a split's frontal ones at most so many."""
    splits = np.array(input_filter_splits(rows))
    kinds = [image_type_of(row) for row in rows]
    wanted = [i for i, kind in enumerate(kinds) if kind and kind != "frontal"]
    for split in ("train", "calibration", "test"):
        frontal = [i for i, row in enumerate(rows) if kinds[i] == "frontal" and row.split == split]
        frontal.sort(key=lambda i: (rows[i].source, rows[i].sha256))
        wanted += evenly(np.array(frontal, dtype=np.int64), most_frontal).tolist()
    kept: list[int] = []
    pixels: list[np.ndarray] = []
    for i in Bar(wanted, desc="reading for the input filter", unit="picture", disable=not progress, leave=False):
        try:
            picture = resize(read_image(Path(rows[i].path)).pixels, size=size, aspect=aspect)
        except PocketCxrError as error:
            _LOGGER.info("left out of the input filter: %s", error)
            continue
        kept.append(i)
        pixels.append(np.round(picture * 255).astype(np.uint8))
    sources = np.array([rows[i].source for i in kept])
    return (
        KnownPictures(np.stack(pixels), np.array(kinds)[kept], sources),
        splits[kept],
        np.array(input_filter_groups(rows))[kept],
    )


def with_made(pictures: KnownPictures, *, seed: int, most: int = 400) -> KnownPictures:
    """Add inverted, turned and cropped radiographs, at most so many of each, for the evaluation."""
    frontal = pictures.of(np.flatnonzero(pictures.kinds == "frontal"))
    frontal = frontal.of(evenly(np.arange(len(frontal.kinds)), most))
    made = [make(frontal.pixels, kind, seed=seed) for kind in MADE] if len(frontal.kinds) else []
    return KnownPictures(
        np.concatenate([pictures.pixels, *made]),
        np.concatenate([pictures.kinds, *(np.full(len(each), kind) for kind, each in zip(MADE, made, strict=False))]),
        np.concatenate([pictures.sources, *([frontal.sources] * len(made))]),
    )


def describe(table: dict[str, dict[str, Any]]) -> str:
    """Refusals on the test split, a line per kind."""
    totals: dict[str, list[int]] = {}
    for name, row in table.items():
        counts = totals.setdefault(name.split()[0], [0, 0])
        counts[0] += row["refused"]
        counts[1] += row["images"]
    parts = (f"{kind} {refused} of {images}" for kind, (refused, images) in totals.items())
    return f"refused on the test split: {', '.join(parts)}"
