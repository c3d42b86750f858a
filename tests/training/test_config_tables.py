"""Fields of an experiment: unknown names get the nearest one, values of another type one line."""

import dataclasses
import json

import pytest

from pocketcxr.errors import ConfigError
from pocketcxr.training.config import load_experiment


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("student.epoch=3", r"unknown field 'student\.epoch'; did you mean epochs\?: expected one of"),
        ("studnt.epochs=3", r"unknown field 'studnt'; did you mean student\?"),
        ("views.augmentation.fip=0.5", r"'views\.augmentation\.fip'; did you mean flip\?"),
        ("student.zzzz=3", r"unknown field 'student\.zzzz': expected"),
        ('student.losses={ce="much"}', r"student\.losses: expected numbers"),
        ("student.losses={ce=true}", r"student\.losses: expected numbers"),
        ("teacher.backbones=[1, 2]", r"teacher\.backbones: expected a list of names"),
        ('data.fractions=["a", "b", "c"]', r"data\.fractions: expected a list of numbers"),
        ("student.epochs=many", r"student\.epochs: expected int, found 'many'"),
    ],
)
def test_what_is_wrong_is_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        load_experiment(None, [setting])


def test_whole_numbers_stand_for_fractions():
    assert load_experiment(None, ["data.fractions=[1, 0.0, 0]"]).data.fractions == (1, 0.0, 0)


def test_a_configuration_reads_what_it_wrote(tmp_path):
    written = load_experiment(None, ["teacher.progressive_sizes=[96, 128]", "data.image_size=160", "teacher.epochs=3"])
    (tmp_path / "experiment.json").write_text(json.dumps(dataclasses.asdict(written)))
    assert load_experiment(tmp_path / "experiment.json", []) == written
    (tmp_path / "experiment.json").write_text(json.dumps(dataclasses.asdict(load_experiment(None, []))))
    assert load_experiment(tmp_path / "experiment.json", []) == load_experiment(None, [])
    given = load_experiment(None, ['teacher.checkpoint="a.onnx"', 'teacher.classes={normal="", covid19="COVID-19"}'])
    (tmp_path / "experiment.json").write_text(json.dumps(dataclasses.asdict(given)))
    assert load_experiment(tmp_path / "experiment.json", []).teacher.classes == {"normal": "", "covid19": "COVID-19"}
