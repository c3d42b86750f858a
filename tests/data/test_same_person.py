"""Tables of pairs of one person: one patient for all of them, whatever the index says, and clear words otherwise."""

from __future__ import annotations

import csv
import dataclasses

import pytest

from pocketcxr.cli import main
from pocketcxr.data.rows import IndexRow, read_rows, write_rows
from pocketcxr.data.splits.same_person import join_persons
from pocketcxr.errors import DataError


def row(number, patient="", source="a", finding="no_finding", sha256=True):
    return IndexRow(f"/x/{number}.png", source, finding, patient, sha256=f"{number:064x}" if sha256 else "")


def table(path, *pairs):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("first", "split", "second"), *((a, "train", b) for a, b in pairs)])
    return path


def patients(rows, *tables):
    return [one.patient_id for one in join_persons(rows, tables)]


def test_pairs_chain_and_bring_the_other_images_of_their_patients(tmp_path):
    rows = [row(0, "b:7"), row(1, "b:7"), row(2), row(3, "a:9"), row(4), row(5, "a:1")]
    pairs = table(tmp_path / "pairs.csv", ("/x/1.png", "/x/2.png"), ("/x/2.png", "/x/3.png"))
    assert patients(rows, pairs) == ["a:9", "a:9", "a:9", "a:9", "", "a:1"]


def test_images_are_named_by_the_end_of_their_path_too(tmp_path):
    rows = [row(0), row(1), dataclasses.replace(row(2), path="/y/1.png")]
    assert patients(rows, table(tmp_path / "pairs.csv", ("0", "y/1.png"))) == [
        "person:0000000000000000",
        "",
        "person:0000000000000000",
    ]
    with pytest.raises(DataError, match="line 2: 1 may be 2 images"):
        join_persons(rows, [table(tmp_path / "pairs.csv", ("0", "1"))])


def test_two_tables_count_together(tmp_path):
    rows = [row(0), row(1), row(2)]
    one, two = table(tmp_path / "1.csv", ("/x/0.png", "/x/1.png")), table(tmp_path / "2.csv", ("/x/2.png", "/x/1.png"))
    assert patients(rows, one, two) == ["person:0000000000000000"] * 3
    assert patients(rows, one)[2] == ""


def test_the_name_does_not_depend_on_the_order(tmp_path):
    rows = [row(4), row(2, sha256=False), row(3, sha256=False)]
    pairs = table(tmp_path / "pairs.csv", ("/x/4.png", "/x/2.png"), ("/x/3.png", "/x/2.png"))
    assert patients(rows, pairs) == patients(rows[::-1], pairs)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("first,second\n/x/0.png,/x/9.png\n", "line 2: /x/9.png is no image of these sources"),
        ("first,second\n,/x/0.png\n", "line 2: an empty name is no image of these sources"),
        ("one,two\n/x/0.png,/x/1.png\n", "'first', 'second'] missing"),
    ],
)
def test_other_tables_are_refused_in_one_line(lines, found, tmp_path):
    (tmp_path / "pairs.csv").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError) as error:
        join_persons([row(0), row(1)], [tmp_path / "pairs.csv"])
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def test_split_keeps_persons_together_and_refuses_a_table_that_does_not(tmp_path, capsys):
    findings = ("no_finding", "covid19")
    index, splits, again = (tmp_path / name for name in ("index.csv", "splits.csv", "again.csv"))
    write_rows([row(n, finding=findings[n % 2]) for n in range(40)], index)
    command = ["split", str(index), "--task", "covid-binary", "--quiet", "-o"]
    assert main([*command, str(splits)]) == 0
    sides = {one.path: one.split for one in read_rows(splits)}
    train, test = (next(path for path, side in sides.items() if side == name) for name in ("train", "test"))
    pairs = table(tmp_path / "pairs.csv", (train, test))
    assert main([*command, str(again), "--same-person", str(pairs)]) == 0
    found = {one.path: one for one in read_rows(again)}
    assert found[train].split == found[test].split
    assert found[train].patient_id == found[test].patient_id != ""
    capsys.readouterr()
    assert main([*command, str(tmp_path / "kept.csv"), "--same-person", str(pairs), "--as", str(splits)]) == 2
    assert "one patient stands in 2 splits" in capsys.readouterr().err


def test_pairs_that_name_a_child_join_adults_too(tmp_path):
    findings = ("no_finding", "covid19")
    index, splits = tmp_path / "index.csv", tmp_path / "splits.csv"
    children = [row(n, source="kermany") for n in (40, 41)]
    write_rows([*(row(n, finding=findings[n % 2]) for n in range(40)), *children], index)
    pairs = table(tmp_path / "pairs.csv", ("/x/0.png", "/x/40.png"), ("/x/40.png", "/x/7.png"))
    command = ["split", str(index), "--task", "covid-binary", "--quiet", "-o", str(splits)]
    assert main([*command, "--same-person", str(pairs), "--adults-only"]) == 0
    found = {one.path: one for one in read_rows(splits)}
    assert len(found) == 40
    assert found["/x/0.png"].patient_id == found["/x/7.png"].patient_id != ""
