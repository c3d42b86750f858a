"""De-identified DICOM: nothing that identifies survives anywhere in the bytes, and what a model needs stays."""

import subprocess
from io import BytesIO

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

pytest.importorskip("dicomanonymizer", reason="needs the extra deidentify")
pytest.importorskip("rapidocr", reason="needs the extra deidentify")

from dicom_files import bytes_of, dataset_of
from pocketcxr.cli import main
from pocketcxr.data.deidentify.header import deidentified
from pocketcxr.data.deidentify.text import found_text
from pocketcxr.errors import DataError
from pocketcxr.imaging.reading import read_image

KEY = bytes(range(32))
PIXELS = (4095 * np.linspace(0, 1, 160)[None, :] * np.linspace(0.4, 1, 160)[:, None]).astype(np.uint16)
SECRETS = (
    "MUSTERFRAU", "Erika", "Geborene", "PID-448812", "19640812", "20260102", "20260103", "ACC-99812", "Mercy West",
    "Doctor", "Operator", "1.2.840.99999.1", "1.2.840.99999.2", "1.2.840.99999.3", "1.2.840.99999.4", "+49 30 901820",
    "Baker Street", "SN-7781232", "privately", "in a comment", "in the preamble", "behind the end", "Overlay text",
    "101112", "nested one", "AE-MERCY",
)  # fmt: skip


def secret_file(**elements):
    dataset = dataset_of(PIXELS, BitsStored=12, SpecificCharacterSet="ISO_IR 192", **{
        "SOPInstanceUID": "1.2.840.99999.1", "StudyInstanceUID": "1.2.840.99999.2",
        "SeriesInstanceUID": "1.2.840.99999.3", "FrameOfReferenceUID": "1.2.840.99999.4",
        "PatientName": "MUSTERFRAU^Erika", "PatientID": "PID-448812", "PatientBirthDate": "19640812",
        "PatientSex": "F", "PatientAge": "061Y", "PatientBirthName": "Geborene", "PatientAddress": "221b Baker Street",
        "PatientTelephoneNumbers": "+49 30 901820", "StudyDate": "20260102", "SeriesDate": "20260102",
        "AcquisitionDateTime": "20260103101112", "StudyTime": "101112", "AccessionNumber": "ACC-99812",
        "InstitutionName": "Mercy West", "ReferringPhysicianName": "Doctor^A", "OperatorsName": "Operator^B",
        "DeviceSerialNumber": "SN-7781232", "StationName": "AE-MERCY", "ImageComments": "in a comment of Erika",
        "Manufacturer": "ACME", "ManufacturerModelName": "Ray 1", "BodyPartExamined": "CHEST", "ViewPosition": "PA",
        "KVP": 120, "ImagerPixelSpacing": [0.2, 0.2], "ProtocolName": "Chest of MUSTERFRAU",
        "SeriesDescription": "Erika PA", "DetectorDescription": "panel, asked for by Musterfrau",
        "ModalitiesInStudy": "CR", **elements,
    })  # fmt: skip
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.SourceApplicationEntityTitle = "AE-MERCY"
    inner = Dataset()
    inner.CodeMeaning, inner.PatientID, inner.TextValue = "PID-448812 nested", "PID-448812", "nested one"
    inner.ReferencedSOPInstanceUID, inner.StudyDate = "1.2.840.99999.4", "20260102"
    outer = Dataset()
    outer.CodeValue, outer.CodingSchemeDesignator, outer.CodeMeaning = "1", "99X", "A code"
    outer.ContentSequence = Sequence([inner])
    dataset.ViewCodeSequence = Sequence([outer])
    block = dataset.private_block(0x0019, "privately", create=True)
    block.add_new(1, "LO", "privately MUSTERFRAU")
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60003000, "OW", b"Overlay text")
    dataset.add_new(0x00091234, "UN", b"privately")
    dataset.add_new(0x00080B55, "LO", "Erika, in an element that no standard has")
    dataset.preamble = b"in the preamble MUSTERFRAU".ljust(128, b"\0")
    dataset.PixelData += b"MUSTERFRAU, behind the end"
    return bytes_of(dataset)


def test_no_identifier_survives_anywhere_in_the_bytes():
    data = secret_file()
    found = [one for one in SECRETS if one.encode().lower() in data.lower()]
    assert found == list(SECRETS)  # the test has planted each
    patient, image, clean = deidentified(data, KEY)
    assert [one for one in SECRETS if one.encode().lower() in clean.lower()] == []
    assert not any(one.lower() in f"{patient}/{image}" for one in SECRETS)


