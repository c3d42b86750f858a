"""Many files from Python: in order, past every bad one, in this process or in several."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pocketcxr.errors import ConfigError


@pytest.fixture
def folder(save_picture, tmp_path):
    for number, brightness in enumerate((0.8, 0.2, 0.8, 0.2), start=1):
        save_picture(tmp_path / "in" / f"{number}.png", brightness=brightness)
    (tmp_path / "in" / "2.png").write_text("a text file")
    return tmp_path / "in"


DECISIONS = ["bright", "error", "bright", "dark"]


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("kind", [str, Path, lambda folder: sorted(folder.iterdir()), lambda folder: iter([folder])])
def test_a_bad_file_is_a_prediction_with_an_error_and_stops_nothing(predictor, folder, workers, kind):
    predictions = list(predictor.predict_many(kind(folder), workers=workers))
    assert [one.decision for one in predictions] == DECISIONS
    assert [Path(one.path).name for one in predictions] == ["1.png", "2.png", "3.png", "4.png"]
    assert [one.error is None for one in predictions] == [True, False, True, True]
    assert "2.png" in predictions[1].error
    assert predictions[0].record() == predictor.predict(folder / "1.png").record()


def test_heatmaps_come_from_other_processes_predictions_too(predictor, save_picture, folder):
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png"))
    save_picture(odd, brightness=0.8)
    predictions = list(predictor.predict_many(folder, workers=2))
    assert len(predictions) == 5
    for prediction, path in zip(predictions, [*sorted(folder.glob("[1-4].png")), odd], strict=True):
        if prediction.error is None:
            np.testing.assert_array_equal(prediction.heatmap(), predictor.predict(path).heatmap())


def test_predictions_come_as_they_are_read(predictor, save_picture, folder):
    predictions = predictor.predict_many(iter([folder / "1.png", folder / "late.png"]), workers=None)
    assert next(predictions).decision == "bright"
    save_picture(folder / "late.png", brightness=0.2)
    assert next(predictions).decision == "dark"
    assert next(predictions, None) is None


def test_nothing_gives_nothing(predictor):
    assert list(predictor.predict_many([])) == []


@pytest.mark.parametrize("paths", [5, None, [5], [b"bytes"], [np.zeros((160, 160))]])
def test_other_things_than_paths_are_refused_at_once(predictor, paths):
    with pytest.raises(ConfigError, match="expected a file, a folder or several"):
        predictor.predict_many(paths)


def test_less_than_one_process_is_refused(predictor, folder):
    with pytest.raises(ConfigError, match="at least 1, found 0"):
        predictor.predict_many(folder, workers=0)
