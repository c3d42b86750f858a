"""Sets whose images have several findings: tables in their real layout give what is present, uncertain and absent."""

from __future__ import annotations

import gzip

import pytest

from pocketcxr.data.adapters.file_listing import LayoutOptions
from pocketcxr.data.adapters.recognise import list_source
from pocketcxr.data.adapters.several import CHEXPERT_FINDINGS
from pocketcxr.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not looked at while listing")


def the_one_set(root):
    ((name, folder, listing),) = list_source(root, "auto", LayoutOptions())
    rows = {row.path.removeprefix(f"{folder}/"): row for row in listing.rows}
    return name, rows, {line.path.removeprefix(f"{folder}/"): line.reason for line in listing.rejected}, listing.notes


def said(rows):
    """What each image has, perhaps has and has not."""
    return fields(rows, "finding", "uncertain", "absent")


def fields(rows, *names):
    return {path: tuple(getattr(row, name) for name in names) for path, row in rows.items()}


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def chexpert_cells(**told):
    return ",".join(told.get(name.replace(" ", "_"), "") for name in CHEXPERT_FINDINGS)


def test_nih_names_all_findings_of_an_image_so_that_the_others_are_absent(tmp_path):
    touch(
        tmp_path, "images_001/images/00000001_000.png", "images_002/images/00000002_000.png", "images/00000003_000.png"
    )
    write(
        tmp_path / "Data_Entry_2017.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,Original[Width",
        "00000001_000.png,No Finding,0,1,058Y,M,PA,2682,",
        "00000002_000.png,Effusion|Pleural_Thickening,0,2,31,F,AP,2682,",
        "00000009_000.png,Hernia,0,3,31,F,AP,2682,",
    )
    name, rows, rejected, _ = the_one_set(tmp_path)
    assert name == "nih"
    assert said(rows) == {
        "images_001/images/00000001_000.png": ("no_finding", "", "*"),
        "images_002/images/00000002_000.png": ("pleural_effusion|pleural_thickening", "", "*"),
    }
    assert [*fields(rows, "patient_id", "age", "sex", "view").values()] == [
        ("nih:1", "58", "M", "PA"),
        ("nih:2", "31", "F", "AP"),
    ]
    assert rejected == {
        "00000009_000.png": "in Data_Entry_2017.csv, but no file",
        "images/00000003_000.png": "not in Data_Entry_2017.csv",
    }


def test_chexpert_keeps_uncertain_findings_and_takes_patient_and_study_from_the_path(tmp_path):
    root = tmp_path / "renamed"
    touch(
        root,
        "train/patient00001/study1/view1_frontal.jpg",
        "train/patient00001/study1/view2_lateral.jpg",
        "valid/patient64541/study1/view1_frontal.jpg",
        "train/patient00002/study1/stray.jpg",
    )
    head = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(CHEXPERT_FINDINGS)}"
    start = "CheXpert-v1.0-small"
    cells = chexpert_cells(Edema="1.0", Pneumonia="-1.0", Fracture="0.0")
    write(
        root / "train.csv",
        head,
        f"{start}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,{cells}",
        f"{start}/train/patient00001/study1/view2_lateral.jpg,Female,68,Lateral,,{cells}",
        f"{start}/train/patient00009/study1/view1_frontal.jpg,Male,50,Frontal,PA,{cells}",
    )
    normal = chexpert_cells(No_Finding="1.0")
    write(root / "valid.csv", head, f"{start}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,PA,{normal}")
    name, rows, rejected, _ = the_one_set(root)
    assert name == "chexpert"
    assert said(rows) == {
        "train/patient00001/study1/view1_frontal.jpg": ("edema", "pneumonia", "fracture"),
        "train/patient00001/study1/view2_lateral.jpg": ("edema", "pneumonia", "fracture"),
        "valid/patient64541/study1/view1_frontal.jpg": ("no_finding", "", ""),
    }
    assert [*fields(rows, "patient_id", "study_id", "view", "sex", "age", "split").values()] == [
        ("chexpert:patient00001", "chexpert:patient00001/study1", "AP", "F", "68", "train"),
        ("chexpert:patient00001", "chexpert:patient00001/study1", "Lateral", "F", "68", "train"),
        ("chexpert:patient64541", "chexpert:patient64541/study1", "PA", "M", "73", "calibration"),
    ]
    assert rejected == {
        "train/patient00009/study1/view1_frontal.jpg": "in train.csv line 4, but there is no such file",
        "train/patient00002/study1/stray.jpg": "in no table of CheXpert",
    }


