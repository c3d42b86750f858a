"""The re-identification network: what it is shown, what it gives, and that nothing is read twice."""

import csv
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketcxr.audit.data.persons import find_persons, normalised
from pocketcxr.audit.data.persons_section import summary
from pocketcxr.audit.data.reidentification import DIMENSIONS, SIZE, cut_out, embed_rows, load_network, lung_box
from pocketcxr.cli import main
from pocketcxr.data.index import build_index
from pocketcxr.data.rows import IndexRow, read_rows, write_rows
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import BundleError, DataError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "films"
    draw_synthetic_xrays(folder, patients=12, seed=3, size=128, progress=False)
    return build_index([folder], progress=False).rows


def test_the_box_holds_the_probability_but_for_crumbs():
    probabilities = np.zeros((100, 100), np.float32)
    probabilities[20:80, 10:90] = 0.9
    probabilities[0, 99] = 1.0
    left, top, right, bottom = lung_box(probabilities)
    assert (left, right) == pytest.approx((0.10, 0.90), abs=0.011)
    assert (top, bottom) == pytest.approx((0.20, 0.80), abs=0.011)
    assert lung_box(np.full((100, 100), 0.2, np.float32)) == (0, 0, 1, 1)


def test_cut_outs_follow_the_lungs():
    """The same picture, moved: the same cut-out; what lies outside repeats the edge."""
    image = np.full((256, 256), 0.25, np.float32)
    image[96:160, 80:176] = np.linspace(0, 1, 96, dtype=np.float32)
    moved = np.roll(image, (20, -30), (0, 1))

    def bright(images):  # a stand-in for lungs: what is not the background
        return (np.abs(images[:, 0] - 0.25) > 0.02).astype(np.float32)

    first, second = cut_out(np.stack([image, moved]), bright)
    assert first.shape == (SIZE, SIZE)
    assert np.abs(first - second).max() < 0.05
    assert first[0, 0] == pytest.approx(0.25, abs=1e-3)
    wide = cut_out(image[None], bright, room=2.0, size=60)[0]
    assert wide[-1, -1] == pytest.approx(0.25, abs=1e-3)


def test_embeddings_have_length_one_and_are_kept(drawn, tmp_path):
    first = embed_rows(drawn, cache=tmp_path, progress=False)
    assert first.shape == (len(drawn), DIMENSIONS + 2)
    assert np.linalg.norm(first[:, :-2], axis=1) == pytest.approx(np.ones(len(drawn)), abs=1e-4)
    assert first[:, -1].min() > 0
    gone = [dataclasses.replace(row, path=str(tmp_path / "gone.png")) for row in drawn]
    again = embed_rows(gone[::-1], cache=tmp_path, progress=False)  # kept by content, in any order
    assert np.array_equal(again, first[::-1])
    next(tmp_path.glob("*.npy")).write_bytes(b"damaged")
    assert np.allclose(embed_rows(drawn, cache=tmp_path, progress=False), first)


def test_what_cannot_be_embedded_is_named(drawn, tmp_path):
    with pytest.raises(DataError, match=r"gone\.png"):
        embed_rows([dataclasses.replace(drawn[0], path=str(tmp_path / "gone.png"))], cache=tmp_path, progress=False)
    with pytest.raises(DataError, match="holds no sha256"):
        embed_rows([IndexRow("a.png", "s", "f")], cache=tmp_path, progress=False)


def test_files_that_are_no_such_network_are_refused(tmp_path):
    with pytest.raises(BundleError, match="cannot be read"):
        load_network(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(BundleError, match="expected the re-identification network"):
        load_network(tmp_path / "bad.onnx")


def test_a_film_developed_anew_is_the_likeliest_partner(drawn, tmp_path):
    """Each drawing again, brighter, turned by 3° and recompressed: its own is nearest among all."""
    again = []
    for row in drawn:
        if Path(row.path).suffix == ".dcm":
            continue
        path = tmp_path / f"{Path(row.path).stem}.jpg"
        with Image.open(row.path) as image:
            turned = image.convert("L").rotate(3, fillcolor=0).point(lambda grey: 255 * (grey / 255) ** 0.7)
            turned.save(path, quality=40)
        again.append((row, IndexRow(str(path), "s", "f", sha256=f"{row.sha256[:60]}0000")))
    originals, copies = ([pair[i] for pair in again] for i in (0, 1))
    one, other = (embed_rows(some, cache=tmp_path, progress=False) for some in (copies, originals))
    assert (normalised(one, other).argmax(axis=1) == np.arange(len(again))).mean() > 0.7


def test_split_looks_through_what_it_made(drawn, tmp_path, capsys):
    write_rows(drawn, tmp_path / "index.csv")
    output = tmp_path / "splits.csv"
    assert main(["split", str(tmp_path / "index.csv"), "--find-persons", "--quiet", "-o", str(output)]) == 0
    found = find_persons(read_rows(output), lambda _: pytest.fail("too few to embed"))
    assert capsys.readouterr().out.rstrip().endswith(summary(found))


def test_real_patients_are_told_apart(real_data, tmp_path):
    """Two studies each of SIIM patients that no training saw: more alike than two persons are."""
    with (real_data / "siim" / "patients.csv").open(newline="", encoding="utf-8") as stream:
        table = {row["image"]: row for row in csv.DictReader(stream)}
    films: dict[str, dict[str, IndexRow]] = {}
    for path in sorted((real_data / "siim").rglob("*.jpg")):
        named = table[path.stem]
        if 0.7 <= hashlib.sha256(("reid" + named["patient"]).encode()).digest()[0] / 256 < 0.8:
            row = IndexRow(str(path), "siim", "", sha256=hashlib.sha256(path.read_bytes()).hexdigest())
            films.setdefault(named["patient"], {}).setdefault(named["study"], row)
    pairs = [list(studies.values())[:2] for studies in films.values() if len(studies) > 1][:25]
    first, second = (embed_rows([pair[i] for pair in pairs], cache=tmp_path, progress=False) for i in (0, 1))
    found = normalised(first, second)
    same, two = np.diag(found), found[~np.eye(len(pairs), dtype=bool)]
    assert len(pairs) == 25
    assert (same[:, None] > two).mean() > 0.9


def test_the_documented_figures_are_the_measured_ones():
    table = json.loads((ROOT / "docs" / "results" / "reidentification.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "explanation" / "persons.md").read_text(encoding="utf-8")
    for row in _documented(table):
        assert row in text, row


def _documented(table):
    for key in ("siim, measure", "ieee8023", "kermany"):
        found = table[key]
        auroc, recall = ("{:.3f} ({:.3f} to {:.3f})".format(*found[name]) for name in ("auroc", "recall_at_1_in_10000"))
        yield f"| {found['images']:,} | {found['patients']:,} | {found['pairs']:,} | {auroc} | {recall} |"
    for found in (
        table["siim, split by study"],
        table["siim, split by study, patients not trained on"],
        table["siim, split by patient"],
        table["ieee8023"]["split by image"],
        table["kermany"]["split by image"],
    ):
        yield (
            f"| {found['images']:,} | {found['patients_in_two_splits']} | {found['patients_found']} | "
            f"{found['pairs_listed']} | {found['of_these_two_persons']} |"
        )
