"""Experiment files, saved settings and overrides of earlier versions are read as what they mean now."""

import dataclasses
import json

import pytest

from pocketcxr.errors import ConfigError
from pocketcxr.former_names import with_current_names, with_former_names
from pocketcxr.training.config import InputFilterConfig, load_experiment
from pocketcxr.training.run.identity import fingerprint

EARLIER = """
[student]
losses = { hard = 0.5, soft = 1.0, similarity = 1.0 }
sampling = "class-source"
source_weights = { gate = 2.0 }

[gate]
strangers = ["knees"]
refused_films = 0.01
steps = 5
"""
PRESENT = """
[student]
losses = { ce = 0.5, kd = 1.0, similarity = 1.0 }
sampling = "class-source"
source_weights = { gate = 2.0 }

[input_filter]
ood = ["knees"]
refused_frontal = 0.01
steps = 5
"""


def test_an_experiment_file_of_an_earlier_version_is_the_same_experiment(tmp_path):
    paths = {}
    for name, text in {"earlier": EARLIER, "present": PRESENT}.items():
        paths[name] = tmp_path / f"{name}.toml"
        paths[name].write_text(text)
    earlier, present = (load_experiment(path) for path in paths.values())
    assert earlier == present
    assert list(earlier.student.losses) == ["ce", "kd", "similarity"]
    assert earlier.student.source_weights == {"gate": 2.0}  # a name of the user's


def test_the_settings_saved_in_a_run_of_an_earlier_version_are_read(tmp_path):
    table = dataclasses.asdict(load_experiment())
    losses = table["student"]["losses"]
    table["student"]["losses"] = {"hard": losses["ce"], "soft": losses["kd"], "embedding": losses["embedding"]}
    table["gate"] = with_former_names(table.pop("input_filter"))
    assert {"strangers", "refused_films"} <= table["gate"].keys()
    (tmp_path / "experiment.json").write_text(json.dumps(table))
    assert load_experiment(tmp_path / "experiment.json") == load_experiment()


def test_overrides_with_former_names_mean_the_present_ones():
    experiment = load_experiment(None, ["student.losses={hard=1.0}", "gate.steps=7", 'gate.strangers=["a"]'])
    assert experiment.student.losses == {"ce": 1.0}
    assert (experiment.input_filter.steps, experiment.input_filter.ood) == (7, ("a",))
    assert load_experiment(None, ["student.losses.hard=2.0"]).student.losses == {"ce": 2.0}


def test_a_setting_under_both_names_is_refused():
    with pytest.raises(ConfigError, match="hard and ce are the same setting"):
        with_current_names({"student": {"losses": {"ce": 1.0, "hard": 1.0}}})


def test_the_key_of_a_fitted_input_filter_is_the_one_of_earlier_versions():
    assert fingerprint(with_former_names(dataclasses.asdict(InputFilterConfig()))) == "ea574df16f7b4f32"
