"""Two runs on one test set: every image stands where the other table has it, and nothing that is tested trains."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from pocketcxr.cli import main
from pocketcxr.data.rows import SPLITS, IndexRow, read_rows, write_rows
from pocketcxr.data.splits.assign import assign_folds, assign_splits, check_leakage
from pocketcxr.data.splits.reuse import reuse_splits
from pocketcxr.errors import DataError, LeakError
from pocketcxr.labels import TASKS

TASK = TASKS["covid-binary"]


def row(number, finding="covid19", patient="", **facts):
    facts.setdefault("sha256", f"{number:064x}")
    return IndexRow(f"/x/{number:05d}.png", facts.pop("source", "a"), finding, patient_id=patient, **facts)


def whole(patients=40):
    """Two images of every patient, both classes in both sources."""
    return [
        row(p * 2 + i, ("covid19", "no_finding")[p % 2], f"p{p}", source="ab"[(p // 2) % 2])
        for p in range(patients)
        for i in range(2)
    ]


def by_content(rows):
    return {each.sha256: each for each in rows}


def test_every_image_of_one_source_keeps_its_side_wherever_the_file_lies():
    other = assign_splits(whole(), TASK, seed=5)
    own = [
        dataclasses.replace(each, path=f"/elsewhere/{each.path}") for each in reversed(whole()) if each.source == "a"
    ]
    done = reuse_splits(own, TASK, other, name="other.csv")
    assert [each.path for each in done] == [each.path for each in own]
    assert {each.split for each in done} == set(SPLITS)
    assert all(each.split == by_content(other)[each.sha256].split for each in done)
    assert [each.split for each in done] != [each.split for each in assign_splits(own, TASK, seed=0)]


def test_tables_that_were_never_hashed_are_compared_by_path():
    bare = [dataclasses.replace(each, sha256="") for each in whole()]
    other = assign_splits(bare, TASK, seed=5)
    done = reuse_splits(bare[20:], TASK, other, name="other.csv")
    assert [each.split for each in done] == [each.split for each in other[20:]]


def test_classes_of_another_task_stand_where_the_other_table_put_the_image_without_a_class():
    rows = [*whole(), row(900, "tuberculosis", "t0"), row(901, "tuberculosis", "p0")]
    wider = dataclasses.replace(TASK, name="wider", findings={**TASK.findings, "tuberculosis": "other"})
    other = assign_splits(rows, TASK, seed=5)
    done = reuse_splits(rows, wider, other, name="other.csv")
    assert [each.split for each in done] == [each.split for each in other]
    assert [each.label for each in done[-2:]] == ["other", "other"]


def test_folds_are_taken_over_too():
    other = assign_folds(whole(), TASK, folds=4, seed=3)
    done = reuse_splits(other[:40], TASK, other, name="folds.csv")
    assert [each.fold for each in done] == [each.fold for each in other[:40]]
    assert {each.split for each in done} == {""}


def test_images_without_a_class_follow_what_either_table_ties_them_to_else_they_train():
    other = assign_splits(whole(), TASK, seed=5)
    tested = next(each for each in other if each.split == "test" and each.source == "b")
    copied = next(each for each in other if each.split == "calibration" and each.source == "b")
    other = [dataclasses.replace(each, duplicate_group="g") if each == copied else each for each in other]
    own = [
        *(each for each in whole() if each.source == "a"),
        row(700, "", tested.patient_id),  # its patient is tested in the other table, and in no row of this one
        row(701, "", duplicate_group="g"),
        dataclasses.replace(row(702, ""), sha256=tested.sha256),
        row(703, ""),
        row(704, "", tested.patient_id, duplicate_group="g"),  # on two sides: stays out
        row(705, "", view="L"),
    ]
    del own[-4:-2]  # 702 and 703 come in their own turn: the chain of 704 joins them
    done = {each.path: each.split for each in reuse_splits(own, TASK, other, name="other.csv")}
    assert done["/x/00704.png"] == ""
    assert done["/x/00705.png"] == ""
    own = [each for each in own if each.path < "/x/00704.png"]
    own += [dataclasses.replace(row(702, ""), sha256=tested.sha256), row(703, "")]
    done = {each.path: each.split for each in reuse_splits(own, TASK, other, name="other.csv")}
    assert [done[f"/x/{number:05d}.png"] for number in range(700, 704)] == ["test", "calibration", "test", "train"]


def test_an_image_with_a_class_and_no_side_is_counted_shown_and_refused():
    other = assign_splits(whole(), TASK)
    own = [*whole(), row(800, "covid19", "q0"), row(801, "no_finding", "q1")]
    with pytest.raises(
        DataError,
        match=r"^2 of 82 images with a class have no split in other\.csv, such as /x/00800\.png \(covid19\); ",
    ):
        reuse_splits(own, TASK, other, name="other.csv")
    unplaced = [dataclasses.replace(each, split="") if each.path == "/x/00003.png" else each for each in other]
    with pytest.raises(DataError, match=r"^1 of 80 images with a class have no split in other\.csv"):
        reuse_splits(whole(), TASK, unplaced, name="other.csv")


def test_a_table_without_sides_is_refused():
    with pytest.raises(DataError, match=r"index\.csv: expected a table with splits or folds, found none"):
        reuse_splits(whole(), TASK, whole(), name="index.csv")


def test_a_leak_in_either_table_stops():
    other = assign_splits(whole(), TASK)
    sides = {each.split: each.patient_id for each in other}
    joined = [
        dataclasses.replace(each, duplicate_group="g") if each.patient_id in (sides["train"], sides["test"]) else each
        for each in whole()
    ]
    with pytest.raises(LeakError, match="group of near duplicates stands in 2 splits"):
        reuse_splits(joined, TASK, other, name="other.csv")
    leaky = [dataclasses.replace(other[0], split="test"), dataclasses.replace(other[1], split="train"), *other[2:]]
    with pytest.raises(LeakError, match="one patient"):
        reuse_splits(whole()[2:], TASK, leaky, name="other.csv")


def named(rows, patient):
    """The rows, the first of them of another patient."""
    return [dataclasses.replace(rows[0], patient_id=patient), *rows[1:]]


def keyed(rows):
    return [dataclasses.replace(each, patient_id=f"a:{each.patient_id}") for each in rows]


def test_tables_that_name_the_patient_of_an_image_differently_are_refused():
    other = assign_splits(keyed(whole()), TASK)
    reuse_splits(keyed(whole()), TASK, other, name="other.csv")
    with pytest.raises(DataError, match=r"/x/00000\.png has another patient here than in other\.csv: .* --key"):
        reuse_splits(named(keyed(whole()), "a:else"), TASK, other, name="other.csv")
    # not said here or there, or a name that another source gave: nothing contradicts
    reuse_splits(named(keyed(whole()), ""), TASK, other, name="other.csv")
    reuse_splits(keyed(whole()), TASK, named(other, ""), name="other.csv")
    reuse_splits(named(keyed(whole()), "b:else"), TASK, other, name="other.csv")
    reuse_splits(named(keyed(whole()), "else"), TASK, other, name="other.csv")


def test_one_file_under_two_patients_is_no_other_table():
    twins = [row(900, patient="siim:1"), row(901, patient="siim:2", sha256=f"{900:064x}")]
    rows = [*whole(), *twins]
    other = assign_splits(rows, TASK)
    assert reuse_splits(rows, TASK, other, name="other.csv") == other
    with pytest.raises(DataError, match="has another patient here"):
        reuse_splits([dataclasses.replace(rows[-1], patient_id="siim:3")], TASK, other, name="other.csv")


@pytest.mark.parametrize("place", [0, -1])
def test_an_image_that_stands_twice_in_the_other_table_has_the_side_that_is_given(place):
    other = assign_splits(whole(), TASK, seed=5)
    bare = dataclasses.replace(other[3], path="/x/copy.png", split="", label="")
    twice = [bare, *other] if place == 0 else [*other, bare]
    done = reuse_splits(whole(), TASK, twice, name="other.csv")
    assert [each.split for each in done] == [each.split for each in other]


def test_a_table_without_a_calibration_part_gives_none():
    other = assign_splits(whole(), TASK, fractions=(0.7, 0, 0.3))
    done = reuse_splits(whole(), TASK, other, name="other.csv")
    assert {each.split for each in done} == {"train", "test"}


def test_a_split_that_holds_no_image_of_a_class_is_refused():
    other = assign_splits(whole(), TASK)
    own = [each for each in other if (each.label, each.split) != ("covid19", "test")]
    with pytest.raises(DataError, match="test has no covid19"):
        reuse_splits(own, TASK, other, name="other.csv")


def test_a_run_on_such_a_table_keeps_the_side_of_images_without_a_class():
    """`distill --splits` places them again; what only the other table knows must not be lost on the way."""
    other = assign_splits(whole(), TASK, seed=5)
    tested = next(each for each in other if each.split == "test" and each.source == "b")
    own = [*(each for each in whole() if each.source == "a"), row(700, "", tested.patient_id)]
    done = assign_splits(reuse_splits(own, TASK, other, name="other.csv"), TASK, keep=True)
    assert done[-1].split == "test"
    check_leakage([*done, *other])


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    index = [dataclasses.replace(each, path=each.path[3:]) for each in whole()]
    write_rows(index, tmp_path / "all.csv")
    write_rows([each for each in index if each.source == "a"], tmp_path / "one.csv")
    assert main(["split", "all.csv", "--task", "covid-binary", "--seed", "5", "-o", "splits.csv"]) == 0
    assert main(["split", "one.csv", "--task", "covid-binary", "--as", "splits.csv", "-o", "out.csv"]) == 0
    other, done = by_content(read_rows(tmp_path / "splits.csv")), read_rows(tmp_path / "out.csv")
    assert len(done) == 40
    assert all(each.split == other[each.sha256].split for each in done)
    assert Counter(each.split for each in done)["test"] > 0
    capsys.readouterr()
    assert main(["split", "one.csv", "--as", "splits.csv", "--folds", "5", "-o", "no.csv"]) == 2
    assert "leave out --fractions, --seed, --folds and --level" in capsys.readouterr().err
    assert not (tmp_path / "no.csv").exists()
