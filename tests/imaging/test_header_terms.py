"""Of a header only terms of the standard are told; free text, which may name a patient, is "another value"."""

import re
from pathlib import Path

import pytest

from pocketcxr.imaging.header_terms import ANOTHER_VALUE, known_start, known_term, quoted_term
from pocketcxr.imaging.input_checks import refusal_reasons
from pocketcxr.imaging.radiograph import ImageMetadata, Radiograph

ROOT = Path(__file__).parents[2]
FREE = ("MUELLER^HANS", "KNEE MUELLER", "4711", "KNEE 4711", "KNEE\x1b[31m", "Zuzana", "KNEE" * 9, "KNEE\u202e")


@pytest.mark.parametrize("text", ["KNEE", "SKULL", "LL", "CT", "Lateral", "PA ERECT", "L_SHOULDER", ""])
def test_terms_of_the_standard_are_told(text):
    assert known_term(text) == text
    assert quoted_term(text) == repr(text)


@pytest.mark.parametrize("text", FREE)
def test_free_text_is_not(text):
    assert known_term(text) == quoted_term(text) == ANOTHER_VALUE


def test_the_known_words_at_the_start_of_a_view_stay():
    assert known_start("PA MUELLER") == "PA"
    assert known_start("PA 2") == "PA"
    assert known_start("MUELLER PA") == ANOTHER_VALUE
    assert known_start("") == ""


@pytest.mark.parametrize("text", FREE)
@pytest.mark.parametrize("field", ["modality", "body_part", "view", "orientation"])
def test_no_refusal_holds_free_text(ramp16, field, text):
    said = {"modality": "DX", "body_part": "CHEST", "view": "PA", field: text}
    metadata = ImageMetadata(format="DICOM", width=400, height=400, bits=16, **said)
    reasons = refusal_reasons(Radiograph(ramp16, metadata))
    assert field == "orientation" or reasons
    for word in ("MUELLER", "4711", "\x1b", "Zuzana", "\u202e", "KNEEKNEE"):
        assert not any(word in reason.words for reason in reasons)


def test_the_page_knows_the_same_words():
    groups = re.findall(r'= """\n(.*?)"""', _source("src/pocketcxr/imaging/header_terms.py"), re.DOTALL)
    page = re.findall(r"^  `\n(.*?)`", _source("web/src/core/dicom/header-terms.ts"), re.DOTALL | re.MULTILINE)
    assert len(groups) == 4
    assert set(" ".join(page).split()) == set(" ".join(groups).split())


def _source(path):
    return (ROOT / path).read_text(encoding="utf-8")
