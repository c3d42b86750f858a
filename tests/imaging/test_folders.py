"""Every entry of a folder is an image or is named with the reason why it is none; links lead in no circles."""

import os

import pytest

from pocketcxr.imaging.folders import PassedOver, is_dicom, walk

PNG = b"\x89PNG\r\n\x1a\n" + bytes(30)
DICOM = bytes(128) + b"DICM" + bytes(20)


def put(path, data=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def found(folder):
    return {str(entry.path.relative_to(folder)): entry.why for entry in walk(folder)}


@pytest.mark.parametrize("name", ["1.2.826.0.1.3680043.8.498.1000", "IM0001", "scan.txt", "a.b.c"])
@pytest.mark.parametrize("data", [PNG, DICOM, b"\xff\xd8\xff\xe0" + bytes(20), b"GIF89a" + bytes(20)])
def test_a_picture_counts_by_its_bytes_whatever_its_name(tmp_path, name, data):
    put(tmp_path / name, data)
    assert found(tmp_path) == {name: ""}


@pytest.mark.parametrize(
    "name", ["a.PNG", "a.jpe", "a.dcm", "a.ima", "a.gif", "a.heic", "a.jp2", "a.dcm.gz", "a.png.zst"]
)
def test_a_name_that_claims_an_image_counts_whatever_it_holds(tmp_path, name):
    put(tmp_path / name)
    assert found(tmp_path) == {name: ""}


def test_everything_else_is_named_with_its_reason(tmp_path):
    put(tmp_path / "report.pdf", b"%PDF-1.4")
    put(tmp_path / "all.zip", b"PK\x03\x04")
    put(tmp_path / "README", b"read me")
    put(tmp_path / "nothing", b"")
    put(tmp_path / ".hidden.png", PNG)
    put(tmp_path / "__MACOSX" / "x.png", PNG)
    os.mkfifo(tmp_path / "pipe.png")
    assert found(tmp_path) == {
        "report.pdf": "a PDF",
        "all.zip": "a ZIP archive or office document",
        "README": "plain text",
        "nothing": "an empty file",
        ".hidden.png": "hidden",
        "__MACOSX": "hidden",
        "pipe.png": "a pipe or device",
    }


def test_what_is_passed_over_is_counted_in_one_line(tmp_path):
    for name in ("a.txt", "b.txt", ".c"):
        put(tmp_path / name)
    passed_over = PassedOver()
    assert passed_over.line() == ""
    for entry in walk(tmp_path):
        passed_over.add(entry)
    assert passed_over.line() == "passed over 3 entries that are no images: 2 plain text, 1 hidden"


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path):
    put(tmp_path / "elsewhere" / "b" / "1.png")
    put(tmp_path / "set" / "normal" / "0.png")
    (tmp_path / "set" / "covid19").symlink_to("../elsewhere")
    assert found(tmp_path / "set") == {"covid19/b/1.png": "", "normal/0.png": ""}


def test_loops_of_links_end_and_are_named(tmp_path):
    put(tmp_path / "pics" / "a.png")
    for name in ("latest", "backup"):
        (tmp_path / "pics" / name).symlink_to("..")
    (tmp_path / "pics" / "self").symlink_to("self")
    (tmp_path / "up").symlink_to("/")
    assert found(tmp_path) == {
        "pics/a.png": "",
        "pics/latest": "a link to a folder around it, which is not followed",
        "pics/backup": "a link to a folder around it, which is not followed",
        "pics/self": "a link to nothing (Too many levels of symbolic links)",
        "up": "a link to a folder around it, which is not followed",
    }


def test_links_that_multiply_are_followed_once(tmp_path):
    put(tmp_path / "c" / "a.png")
    for place, target in (("top", "b"), ("b", "c")):
        for number in range(3):
            (tmp_path / place).mkdir(exist_ok=True)
            (tmp_path / place / f"link{number}").symlink_to(tmp_path / target)
    answers = found(tmp_path / "top")
    assert [path for path, why in answers.items() if not why] == ["link0/link0/a.png"]
    assert sum("which is read by itself" in why for why in answers.values()) == 4


def test_a_link_to_a_folder_inside_is_named_and_read_once(tmp_path):
    put(tmp_path / "raw" / "1.png")
    (tmp_path / "covid19").symlink_to("raw")
    answers = found(tmp_path)
    assert answers["raw/1.png"] == ""
    assert "which is read by itself" in answers["covid19"]


def test_a_link_to_nothing_is_answered_where_it_claims_an_image(tmp_path):
    (tmp_path / "a.png").symlink_to("gone.png")
    (tmp_path / "b").symlink_to("gone")
    answers = found(tmp_path)
    assert answers["a.png"] == ""
    assert answers["b"].startswith("a link to nothing")


def test_dicom_is_told_by_its_bytes_where_the_name_says_nothing(tmp_path):
    assert is_dicom(put(tmp_path / "1.2.840.1000", DICOM))
    assert is_dicom(put(tmp_path / "x.dcm"))
    assert not is_dicom(put(tmp_path / "x.png", DICOM))
    assert not is_dicom(put(tmp_path / "1.2.3", PNG))
    assert not is_dicom(tmp_path / "gone")
