"""The model card: the hub can read it, its figures are the record's and no others, and gaps are visible."""

import dataclasses
import json
import re
import shutil
import statistics
import warnings

import pytest

from pocketcxr.data.rows import read_rows
from pocketcxr.errors import MissingExtraError
from pocketcxr.pipeline.documents import write_documents
from pocketcxr.reporting.card_tables import source
from pocketcxr.reporting.front_matter import LICENCE_FILE, metadata
from pocketcxr.reporting.model_card import model_card, weights_licence, write_model_card
from pocketcxr.reporting.run_record import RunRecord, read_bundle_record

# Headings of the hub's annotated model card template.
SECTIONS = (
    "Model details", "Uses", "Bias, risks, and limitations", "How to get started with the model", "Training details",
    "Evaluation", "Model examination", "Environmental impact", "Technical specifications", "Citation",
    "Model card authors", "Model card contact",
)  # fmt: skip
PARTS = ("Direct use", "Downstream use", "Out-of-scope use", "Recommendations", "Training data", "Results")

_NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)")


def _front(card):
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, which comes with the extra train")
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_metadata_are_yaml_and_say_what_they_were_made_of(record):
    front, _ = _front(model_card(record))
    assert front == json.loads(json.dumps(metadata(record)))
    assert front["license"] == "other"
    assert front["license_link"] == LICENCE_FILE
    assert front["pipeline_tag"] == "image-classification"
    assert front["datasets"] == ["hillside", "quay"]


def test_the_hub_reads_the_figures_that_the_evaluation_wrote(record):
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        card = hub.ModelCard(model_card(record))
    figures = record.evaluation["models"]["exported file"]["figures"]
    whole = [one for one in card.data.eval_results if one.dataset_name == "hillside, quay"]
    told = {one.metric_name: one for one in whole}
    assert told["AUROC for typical"].metric_value == figures["auroc"]["value"]
    assert told["AUROC for typical"].metric_args["low"] == figures["auroc"]["low"]
    assert told["accuracy"].metric_value == figures["accuracy"]["value"]
    assert whole[0].dataset_split == "test"
    assert whole[0].dataset_args["images"] == record.evaluation["data"]["test_images"]
    by_source = {one.dataset_name for one in card.data.eval_results} - {"hillside, quay"}
    assert by_source == {"hillside", "quay"}
    assert hub.ModelCardData(**card.data.to_dict()).license_name == "pocketcxr-research-only"


def test_without_huggingface_hub_one_line_says_what_to_install(record, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"huggingface_hub.*pip install 'pocketcxr\[evaluate\]'"):
        model_card(record)


def test_the_card_has_the_sections_of_the_hubs_template(record):
    card = model_card(record)
    headings = re.findall(r"^#+ (.+)$", card, flags=re.MULTILINE)
    assert set(SECTIONS) <= set(headings)
    assert set(PARTS) <= set(headings)
    assert "**Research use only. Not a medical device.**" in card


def test_figures_in_the_card_are_the_evaluations_with_interval_and_size(record):
    card = model_card(record)
    figure = record.evaluation["models"]["exported file"]["figures"]["auroc"]
    assert f"| AUROC for typical | {figure['value']:.3f} | {figure['low']:.3f} to {figure['high']:.3f} |" in card
    data = record.evaluation["data"]
    assert (
        f"**Exported file, test split, {data['test_images']} images in {data['test_patients']} resampled units.**"
        in card
    )
    for model in record.evaluation["models"]:
        assert f"| {model} |" in card


def test_no_figure_is_in_the_card_that_is_in_no_file(record, sections):
    known = _numbers_of(record, sections)
    still = _NUMBER.findall(_front(model_card(RunRecord()))[1])  # of the template itself, such as the paper's number
    shown = _NUMBER.findall(_front(model_card(record, sections))[1])
    assert len(shown) > 100
    assert [number for number in shown if number not in known and number not in still] == []
    assert "0.5432" not in known  # the test could fail


def test_changing_the_record_changes_the_card(record):
    changed = json.loads(json.dumps(record.evaluation))
    changed["models"]["exported file"]["figures"]["auroc"] |= {"value": 0.12321, "low": 0.11119, "high": 0.13337}
    before, after = model_card(record), model_card(dataclasses.replace(record, evaluation=changed))
    assert "| AUROC for typical | 0.123 | 0.111 to 0.133 |" in after
    assert "value: 0.12321" in after
    assert "0.123" not in before
    fewer = dataclasses.replace(record, rows=record.rows[:100])
    assert model_card(fewer) != before


def test_a_bound_of_zero_is_shown_and_not_taken_for_none(record):
    changed = json.loads(json.dumps(record.evaluation))
    changed["models"]["exported file"]["figures"]["ece"] = {"value": 0.03, "high": 0.08}  # as older files leave it out
    assert "| calibration error (top class) | 0.030 | 0.000 to 0.080 |" in model_card(
        dataclasses.replace(record, evaluation=changed)
    )


def test_what_cannot_be_measured_says_why(record):
    changed = json.loads(json.dumps(record.evaluation))
    why = "3 images of class typical"
    changed["models"]["exported file"]["figures"]["auroc"] = {"value": None, "low": None, "high": None, "why": why}
    card = model_card(dataclasses.replace(record, evaluation=changed))
    assert f"| AUROC for typical | not measurable | {why} |" in card
    assert "AUROC for typical" not in str(_front(card)[0]["model-index"][0]["results"][0])


def test_an_empty_record_gives_a_card_of_open_places(record):
    empty = model_card(RunRecord())
    assert empty.count("**[Open: ") > 15
    assert "model-index" not in _front(empty)[0]
    assert model_card(record).count("**[Open: ") < empty.count("**[Open: ")


