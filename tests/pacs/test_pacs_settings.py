"""The worker's settings: what is refused, and that nothing secret is in them."""

import pytest

from pocketcxr.cli import main
from pocketcxr.dicomweb.settings import PASSWORD_VARIABLE, ArchiveSettings, read_password
from pocketcxr.errors import ConfigError
from pocketcxr.pacs.settings import read_pacs_settings


def written(tmp_path, text):
    path = tmp_path / "worker.toml"
    path.write_text(text)
    return path


def test_what_is_not_said_has_a_default_and_files_lie_beside_the_settings(tmp_path):
    text = '[archive]\nurl = "https://archive.example/dicom-web"\nca_file = "ca.pem"\ntimeout_s = 5\n'
    settings = read_pacs_settings(written(tmp_path, text))
    assert settings.archive.ca_file == str(tmp_path / "ca.pem")
    assert (settings.archive.timeout_s, settings.work.modalities) == (5.0, ("CR", "DX"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "archive.url: expected the address"),
        ('[archive]\nurl = "http://archive.example/dicom-web"', "archive.url: expected https beyond this computer"),
        ('[archive]\nurl = "http://127.0.0.1.example/"', "archive.url: expected https beyond this computer"),
        ('[archive]\nurl = "https://a/"\nchanges_url = "http://10.0.0.1:8042"', "archive.changes_url: expected https"),
        ('[archive]\nurl = "https://user:secret@a/"', "archive.url: expected an address without account"),
        ('[archive]\nurl = "ftp://a/"', "archive.url: expected an address like"),
        ('[archive]\nurl = "https://a:99999/"', "archive.url: expected an address like"),
        ('[archive]\nurl = "https://a/"\npassword = "x"', "archive.password: expected one of url, changes_url"),
        ('[archive]\nurl = "https://a/"\ntimeout_s = "5"', "archive.timeout_s: expected a number"),
        ('[archive]\nurl = "https://a/"\nlargest_mb = true', "archive.largest_mb: expected a whole number"),
        ('[archive]\nurl = "https://a/"\n[work]\nmodalities = ["CT"]', "work.modalities: expected some of CR, DX"),
        ('[archive]\nurl = "https://a/"\n[work]\nmodalities = "CR"', "work.modalities: expected a list of texts"),
        ('[archive]\nurl = "https://a/"\n[work]\ndays = 0', "work.days: expected 1 to 36500"),
        ('[archive]\nurl = "https://a/"\n[status]\nhost = "0.0.0.0"', "status.host: expected this computer"),
        ('[archive]\nurl = "https://a/"\n[extra]\n', r"unknown table \[extra\]"),
        ("archive = 3", "archive: expected a table"),
        ("[archive", "cannot be read as the worker's settings"),
    ],
)
def test_what_cannot_work_or_is_unsafe_is_refused_by_its_name(tmp_path, text, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        read_pacs_settings(written(tmp_path, text))
    assert "secret" not in str(caught.value)


def test_the_password_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=r"expected a password in archive\.password_file or POCKETCXR_PACS_PASSWORD"):
        read_password(ArchiveSettings(url="https://a/", user="worker"))
    monkeypatch.setenv(PASSWORD_VARIABLE, "from the environment")
    assert read_password(ArchiveSettings(url="https://a/", user="worker")) == "from the environment"
    file = tmp_path / "password"
    file.write_text("from a file\n")
    assert read_password(ArchiveSettings(url="https://a/", user="worker", password_file=str(file))) == "from a file"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_password(ArchiveSettings(url="https://a/", password_file=str(tmp_path / "none")))


def test_options_of_another_action_and_dates_that_are_none_are_refused(tmp_path, capsys):
    path = written(tmp_path, '[archive]\nurl = "http://127.0.0.1:1/"\n')
    assert main(["pacs", "once", str(path), "--from", "20200101"]) == 2
    assert "--from belongs to backfill" in capsys.readouterr().err
    assert main(["pacs", "backfill", str(path), "--from", "1.1.2020"]) == 2
    assert "expected a date as YYYYMMDD" in capsys.readouterr().err


def test_an_archive_that_is_not_there_is_told_in_one_line(tmp_path, tiny_bundle_path, capsys):
    text = f'[archive]\nurl = "http://127.0.0.1:1/"\n[work]\nbundle = "{tiny_bundle_path}"\n'
    assert main(["pacs", "check", str(written(tmp_path, text))]) == 2
    assert capsys.readouterr().err == "pocketcxr: the archive cannot be reached: does it run at the address?\n"
