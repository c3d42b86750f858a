"""Checklists hold every item of the publications, answer only what the record knows, and leave the rest open."""

import csv
import dataclasses
import io
import json
import re
import tomllib
from importlib import resources

import pytest

from pocketcxr import roles
from pocketcxr.reporting.checklist import (
    ANSWERED,
    NAMES,
    NOT_APPLICABLE,
    OPEN,
    PARTLY,
    STATUSES,
    checklist_csv,
    checklist_markdown,
    checklists_json,
    checklists_section,
    fill_checklist,
    fill_checklists,
)
from pocketcxr.reporting.run_record import RunRecord
from pocketcxr.reporting.statements.lookup import AUDIT
from pocketcxr.reporting.statements.lookup import NAMES as STATEMENTS

# Tejani et al. 2024 number their items 1 to 44; Collins et al. 2024 have 27 items, some with lettered parts, 52 in all.
CLAIM_2024 = [str(number) for number in range(1, 45)]
_PARTS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab", 27: "abc"}
TRIPOD_AI = [f"{number}{letter}" for number in range(1, 28) for letter in _PARTS.get(number, ("",))]
DEVELOPMENT_ONLY = {"9a", "12a", "12b", "12c", "15", "22", "27a", "27b"}
EVALUATION_ONLY = {"12f", "12g", "20c", "24"}


