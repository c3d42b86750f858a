"""Several findings per image: from what a set says to labels, splits and arrays; what is not known stays so."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from pocketcxr.data.multilabel import contradict, held, is_of_task, label_array, label_texts, training_targets
from pocketcxr.data.rows import IndexRow, read_rows, write_rows
from pocketcxr.data.splits.assign import assign_splits, label_rows
from pocketcxr.data.summary import describe
from pocketcxr.errors import DataError
from pocketcxr.labels import Task, load_task

TASK = load_task("edema+fracture+mass")


def task(**fields):
    return Task("own", TASK.labels, "", TASK.findings, multilabel=True, **fields)


def row(number, finding="", uncertain="", absent="", **fields):
    digits = f"{(number * 2654435761) % 2**32:08x}{number:056x}"
    patient = fields.pop("patient_id", f"p{number}")
    return IndexRow(
        f"/x/{number:04d}.png",
        fields.pop("source", "a"),
        finding,
        patient_id=patient,
        uncertain=uncertain,
        absent=absent,
        sha256=digits,
        **fields,
    )


def test_labels_say_what_is_present_absent_and_uncertain_and_nothing_of_the_rest():
    rows = [
        row(0, "edema|hernia", "mass", "fracture"),
        row(1, "hernia"),
        row(2),
        row(3, "no_finding"),
        row(4, "edema", view="Lateral"),
    ]
    assert label_texts(rows, TASK) == ["edema=1|fracture=0|mass=u", "", "", "edema=0|fracture=0|mass=0", ""]
    assert label_texts(rows, task(unmentioned="absent"))[1:3] == ["edema=0|fracture=0|mass=0", ""]


def test_a_set_that_names_all_it_sees_calls_absent_only_what_it_names_somewhere():
    rows = [row(0, "edema", absent="*"), row(1, "mass", absent="*"), row(2, "fracture", source="b")]
    assert label_texts(rows, TASK) == ["edema=1|mass=0", "edema=0|mass=1", "fracture=1"]


def test_a_label_of_several_findings_is_absent_only_where_all_of_them_are():
    both = Task(
        "both",
        ("fluid", "air"),
        "",
        MappingProxyType({"edema": "fluid", "pleural_effusion": ("fluid",), "pneumothorax": "air"}),
        multilabel=True,
    )
    rows = [
        row(0, absent="edema"),
        row(1, absent="edema|pleural_effusion"),
        row(2, uncertain="edema", absent="pleural_effusion"),
        row(3, "pleural_effusion", "edema"),
    ]
    assert label_texts(rows, both) == ["", "fluid=0", "fluid=u", "fluid=1"]


def test_devices_are_no_disease():
    normal = load_task("normal+support_devices")
    rows = [row(0, "no_finding"), row(1, "support_devices"), row(2, "edema"), row(3, "no_finding|support_devices")]
    assert label_texts(rows, normal) == ["normal=1", "support_devices=1", "normal=0", "normal=1|support_devices=1"]


def test_arrays_keep_what_is_uncertain_apart_and_only_training_reads_the_policy():
    rows = label_rows([row(0, "edema", "fracture|mass"), row(1, absent="mass")], TASK)
    labels = label_array(rows, TASK)
    assert labels.tolist() == [[1, -2, -2], [-1, -1, 0]]
    policy = MappingProxyType({"fracture": "ones", "mass": "zeros"})
    assert training_targets(labels, task(uncertain=policy)).tolist() == [[1, 1, 0], [-1, -1, 0]]
    assert training_targets(labels, TASK).tolist() == [[1, -1, -1], [-1, -1, 0]]
    assert not is_of_task("hernia=1", TASK)
    single = load_task("normal,edema")
    assert training_targets(np.array([0, -1]), single).tolist() == [0, -1]


def test_copies_contradict_each_other_where_one_has_what_the_other_has_not():
    assert contradict(["edema=1|mass=0", "edema=0"])
    assert not contradict(["edema=1|mass=0", "edema=1|mass=u", "fracture=1"])
    assert contradict(["normal", "covid19"])
    assert held("edema=1|fracture=0|mass=u") == ("edema", "no fracture", "mass uncertain")
    assert (held("covid19"), held("")) == (("covid19",), ())


def many():
    findings = ("edema", "fracture", "mass")
    return [
        row(
            i, "|".join(f for k, f in enumerate(findings) if i >> k & 1) or "no_finding", absent="*", source="ab"[i % 2]
        )
        for i in range(160)
    ]


def test_a_split_deals_out_every_finding_and_keeps_patients_together(tmp_path):
    rows = [IndexRow(**{**vars(one), "patient_id": f"p{i // 2}"}) for i, one in enumerate(many())]
    done = assign_splits(rows, TASK, fractions=(0.5, 0.25, 0.25), seed=3)
    for part, share in (("train", 0.5), ("calibration", 0.25), ("test", 0.25)):
        labels = label_array([one for one in done if one.split == part], TASK)
        assert (np.abs((labels == 1).sum(axis=0) - 80 * share) <= 6).all()
    sides = {}
    for one in done:
        assert sides.setdefault(one.patient_id, one.split) == one.split
    write_rows(done, tmp_path / "splits.csv")
    assert [one.label for one in read_rows(tmp_path / "splits.csv")] == [one.label for one in done]
    lines = describe(done, TASK).splitlines()
    assert lines[1].split()[:2] == ["edema", "b"]  # even numbers have no edema
    assert next(line for line in lines if line.startswith("all")).split() == ["all", "80", "40", "40", "160"]


def test_a_finding_that_nothing_calls_absent_cannot_be_learnt():
    rows = [row(i, ("edema", "fracture", "mass")[i % 3]) for i in range(30)]
    with pytest.raises(DataError, match=r"no frontal radiograph of class no edema, no fracture, no mass .*unmentioned"):
        assign_splits(rows, TASK)
