"""Pairs in two splits that are probably one person: planted ones are found, where the table is silent."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pocketcxr.audit.data import persons
from pocketcxr.audit.data.persons import EXPECTED_FALSE, discoveries, false_rate, find_persons, normalised, usual
from pocketcxr.audit.data.persons_section import describe, summary, write_pairs
from pocketcxr.data.rows import IndexRow

N = 400


def _rows(count=N, **same):
    return [
        IndexRow(f"{i}.png", "s", "f", sha256=f"{i:064d}", split=("train", "test")[i % 2], **same) for i in range(count)
    ]


def _embedding(rows, joined=(), seed=0):
    """Directions drawn at random, by the number in the file name; `joined` images point nearly the same way."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((N, 32)).astype(np.float32)
    for first, second in joined:
        vectors[second] = vectors[first] + 0.1 * rng.standard_normal(32).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    usual = np.tile(np.float32([0, 32**-0.5]), (N, 1))  # mean and deviation of products of random directions
    return np.hstack([vectors, usual])[[int(Path(row.path).stem) for row in rows]]


def _found(rows, joined):
    found = find_persons(rows, lambda looked: _embedding(looked, joined))
    return {(rows[pair.first].path, rows[pair.second].path) for pair in found.pairs}, found


@pytest.fixture(autouse=True)
def _rates_of_random_directions(monkeypatch):
    """Random directions have lighter tails than chests: their own rates."""
    monkeypatch.setattr(persons, "USUAL", (0.0, 1.0))
    monkeypatch.setattr(persons, "FALSE_RATES", ((3.0, 1.4e-3), (4.0, 3.2e-5), (5.0, 2.9e-7)))


def test_planted_pairs_are_found_and_nothing_else():
    joined = [(0, 1), (2, 3), (4, 5), (10, 21)]
    pairs, found = _found(_rows(), joined)
    assert pairs == {(f"{a}.png", f"{b}.png") for a, b in joined}
    assert found.compared == 200 * 200
    assert not _found(_rows(), [])[0]


def test_a_person_on_one_side_is_no_pair():
    assert not _found(_rows(), [(0, 2), (1, 3)])[0]


@pytest.mark.parametrize(
    ("first", "second", "listed"),
    [
        ({}, {}, True),
        ({"study_id": "s:1"}, {"study_id": "s:2"}, True),  # two studies can be of one person
        ({"patient_id": "s:1"}, {}, True),
        ({"patient_id": "s:1"}, {"patient_id": "t:1", "source": "t"}, True),  # numbers of two sources say nothing
        ({"patient_id": "s:1"}, {"patient_id": "s:2"}, True),  # one person under two numbers
        ({"patient_id": "s:1"}, {"patient_id": "s:1"}, False),  # counted under leaks
        ({"study_id": "s:1"}, {"study_id": "s:1"}, False),
        ({"duplicate_group": "7"}, {"duplicate_group": "7"}, False),
        ({"sha256": "0" * 64}, {"sha256": "0" * 64}, False),
        ({"view": "lateral"}, {}, False),
        ({"split": ""}, {}, False),
    ],
)
def test_what_the_table_decides_is_not_compared(first, second, listed):
    rows = _rows()
    rows[8] = dataclasses.replace(rows[8], **first)
    rows[9] = dataclasses.replace(rows[9], **second)
    assert _found(rows, [(8, 9)])[0] == ({("8.png", "9.png")} if listed else set())


def test_folds_are_sides_too():
    rows = [dataclasses.replace(row, split="", fold=str(i % 4)) for i, row in enumerate(_rows())]
    assert _found(rows, [(0, 1), (20, 24)])[0] == {("0.png", "1.png")}


def test_blocks_do_not_change_what_is_found(monkeypatch):
    joined = [(0, 1), (3, 398), (150, 51)]
    whole = _found(_rows(), joined)
    monkeypatch.setattr(persons, "_BLOCK", 37)
    assert _found(_rows(), joined) == whole


