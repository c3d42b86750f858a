"""Every public layout, made tiny, is recognised by itself and gives what its tables and names say."""

from __future__ import annotations

from collections import Counter

import pytest

from pocketcxr.data.adapters.file_listing import LayoutOptions
from pocketcxr.data.adapters.recognise import list_source
from pocketcxr.errors import DataError
from pocketcxr.vocabulary import FINDINGS, checked_aliases, finding_named, finding_of

SIIM_HEAD = "id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance\n"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not looked at while listing")


def the_one_set(root, layout="auto", **options):
    ((name, folder, listing),) = list_source(root, layout, LayoutOptions(**options))
    rows = {row.path.removeprefix(f"{folder}/"): row for row in listing.rows}
    return name, rows, {line.path.removeprefix(f"{folder}/"): line.reason for line in listing.rejected}, listing


def make_siim(root):
    touch(root, "train/aa.jpg", "train/st/se/bb.dcm", "train/cc.jpg", "train/zz.jpg", "test/tt.jpg")
    (root / "train_study_level.csv").write_text(SIIM_HEAD + "s1_study,1,0,0,0\ns2_study,0,1,0,0\ns3_study,0,0,0,0\n")
    lines = ["aa_image,,none,s1", "bb_image,,opacity,s2", "cc_image,,none,s3", "gone_image,,none,s1"]
    (root / "train_image_level.csv").write_text("id,boxes,label,StudyInstanceUID\n" + "\n".join(lines) + "\n")


def test_siim_takes_the_finding_of_the_study_and_keeps_its_test_images_unlabelled(tmp_path):
    make_siim(tmp_path)
    name, rows, rejected, _ = the_one_set(tmp_path)
    assert name == "siim"
    findings = {path: (row.finding, row.study_id) for path, row in rows.items()}
    assert findings == {
        "train/aa.jpg": ("no_pneumonia", "siim:s1"),
        "train/st/se/bb.dcm": ("typical_appearance", "siim:s2"),
        "train/cc.jpg": ("", "siim:s3"),
        "test/tt.jpg": ("", ""),
    }
    assert rejected == {
        "train/gone_image": "in train_image_level.csv, but no file",
        "train/zz.jpg": "not in train_image_level.csv",
    }


def test_siim_takes_patients_from_their_table_for_unlabelled_images_too(tmp_path):
    make_siim(tmp_path)
    lines = ["aa,train,p1,s1,9,9", "bb,train,p1,s2,9,9", "tt,test,p2,s9,9,9"]
    (tmp_path / "patients.csv").write_text(
        "image,set,patient,study,original_width,original_height\n" + "\n".join(lines)
    )
    _, rows, _, _ = the_one_set(tmp_path)
    assert {path: (row.patient_id, row.study_id) for path, row in rows.items()} == {
        "train/aa.jpg": ("siim:p1", "siim:s1"),
        "train/st/se/bb.dcm": ("siim:p1", "siim:s2"),
        "train/cc.jpg": ("", "siim:s3"),
        "test/tt.jpg": ("siim:p2", "siim:s9"),
    }


def test_siim_without_a_column_is_one_clear_line(tmp_path):
    make_siim(tmp_path)
    (tmp_path / "train_study_level.csv").write_text("id,Typical Appearance\ns1_study,1\n")
    with pytest.raises(DataError, match=r"train_study_level\.csv: expected the columns .* missing"):
        list_source(tmp_path, "auto", LayoutOptions())