def make_mimic(root, suffix):
    touch(
        root,
        "files/p10/p10000032/s50414267/aa-1.jpg",
        "files/p10/p10000032/s53189527/bb-2.jpg",
        "files/p11/p11000183/s51967845/cc-3.jpg",
    )
    tables = {
        "chexpert": [
            f"subject_id,study_id,{','.join(CHEXPERT_FINDINGS)}",
            f"10000032,50414267,{chexpert_cells(No_Finding='1.0')}",
            f"10000032,53189527,{chexpert_cells(Edema='-1.0', Pneumothorax='0.0')}",
        ],
        "metadata": [
            "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns",
            'aa-1,10000032,50414267,"CHEST (PA AND LAT)",PA,3056,2544',
            'bb-2,10000032,53189527,"CHEST (PA AND LAT)",LATERAL,3056,2544',
            "cc-3,11000183,51967845,CHEST (PORTABLE AP),AP,3056,2544",
            "dd-4,11000183,51967845,CHEST (PORTABLE AP),AP,3056,2544",
        ],
        "split": [
            "dicom_id,study_id,subject_id,split",
            "aa-1,50414267,10000032,train",
            "bb-2,53189527,10000032,train",
            "cc-3,51967845,11000183,validate",
        ],
    }
    for name, lines in tables.items():
        text = "\n".join(lines).encode()
        (root / f"mimic-cxr-2.0.0-{name}{suffix}").write_bytes(gzip.compress(text) if suffix == ".csv.gz" else text)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_mimic_joins_its_three_tables_and_counts_the_images_that_are_not_here(tmp_path, suffix):
    make_mimic(tmp_path, suffix)
    name, rows, rejected, notes = the_one_set(tmp_path)
    assert name == "mimic-cxr"
    assert said(rows) == {
        "files/p10/p10000032/s50414267/aa-1.jpg": ("no_finding", "", ""),
        "files/p10/p10000032/s53189527/bb-2.jpg": ("", "edema", "pneumothorax"),
        "files/p11/p11000183/s51967845/cc-3.jpg": ("", "", ""),
    }
    assert [*fields(rows, "patient_id", "study_id", "view", "split").values()] == [
        ("mimic-cxr:10000032", "mimic-cxr:50414267", "PA", "train"),
        ("mimic-cxr:10000032", "mimic-cxr:53189527", "LATERAL", "train"),
        ("mimic-cxr:11000183", "mimic-cxr:51967845", "AP", "calibration"),
    ]
    assert not rejected
    assert notes[0] == f"1 images of mimic-cxr-2.0.0-metadata{suffix} are not here"


def test_a_packed_table_that_is_cut_short_is_one_clear_line(tmp_path):
    make_mimic(tmp_path, ".csv.gz")
    path = tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"chexpert\.csv\.gz: expected a whole gzip file .* download it again"):
        list_source(tmp_path, "auto", LayoutOptions())


