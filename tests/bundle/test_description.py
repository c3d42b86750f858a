"""A description of a network says how it takes images and what its output means; one that cannot be is refused."""

from __future__ import annotations

import numpy as np
import pytest

from pocketcxr.bundle.description import ModelDescription, read_description
from pocketcxr.errors import ConfigError, DataError

LABELS = ("normal", "covid19")


def _description(**fields):
    return ModelDescription(**{"labels": LABELS, "positive": "covid19", "image_size": 4} | fields)


def test_images_get_range_channels_mean_and_layout():
    images = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 1, 4, 4)
    same = _description().prepare(images)
    np.testing.assert_array_equal(same, images)
    xrv = _description(input_range=(-1024.0, 1024.0)).prepare(images)
    assert (xrv.min(), xrv.max()) == (-1024, 1024)
    imagenet = _description(channels=3, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    three = imagenet.prepare(images)
    assert (three.shape, three.dtype) == ((2, 3, 4, 4), np.float32)
    np.testing.assert_allclose(three[:, 2], (images[:, 0] - 0.6) / 0.3, atol=1e-6)
    last = _description(channels=3, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3), layout="NHWC").prepare(images)
    np.testing.assert_array_equal(last, three.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    "fields, output, expected",
    [
        ({}, [[0.0, np.log(3)]], [[0.25, 0.75]]),
        ({"activation": "none"}, [[0.3, 0.7]], [[0.3, 0.7]]),
        ({"activation": "none"}, [0.7], [[0.3, 0.7]]),
        ({"activation": "sigmoid"}, [[0.0]], [[0.5, 0.5]]),
        ({"activation": "sigmoid"}, [[np.log(3)]], [[0.25, 0.75]]),
        ({"activation": "sigmoid", "positive": "normal"}, [np.log(3)], [[0.75, 0.25]]),
        ({"activation": "sigmoid", "column": 2}, [[9.0, 9.0, np.log(3)]], [[0.25, 0.75]]),
        ({"activation": "none", "column": 0}, [[0.9, 0.8, 0.7]], [[0.1, 0.9]]),
        ({"labels": ("a", "b", "covid19")}, [[0.0, 0.0, np.log(2)]], [[0.25, 0.25, 0.5]]),
        ({"labels": ("a", "b", "c"), "positive": "", "activation": "sigmoid"}, [[0, np.log(3), 0]], [[0.5, 0.75, 0.5]]),
        ({"labels": ("a", "b", "covid19"), "activation": "independent"}, [[0.5, 0.9, 0.2]], [[0.5, 0.9, 0.2]]),
    ],
)
def test_outputs_become_probabilities(fields, output, expected):
    found = _description(**fields).probabilities(np.array(output), "x")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "fields, output, said",
    [
        ({}, [[0.1, 0.2, 0.3]], r"\[n, 2\], found \[1, 3\]"),
        ({"activation": "sigmoid"}, [[0.1, 0.2]], r"\[n, 1\]"),
        ({"activation": "sigmoid", "column": 5}, [[0.1, 0.2]], r"\[n, 1\]"),
        ({"activation": "none"}, [[0.5, 1.5]], "expected probabilities, found 0.5 to 1.5"),
        ({}, [[np.nan, 0.0]], "expected probabilities"),
    ],
)
def test_other_outputs_are_refused(fields, output, said):
    with pytest.raises(DataError, match=said):
        _description(**fields).probabilities(np.array(output), "x")


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"labels": ("covid19",)}, "labels: expected two or more"),
        ({"labels": ("covid19", "covid19")}, "labels"),
        ({"positive": "flu"}, "positive: expected one of normal, covid19, found 'flu'"),
        ({"image_size": 0}, "image_size"),
        ({"image_size": "224"}, "image_size"),
        ({"channels": 2}, "channels: expected one of 1, 3"),
        ({"input_range": (1.0, 0.0)}, "input_range"),
        ({"mean": (0.1, 0.2)}, "mean: expected 1 or 1 numbers"),
        ({"std": (0.0,)}, "std: expected numbers other than zero"),
        ({"layout": "CHW"}, "layout"),
        ({"activation": "relu"}, "activation: expected one of softmax, sigmoid, none"),
        ({"embedding": 3}, "embedding: expected the name of an output"),
        ({"positive": ""}, "positive"),
        ({"column": 1}, "activation: expected sigmoid or none where a column is named"),
        ({"labels": ("a", "b", "covid19"), "column": 1, "activation": "none"}, "column"),
    ],
)
def test_contradictions_name_the_field(fields, said):
    with pytest.raises(ConfigError, match=said):
        _description(**fields)


