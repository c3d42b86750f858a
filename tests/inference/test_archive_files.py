"""Images of an archive that speaks DICOMweb, a real Orthanc: listed, copied, and scored as the same files are."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import requests

from pacs_archive import Orthanc, free_port, xray
from pocketcxr.dicomweb import client
from pocketcxr.errors import ArchiveError, ConfigError
from pocketcxr.inference import archive_files, cluster
from pocketcxr.inference.archive_files import ArchiveFiles
from pocketcxr.inference.processes.pool import PoolOptions, predict_in_processes
from pocketcxr.inference.remote_files import find_files
from pocketcxr.version import __version__

pytestmark = [pytest.mark.pacs, pytest.mark.usefixtures("installed")]
SECRET = "s3cret"  # of an archive that ends with the test


@pytest.fixture(autouse=True)
def _no_account_of_this_machine(monkeypatch, tmp_path):
    for name in ("USER", "PASSWORD", "CA_FILE", "CERTIFICATE_FILE", "KEY_FILE"):
        monkeypatch.delenv(f"POCKETCXR_PACS_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(archive_files, "WAITS_S", (0.01, 0.01))


@pytest.fixture
def files():
    with closing(ArchiveFiles()) as found:
        yield found


def root(orthanc):
    return f"dicomweb+{orthanc.url}/dicom-web"


def keep(orthanc, path, **account):
    """Give a file to the archive, which keeps its bytes."""
    assert requests.post(f"{orthanc.url}/instances", data=path.read_bytes(), timeout=60, **account).ok


@pytest.fixture
def stored(orthanc, tmp_path):
    """Addresses below the root to files: two images in a series, one in a study of another year, and a CT slice."""
    drawn = {
        "studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.1": xray(tmp_path / "a.dcm", 1),
        "studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.2": xray(
            tmp_path / "b.dcm", 1, SOPInstanceUID="1.2.3.1.1.2", ViewPosition="LL"
        ),
        "studies/1.2.3.2/series/1.2.3.2.1/instances/1.2.3.2.1.1": xray(
            tmp_path / "c.dcm", 2, Modality="DX", StudyDate="20200101"
        ),
        "studies/1.2.3.3/series/1.2.3.3.1/instances/1.2.3.3.1.1": xray(tmp_path / "d.dcm", 3, Modality="CT"),
    }
    for path in drawn.values():
        keep(orthanc, path)
    return drawn


def test_radiographs_are_listed_whole_by_date_and_by_part(orthanc, stored):
    names = [f"{root(orthanc)}/{name}" for name in stored][:3]
    assert sorted(find_files([Path(f"{root(orthanc)}/")])) == names
    assert sorted(find_files([Path(f"{root(orthanc)}?StudyDate=20200101-20211231")])) == names[2:]
    assert sorted(find_files([Path(f"{root(orthanc)}/studies/1.2.3.1")])) == names[:2]
    assert sorted(find_files([Path(f"{root(orthanc)}/studies/1.2.3.2/series/1.2.3.2.1")])) == names[2:]
    assert list(find_files([Path(names[1])])) == names[1:2]
    for nothing in (f"{root(orthanc)}/studies/1.2.3.3", f"{root(orthanc)}?StudyDate=19700101"):
        assert list(find_files([Path(nothing)])) == [nothing]


def test_more_studies_than_a_page_are_listed_once_each(orthanc, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "_PAGE", 25)
    for number in range(60):
        keep(orthanc, xray(tmp_path / "x.dcm", number, side=16))
    found = list(find_files([Path(root(orthanc))]))
    assert len(found) == len(set(found)) == 60


def test_what_an_archive_has_of_two_patients_is_listed_once(orthanc, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "_PAGE", 25)
    for number in range(60):
        uids = {"StudyInstanceUID": f"1.2.3.{number % 30}", "SeriesInstanceUID": f"1.2.3.{number % 30}.1"}
        path = xray(tmp_path / "x.dcm", number, side=16, **uids, SOPInstanceUID=f"1.2.3.{number % 30}.1.1")
        keep(orthanc, path)
    assert len(orthanc.get("/studies")) == 60
    found = list(find_files([Path(root(orthanc))]))
    assert len(found) == len(set(found)) == 30


def test_an_image_is_copied_as_it_is_and_one_that_is_not_there_is_missing(orthanc, stored, files, tmp_path):
    for name, path in stored.items():
        files.fetch(f"{root(orthanc)}/{name}", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    for absent in ("studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.9", "studies/1.2.3.1"):
        with pytest.raises(FileNotFoundError):
            files.fetch(f"{root(orthanc)}/{absent}", tmp_path / "none")


def test_rows_are_those_of_the_files_also_of_a_lost_and_a_damaged_one(
    orthanc, stored, tiny_bundle_path, bundle, tmp_path
):
    """Orthanc is stopped meanwhile: it holds in memory what it was given lately."""
    paths = [*stored.values()][:3]
    orthanc.end()
    kept = {one.read_bytes(): one for one in (orthanc.folder / "db").glob("*/*/*")}
    damaged, lost = (kept[path.read_bytes()] for path in paths[:2])
    damaged.write_bytes(damaged.read_bytes()[:9000])
    paths[0].write_bytes(damaged.read_bytes())
    lost.unlink()
    orthanc.start()
    options = PoolOptions(tiny_bundle_path, bundle.identity)
    places = [*paths, tmp_path / "absent.dcm"]
    expected = json.dumps([one.record() for one in predict_in_processes(places, options, workers=1)])
    absent = "studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.9"
    names = [f"{root(orthanc)}/{name}" for name in [*stored][:3]] + [f"{root(orthanc)}/{absent}"]
    for path, name in zip(places, names, strict=True):
        expected = expected.replace(str(path), name)
    part = {"name": np.array(names, dtype=object), "place": np.array(names, dtype=object)}
    rows = cluster.score_part(part, options=options, version=__version__)["record"]
    found, expected = list(map(json.loads, rows)), json.loads(expected)
    assert found[0] == expected[0]
    assert found[2:] == expected[2:]
    assert [row["decision"] == "error" for row in found] == [True, True, False, True]
    words = f"{names[1]}: the archive answered with status 500"
    assert found[1]["reasons"] == [{"code": "unreadable", "words": words}]


@pytest.fixture
def guarded(installed, tmp_path):
    archive = Orthanc(tmp_path / "guarded", AuthenticationEnabled=True, RegisteredUsers={"reader": SECRET}).start()
    keep(archive, xray(tmp_path / "a.dcm", 1), auth=("reader", SECRET))
    yield archive
    archive.end()


def test_the_account_comes_from_the_environment_or_netrc_and_is_never_said(guarded, monkeypatch, tmp_path):
    def found():
        return list(find_files([Path(root(guarded))]))

    with pytest.raises(ArchiveError, match="status 401: check user and password; run the same"):
        found()
    monkeypatch.setenv("POCKETCXR_PACS_USER", "reader")
    with pytest.raises(ConfigError, match="POCKETCXR_PACS_PASSWORD"):
        found()
    monkeypatch.setenv("POCKETCXR_PACS_PASSWORD", SECRET)
    assert len(found()) == 1
    monkeypatch.setenv("POCKETCXR_PACS_PASSWORD", "guessed")
    with pytest.raises(ArchiveError) as caught:
        found()
    assert "guessed" not in str(caught.value)
    monkeypatch.delenv("POCKETCXR_PACS_USER")
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login reader password {SECRET}\n")
    assert len(found()) == 1


def test_a_machine_without_the_account_stops_the_run_and_makes_no_rows(guarded, tiny_bundle_path, bundle):
    name = f"{root(guarded)}/studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.1"
    part = {"name": np.array([name]), "place": np.array([name])}
    options = PoolOptions(tiny_bundle_path, bundle.identity)
    (row,) = cluster.score_part_or_fault(part, options=options, version=__version__)["record"]
    kind, words = json.loads(row)["fault"]
    assert kind == "ArchiveError"
    assert words.startswith(f"{root(guarded)}: the archive answered with status 401")


def test_an_archive_that_is_away_is_one_line_without_an_image_in_it(files, tmp_path):
    address = f"dicomweb+http://127.0.0.1:{free_port()}/dicom-web"
    expected = f"{address}: the archive cannot be reached: does it run at the address?; run the same command again"
    with pytest.raises(ArchiveError) as caught:
        list(files.find(address))
    assert str(caught.value) == expected
    with pytest.raises(ArchiveError) as caught:
        files.fetch(f"{address}/studies/1.2/series/1.3/instances/1.4", tmp_path / "none")
    assert str(caught.value) == expected


@pytest.mark.parametrize("address, expected", [
    ("dicomweb+https://reader:s3cret@a/dicom-web", "expected an address without account"),
    ("dicomweb+https://reader:s3cret@a:99999/dicom-web", "expected an address without account"),
    ("dicomweb+http://archive.example/dicom-web", "expected https beyond this computer"),
    ("dicomweb+https://a/dicom-web?PatientID=PAT1", "found another address"),
    ("dicomweb://a/dicom-web", "found another address"),
])  # fmt: skip
def test_an_address_that_is_none_or_tells_too_much_is_refused(files, address, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        list(files.find(address))
    assert not any(word in str(caught.value) for word in (SECRET, "PAT1"))