def test_a_bundle_alone_gives_its_own_figures(run_folder):
    card = model_card(read_bundle_record(run_folder / "bundle" / "siim-appearance.onnx"))
    assert "| AUROC for typical | 0.765 | 0.654 to 0.876 |" in card
    assert "manifest of siim-appearance.onnx, metrics" in card
    assert "run the audit" in card


def test_a_model_made_on_synthetic_images_says_so_first(record):
    rows = tuple(dataclasses.replace(row, source=f"drawn-{row.source}") for row in record.rows)
    card = model_card(dataclasses.replace(record, rows=rows))
    assert card.index("**Made on synthetic images.**") < card.index("## Model details")
    assert "synthetic-drawings" in _front(card)[0]["tags"]
    assert "Made on synthetic images" not in model_card(record)


def test_sections_of_the_audit_stand_in_the_card_gates_first(record, sections):
    card = model_card(record, sections)
    assert "| AUROC under blur | 0.712 | 0.681 to 0.743 | 641 |" in card
    assert "| Lowest AUROC of any age | not measurable: 7 images | – | – |" in card
    assert "| F | 0.813 | 1,205 |\n| M | 0.802 | – |" in card
    assert card.index("Two of three gates passed.") < card.index("Blur costs most.")
    assert "Blur costs most." not in model_card(record)


def test_a_figure_names_its_file_and_the_command_that_made_it(record):
    assert "Made by `pocketcxr distill --data x-rays --task siim-appearance -o mine`." in source(record, "splits.csv")
    evaluated = dict(record.evaluation) | {"command": "pocketcxr evaluate -o /home/somebody/mine"}
    later = dataclasses.replace(record, evaluation=evaluated)
    assert "Made by `pocketcxr evaluate -o mine`." in source(later, "evaluation/evaluation.json")
    assert "Made by" not in source(later, "splits.csv")  # that command did not split the images


def test_no_patient_and_no_folder_of_the_machine_is_named(record, sections):
    card = model_card(record, sections) + weights_licence(record)
    for secret in ("secret-name", "/private", "/somewhere", "/home", "somebody"):
        assert secret not in card


def test_documents_are_written_with_and_without_an_audit(run_folder, sections, tmp_path):
    section = write_documents(
        run_folder, sections, tmp_path / "documents", command="pocketcxr audit /home/somebody/mine"
    )
    assert section.key == "checklists"
    names = {"MODEL_CARD.md", "LICENSE.md", "claim-2024.md", "claim-2024.csv", "tripod-ai.md", "tripod-ai.csv"}
    assert {path.name for path in (tmp_path / "documents").iterdir()} == {*names, "checklists.json"}
    free = sum(row.source == "hillside" for row in read_rows(run_folder / "splits.csv"))
    assert f"hillside: {free} CC-BY-4.0" in (tmp_path / "documents" / "LICENSE.md").read_text(encoding="utf-8")
    audited = (tmp_path / "documents" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "section robustness of `pocketcxr audit mine`" in audited
    write_documents(run_folder, (), tmp_path / "documents")
    assert (tmp_path / "documents" / "MODEL_CARD.md").read_text(encoding="utf-8") != audited


def test_documents_take_the_audit_that_the_run_holds(run_folder, sections, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "audit").mkdir()
    gate = {"title": "No patient on two sides", "outcome": "failed", "words": "3 patients; at most 0"}
    table = {"command": "pocketcxr audit x", "gates": [gate], "sections": [dataclasses.asdict(one) for one in sections]}
    (tmp_path / "run" / "audit" / "audit.json").write_text(json.dumps(table))
    write_documents(tmp_path / "run", None, tmp_path / "documents")
    card = (tmp_path / "documents" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| No patient on two sides | failed | 3 patients; at most 0 |" in card
    assert "| AUROC under blur | 0.712 | 0.681 to 0.743 | 641 |" in card


def test_a_run_that_has_only_just_begun_gives_documents_too(tmp_path):
    (tmp_path / "run").mkdir()
    card = write_model_card(RunRecord(), tmp_path / "card.md").read_text(encoding="utf-8")
    assert "not a medical device" in card.lower()
    assert "44 open" in write_documents(tmp_path / "run", (), tmp_path / "documents").summary


def _numbers_of(record, sections):
    """Every number of the record's files in the forms that a card may show it in, and those inside texts."""
    whole = [record.experiment, record.evaluation, record.environment, record.hours]
    whole += [dataclasses.asdict(record.bundle), *map(dataclasses.asdict, sections)]
    leaves = list(_leaves(whole))
    shown = set(_NUMBER.findall(" ".join(str(leaf) for leaf in leaves)))
    for value in [*(leaf for leaf in leaves if isinstance(leaf, int | float)), *_median_ages(record.rows)]:
        shown |= {f"{value:.3f}", f"{100 * value:.1f}", f"{value:.2f}", f"{value:g}"}
        shown |= {f"{value / size:.3g}" for size in (1, 1e3, 1e6, 1e9)}
    return shown


def _median_ages(rows):
    splits = [{name} for name in ("train", "calibration", "test")] + [{"train", "calibration", "test"}]
    return [statistics.median(float(row.age) for row in rows if row.age and row.split in split) for split in splits]


def _leaves(thing):
    if isinstance(thing, dict):
        yield from thing
        thing = list(thing.values())
    if isinstance(thing, list | tuple):
        for inner in thing:
            yield from _leaves(inner)
    elif thing is not None:
        yield thing