def test_what_a_model_and_an_audit_need_stays():
    clean = pydicom.dcmread(BytesIO(deidentified(secret_file(), KEY)[2]))
    assert np.array_equal(clean.pixel_array, PIXELS)
    assert (clean.Manufacturer, clean.ManufacturerModelName, clean.Modality) == ("ACME", "Ray 1", "CR")
    assert (clean.BodyPartExamined, clean.ViewPosition, clean.KVP) == ("CHEST", "PA", 120)
    assert (clean.PatientIdentityRemoved, clean.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert [one.CodeValue for one in clean.DeidentificationMethodCodeSequence] == ["113100", "113107"]


def test_the_same_key_gives_one_patient_one_pseudonym_and_one_shift_of_dates():
    def of(key=KEY, **elements):
        name, image, data = deidentified(secret_file(**elements), key)
        return name, image, pydicom.dcmread(BytesIO(data))

    first, prior = of(), of(StudyDate="20250102", SOPInstanceUID="1.2.840.99999.9")
    other, another_key = of(PatientID="PID-448813"), of(key=bytes(32))
    assert first[0] == prior[0] == first[2].PatientID == str(first[2].PatientName)
    assert first[1] != prior[1]
    assert len({first[0], other[0], another_key[0]}) == 3
    between = [pydicom.valuerep.DA(one[2].StudyDate) for one in (first, prior)]
    assert (between[0] - between[1]).days == 365
    shift = (pydicom.valuerep.DA("20260102") - between[0]).days
    assert 366 <= shift < 3653
    assert first[2].StudyDate != other[2].StudyDate
    assert first[2].AcquisitionDateTime == (
        pydicom.valuerep.DA("20260103") - (pydicom.valuerep.DA("20260102") - between[0])
    ).strftime("%Y%m%d")
    assert first[2].StudyInstanceUID == prior[2].StudyInstanceUID != another_key[2].StudyInstanceUID
    assert first[2].SOPClassUID == prior[2].SOPClassUID == "1.2.840.10008.5.1.4.1.1.1"


def test_compressed_pixels_are_written_without_what_their_comments_say():
    data = secret_file()
    dataset = pydicom.dcmread(BytesIO(data))
    dataset.PixelData = PIXELS.tobytes()
    dataset.compress(pydicom.uid.RLELossless)
    clean = pydicom.dcmread(BytesIO(deidentified(bytes_of(dataset), KEY)[2]))
    assert np.array_equal(clean.pixel_array, PIXELS)
    assert not clean.file_meta.TransferSyntaxUID.is_compressed


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"no DICOM", "expected a DICOM image"),
        (secret_file()[:5000], "expected 51200 bytes of pixels"),
        (secret_file(PatientID=""), "has no patient ID"),
        (secret_file(PatientID=None), "has no patient ID"),
    ],
)
def test_what_cannot_be_made_safe_is_refused(data, expected):
    with pytest.raises(DataError, match=expected) as caught:
        deidentified(data, KEY)
    assert not any(one in str(caught.value) for one in SECRETS)


def test_an_identifier_that_hides_in_the_pixels_is_refused():
    pixels = PIXELS.copy()
    pixels.view(np.uint8).reshape(-1)[1000:1016] = np.frombuffer(b"MUSTERFRAU^Erika", np.uint8)
    dataset = pydicom.dcmread(BytesIO(secret_file()))
    dataset.PixelData = pixels.tobytes()
    with pytest.raises(DataError, match="an identifier remains in its pixels"):
        deidentified(bytes_of(dataset), KEY)


def drawn(text):
    picture = Image.fromarray(np.full((700, 700), 40, np.uint8))
    ImageDraw.Draw(picture).text((60, 620), text, fill=255, font=ImageFont.load_default(34))
    return np.asarray(picture)


def test_text_in_the_picture_is_found_and_side_markers_are_not_minded():
    assert found_text(drawn("ERIKA MUSTERFRAU 1964") / 255)
    assert not found_text(drawn("") / 255)
    assert not found_text(drawn("PA") / 255)


@pytest.mark.parametrize(("size", "letters_px"), [((2048, 1700), 14), ((3600, 1000), 24)])
def test_small_letters_on_a_large_film_are_found(size, letters_px):
    height, width = size
    generator = np.random.default_rng(0)
    grey = 40 + 50 * np.sin(np.linspace(0, 3, height))[:, None] + generator.normal(0, 4, size)
    picture = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    where = (int(0.6 * width), int(0.8 * height))
    ImageDraw.Draw(picture).text(where, "Mustermann, J.", fill=255, font=ImageFont.load_default(letters_px))
    assert any("uster" in text for text in found_text(np.asarray(picture) / 255))


def test_a_folder_is_written_once_and_what_holds_text_is_not(tmp_path, capsys):
    source, output, key = tmp_path / "Erika" / "in", tmp_path / "out", tmp_path / "key"
    source.mkdir(parents=True)
    (source / "MUSTERFRAU.dcm").write_bytes(secret_file())
    (source / "notes.txt").write_text("no image")
    (source / "broken.dcm").write_bytes(secret_file()[:5000])
    named = dataset_of(
        drawn("ERIKA MUSTERFRAU 1964"), PatientID="PID-2", SOPInstanceUID="1.2.840.99999.7", StudyDate="20260102"
    )
    (source / "named.dcm").write_bytes(bytes_of(named))
    words = ["deidentify", str(tmp_path / "Erika"), "-o", str(output), "--key", str(key)]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert out == "written 1, there already 0, burned-in text 1, refused 1\n"
    assert "named.dcm: burned-in text at 1 places: not written" in err
    assert "broken.dcm: refused" in err
    assert "PID-" not in out + err
    (written,) = [path for path in output.rglob("*") if path.is_file()]
    assert not any(one.lower() in str(written.relative_to(output)).lower() for one in SECRETS)
    assert read_image(written).metadata.height == 160
    assert main(words) == 1
    assert "written 0, there already 1" in capsys.readouterr().out
    assert main([*words, "--keep-text"]) == 1  # the broken one
    assert len(list(output.rglob("*.dcm"))) == 2


def test_key_and_output_must_lie_apart(tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    for output, key in (
        (source / "out", tmp_path / "key"),
        (tmp_path, tmp_path / "key"),
        (tmp_path / "out", tmp_path / "out" / "key"),
    ):
        assert main(["deidentify", str(source), "-o", str(output), "--key", str(key)]) == 2
        assert "expected a" in capsys.readouterr().err


def test_the_result_is_valid_dicom(tmp_path):
    import shutil

    if not shutil.which("dciodvfy"):
        pytest.skip("needs dciodvfy of Debian's dicom3tools")
    path = tmp_path / "clean.dcm"
    path.write_bytes(deidentified(secret_file(), KEY)[2])
    before = tmp_path / "before.dcm"
    before.write_bytes(secret_file())

    def errors(file):
        done = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, check=False)
        return {line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")}

    assert errors(path) - errors(before) == set()
