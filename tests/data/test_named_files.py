"""A table finds its files whatever system wrote their names, or says why not."""

import unicodedata

import pytest

from pocketcxr.data.adapters.named_files import NamedFiles
from pocketcxr.data.adapters.patients import images_by_name, images_named


@pytest.fixture
def folder(tmp_path):
    for name in ("films/a.png", unicodedata.normalize("NFD", "films/radiografía.png"), "films/r\udcf6ntgen.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    "name, file",
    [
        ("films/a.png", "films/a.png"),
        ("films\\a.png", "films/a.png"),
        (".\\films\\a.png", "films/a.png"),
        ("Films\\A.PNG", "films/a.png"),
        (unicodedata.normalize("NFC", "films/radiografía.png"), unicodedata.normalize("NFD", "films/radiografía.png")),
        ("films/röntgen.png", "films/r\udcf6ntgen.png"),
        (r"films/r\xf6ntgen.png", "films/r\udcf6ntgen.png"),
    ],
)
def test_names_of_other_systems_are_found(folder, name, file):
    assert NamedFiles().find(name, folder) == (folder / file, "")


def test_the_name_as_it_stands_comes_first_and_what_may_be_two_is_refused(folder):
    (folder / "films" / "A.png").touch()
    assert NamedFiles().find("films/a.png", folder)[0] == folder / "films" / "a.png"
    assert "it may be A.png or a.png" in NamedFiles().find("films/A.PNG", folder)[1]


def test_a_path_of_a_windows_computer_is_named_as_that(folder):
    assert "Windows" in NamedFiles().find("C:\\films\\a.png", folder)[1]
    assert "Windows" in NamedFiles().find("\\\\server\\films\\a.png", folder)[1]
    assert NamedFiles().find("films/gone.png", folder)[1] == "there is no such file"


def test_tables_of_patients_and_boxes_find_them_too(folder):
    by_name = images_by_name(folder.glob("films/*"))
    assert images_named("films\\A.png", by_name, folder) == [folder / "films" / "a.png"]
    assert len(images_named(unicodedata.normalize("NFC", "radiografía"), by_name, folder)) == 1
    assert images_named("röntgen.png", by_name, folder) == [folder / "films" / "r\udcf6ntgen.png"]
