"""The whole model audit: every documented key is there, figures repeat, faults that were planted are caught."""

import re

import drawn_models
import numpy as np
import pytest

from pocketcxr.audit.model import model_audit
from pocketcxr.audit.model.model_audit import AuditConfig, audit_model, load_strangers
from pocketcxr.errors import DataError

CONFIG = AuditConfig(bootstrap=50, probe_images=60, robust_images=20, embedding_images=100, strangers=20, strengths=1)


@pytest.fixture(scope="module")
def audited(drawn):
    data = drawn_models.dataset(drawn, cue="border")
    strangers = {"stripes": np.tile(np.linspace(0, 1, 96, dtype=np.float32), (20, 1, 96, 1))}
    return audit_model(
        drawn_models.reader("border"),
        data,
        rivals={"teacher": drawn_models.reader("lungs"), "baseline student": drawn_models.reader("border")},
        strangers=strangers,
        config=CONFIG,
        seed=3,
        without_source={"drawn-north": drawn_models.reader("lungs"), "drawn-river": drawn_models.reader("lungs")},
        randomised=lambda: [("all layers", drawn_models.reader("lungs"))],
    )


def test_every_documented_key_is_there_once(audited):
    keys = [one.key for section in audited for one in section.measures]
    assert len(set(keys)) == len(keys)
    documented = set()
    section = ""
    for line in (model_audit.__doc__ or "").splitlines():
        found = re.match(r" {4}(\w+|) +(\.?\w.*)$", line)
        if found:
            section = found[1] or section
            words = re.sub(r"\(.*?\)|<.*?>", "<>", found[2]).split()
            documented |= {word if not word.startswith(".") else section + word for word in words if "<" not in word}
    assert len(documented) > 45
    assert documented <= set(keys)
    rest = {key for key in keys if key not in documented}
    assert all(key.startswith(("novelty.refused.", "sources.less_")) for key in rest)


def test_every_measure_has_words_and_a_value_or_a_reason(audited):
    for section in audited:
        assert section.summary
        for one in section.measures:
            assert one.title
            assert one.value is not None or one.why, one.key
            assert one.value is None or np.isfinite(one.value), one.key
            if one.low is not None and one.high is not None:
                assert one.low <= one.high


def test_pictures_are_png_with_words_for_those_who_cannot_see_them(audited):
    pictures = [picture for section in audited for picture in section.pictures]
    assert len(pictures) > 8
    assert all(picture.data[:8] == b"\x89PNG\r\n\x1a\n" and picture.alt for picture in pictures)


def test_tables_are_rectangular(audited):
    for section in audited:
        for table in section.tables:
            assert all(len(row) == len(table.columns) for row in table.rows), table.title


def test_the_planted_border_cue_is_caught(audited):
    found = {one.key: one.value for section in audited for one in section.measures}
    assert found["shortcuts.border_only_auroc"] > 0.9
    assert found["saliency.focus"] < 0.8
    assert found["unseen.accuracy_drop"] > 0.2  # models that read lungs know nothing here
    assert found["robustness.inversion_drop"] > 0.9  # inverted, the border says the opposite


def test_the_same_seed_gives_the_same_sections(drawn):
    data = drawn_models.dataset(drawn, cue="lungs")
    config = AuditConfig(
        bootstrap=20, probe_images=40, robust_images=10, embedding_images=40, strangers=10, strengths=1
    )
    options = {"rivals": {}, "strangers": {}, "config": config, "seed": 1}
    one = audit_model(drawn_models.reader("lungs"), data, **options)
    other = audit_model(drawn_models.reader("lungs"), data, **options)
    assert [section.measures for section in one] == [section.measures for section in other]
    assert one[0].summary == other[0].summary


def test_a_model_without_maps_and_novelty_is_told_so(drawn):
    from dataclasses import replace

    read = drawn_models.reader("lungs")

    def bare(images, /):
        return replace(read(images), saliency=None, novelty=None)

    sections = audit_model(bare, drawn_models.dataset(drawn, cue="lungs"), rivals={}, strangers={}, config=CONFIG)
    found = {one.key: one for section in sections for one in section.measures}
    assert found["saliency.focus"].value is None
    assert "no maps" in found["saliency.focus"].why
    assert "no novelty" in found["novelty.auroc"].why
    assert "no models trained without" in found["unseen.auroc"].why


def test_a_model_of_another_task_or_with_nan_is_refused(drawn):
    data = drawn_models.dataset(drawn, cue="lungs")
    read = drawn_models.reader("lungs")

    def broken(images, /):
        outputs = read(images)
        outputs.logits[0] = np.nan
        return outputs

    with pytest.raises(DataError, match="expected finite"):
        audit_model(broken, data, rivals={}, strangers={}, config=CONFIG)


def test_no_test_images_are_refused(drawn):
    from dataclasses import replace

    data = drawn_models.dataset(drawn, cue="lungs")
    rows = tuple(replace(row, split="train") for row in data.rows)
    with pytest.raises(DataError, match="no labelled image"):
        audit_model(drawn_models.reader("lungs"), replace(data, rows=rows), rivals={}, strangers={}, config=CONFIG)


def test_strangers_come_from_folders_and_from_the_index(tmp_path):
    from PIL import Image

    from pocketcxr.data.rows import IndexRow

    rng = np.random.default_rng(0)
    for kind, count in (("knee", 12), ("photograph", 3)):
        (tmp_path / "foreign" / kind).mkdir(parents=True)
        for i in range(count):
            picture = Image.fromarray(rng.integers(0, 255, (50, 70), dtype=np.uint8))
            picture.save(tmp_path / "foreign" / kind / f"{i}.png")
    (tmp_path / "foreign" / "knee" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    lateral = tmp_path / "foreign" / "knee" / "0.png"
    rows = [
        IndexRow(str(lateral), "s", "", view="L"),
        IndexRow(str(lateral), "s", "", modality="CT", view="Axial"),
        IndexRow(str(lateral), "s", "", view="PA"),
    ]
    found = load_strangers([tmp_path / "foreign"], rows, size=32, most=10)
    assert {kind: images.shape for kind, images in found.items()} == {
        "ct": (1, 1, 32, 32),
        "knee": (len(found["knee"]), 1, 32, 32),
        "lateral": (1, 1, 32, 32),
        "photograph": (3, 1, 32, 32),
    }
    assert 9 <= len(found["knee"]) <= 10  # the broken one, if drawn, is left out
    with pytest.raises(DataError, match="expected a folder"):
        load_strangers([tmp_path / "nowhere"], size=32)