def test_padchest_reads_lists_of_findings_and_what_its_words_mean(tmp_path):
    touch(tmp_path, *(f"{number}/{number}.png" for number in range(7)), "5/unnamed.png")
    head = ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,Labels"
    labels = [
        "\"['pulmonary emphysema', ' cardiomegaly', 'cardiomegaly']\"",
        "['normal']",
        "\"['unchanged', 'nodule']\"",
        "['exclude']",
        "",
        "[]",
        "[pneumonia",
    ]
    lines = [
        f"{n},{n}.png,{n},20140915,s{n},8398604886942923316379882356814609{n},1930.0,F,PA,{cell}"
        for n, cell in enumerate(labels)
    ]
    write(tmp_path / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", head, *lines)
    name, rows, rejected, _ = the_one_set(tmp_path)
    assert name == "padchest"
    assert said(rows) == {
        "0/0.png": ("pulmonary_emphysema|cardiomegaly", "", "*"),
        "1/1.png": ("no_finding", "", "*"),
        "2/2.png": ("nodule", "", ""),
        "4/4.png": ("", "", ""),
        "5/5.png": ("", "", ""),
    }
    facts = fields(rows, "patient_id", "study_id", "age", "sex", "view")
    assert facts["0/0.png"] == ("padchest:83986048869429233163798823568146090", "padchest:s0", "84", "F", "PA")
    assert rejected["3/3.png"] == "the set marks it as to be excluded"
    assert rejected["6/6.png"].startswith("expected a list of findings such as ['cardiomegaly'], found")
    assert rejected["5/unnamed.png"] == "not in PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"


def test_vindr_findings_on_which_readers_disagree_are_uncertain(tmp_path):
    touch(tmp_path, "train/aa.dicom", "train/bb.dicom", "test/cc.dicom")
    write(
        tmp_path / "annotations/image_labels_train.csv",
        "image_id,rad_id,Cardiomegaly,Nodule/Mass,Other diseases,No finding",
        "aa,R8,1,1,0,0",
        "aa,R9,1,0,0,0",
        "aa,R10,1,0,0,0",
        *(f"bb,R{number},0,0,0,1" for number in (8, 9, 10)),
    )
    head = "image_id,Cardiomegaly,Nodule/Mass,Other disease,No finding"
    write(tmp_path / "annotations/image_labels_test.csv", head, "cc,0,0,1,0", "")
    name, rows, rejected, _ = the_one_set(tmp_path)
    assert name == "vindr"
    assert said(rows) == {
        "train/aa.dicom": ("cardiomegaly", "nodule/mass", "*"),
        "train/bb.dicom": ("no_finding", "", "*"),
        "test/cc.dicom": ("other_diseases", "", "*"),
    }
    assert [row.split for row in rows.values()] == ["train", "train", "test"]
    assert not rejected


def test_vindr_as_kaggle_ships_it_has_a_line_per_box_or_per_reader_who_found_nothing(tmp_path):
    touch(tmp_path, "train/aa.dicom", "train/bb.dicom")
    write(
        tmp_path / "train.csv",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max",
        "aa,No finding,14,R11,,,,",
        "aa,No finding,14,R7,,,,",
        "aa,No finding,14,R10,,,,",
        "bb,Cardiomegaly,3,R9,691,1375,1653,1831",
        "bb,Cardiomegaly,3,R9,700,1375,1653,1831",
        "bb,Cardiomegaly,3,R10,691,1375,1653,1831",
        "bb,Aortic enlargement,0,R10,1264,743,1611,1019",
    )
    name, rows, _, _ = the_one_set(tmp_path)
    assert name == "vindr"
    assert said(rows) == {
        "train/aa.dicom": ("no_finding", "", "*"),
        "train/bb.dicom": ("cardiomegaly", "aortic_enlargement", "*"),
    }


def test_covidx_lists_may_name_an_origin_and_files_with_blanks(tmp_path):
    touch(tmp_path, "train/COVID (1).png", "train/b.png", "test/c.jpeg")
    write(tmp_path / "train_COVIDx3.txt", "7 COVID (1).png COVID-19 sirm", "8 b.png normal rsna", "")
    write(tmp_path / "test_COVIDx3.txt", "9 c.jpeg pneumonia", "")
    name, rows, rejected, _ = the_one_set(tmp_path)
    assert name == "covidx"
    assert fields(rows, "finding", "patient_id") == {
        "test/c.jpeg": ("pneumonia", "covidx:9"),
        "train/COVID (1).png": ("covid19", "covidx:7"),
        "train/b.png": ("no_finding", "covidx:8"),
    }
    assert not rejected