def _table(name):
    text = resources.files("pocketcxr.reporting").joinpath("checklists", f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _answer(name, number, record, sections=()):
    return next(one for one in fill_checklist(name, record, sections).answers if one.number == number)


def test_no_item_of_the_publications_is_missing():
    claim, tripod = fill_checklists(RunRecord())
    assert [one.number for one in claim.answers] == CLAIM_2024
    assert [one.number for one in tripod.answers] == TRIPOD_AI
    assert len(TRIPOD_AI) == 52
    assert len({re.sub("[a-z]", "", number) for number in TRIPOD_AI}) == 27


def test_tripod_says_which_items_concern_development_or_evaluation_alone():
    applies = {item["number"]: item["applies"] for item in _table("tripod-ai")["items"]}
    assert {number for number, kind in applies.items() if kind == "D"} == DEVELOPMENT_ONLY
    assert {number for number, kind in applies.items() if kind == "E"} == EVALUATION_ONLY
    assert set(applies.values()) == {"D", "E", "D;E"}


@pytest.mark.parametrize("name", NAMES)
def test_every_item_is_complete_and_asks_for_statements_that_exist(name):
    known = {
        "number",
        "section",
        "topic",
        "asks",
        "statements",
        "also",
        "enough",
        "person",
        "applies",
        "not_applicable",
    }
    used = set()
    for item in _table(name)["items"]:
        assert set(item) <= {*known, "patients_only"}, item["number"]
        assert all(item[field] for field in ("section", "topic", "asks", "person")), item["number"]
        for one in [*item["statements"], *item.get("also", [])]:
            assert one in STATEMENTS or one.startswith(AUDIT), one
            used.add(one)
    assert used


def test_every_statement_serves_an_item_of_some_checklist():
    used = {
        one for name in NAMES for item in _table(name)["items"] for one in [*item["statements"], *item.get("also", [])]
    }
    assert used >= STATEMENTS


def test_an_empty_record_leaves_everything_open():
    for checklist in fill_checklists(RunRecord()):
        assert all(one.status == OPEN and not one.text and one.person for one in checklist.answers)
        assert checklist.counts[OPEN] == len(checklist.answers)


def test_every_item_has_an_answer_with_its_source_or_a_hint_what_to_write(record, sections):
    for checklist in fill_checklists(record, sections):
        assert sum(checklist.counts.values()) == len(checklist.answers)
        for one in checklist.answers:
            assert one.status in STATUSES
            assert bool(one.text) == bool(one.source) == (one.status != OPEN), one.number
            assert bool(one.person) == (one.status in (PARTLY, OPEN)), one.number


@pytest.mark.parametrize(
    "name,number",
    [("claim-2024", n) for n in ("5", "11", "15", "34", "44")]
    + [("tripod-ai", n) for n in ("3c", "5b", "6c", "8c", "17", "18a", "18b", "18d", "19", "27c")],
)
def test_what_no_run_can_know_stays_open(record, sections, name, number):
    assert _answer(name, number, record, sections).status == OPEN


def test_figures_in_an_answer_are_those_of_the_evaluation(record):
    figure = record.evaluation["models"]["exported file"]["figures"]["auroc"]
    text = _answer("claim-2024", "37", record).text
    assert (
        f"AUROC for typical {figure['value']:.3f} (95 % interval {figure['low']:.3f} to {figure['high']:.3f})" in text
    )
    assert f"{record.evaluation['data']['test_images']} images" in text


def test_numbers_of_images_and_patients_are_those_of_the_table(record):
    test = [row for row in record.rows if row.split == "test"]
    text = _answer("claim-2024", "35", record).text
    negative, typical = (sum(row.label == label for row in test) for label in ("negative", "typical"))
    patients = len({row.patient_id for row in test})
    assert f"test: {len(test)} images ({negative} negative, {typical} typical); {patients} patients\n" in text
    assert "1 not a frontal X-ray (lateral, CT)" in text
    assert "1 finding tuberculosis is in no class of the task" in text
    assert record.evaluation["data"]["test_patients"] == len({row.patient_id for row in test})


def test_patients_are_never_counted_where_the_data_name_none(record):
    rows = tuple(dataclasses.replace(row, patient_id="") for row in record.rows)
    text = _answer("claim-2024", "7", dataclasses.replace(record, rows=rows)).text
    assert text.count("no patient or study named") == 2
    assert "patients" not in text
    studies = tuple(dataclasses.replace(row, study_id=f"s{i // 4}") for i, row in enumerate(rows))
    text = _answer("claim-2024", "35", dataclasses.replace(record, rows=studies)).text
    assert "all: 160 images (80 negative, 80 typical); 40 studies without a named patient" in text


def test_gaps_in_the_table_are_counted_and_named(record):
    used = [row for row in record.rows if row.label]
    text = _answer("claim-2024", "12", record).text
    assert f"patient for {sum(not row.patient_id for row in used)}," in text
    assert f"sex for {sum(not row.sex for row in used)}," in text


def test_anonymous_images_keep_the_separation_of_splits_from_counting_as_proved(record):
    assert _answer("claim-2024", "20", record).status == PARTLY
    named = tuple(dataclasses.replace(row, patient_id=row.patient_id or "hillside:x") for row in record.rows)
    assert _answer("claim-2024", "20", dataclasses.replace(record, rows=named)).status == ANSWERED


def test_a_patient_on_two_sides_is_told(record):
    first = next(i for i, row in enumerate(record.rows) if row.split == "test")
    row = record.rows[first]
    other = dataclasses.replace(row, path="x", split="train")
    leaky = dataclasses.replace(record, rows=(*record.rows, other))
    assert "1 patients" in _answer("claim-2024", "20", leaky).text
    assert "0 patients" in _answer("claim-2024", "20", record).text


def test_external_testing_is_claimed_only_for_sources_that_were_not_trained_on(record):
    assert _answer("claim-2024", "33", record).status == PARTLY
    assert "No outside data" in _answer("claim-2024", "33", record).text
    rows = tuple(dataclasses.replace(row, source="elsewhere") if row.split == "test" else row for row in record.rows)
    outside = _answer("claim-2024", "33", dataclasses.replace(record, rows=rows))
    assert "elsewhere" in outside.text
    assert outside.status == ANSWERED


def test_pretrained_weights_that_were_not_found_are_not_claimed(record):
    assert (
        "random weights (pretrained weights were asked for and not found)" in _answer("claim-2024", "24", record).text
    )


def test_what_is_only_planned_is_not_told_as_done(record):
    """An experiment file names teacher, student and losses long before any of them is trained."""
    begun = dataclasses.replace(record, evaluation={}, bundle=None, stages={}, finished={})
    for number in ("1", "22", "24", "25", "26", "27"):
        assert _answer("claim-2024", number, begun).status == OPEN, number
    assert _answer("claim-2024", "25", record).status == ANSWERED


def test_a_student_that_had_no_teacher_is_not_called_distilled(record):
    models = {roles.BASELINE: record.evaluation["models"][roles.BASELINE]}
    evaluation = dict(record.evaluation) | {"models": models, "conclusions": [], "comparisons": []}
    alone = dataclasses.replace(record, evaluation=evaluation, bundle=None, stages={}, finished={})
    assert "trained on labels only" in _answer("claim-2024", "1", alone).text
    whole = checklists_json(fill_checklists(alone))
    assert "vgg19" not in whole
    assert "softened" not in whole
    assert "vgg19" in checklists_json(fill_checklists(record))


def test_an_audit_answers_what_only_an_audit_can(record, sections):
    assert _answer("claim-2024", "30", record).status == OPEN
    answer = _answer("claim-2024", "30", record, sections)
    assert answer.status == ANSWERED
    assert "AUROC under blur: 0.712 (95 % interval 0.681 to 0.743; 641 images)" in answer.text
    assert answer.source == "pocketcxr audit, section robustness"


def test_only_the_measures_that_an_item_asks_for_are_told(record, sections):
    text = _answer("tripod-ai", "14", record, sections).text
    assert "Women 0.81342" in text
    assert "Lowest AUROC of any sex: M: 0.802" in text
    assert "Accuracy" not in text


def test_a_section_that_could_measure_nothing_does_not_count_as_an_answer(record, sections):
    measures = tuple(dataclasses.replace(one, value=None, why="maps too coarse") for one in sections[0].measures)
    answer = _answer("claim-2024", "30", record, (dataclasses.replace(sections[0], measures=measures),))
    assert answer.status == PARTLY
    assert answer.text.endswith("Blur costs most.")


def test_changing_the_record_changes_the_answer(record):
    changed = json.loads(json.dumps(record.evaluation))
    changed["models"]["exported file"]["figures"]["auroc"]["value"] = 0.123456
    before, after = (
        _answer("claim-2024", "37", one).text for one in (record, dataclasses.replace(record, evaluation=changed))
    )
    assert "0.123" in after
    assert "0.123" not in before


def test_on_synthetic_images_questions_about_patients_do_not_apply(record):
    rows = tuple(dataclasses.replace(row, source=f"drawn-{row.source}") for row in record.rows)
    made = dataclasses.replace(record, rows=rows)
    assert _answer("tripod-ai", "17", made).status == NOT_APPLICABLE
    assert "SYNTHETIC" in _answer("claim-2024", "7", made).text


def test_no_patient_and_no_folder_of_the_machine_is_named(record, sections):
    text = checklists_json(fill_checklists(record, sections))
    for secret in ("secret-name", "/private", "/somewhere", "/home", "somebody"):
        assert secret not in text


def test_markdown_shows_every_item_its_state_and_what_is_left(record):
    checklist = fill_checklist("claim-2024", record)
    text = checklist_markdown(checklist)
    for one in checklist.answers:
        assert f"### {one.number} · {one.topic}" in text
        assert one.person in text
    assert text.count("> **Still to write:**") == checklist.counts[PARTLY] + checklist.counts[OPEN]
    assert "doi:10.1148/ryai.240300" in text
    assert "`pocketcxr distill --data x-rays --task siim-appearance -o mine`" in text


def test_a_spreadsheet_program_runs_no_answer(record):
    checklist = fill_checklist("tripod-ai", record)
    odd = dataclasses.replace(checklist.answers[0], text="=HYPERLINK(A1)\u202e")
    odd = dataclasses.replace(checklist, answers=(odd, *checklist.answers[1:]))
    lines = list(csv.DictReader(io.StringIO(checklist_csv(odd))))
    assert lines[0]["answer"].startswith("'=")
    assert "\u202e" not in checklist_markdown(odd) + checklists_json([odd])


def test_csv_and_json_hold_the_same_answers(record):
    checklist = fill_checklist("tripod-ai", record)
    lines = list(csv.DictReader(io.StringIO(checklist_csv(checklist))))
    found = [(line["item"], line["answer"].replace("\n• ", "\n- ")) for line in lines]
    assert found == [(one.number, one.text) for one in checklist.answers]
    table = json.loads(checklists_json([checklist]))["tripod-ai"]
    assert [one["text"] for one in table["answers"]] == [one.text for one in checklist.answers]
    assert table["counts"] == checklist.counts


def test_the_report_gets_a_section_with_a_row_per_item(record):
    checklists = fill_checklists(record)
    section = checklists_section(checklists)
    assert section.key == "checklists"
    assert [len(table.rows) for table in section.tables] == [2, 44, 52]
    assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows)
    assert not any("\n" in str(cell) for table in section.tables for row in table.rows for cell in row)
    waiting = sum(one.counts[PARTLY] + one.counts[OPEN] for one in checklists)
    assert f"{waiting} items wait for a person" in section.summary


def test_words_for_losses_are_those_of_the_training():
    pytest.importorskip("torch")
    from pocketcxr.reporting.statements.model import LOSSES
    from pocketcxr.training.losses.distillation import LOSSES as TRAINED

    assert set(LOSSES) == set(TRAINED)
