"""No patient, study or image on two sides; every class and source on each; and clear words where that cannot be."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketcxr.data.rows import SPLITS, IndexRow, is_frontal_xray
from pocketcxr.data.splits.assign import (
    assign_folds,
    assign_splits,
    assign_training_folds,
    check_leakage,
    fold_splits,
)
from pocketcxr.data.summary import describe
from pocketcxr.errors import DataError, LeakError
from pocketcxr.labels import TASKS

TASK = TASKS["covid-binary"]
PINNED = ["6a1caf17e039", "fd88cb2717d0", "6064fa8d10a8", "9641f52d1fa2", "5cfe745d8991"]


def row(number, finding="covid19", patient="", **facts):
    facts.setdefault("sha256", f"{(number * 2654435761) % 2**32:08x}{number:056x}")
    return IndexRow(f"/x/{number:05d}.png", facts.pop("source", "a"), finding, patient_id=patient, **facts)


def balanced(patients=40, images=3, sources=("a", "b")):
    """Patients of both classes in every source, each with several images."""
    return [
        row(p * images + i, ("covid19", "no_finding")[p % 2], f"p{p}", source=sources[(p // 2) % len(sources)])
        for p in range(patients)
        for i in range(images)
    ]


def sides(rows, column, part="split"):
    found = defaultdict(set)
    for each in rows:
        if getattr(each, column) and getattr(each, part):
            found[getattr(each, column)].add(getattr(each, part))
    return found


identifier = st.one_of(st.just(""), st.integers(1, 60).map(str))
random_rows = st.lists(
    st.tuples(
        identifier,
        identifier,
        identifier,
        st.sampled_from(["covid19", "no_finding", "pneumonia", "tuberculosis", ""]),
        st.sampled_from(["", "PA", "L"]),
        st.sampled_from("ab"),
    ),
    min_size=20,
    max_size=60,
).map(
    lambda drawn: [
        row(i, finding, patient, study_id=study, duplicate_group=group, view=view, source=source)
        for i, (patient, study, group, finding, view, source) in enumerate(drawn)
    ]
)


@settings(max_examples=80, deadline=None)
@given(random_rows, st.integers(0, 3))
def test_no_patient_study_or_image_stands_in_two_splits_and_every_row_of_the_task_in_one(rows, seed):
    try:
        done = assign_splits(rows, TASK, seed=seed)
    except LeakError:
        raise  # its own result must never leak
    except DataError:
        return  # too small a table, which other tests look at
    assert [each.path for each in done] == [each.path for each in rows]
    for column in ("patient_id", "study_id", "duplicate_group"):
        assert all(len(found) == 1 for found in sides(done, column).values())
    for each in done:
        assert (each.split in SPLITS) == is_frontal_xray(each)
        assert each.label == ((TASK.label_of(each.finding) or "") if is_frontal_xray(each) else "")
    assert {(each.split, each.label) for each in done} >= {(s, label) for s in SPLITS for label in TASK.labels}


@settings(max_examples=50, deadline=None)
@given(random_rows, st.integers(2, 4))
def test_no_patient_study_or_image_stands_in_two_folds(rows, folds):
    try:
        done = assign_folds(rows, TASK, folds=folds)
    except LeakError:
        raise
    except DataError:
        return
    check_leakage(done)
    for column in ("patient_id", "study_id", "duplicate_group"):
        assert all(len(found) == 1 for found in sides(done, column, "fold").values())
    assert all(bool(each.fold) == bool(each.label) for each in done)


def test_every_class_and_source_gets_its_share_of_every_split():
    done = assign_splits(balanced(patients=80), TASK, fractions=(0.5, 0.25, 0.25))
    counts = Counter((each.label, each.source, each.split) for each in done)
    for label in TASK.labels:
        for source in "ab":
            assert [counts[label, source, split] for split in SPLITS] == [30, 15, 15]


def test_a_class_with_one_patient_per_source_still_reaches_every_split():
    rows = balanced() + [row(1000 + i, "covid19", f"q{i}", source=f"s{i}") for i in range(3)]
    rows = [each for each in rows if each.finding != "covid19" or each.path >= "/x/01000"]
    done = assign_splits(rows, TASK)
    assert {each.split for each in done if each.label == "covid19"} == set(SPLITS)


def test_the_result_depends_on_the_seed_but_not_on_order_or_folder():
    rows = balanced()
    first = {each.sha256: each.split for each in assign_splits(rows, TASK, seed=1)}
    shuffled = random.Random(0).sample(rows, len(rows))
    moved = [dataclasses.replace(each, path=f"/y/{i}") for i, each in enumerate(shuffled)]
    assert {each.sha256: each.split for each in assign_splits(moved, TASK, seed=1)} == first
    assert {each.sha256: each.split for each in assign_splits(rows, TASK, seed=2)} != first


def test_a_chain_through_an_unlabelled_image_holds_its_ends_together():
    chain = [
        row(900, "covid19", "first", duplicate_group="g"),
        row(901, "", "second", duplicate_group="g"),
        row(902, "covid19", "second"),
    ]
    for seed in range(10):
        done = assign_splits(balanced() + chain, TASK, seed=seed)[-3:]
        assert len({each.split for each in done}) == 1


def test_unlabelled_images_train_unless_their_patient_is_tested():
    rows = [
        *balanced(),
        row(800, "", "p0"),
        row(801, "", "p1"),
        row(802, "tuberculosis", "new"),
        row(803, "", view="L"),
    ]
    done = {each.path: each for each in assign_splits(rows, TASK, seed=3)}
    for number, patient in ((800, 0), (801, 1)):
        assert done[f"/x/{number:05d}.png"].split == done[f"/x/{patient * 3:05d}.png"].split
        assert done[f"/x/{number:05d}.png"].label == ""
    assert done["/x/00802.png"].split == "train"
    assert done["/x/00803.png"].split == ""


@pytest.mark.parametrize("fractions", [(0.7, 0.2), (0.7, 0.2, 0.2), (1.2, -0.2, 0), (0, 0.5, 0.5), (1, 0, 0, 0)])
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(DataError, match=r"fractions: expected three shares train/calibration/test that add up to 1"):
        assign_splits(balanced(), TASK, fractions=fractions)


def test_a_part_of_no_size_stays_empty():
    done = assign_splits(balanced(), TASK, fractions=(0.8, 0.2, 0))
    assert {each.split for each in done} == {"train", "calibration"}


@pytest.mark.parametrize(
    "rows, message",
    [
        ([row(i, "covid19", f"p{i}") for i in range(9)], "no frontal radiograph of class other"),
        ([row(i, "covid19", f"p{i}", view="L") for i in range(9)], "no frontal radiograph of class other, covid19"),
        (
            [row(i, ("covid19", "no_finding")[i % 2], "one") for i in range(9)],
            "all images belong to one patient",
        ),
        (
            [row(i, "no_finding", f"p{i}") for i in range(9)] + [row(20 + i, "covid19", f"q{i % 2}") for i in range(9)],
            "every class needs at least 3 separate patients for 3 splits, found covid19 2",
        ),
    ],
)
def test_tables_too_small_to_split_say_what_is_missing(rows, message):
    with pytest.raises(DataError, match=message) as caught:
        assign_splits(rows, TASK)
    assert "\n" not in str(caught.value)


def test_a_class_with_fewer_patients_than_folds_is_refused_by_name():
    rows = balanced() + [row(500 + i, "covid19", f"q{i}") for i in range(2)]
    rows = [each for each in rows if each.finding != "covid19" or each.path >= "/x/00500"]
    with pytest.raises(DataError, match="at least 5 separate patients for 5 folds, found covid19 2"):
        assign_folds(rows, TASK, folds=5)
    assert {each.fold for each in assign_folds(rows, TASK, folds=2)} == {"0", "1"}


@pytest.mark.parametrize("options, message", [({"folds": 1}, "at least 2"), ({"level": "lobe"}, "expected one of")])
def test_folds_are_checked(options, message):
    with pytest.raises(DataError, match=message):
        assign_folds(balanced(), TASK, **options)


def test_folds_are_of_equal_size_per_class_and_source():
    done = assign_folds(balanced(patients=40), TASK, folds=5)
    assert set(Counter((each.label, each.source, each.fold) for each in done).values()) == {6}


def test_folds_by_image_are_marked_exempt_from_the_check_and_say_so():
    done = assign_folds(balanced(), TASK, folds=4, level="image")
    assert {each.fold for each in done} == {f"image:{k}" for k in range(4)}
    assert max(map(len, sides(done, "patient_id", "fold").values())) > 1
    check_leakage(done)
    assert "LEAK" in describe(done, TASK)
    split = fold_splits(done, 2)
    assert {each.fold for each in split if each.split == "test"} == {"image:2"}
    check_leakage(split)


def test_a_fold_becomes_the_test_set_and_calibration_comes_from_the_others():
    folds = assign_folds([*balanced(), row(990, "", "p0"), row(991, "")], TASK, folds=5)
    for k in range(5):
        split = fold_splits(folds, k, calibration=0.2)
        for each in split:
            assert not each.label or (each.split == "test") == (each.fold == str(k))
        counts = Counter(each.split for each in split if each.label)
        assert counts["test"] == 24
        assert 0.15 < counts["calibration"] / (counts["calibration"] + counts["train"]) <= 0.25
        assert split[-1].split == "train"
        assert split[-2].split == split[0].split
    with pytest.raises(DataError, match="fold 7: no image is in it"):
        fold_splits(folds, 7)


@pytest.mark.parametrize("column", ["patient_id", "study_id", "duplicate_group", "sha256"])
def test_a_leak_stops_with_the_files_named_and_no_patient(column):
    rows = [row(i, split=SPLITS[i % 3]) for i in range(6)]
    check_leakage(rows)
    for i in (1, 2):
        rows[i] = dataclasses.replace(rows[i], **{column: "secret-name"})
    with pytest.raises(LeakError) as caught:
        check_leakage(rows)
    assert "/x/00001.png" in str(caught.value)
    assert "/x/00002.png" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def uneven():
    """Patients with one to seven images, three sources, rare classes in some of them; a few without a class."""
    rows = []
    for patient in range(60):
        for image in range(1 + patient * 5 % 7):
            finding = ("covid19", "no_finding", "pneumonia", "no_finding")[(patient + image // 3) % 4]
            finding = "tuberculosis" if patient % 11 == 5 else finding
            rows.append(row(len(rows), finding, f"p{patient}", source="abc"[patient % 7 % 3]))
    return rows


def sides_of(rows, name):
    return "".join(getattr(each, name)[:1] or "-" for each in rows)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_the_sides_of_earlier_versions_stay():
    """A table that is split again, or split by another version, has the same images in the test."""
    rows = uneven()
    found = [sides_of(assign_splits(rows, TASK, **options), "split") for options in ({}, {"seed": 0}, {"seed": 1})]
    assert found[0] == found[1]
    folds = [sides_of(assign_folds(rows, TASK, **options), "fold") for options in ({}, {"folds": 5, "seed": 0})]
    assert folds[0] == folds[1]
    by_fold = fold_splits(assign_folds(rows, TASK), 1)
    assert by_fold == fold_splits(assign_folds(rows, TASK), 1, calibration=0.1, seed=0)
    trained = [str(fold) for fold in assign_training_folds(assign_splits(rows, TASK), TASK, folds=3)]
    assert trained == [str(f) for f in assign_training_folds(assign_splits(rows, TASK), TASK, folds=3, seed=0)]
    texts = [*found[1:], folds[0], sides_of(by_fold, "split"), " ".join(trained)]
    assert list(map(digest, texts)) == PINNED


def test_training_folds_hold_the_training_images_of_every_component_and_no_others():
    rows = assign_splits([*uneven(), row(900, "", "p0"), row(901, "", "new")], TASK)
    folds = assign_training_folds(rows, TASK, folds=3)
    for each, fold in zip(rows, folds, strict=True):
        assert fold == -1 if each.split != "train" or not each.patient_id else True
    by_patient = defaultdict(set)
    for each, fold in zip(rows, folds, strict=True):
        by_patient[each.patient_id].add(fold)
    assert all(len(found) == 1 for found in by_patient.values())
    assert by_patient["new"] == {-1}
    assert {fold for each, fold in zip(rows, folds, strict=True) if each.label and each.split == "train"} == {0, 1, 2}


def two_of_each(split=""):
    """Two patients of each class, and as many that are tested, where a split is given."""
    kinds = ("covid19", "covid19", "no_finding", "no_finding")
    rows = [row(i, kind, f"p{i}", split=split) for i, kind in enumerate(kinds)]
    return rows + [row(9 + i, kind, f"q{i}", split="test") for i, kind in enumerate(kinds) if split]


def test_two_patients_of_each_class_are_enough_for_two_parts_and_too_few_for_three():
    done = assign_splits(two_of_each(), TASK, fractions=(0.5, 0.5, 0))
    assert Counter((each.split, each.label) for each in done) == Counter(
        {(split, label): 1 for split in ("train", "calibration") for label in TASK.labels}
    )
    with pytest.raises(DataError, match="at least 3 separate patients for 3 splits"):
        assign_splits(two_of_each(), TASK, fractions=(0.5, 0.25, 0.25))


def test_calibration_is_taken_from_train_where_kept_splits_have_none_and_a_share_is_asked_for():
    rows = two_of_each("train")
    done = assign_splits(rows, TASK, fractions=(0.5, 0.5, 0), keep=True)
    assert Counter(each.split for each in done) == {"train": 2, "calibration": 2, "test": 4}
    assert [each.split for each in done[4:]] == ["test"] * 4
    done = assign_splits(rows, TASK, fractions=(0.8, 0, 0.2), keep=True)
    assert Counter(each.split for each in done) == {"train": 4, "test": 4}
    with pytest.raises(DataError, match="at least 2 separate patients for 2 splits, found covid19 1"):
        assign_splits([rows[0], *rows[2:]], TASK, fractions=(0.5, 0.5, 0), keep=True)
    own = [dataclasses.replace(rows[0], split="calibration"), dataclasses.replace(rows[2], split="calibration")]
    done = assign_splits([*own, rows[1], rows[3], *rows[4:]], TASK, keep=True)
    assert Counter(each.split for each in done) == {"train": 2, "calibration": 2, "test": 4}


def test_without_a_share_for_calibration_one_patient_of_each_class_may_train():
    rows = [row(0, "covid19", "p0", split="train"), row(1, "no_finding", "p1", split="train")]
    rows += [row(2, "covid19", "p2", split="test"), row(3, "no_finding", "p3", split="test")]
    done = assign_splits(rows, TASK, fractions=(0.8, 0, 0.2), keep=True)
    assert [each.split for each in done] == ["train", "train", "test", "test"]


def test_five_findings_of_a_table_without_a_class_are_named_the_most_frequent_first():
    kinds = {"tuberculosis": 7, "lung_opacity": 6, "": 5, "fungal_pneumonia": 4, "other": 3, "pneumonia": 0}
    found = [kind for kind, count in kinds.items() for _ in range(count)] + ["atypical_appearance"] * 2
    with pytest.raises(DataError, match=r"the table's findings are (.*)$") as caught:
        assign_splits([row(i, kind, f"p{i}") for i, kind in enumerate(found)], TASK)
    listed = str(caught.value).partition("findings are ")[2]
    assert listed == "tuberculosis 7, lung_opacity 6, unlabelled 5, fungal_pneumonia 4, other 3"


@pytest.mark.parametrize("off, good", [(0.0, True), (9e-7, True), (-9e-7, True), (2e-6, False), (-2e-6, False)])
def test_fractions_add_up_to_one_within_a_millionth(off, good):
    if good:
        assign_splits(balanced(), TASK, fractions=(0.7, 0.1, 0.2 + off))
    else:
        with pytest.raises(DataError, match="add up to 1"):
            assign_splits(balanced(), TASK, fractions=(0.7, 0.1, 0.2 + off))


def with_splits(rows, split_of):
    return [dataclasses.replace(each, split=split_of(int(each.patient_id[1:]))) for each in rows]


def test_kept_splits_stay_and_are_checked():
    rows = with_splits(balanced(), lambda p: SPLITS[(p // 4) % 3])
    done = assign_splits(rows, TASK, keep=True)
    assert [each.split for each in done] == [each.split for each in rows]
    leaky = [dataclasses.replace(rows[0], split="test"), *rows[1:]]
    with pytest.raises(LeakError, match="one patient stands in 2 splits"):
        assign_splits(leaky, TASK, keep=True)
    with pytest.raises(DataError, match=r"missing for /x/00000\.png"):
        assign_splits([dataclasses.replace(rows[0], split=""), *rows[1:]], TASK, keep=True)


def test_kept_splits_without_calibration_take_it_from_train():
    rows = with_splits(balanced(), lambda p: "test" if p < 8 else "train")
    done = assign_splits(rows, TASK, keep=True)
    assert [each.split == "test" for each in done] == [each.split == "test" for each in rows]
    assert 6 <= sum(each.split == "calibration" for each in done) <= 18


def test_kept_splits_without_a_test_part_are_refused():
    with pytest.raises(DataError, match="test has no other, test has no covid19"):
        assign_splits(with_splits(balanced(), lambda p: "train"), TASK, keep=True)


def test_without_keep_an_old_split_counts_for_nothing():
    rows = balanced()
    stale = with_splits(rows, lambda p: "test")
    assert assign_splits(stale, TASK) == assign_splits(rows, TASK)


def test_the_description_counts_classes_left_out_findings_and_contradictions():
    rows = [
        *balanced(),
        row(700, "tuberculosis"),
        row(701, "covid19", view="L"),
        row(702, ""),
        row(703, "covid19", duplicate_group="g"),
        row(704, "no_finding", duplicate_group="g"),
    ]
    lines = describe(assign_splits(rows, TASK), TASK).splitlines()
    assert lines[0].split() == ["class", "source", "train", "calibration", "test", "images"]
    (all_images,) = (line.split() for line in lines if line.startswith("all"))
    assert all_images[-1] == "122"
    assert sum(map(int, all_images[1:-1])) == 122
    assert "left out 1 tuberculosis: in no class of the task" in lines
    assert "left out 1 CT slices and laterals" in lines
    assert "left out 1 without a label" in lines
    assert any("different classes: /x/00703.png (covid19), /x/00704.png (other)" in line for line in lines)


def test_the_description_names_five_groups_of_contradicting_copies_and_counts_the_rest():
    rows = [
        row(700 + 2 * group + member, finding, duplicate_group=f"g{group}")
        for group in range(8)
        for member, finding in enumerate(("covid19", "no_finding"))
    ]
    lines = [
        line for line in describe(assign_splits([*balanced(), *rows], TASK), TASK).splitlines() if "near dup" in line
    ]
    assert len(lines) == 6
    assert lines[-1] == "near duplicates with different classes: 3 groups more, see duplicate_group"
