"""Tasks: by name, in one line, from a file; what contradicts itself or is misspelt is one clear line."""

from __future__ import annotations

import pytest

from pocketcxr.errors import ConfigError
from pocketcxr.labels import load_task


def test_classes_in_one_line_are_a_task_whose_last_class_is_positive():
    task = load_task("Normal,Pneumothorax")
    assert (task.labels, task.positive, task.multilabel) == (("Normal", "Pneumothorax"), "Pneumothorax", False)
    assert dict(task.findings) == {"no_finding": "Normal", "pneumothorax": "Pneumothorax"}
    assert task.label_of("no_finding") == "Normal"


def test_findings_in_one_line_are_a_task_with_any_number_of_them_per_image():
    task = load_task("atelectasis+Effusion+knots")
    assert (task.labels, task.positive, task.multilabel) == (("atelectasis", "Effusion", "knots"), "", True)
    assert task.labels_of("pleural_effusion") == ("Effusion",)


def test_an_image_with_findings_of_two_classes_has_none():
    task = load_task("covid-3class")
    assert task.label_of("pneumonia|pleural_effusion") == "pneumonia"
    assert task.label_of("covid19|bacterial_pneumonia") is None
    assert task.label_of("fracture|hernia") is None


def test_a_file_says_what_uncertain_and_unmentioned_findings_are(tmp_path):
    path = tmp_path / "thorax.toml"
    path.write_text(
        'labels = ["pneumonia", "covid19", "edema"]\nmultilabel = true\nunmentioned = "absent"\n'
        '[uncertain]\nedema = "ones"\n[findings]\npneumonia = "pneumonia"\nEdema = "edema"\n'
        '"COVID-19" = ["pneumonia", "covid19"]\n'
    )
    task = load_task(path)
    assert (task.name, task.unmentioned, dict(task.uncertain)) == ("thorax", "absent", {"edema": "ones"})
    assert task.labels_of("covid19") == ("pneumonia", "covid19")
    path.write_text('labels = ["edema", "fracture"]\nmultilabel = true\nuncertain = "zeros"\n')
    task = load_task(path)
    assert dict(task.uncertain) == {"edema": "zeros", "fracture": "zeros"}
    assert task.labels_of("fracture") == ("fracture",)


def test_labels_need_not_be_findings_where_the_file_names_these(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('labels = ["unknown", "covid", "covid19"]\n[findings]\na = "unknown"\nb = "covid"\nc = "covid19"\n')
    assert dict(load_task(path).findings) == {"a": "unknown", "b": "covid", "c": "covid19"}


@pytest.mark.parametrize(
    "text, message",
    [
        ('labels = ["a", "b"]\nmultilable = true', "unknown field 'multilable'; did you mean multilabel"),
        ('labels = ["a", "b"]\nmultilabel = "yes"', "multilabel is 'yes', expected true or false"),
        ('labels = ["a", "b"]\nuncertain = "ones"', "uncertain and unmentioned are for multilabel = true"),
        ('labels = ["a", "b"]\nmultilabel = true\npositive = "a"', "have no positive class"),
        ('labels = ["a", "b"]\nmultilabel = true\nuncertain = "maybe"', "uncertain a = 'maybe': expected a label"),
        ('labels = ["a", "b"]\nmultilabel = true\nunmentioned = "no"', "unmentioned is 'no', expected one of unknown"),
        ('labels = ["a", "b"]\n[findings]\na = ["a", "b"]', "expected one class"),
        ('labels = ["a", "b"]\n[findings]\na = "c"', "maps to 'c', expected one of"),
        ('labels = ["a", "b"]\n[findings]\na = "a"', r"no finding maps to \['b'\]"),
        ('labels = ["a|c", "b"]', "a name cannot hold |"),
        ('labels = ["a", "refused"]', "label 'refused' cannot be used"),
        ('labels = ["a", "none"]\nmultilabel = true\n[findings]\na = "a"\nb = "none"', "label 'none' cannot be used"),
        ('labels = "ab"', "expected labels ="),
        ('labels = ["a"]', "at least two different labels"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_with_the_reason(tmp_path, text, message):
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_task(tmp_path / "own.toml")


@pytest.mark.parametrize(
    "text, message",
    [
        ("covid-3clas", "unknown task 'covid-3clas'; did you mean covid-3class"),
        ("normal,no finding", "are one finding, no_finding"),
        ("normal,", "'' means unlabelled in tables"),
        ("normal,uncertain", "label 'uncertain' cannot be used"),
    ],
)
def test_classes_that_cannot_be_told_apart_or_named_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        load_task(text)


def test_what_needs_one_class_per_image_refuses_a_task_with_several_findings():
    load_task("normal,edema").refuse_several("a split")
    with pytest.raises(ConfigError, match=r"^a split is defined for one class per image; task edema.fracture gives"):
        load_task("edema+fracture").refuse_several("a split")