def test_ieee8023_keeps_ct_and_laterals_with_their_view_and_lists_what_its_table_omits(tmp_path):
    touch(tmp_path, *(f"images/{name}" for name in "abcdefg"), "annotations/m.png")
    for name in "abcdefg":
        (tmp_path / "images" / name).rename(tmp_path / "images" / f"{name}.png")
    table = [
        "patientid,sex,age,finding,view,modality,location,folder,filename,license",
        "2,M,65.0,Pneumonia/Viral/COVID-19,PA,X-ray,Hanoi,images,a.png,CC BY",
        "2,M,65.0,Pneumonia/Viral/SARS,L,X-ray,Hanoi,images,b.png,",
        "3,F,,Pneumonia/Bacterial/E.Coli,Axial,CT,,images,c.png,",
        "4,F,,todo,AP,X-ray,,images,d.png,",
        "5,F,,Pneumonia/Lipoid,AP,X-ray,,images,e.png,",
        "6,F,,Lipoma,AP,X-ray,,images,f.png,",
        "7,F,,No Finding,AP,X-ray,,images,gone.png,",
    ]
    (tmp_path / "metadata.csv").write_text("\n".join(table))
    name, rows, rejected, listing = the_one_set(tmp_path)
    assert name == "ieee8023"
    assert {path: row.finding for path, row in rows.items()} == {
        "images/a.png": "covid19",
        "images/b.png": "viral_pneumonia",
        "images/c.png": "bacterial_pneumonia",
        "images/d.png": "",
        "images/e.png": "pneumonia",
    }
    first = rows["images/a.png"]
    facts = (first.patient_id, first.sex, first.age, first.view, first.modality, first.location, first.licence)
    assert facts == ("ieee8023:2", "M", "65", "PA", "X-ray", "Hanoi", "CC BY")
    assert (rows["images/b.png"].view, rows["images/c.png"].modality) == ("L", "CT")
    assert set(rejected) == {"images/f.png", "images/gone.png", "images/g.png"}
    assert "Lipoma" in rejected["images/f.png"]
    assert listing.notes == (
        "1 files outside the folder images (annotations, masks) left out",
        "passed over 1 entry that is no image: 1 plain text",
    )


def test_radiography_database_reads_images_and_leaves_masks(tmp_path):
    for folder in ("Normal", "COVID", "Lung_Opacity", "Viral Pneumonia"):
        touch(tmp_path, f"{folder}/images/{folder}-1.png", f"{folder}/masks/{folder}-1.png")
    name, rows, rejected, listing = the_one_set(tmp_path)
    assert name == "radiography"
    assert {path.split("/")[0]: row.finding for path, row in rows.items()} == {
        "Normal": "no_finding",
        "COVID": "covid19",
        "Lung_Opacity": "lung_opacity",
        "Viral Pneumonia": "viral_pneumonia",
    }
    assert not rejected
    assert "4 files outside folders named images" in listing.notes[0]
    assert {row.source for row in rows.values()} == {"radiography"}


def test_kermany_keeps_its_three_numberings_apart(tmp_path):
    touch(
        tmp_path,
        "chest_xray/train/PNEUMONIA/person12_bacteria_3.jpeg",
        "chest_xray/train/PNEUMONIA/person12_virus_4.jpeg",
        "chest_xray/train/NORMAL/IM-0122-0001.jpeg",
        "chest_xray/train/NORMAL/IM-0122-0001-0002.jpeg",
        "chest_xray/test/NORMAL/NORMAL2-IM-0122-0001.jpeg",
        "chest_xray/stray.jpeg",
    )
    name, rows, rejected, _ = the_one_set(tmp_path)
    assert name == "kermany"
    assert {path.split("/")[-1]: (row.finding, row.patient_id) for path, row in rows.items()} == {
        "person12_bacteria_3.jpeg": ("bacterial_pneumonia", "kermany:person12"),
        "person12_virus_4.jpeg": ("viral_pneumonia", "kermany:person12"),
        "IM-0122-0001.jpeg": ("no_finding", "kermany:IM-0122"),
        "IM-0122-0001-0002.jpeg": ("no_finding", "kermany:IM-0122"),
        "NORMAL2-IM-0122-0001.jpeg": ("no_finding", "kermany:NORMAL2-IM-0122"),
    }
    assert rejected == {"chest_xray/stray.jpeg": "outside the folders NORMAL and PNEUMONIA"}


def test_covidx_lists_keep_their_split_and_call_no_negative_normal(tmp_path):
    touch(tmp_path, "train/a.png", "train/b.png", "test/c.png")
    (tmp_path / "train_COVIDx9B.txt").write_text(
        "p1 a.png positive ricord\np2 b.png negative rsna\np3 x.png positive s\n"
    )
    (tmp_path / "test_COVIDx9B.txt").write_text("p4 c.png COVID-19 sirm\n")
    name, rows, rejected, _ = the_one_set(tmp_path)
    assert name == "covidx"
    assert {path: (row.finding, row.split, row.patient_id) for path, row in rows.items()} == {
        "train/a.png": ("covid19", "train", "covidx:p1"),
        "train/b.png": ("other", "train", "covidx:p2"),
        "test/c.png": ("covid19", "test", "covidx:p4"),
    }
    assert list(rejected) == ["train/x.png"]


