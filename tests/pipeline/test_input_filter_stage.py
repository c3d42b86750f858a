"""The stage of the input filter: fitted where the data hold other images, else one line says so; fitted once."""

from __future__ import annotations

import dataclasses
import json
import logging

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="needs the extra train")

from pocketcxr.data.rows import write_rows
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.data.synthetic.ood import draw_ood_images
from pocketcxr.labels import load_task
from pocketcxr.pipeline import input_filter as stage
from pocketcxr.pipeline.prepare import index_sources, split_index
from pocketcxr.pipeline.run import open_run
from pocketcxr.training.config import load_experiment

QUICK = ("data.image_size=32", "input_filter.steps=4", "input_filter.batch_size=16", "input_filter.pixels=32")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Split table of drawn frontal, enough for 20 of them in the calibration part."""
    folder = tmp_path_factory.mktemp("filter")
    draw_synthetic_xrays(folder / "xrays", patients=40, seed=3, size=96, progress=False)
    index_sources([folder / "xrays"], folder / "index.csv", progress=False)
    split_index(folder / "index.csv", load_task("covid-3class"), folder / "splits.csv", fractions=(0.5, 0.3, 0.2))
    return folder / "splits.csv"


@pytest.fixture(scope="module")
def ood(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ood")
    for number, picture in enumerate(draw_ood_images(40, size=96, seed=9)):
        path = folder / ("knee_xray", "photograph")[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    return folder


def _run(table, tmp_path, *settings):
    run = open_run(tmp_path / "run", load_experiment(None, [*QUICK, *settings]), progress=False)
    run.splits.write_bytes(table.read_bytes())
    return run


def test_without_other_images_there_is_no_filter_and_one_line_says_how_to_get_one(table, tmp_path, caplog):
    run = _run(table, tmp_path)
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        assert stage.input_filter_stage(run) is None
    assert "no input filter" in caplog.text
    assert "input_filter.ood" in caplog.text
    assert stage.fitted_input_filter(run) is None


def test_with_other_images_it_is_fitted_once_and_again_when_its_settings_change(table, ood, tmp_path, monkeypatch):
    run = _run(table, tmp_path, f"input_filter.ood={json.dumps([str(ood)])}")
    path = stage.input_filter_stage(run)
    assert path == run.input_filter
    network, spec, record = stage.fitted_input_filter(run)
    assert spec.kinds == ("frontal", "not_xray", "other_part", "inverted", "turned", "cropped")
    assert (spec.image_size, network.side) == (32, 32)
    written = json.loads(run.input_filter.with_name("refusals.json").read_text())
    assert written["threshold"] == spec.threshold
    tested = record["test"]
    assert {name.split()[0] for name in tested} == {
        "frontal",
        "not_xray",
        "other_part",
        "inverted",
        "turned",
        "cropped",
    }
    # 40 of them: those of the filter's test split only
    assert (
        2 <= sum(row["images"] for name, row in tested.items() if name.split()[0] in ("not_xray", "other_part")) <= 16
    )

    def fail(*_, **__):
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(stage, "fit_input_filter", fail)
        assert stage.input_filter_stage(run) == path  # done already
        longer = dataclasses.replace(run.experiment.input_filter, steps=5)
        changed = dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, input_filter=longer))
        with pytest.raises(AssertionError):
            stage.input_filter_stage(changed)


def test_pictures_that_cannot_be_read_are_left_out(table, ood, tmp_path, caplog):
    rows = stage.with_ood_images(stage.read_rows(table), [ood])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    rows.append(dataclasses.replace(rows[-1], path=str(broken), sha256="0"))
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        pictures, splits, groups = stage.load_known(rows, size=32, aspect="squash", progress=False, most_frontal=7)
    assert "left out of the input filter" in caplog.text
    frontal = pictures.kinds == "frontal"
    assert {split: int((frontal & (splits == split)).sum()) for split in ("train", "calibration", "test")} == {
        "train": 7,
        "calibration": 7,
        "test": 7,
    }
    assert (~frontal).sum() == 40
    assert pictures.pixels.shape == (61, 32, 32)
    assert len(groups) == 61
    assert pictures.pixels.dtype == np.uint8


class Asked(Exception):
    """Carries the key that the stage asked for."""


def _key(run, monkeypatch):
    original = stage.fingerprint

    def asked(*parts):
        raise Asked(original(*parts))

    with monkeypatch.context() as patch:
        patch.setattr(stage, "fingerprint", asked)
        with pytest.raises(Asked) as caught:
            stage.input_filter_stage(run)
    return caught.value.args[0]


def _changed(run, **fields):
    return dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, **fields))


def test_a_filter_is_kept_by_each_setting_size_aspect_and_the_images_of_each_split(table, tmp_path, monkeypatch):
    run = _run(table, tmp_path)
    config, data = run.experiment.input_filter, run.experiment.data
    monkeypatch.setattr(stage, "with_ood_images", lambda rows, *_, **__: list(rows))  # the same, whatever is named
    other = {"ood": ("elsewhere",)}
    for name, value in dataclasses.asdict(config).items():
        if name not in other:
            other[name] = value + 1 if isinstance(value, int) else value / 2
    keys = [_key(run, monkeypatch)]
    keys += [
        _key(_changed(run, input_filter=dataclasses.replace(config, **{name: value})), monkeypatch)
        for name, value in other.items()
    ]
    keys.append(_key(_changed(run, data=dataclasses.replace(data, image_size=data.image_size * 2)), monkeypatch))
    keys.append(_key(_changed(run, data=dataclasses.replace(data, aspect="pad")), monkeypatch))
    with monkeypatch.context() as patch:
        patch.setattr(stage, "VIEWS_VERSION", stage.VIEWS_VERSION + 1)
        keys.append(_key(run, monkeypatch))
    rows = list(stage.read_rows(run.splits))
    place = next(i for i, row in enumerate(rows) if row.split == "train")
    for fields in ({"split": "calibration"}, {"sha256": "f" * 64}):
        write_rows([*rows[:place], dataclasses.replace(rows[place], **fields), *rows[place + 1 :]], run.splits)
        keys.append(_key(run, monkeypatch))
    write_rows(rows[:-1], run.splits)
    keys.append(_key(run, monkeypatch))
    write_rows(rows[::-1], run.splits)
    assert _key(run, monkeypatch) == keys[0]  # the order of a table is of no influence
    assert len(set(keys)) == len(keys)
