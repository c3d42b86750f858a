"""Synthetic chest X-rays: labelled as drawings, the same on every run, with disease in the lungs and nowhere else."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter, defaultdict

import numpy as np
import pydicom
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pocketcxr.data.rows import IndexRow
from pocketcxr.data.synthetic.anatomy import draw_shadows
from pocketcxr.data.synthetic.canvas import Canvas, Pose, mirrored, spline
from pocketcxr.data.synthetic.disease import draw_disease, sample_disease
from pocketcxr.data.synthetic.generate import COLUMNS, _sample_patient, draw_synthetic_xrays, synthetic_lung_mask
from pocketcxr.data.synthetic.hospital import HOSPITALS
from pocketcxr.data.synthetic.patient import sample_anatomy
from pocketcxr.errors import ConfigError, DataError
from pocketcxr.imaging.radiograph import DRAWING
from pocketcxr.imaging.reading import read_image, read_reduced
from pocketcxr.labels import load_task


def read_table(table):
    with table.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Folder and rows of 48 patients at a small size, with masks."""
    out = tmp_path_factory.mktemp("synthetic")
    return out, read_table(draw_synthetic_xrays(out, patients=48, seed=5, size=128, masks=True, progress=False))


def test_the_table_speaks_the_language_of_the_index(drawn):
    out, rows = drawn
    assert set(COLUMNS) <= {field.name for field in dataclasses.fields(IndexRow)}
    task = load_task("covid-3class")
    assert {task.label_of(row["finding"]) for row in rows} == {"normal", "pneumonia", "covid19"}
    assert all((out / row["path"]).is_file() for row in rows)
    assert len({row["path"] for row in rows}) == len(rows) == len(list((out / "images").iterdir()))


def test_patients_have_several_images_one_finding_and_one_hospital(drawn):
    _, rows = drawn
    by_patient = defaultdict(list)
    for row in rows:
        if row["patient_id"]:
            by_patient[row["patient_id"]].append(row)
    assert len(by_patient) == 48
    assert {len(images) for images in by_patient.values()} == {1, 2, 3, 4}
    for images in by_patient.values():
        assert len({(row["finding"], row["source"], row["sex"], row["age"]) for row in images}) == 1
        assert len({row["study_id"] for row in images}) == len(images)
    assert Counter(images[0]["finding"] for images in by_patient.values()) == {
        "no_finding": 16,
        "pneumonia": 16,
        "covid19": 16,
    }


def test_every_file_says_that_it_is_a_drawing(drawn):
    out, _ = drawn
    photometric = Counter()
    for path in (out / "images").iterdir():
        assert read_image(path).metadata.synthetic
        assert read_reduced(path, side=32).metadata.synthetic
        if path.suffix == ".dcm":
            dicom = pydicom.dcmread(path)
            assert (dicom.ImageComments, dicom.SyntheticData) == (DRAWING, "YES")
            assert dicom.BitsStored == 12
            assert pydicom.uid.UID(dicom.SOPInstanceUID).is_valid
            photometric[dicom.PhotometricInterpretation] += 1
        else:
            with Image.open(path) as image:
                comment = image.info["Comment"] if path.suffix == ".png" else image.info["comment"].decode()
                assert image.mode == "L"
            assert comment == DRAWING
            photometric[path.suffix] += 1
    assert set(photometric) == {".png", ".jpg", "MONOCHROME1", "MONOCHROME2"}
    assert DRAWING in (out / "README.txt").read_text()


def test_every_format_reads_back_with_dark_lungs_and_a_bright_heart(drawn):
    """Through the project's own reader: polarity, rescale and window of each DICOM lead back to the image."""
    out, rows = drawn
    for row in rows:
        radiograph = read_image(out / row["path"])
        lungs = synthetic_lung_mask(out / row["path"])
        pixels = np.asarray(Image.fromarray(radiograph.pixels).resize(lungs.shape[::-1]))
        height, width = pixels.shape
        heart = pixels[int(0.55 * height) : int(0.7 * height), int(0.49 * width) : int(0.53 * width)]
        assert np.median(pixels[lungs]) < np.median(heart) - 0.2, row["path"]
        assert pixels.max() > 0.9, row["path"]
        assert pixels.min() < 0.1, row["path"]