def test_rsna_has_one_patient_an_image_and_a_line_per_box(tmp_path):
    touch(tmp_path, "stage_2_train_images/a1.dcm", "stage_2_train_images/b2.dcm", "stage_2_train_images/zz.dcm")
    lines = ["patientId,x,y,width,height,Target", "a1,1,2,3,4,1", "a1,5,6,7,8,1", "b2,,,,,0", "gone,,,,,0"]
    (tmp_path / "stage_2_train_labels.csv").write_text("\n".join(lines))
    name, rows, rejected, _ = the_one_set(tmp_path)
    assert name == "rsna"
    assert {path: (row.finding, row.patient_id) for path, row in rows.items()} == {
        "stage_2_train_images/a1.dcm": ("lung_opacity", "rsna:a1"),
        "stage_2_train_images/b2.dcm": ("no_pneumonia", "rsna:b2"),
    }
    assert rejected == {
        "gone": "in stage_2_train_labels.csv, but no file",
        "stage_2_train_images/zz.dcm": "not in stage_2_train_labels.csv",
    }


def test_class_folders_match_the_vocabulary_whatever_their_case_and_unknown_ones_are_named(tmp_path):
    touch(tmp_path, "covid19/a.png", "Normal/x/b.JPG", "train/PNEUMONIA/c.png", "knots/d.png", "e.png", "notes.txt")
    name, rows, rejected, _ = the_one_set(tmp_path)
    assert name == "folders"
    assert {path: row.finding for path, row in rows.items()} == {
        "covid19/a.png": "covid19",
        "Normal/x/b.JPG": "no_finding",
        "train/PNEUMONIA/c.png": "pneumonia",
    }
    assert {row.source for row in rows.values()} == {tmp_path.name}
    assert "folder 'knots' is not in the vocabulary" in rejected["knots/d.png"]
    assert rejected["e.png"] == "no label: it lies in no class folder"


def test_folders_that_say_what_must_be_refused_are_kept_with_modality_and_view(tmp_path):
    touch(tmp_path, "normal/a.png", "knee_xray/b.png", "chest CT/c.png", "photograph/d.png", "lateral/e.png")
    _, rows, rejected, _ = the_one_set(tmp_path)
    assert not rejected
    assert {path: (row.finding, row.modality, row.view) for path, row in rows.items()} == {
        "normal/a.png": ("no_finding", "", ""),
        "knee_xray/b.png": ("", "X-ray", "other part"),
        "chest CT/c.png": ("", "CT", ""),
        "photograph/d.png": ("", "photograph", ""),
        "lateral/e.png": ("", "X-ray", "lateral"),
    }


def test_an_alias_gives_a_folder_of_ones_own_a_finding(tmp_path):
    touch(tmp_path, "sick/a.png", "fine/b.png", "later/c.png")
    aliases = {"Sick": "pneumonia", "fine": "no_finding", "later": ""}
    _, rows, rejected, _ = the_one_set(tmp_path, aliases=aliases)
    assert {path: row.finding for path, row in rows.items()} == {
        "sick/a.png": "pneumonia",
        "fine/b.png": "no_finding",
        "later/c.png": "",
    }
    assert not rejected


def test_a_single_class_folder_is_one_class_but_never_lends_its_name_to_folders_beside_classes(tmp_path):
    touch(tmp_path, "one/covid19/a.png", "covid/normal/b.png", "covid/mystery/c.png")
    _, rows, _, _ = the_one_set(tmp_path / "one" / "covid19")
    assert [(row.finding, row.source) for row in rows.values()] == [("covid19", "one")]
    _, rows, rejected, _ = the_one_set(tmp_path / "covid")
    assert {path: row.finding for path, row in rows.items()} == {"normal/b.png": "no_finding"}
    assert list(rejected) == ["mystery/c.png"]


def test_a_root_with_several_sets_is_recognised_set_by_set(tmp_path):
    make_siim(tmp_path / "covid" / "siim")
    touch(tmp_path, "covid/own/Normal/a.png", "covid/holidays/b.jpg", "covid/c.png", "covid/pacs/4/5.dcm")
    found = list_source(tmp_path / "covid", "auto", LayoutOptions())
    assert sorted((name, folder.name) for name, folder, _ in found) == [
        ("folders", "holidays"),
        ("folders", "own"),
        ("folders", "pacs"),
        ("loose", "covid"),
        ("siim", "siim"),
    ]
    rejected = {line.path.rsplit("/", 1)[-1] for _, _, listing in found for line in listing.rejected}
    assert {"b.jpg", "c.png"} <= rejected