def test_a_file_is_read_and_its_faults_are_named(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('labels = ["normal", "covid19"]\npositive = "covid19"\nimage_size = 4\nstd = [0.5]\n')
    assert read_description(path) == _description(std=(0.5,))
    for text, said in (
        ('labels = ["a", "b"]\n', "no field image_size"),
        (path.read_text().replace('positive = "covid19"', ""), "positive: expected one of normal, covid19"),
        (path.read_text() + "size = 4\n", "unknown field size"),
        (path.read_text().replace("[0.5]", "0.5"), "x.toml"),
        ("labels = [", "cannot be read as the description"),
        (path.read_text().replace("= 4", "= -4"), "x.toml: image_size"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            read_description(path)
        path.write_text('labels = ["normal", "covid19"]\npositive = "covid19"\nimage_size = 4\nstd = [0.5]\n')
    with pytest.raises(ConfigError, match="cannot be read"):
        read_description(tmp_path / "absent.toml")


GOOD = """labels = ["normal", "covid19"]
positive = "covid19"
image_size = 224
"""


@pytest.mark.parametrize(
    "line, field",
    [
        ('image_size = "224"', "image_size"),
        ("image_size = true", "image_size"),
        ("image_size = 224.0", "image_size"),
        ("image_size = 0", "image_size"),
        ("image_size = -224", "image_size"),
        ("image_size = 4097", "image_size"),
        ("image_size = nan", "image_size"),
        ('channels = "3"', "channels"),
        ("channels = true", "channels"),
        ("channels = 3.0", "channels"),
        ('mean = ["a"]', "mean"),
        ("mean = [nan]", "mean"),
        ("mean = 0.5", "mean"),
        ("mean = [0.5, 0.5]", "mean"),
        ("std = [inf]", "std"),
        ("std = [0]", "std"),
        ("std = [-inf]", "std"),
        ('input_range = ["0", "1"]', "input_range"),
        ("input_range = [0, nan]", "input_range"),
        ("input_range = [1, 0]", "input_range"),
        ("input_range = [0, 0]", "input_range"),
        ("input_range = [0, 1, 2]", "input_range"),
        ("output = 3", "output"),
        ("layout = 3", "layout"),
        ("activation = []", "activation"),
        ("column = -1", "column"),
        ("column = true", "column"),
        ('column = "0"', "column"),
        ('labels = "ab"', "labels"),
        ("labels = [1, 2]", "labels"),
        ("labels = [[1], [2]]", "labels"),
        ("positive = []", "positive"),
        (f"mean = {'[' * 5000}{']' * 5000}", "cannot be read|mean"),
    ],
)
def test_a_field_of_another_type_or_outside_its_range_is_named(tmp_path, line, field):
    path = tmp_path / "model.toml"
    name = line.partition(" ")[0]
    kept = [one for one in GOOD.splitlines() if not one.startswith(f"{name} ")]
    path.write_text("\n".join([*kept, line]))
    with pytest.raises(ConfigError, match=rf"model\.toml: .*({field})") as caught:
        read_description(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line", ["image_size = 1", "image_size = 4096", "mean = [0]", "std = [-1]", "column = 0\nactivation = 'sigmoid'"]
)
def test_the_ends_of_the_ranges_are_allowed(tmp_path, line):
    path = tmp_path / "model.toml"
    name = line.partition(" ")[0]
    path.write_text("\n".join([*(one for one in GOOD.splitlines() if not one.startswith(f"{name} ")), line]))
    read_description(path)