def test_a_dicom_reads_back_as_the_tones_that_were_stored(drawn):
    """Window and rescale by hand (PS3.3 C.11.2.1.2.1), against the project's reader."""
    out, _ = drawn
    for path in sorted((out / "images").glob("*.dcm"))[:4]:
        dicom = pydicom.dcmread(path)
        values = dicom.pixel_array * float(dicom.RescaleSlope) + float(dicom.RescaleIntercept)
        centre, width = float(dicom.WindowCenter), float(dicom.WindowWidth)
        tones = np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
        assert tones.min() == pytest.approx(0, abs=0.02)
        assert tones.max() == pytest.approx(1, abs=0.06)
        image = 1 - tones if dicom.PhotometricInterpretation == "MONOCHROME1" else tones
        assert np.abs(read_image(path).pixels - image).max() < 2e-3


def test_copies_are_the_same_image_without_a_patient(drawn):
    out, rows = drawn
    copies = [row for row in rows if not row["patient_id"]]
    assert 1 <= len(copies) <= len(rows) // 10
    for copy in copies:
        stem = copy["path"].removesuffix("-copy.jpg")
        (original,) = (row for row in rows if row["path"].startswith(stem + "."))
        assert original["finding"] == copy["finding"]
        one, other = read_image(out / original["path"]).pixels, read_image(out / copy["path"]).pixels
        assert other.shape[0] < one.shape[0]
        assert np.abs(one - np.asarray(Image.fromarray(other).resize(one.shape[::-1]))).mean() < 0.03


def test_equal_seeds_give_equal_bytes_and_more_patients_change_nothing(tmp_path):
    def contents(folder, patients, seed):
        draw_synthetic_xrays(tmp_path / folder, patients=patients, seed=seed, size=64, progress=False)
        return {path.name: path.read_bytes() for path in (tmp_path / folder / "images").iterdir()}

    first, again = contents("a", 5, 1), contents("b", 5, 1)
    more, other = contents("c", 6, 1), contents("d", 5, 2)
    assert first == again
    assert {name: more[name] for name in first} == first
    assert len(more) > len(first)
    assert all(first[name] != other[name] for name in first.keys() & other.keys())


def test_findings_of_the_last_patients_can_be_left_out_of_the_table(tmp_path):
    stated, left_out = (
        read_table(draw_synthetic_xrays(tmp_path / str(n), patients=5, unlabelled=n, size=64, progress=False))
        for n in (0, 2)
    )
    assert [row | {"finding": ""} for row in stated] == [row | {"finding": ""} for row in left_out]
    for row in left_out:
        name = row["path"].removeprefix("images/")
        assert (row["finding"] == "") == (name[:6] in {"P00003", "P00004"})