def test_loose_dicom_files_are_kept_as_unlabelled_by_suffix_or_magic_bytes(tmp_path):
    touch(tmp_path, "a/1.dcm", "a/readme")
    (tmp_path / "a" / "IM0001").write_bytes(bytes(128) + b"DICM")
    for layout in ("auto", "dicom"):
        _, rows, rejected, _ = the_one_set(tmp_path, layout)
        assert {path: row.finding for path, row in rows.items()} == {"a/1.dcm": "", "a/IM0001": ""}
        assert not rejected


def test_the_unlabelled_layout_takes_every_picture(tmp_path):
    touch(tmp_path, "covid/a.png", "b.jpg")
    _, rows, _, _ = the_one_set(tmp_path, "unlabelled")
    assert Counter(row.finding for row in rows.values()) == {"": 2}


def test_hidden_files_and_folders_are_no_pictures(tmp_path):
    touch(tmp_path, "normal/a.png", "normal/._a.png", ".cache/normal/b.png", "__MACOSX/normal/c.png")
    _, rows, rejected, _ = the_one_set(tmp_path)
    assert list(rows) == ["normal/a.png"]
    assert not rejected


def test_unknown_layouts_and_missing_sources_are_one_clear_line(tmp_path):
    with pytest.raises(DataError, match="unknown layout 'kaggle': expected auto or one of siim"):
        list_source(tmp_path, "kaggle", LayoutOptions())
    with pytest.raises(DataError, match="no such file or folder"):
        list_source(tmp_path / "gone", "auto", LayoutOptions())
    touch(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"expected a folder of images or a \.csv table"):
        list_source(tmp_path / "a.png", "auto", LayoutOptions())


@pytest.mark.parametrize("layout", ["siim", "ieee8023", "nih", "table"])
def test_a_layout_told_by_name_says_which_of_its_tables_is_missing(tmp_path, layout):
    touch(tmp_path, "a.png")
    with pytest.raises(DataError, match=f"^[^\n]*{tmp_path}[^\n]*$"):
        list_source(tmp_path, layout, LayoutOptions())


@pytest.mark.parametrize("layout", ["covidx", "radiography", "folders"])
def test_a_layout_told_by_name_lists_no_image_it_cannot_label(tmp_path, layout):
    touch(tmp_path, "a.png")
    _, rows, _, _ = the_one_set(tmp_path, layout)
    assert not rows


@pytest.mark.parametrize(
    "name, finding",
    [
        ("COVID-19", "covid19"),
        ("covid_19", "covid19"),
        ("NORMAL", "no_finding"),
        ("Viral Pneumonia", "viral_pneumonia"),
        ("Lung_Opacity", "lung_opacity"),
        ("todo", ""),
        ("Knee", None),
        *((finding, finding) for finding in FINDINGS),
    ],
)
def test_words_of_the_sets_translate_into_the_vocabulary(name, finding):
    assert finding_of(name) == finding