def test_a_table_that_joins_all_pairs_needs_no_network():
    rows = [dataclasses.replace(row, patient_id="s:1") for row in _rows()]
    found = find_persons(rows, lambda _: pytest.fail("embedded for nothing"))
    assert (found.pairs, found.compared, found.why) == ((), 0, "")
    assert "joins all pairs" in summary(found)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([dataclasses.replace(row, split="") for row in _rows()], "no splits yet"),
        ([dataclasses.replace(row, split="train") for row in _rows()], "no splits yet"),
        (_rows(99), "at least 100 frontal images, found 99"),
    ],
)
def test_what_cannot_be_compared_says_why(rows, why):
    found = find_persons(rows, lambda _: pytest.fail("embedded for nothing"))
    assert why in found.why
    section = describe(found, rows, np.zeros((len(rows), 8, 8), np.uint8))
    assert all(measure.value is None and why in measure.why for measure in section.measures)


def test_groups_join_pairs_in_chains():
    found = _found(_rows(), [(0, 1), (1, 2), (30, 31)])[1]
    assert found.groups == [[0, 1, 2], [30, 31]]
    section = describe(found, _rows(), np.zeros((N, 8, 8), np.uint8))
    values = {measure.key: measure.value for measure in section.measures}
    assert values["persons.images"] == 5 / N
    assert (values["persons.pairs"], values["persons.groups"]) == (3, 2)
    assert "2 persons (5 images, 3 pairs)" in section.summary
    assert section.pictures


def test_normalised_products_by_hand():
    """Product 0.5; one image is alike to its nearest by 0.1 ± 0.1, the other by 0.3 ± 0.05."""
    some, others = np.array([[1, 0, 0.1, 0.1]], np.float32), np.array([[0.5, 0.75**0.5, 0.3, 0.05]], np.float32)
    assert normalised(some, others) == pytest.approx(np.array([[(0.4 / 0.1 + 0.2 / 0.05) / 2]]), rel=1e-5)


def test_a_set_of_similar_chests_raises_no_alarm():
    """All drawn around one direction: alike by far, and yet only the planted pair is listed."""
    rows, common = _rows(), 3 * np.ones(32, np.float32) / 32**0.5

    def embed(looked):
        found = _embedding(looked, [(0, 1)])
        found[:, :32] += common
        found[:, :32] /= np.linalg.norm(found[:, :32], axis=1, keepdims=True)
        return found

    assert usual(embed(rows))[0] > 4
    assert {(pair.first, pair.second) for pair in find_persons(rows, embed).pairs} <= {(0, 1)}


def test_false_rates_by_hand():
    rates = false_rate(np.array([3.0, 3.5, 4.0, 6.0], np.float32))
    assert rates[:3] == pytest.approx([1.4e-3, (1.4e-3 * 3.2e-5) ** 0.5, 3.2e-5])
    assert rates[3] == pytest.approx(2.9e-7 * 2.9e-7 / 3.2e-5)


def test_discoveries_by_hand():
    """1000 pairs compared: the k-th rate may be at most k x 0.05 / 1000."""
    level = EXPECTED_FALSE / 1000
    assert discoveries(np.array([0.9, 1.9, 4.0]) * level, 1000) == 2
    assert discoveries(np.array([1.1, 1.9, 2.9]) * level, 1000) == 3  # a later one carries those before it
    assert discoveries(np.array([1.1, 2.1, 3.1]) * level, 1000) == 0
    assert discoveries(np.array([]), 1000) == 0


def test_page_and_table_appear_with_pairs_and_go_without(tmp_path):
    from PIL import Image

    rows = []
    for i, row in enumerate(_rows()):
        path = tmp_path / f"{i}.png"
        if i < 2:
            Image.fromarray(np.full((40, 50), 60 + i, np.uint8)).save(path)
        rows.append(dataclasses.replace(row, path=str(path)))
    page, table = tmp_path / "persons.html", tmp_path / "persons.csv"
    found = find_persons(rows, lambda looked: _embedding(looked, [(0, 1)]))
    write_pairs(found, rows, page, table)
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") == 2
    assert all(words in text for words in ("1 person (2 images, 1 pair)", "<b>train</b>0.png", "<b>test</b>1.png"))
    assert table.read_text(encoding="utf-8").splitlines()[1].startswith(f"{rows[0].path},train,{rows[1].path},test,")
    write_pairs(dataclasses.replace(found, pairs=()), rows, page, table)
    assert not page.exists()
    assert not table.exists()