def test_the_left_lung_stands_at_the_right_and_makes_room_for_the_heart(drawn):
    out, rows = drawn
    shares = []
    for row in rows:
        mask = synthetic_lung_mask(out / row["path"])
        middle = mask.shape[1] // 2
        shares.append(mask[:, middle:].mean() / mask[:, :middle].mean())
        assert 0.12 < mask.mean() < 0.55, row["path"]
        assert not mask[: mask.shape[0] // 2, middle - 1 : middle + 1].all(), row["path"]
    assert np.mean(shares) < 0.95


def chest(seed):
    rng = np.random.default_rng(seed)
    anatomy = sample_anatomy(rng)
    canvas = Canvas(160, 160, Pose())
    return rng, anatomy, canvas, draw_shadows(anatomy, canvas)


@pytest.mark.parametrize("finding", ["pneumonia", "covid19"])
def test_disease_adds_density_inside_the_lungs_only_and_grows_with_its_stage(finding):
    for seed in range(6):
        rng, anatomy, canvas, shadows = chest(seed)
        disease = sample_disease(rng, finding, anatomy)
        early, late = (draw_disease(disease, canvas, shadows, stage=stage) for stage in (0.0, 1.0))
        assert late[shadows.lungs == 0].max() == 0
        assert late.min() >= 0
        assert (late <= 0.42 * shadows.air + 1e-6).all()  # no denser than a lung without air
        assert late.max() > 0.05
        assert 0 < early.sum() < 0.6 * late.sum()


def test_pneumonia_takes_one_side_and_covid_both_at_the_edges_and_below():
    for seed in range(8):
        rng, anatomy, canvas, shadows = chest(seed)
        x, y = canvas.coordinates()
        sides = {}
        for finding in ("pneumonia", "covid19"):
            opacity = draw_disease(sample_disease(rng, finding, anatomy), canvas, shadows, stage=1.0)
            right, left = opacity[x < 0].sum(), opacity[x > 0].sum()
            sides[finding] = min(right, left) / (right + left)
            if finding == "covid19":
                lungs = shadows.lungs > 0.5
                assert np.average(np.abs(x), weights=opacity) > np.abs(x[lungs]).mean()
                assert np.average(y, weights=opacity) > y[lungs].mean()
        assert sides["pneumonia"] < 0.02
        assert sides["covid19"] > 0.08
    rng, anatomy, canvas, shadows = chest(0)
    assert not draw_disease(sample_disease(rng, "no_finding", anatomy), canvas, shadows, stage=1.0).any()


def histogram_features(out, rows):
    features = []
    for row in rows:
        pixels = read_image(out / row["path"]).pixels
        counts, _ = np.histogram(pixels, bins=8, range=(0, 1))
        features.append([pixels.mean(), pixels.std(), *(counts / pixels.size)])
    return np.array(features)


def test_brightness_and_histogram_do_not_give_the_class_away(drawn):
    """A classifier of global tones stays near chance, so that what a network learns it learns from the lungs."""
    out, rows = drawn
    features, findings = histogram_features(out, rows), np.array([row["finding"] for row in rows])
    group = np.array([int(row["path"].removeprefix("images/P")[:5]) for row in rows]) // 3 % 2  # patients, balanced
    scores = []
    for part in (0, 1):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        model.fit(features[group != part], findings[group != part])
        probabilities = model.predict_proba(features[group == part])
        scores.append(roc_auc_score(findings[group == part], probabilities, multi_class="ovr"))
    assert np.mean(scores) < 0.7


def test_hospitals_tell_nothing_of_the_class_unless_confounded():
    def shares(confounded):
        last = defaultdict(list)
        for number in range(90):
            patient = _sample_patient(number, seed=0, hospitals=HOSPITALS, confounded=confounded)
            last[patient.disease.finding].append(patient.hospital == HOSPITALS[-1])
        return {finding: np.mean(values) for finding, values in last.items()}

    fair, trap = shares(confounded=False), shares(confounded=True)
    assert all(0.08 < share < 0.42 for share in fair.values())
    assert trap["covid19"] > 0.85
    assert max(trap["no_finding"], trap["pneumonia"]) < 0.1


def test_the_stages_asked_for_change_the_diseased_images_alone(tmp_path):
    """The same patients early and late: the images of the sick differ, those of the well are the same bytes."""
    early = draw_synthetic_xrays(tmp_path / "early", patients=3, seed=4, size=64, stages=(0.0, 0.0), progress=False)
    late = draw_synthetic_xrays(tmp_path / "late", patients=3, seed=4, size=64, stages=(1.0, 1.0), progress=False)
    changed = defaultdict(set)
    for one, other in zip(read_table(early), read_table(late), strict=True):
        assert one == other
        same = (early.parent / one["path"]).read_bytes() == (late.parent / one["path"]).read_bytes()
        changed[one["finding"]].add(not same)
    assert changed == {"no_finding": {False}, "pneumonia": {True}, "covid19": {True}}


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no more patients without a finding than there are"):
        draw_synthetic_xrays(tmp_path, patients=3, unlabelled=4)
    with pytest.raises(ConfigError, match="at least 1 patient"):
        draw_synthetic_xrays(tmp_path, patients=0)
    with pytest.raises(ConfigError, match="2 hospital"):
        draw_synthetic_xrays(tmp_path, patients=3, confounded=True, hospitals=HOSPITALS[:1])
    with pytest.raises(ConfigError, match=r"stages .* found \(0.9, 0.1\)"):
        draw_synthetic_xrays(tmp_path, patients=3, stages=(0.9, 0.1))
    draw_synthetic_xrays(tmp_path, patients=1, size=64, progress=False)
    with pytest.raises(DataError, match="exists already"):
        draw_synthetic_xrays(tmp_path, patients=1)
    with pytest.raises(DataError, match="draw the set with masks"):
        synthetic_lung_mask(next((tmp_path / "images").iterdir()))


def test_curves_pass_through_their_control_points_and_the_canvas_maps_the_midline_to_the_middle():
    controls = [(0.0, 0.0), (0.1, 0.3), (0.2, 0.1)]
    curve = spline(controls, steps=4)
    for point in controls:
        assert np.abs(curve - point).sum(axis=1).min() < 1e-12
    assert np.allclose(mirrored([(0.2, 0.4)], -1), [(-0.2, 0.4)])
    canvas = Canvas(100, 200, Pose())
    assert np.allclose(canvas.to_pixels([(0.0, 0.5), (0.25, 1.0)]), [(50, 100), (100, 200)])


def test_pixel_coordinates_invert_the_pose():
    canvas = Canvas(90, 110, Pose(scale=1.2, stretch=0.95, rotation=0.1, shift_x=0.03, shift_y=-0.02))
    x, y = canvas.coordinates()
    column, row = 17, 60
    assert np.allclose(canvas.to_pixels([(x[row, column], y[row, column])]), [(column + 0.5, row + 0.5)], atol=1e-3)