def test_a_word_of_a_table_that_the_vocabulary_does_not_know_is_a_finding_of_its_own(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    rows, rejected = table(tmp_path, "path,diagnosis\na.png,Broken Leg\nb.png,pneumothorax\nc.png,Effusion\n")
    assert {name: row.finding for name, row in rows.items()} == {
        "a.png": "broken_leg",
        "b.png": "pneumothorax",
        "c.png": "pleural_effusion",
    }
    assert not rejected


def test_a_table_says_several_findings_of_an_image_and_what_is_uncertain_or_absent(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png", "d.png")
    lines = [
        "path,finding,uncertain,absent",
        "a.png,edema|Pleural Effusion,fracture,mass; nodule",
        "b.png,,pneumonia,*",
        "c.png,edema,edema,",
        "d.png,,,",
    ]
    rows, rejected = table(tmp_path, "\n".join(lines))
    assert {name: (row.finding, row.uncertain, row.absent) for name, row in rows.items()} == {
        "a.png": ("edema|pleural_effusion", "fracture", "mass|nodule"),
        "b.png": ("", "pneumonia", "*"),
        "d.png": ("", "", ""),
    }
    assert [name for name, row in rows.items() if row.is_unlabelled] == ["d.png"]
    assert rejected == ["mine.csv line 4: edema is said to be two of present, uncertain and absent; keep the true one"]


def test_a_table_with_a_column_per_finding_is_read_by_the_names_of_the_columns(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    text = "path,Edema,Lung Mass,other\na.png,1,0,x\nb.png,-1.0,,x\nc.png,2,0,x\n"
    rows, rejected = table(tmp_path, text, columns={"finding": "Edema,Lung Mass"}, aliases={"Lung Mass": "mass"})
    assert {name: (row.finding, row.uncertain, row.absent) for name, row in rows.items()} == {
        "a.png": ("edema", "", "mass"),
        "b.png": ("", "edema", ""),
    }
    assert rejected == [
        "mine.csv line 4: column Edema: expected 1 (present), 0 (absent), -1 (uncertain) or nothing, found '2'"
    ]
    with pytest.raises(DataError, match=r"column mapping names .'Fracture'."):
        table(tmp_path, text, columns={"finding": "Edema,Fracture"})


@pytest.mark.parametrize("name", ["a|b", "a=b", "*", "x" * 101, "line\nbreak"])
def test_what_would_break_a_table_is_no_name_of_a_finding(name):
    with pytest.raises(DataError, match=r"^finding "):
        finding_named(name)


def test_an_alias_may_name_a_finding_of_ones_own_but_no_misspelt_one():
    assert checked_aliases({"Gesund": "no_finding", "knots": "Knots", "later": ""}) == {
        "Gesund": "no_finding",
        "knots": "knots",
        "later": "",
    }
    with pytest.raises(DataError, match=r"sick=pneumonai: there is no such finding; did you mean pneumonia\?"):
        checked_aliases({"sick": "pneumonai"})


def table(root, text, **options):
    (root / "mine.csv").write_text(text)
    return the_one_set_of_table(root / "mine.csv", **options)


def the_one_set_of_table(path, **options):
    ((_, _, listing),) = list_source(path, "auto", LayoutOptions(**options))
    return {row.path.rsplit("/", 1)[-1]: row for row in listing.rows}, [line.reason for line in listing.rejected]


def test_a_table_of_ones_own_is_read_by_mapped_columns(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    text = "Bild,Befund,Pat,Haus\na.png,COVID,7,Nord\nb.png,normal,7,Sued\n"
    columns = {"path": "Bild", "finding": "Befund", "patient_id": "Pat", "source": "Haus"}
    rows, rejected = table(tmp_path, text, columns=columns)
    assert {name: (row.finding, row.patient_id, row.source) for name, row in rows.items()} == {
        "a.png": ("covid19", "Nord:7", "Nord"),
        "b.png": ("no_finding", "Sued:7", "Sued"),
    }
    assert not rejected


def test_repeated_contradictory_and_unknown_lines_of_a_table_are_listed_one_by_one(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    text = (
        "path,label\na.png,normal\na.png,normal\nb.png,normal\nb.png,covid\nc.png," + 101 * "x" + "\ngone.png,normal\n"
    )
    rows, rejected = table(tmp_path, text)
    assert list(rows) == ["a.png"]
    assert rejected[0] == "mine.csv line 3 repeats line 2"
    assert rejected[1] == "mine.csv lines 4 and 5 contradict each other; keep the true one"
    assert rejected[2] == f"mine.csv line 6: finding {'x' * 100!r}: expected 1 to 100 visible characters"
    assert rejected[3] == "mine.csv line 7: there is no such file"
    assert len(rejected) == 4


def test_a_table_keeps_its_own_split_under_usual_names(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    rows, rejected = table(tmp_path, "path,label,split\na.png,normal,Train\nb.png,covid,val\nc.png,covid,holdout\n")
    assert {name: row.split for name, row in rows.items()} == {"a.png": "train", "b.png": "calibration"}
    assert "split 'holdout': expected one of train, calibration, test" in rejected[0]


@pytest.mark.parametrize(
    "text, columns, message",
    [
        ("picture,label\na.png,normal\n", {}, "no column for the path"),
        ("path,label\na.png,normal\n", {"path": "Bild"}, "column mapping names .'Bild'."),
        ("path,label\na.png,normal\n", {"colour": "label"}, "column mapping names .'colour'."),
        ("", {}, "expected CSV with a line of column names"),
    ],
)
def test_a_table_without_the_columns_it_needs_is_one_clear_line(tmp_path, text, columns, message):
    with pytest.raises(DataError, match=message):
        table(tmp_path, text, columns=columns)


def test_a_table_beside_its_images_is_found_but_not_an_index_of_ours(tmp_path):
    touch(tmp_path, "x/a.png")
    (tmp_path / "labels.csv").write_text("filename,finding\nx/a.png,normal\n")
    assert the_one_set(tmp_path)[0] == "table"
    (tmp_path / "labels.csv").write_text("path,finding,perceptual_hash\nx/a.png,normal,00\n")
    assert the_one_set(tmp_path)[0] == "folders"
