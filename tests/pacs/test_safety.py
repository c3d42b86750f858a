"""The shipped configuration as it is documented, and headers that were made to do harm."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import requests

from pacs_archive import Orthanc, counts, free_port, settings_file, wait_for, xray
from pocketcxr.cli import main

pytestmark = [pytest.mark.pacs, pytest.mark.usefixtures("installed")]
SHIPPED = Path(__file__).parents[2] / "docs/how-to/pacs"


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and what it signed for archive, worker and device; `other` is signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(folder, *new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")
    openssl(folder, *new, "-keyout", "other.key", "-out", "other.crt", "-subj", "/CN=other")
    for name in ("archive", "worker", "device"):
        openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")  # fmt: skip
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-copy_extensions", "copy", "-out", f"{name}.crt")  # fmt: skip
    (folder / "archive.pem").write_text((folder / "archive.crt").read_text() + (folder / "archive.key").read_text())
    return folder


@pytest.fixture(scope="module")
def secured(installed, certificates, tmp_path_factory):
    """Orthanc with the shipped configuration; only folders, ports and the device's address are those of the test."""
    folder = tmp_path_factory.mktemp("secured")
    text = re.sub(r"^\s*//.*$", "", (SHIPPED / "orthanc.json").read_text(), flags=re.MULTILINE)
    shipped = json.loads(text.replace("/etc/orthanc/tls", str(certificates)).replace("192.0.2.10", "127.0.0.1"))
    shipped["LuaScripts"] = [str(SHIPPED / "rights.lua")]
    archive = Orthanc(folder)
    own = {key: archive.settings[key] for key in ("StorageDirectory", "IndexDirectory", "HttpPort", "DicomPort")}
    archive.settings = {**shipped, **own}
    archive.https = free_port()
    proxy = (SHIPPED / "stunnel.conf").read_text().replace("/etc/orthanc/tls", str(certificates))
    proxy = proxy.replace("accept = 8443", f"accept = 127.0.0.1:{archive.https}").replace("8042", str(archive.http))
    (folder / "stunnel.conf").write_text(proxy)
    archive.start()
    with (folder / "stunnel.log").open("wb") as log:
        stunnel = subprocess.Popen(["stunnel", str(folder / "stunnel.conf")], stdout=log, stderr=log)
    wait_for(archive.https)
    yield archive
    stunnel.terminate()
    stunnel.wait(20)
    archive.end()


def sent(archive, path, *words, title="XRAY1", called="ARCHIVE"):
    command = ["storescu", *words, "-aet", title, "-aec", called, "127.0.0.1", str(archive.dicom), str(path)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def worker_file(tmp_path, archive, certificates, bundle, *, password="CHANGE-ME-WORKER", name="worker"):
    text = (
        (SHIPPED / "worker.toml")
        .read_text()
        .replace("https://archive.example:8443", f"https://127.0.0.1:{archive.https}")
    )
    text = text.replace("tls/worker", str(certificates / name)).replace("tls/ca", str(certificates / "ca"))
    path = tmp_path / "worker.toml"
    path.write_text(text.replace("days = 30", f'days = 36500\nprocesses = 1\nbundle = "{bundle}"'))
    (tmp_path / "password").write_text(password + "\n")
    return path


def test_only_named_devices_with_a_certificate_may_store(secured, certificates, tmp_path):
    path = xray(tmp_path / "a.dcm", 1)
    trusted = ("+tls", str(certificates / "device.key"), str(certificates / "device.crt"), "+cf",
               str(certificates / "ca.crt"))  # fmt: skip
    other = (
        "+tls",
        str(certificates / "other.key"),
        str(certificates / "other.crt"),
        "+cf",
        str(certificates / "ca.crt"),
    )
    assert not sent(secured, path)
    assert not sent(secured, path, "+tla", "+cf", str(certificates / "ca.crt"))
    assert not sent(secured, path, *other)
    assert not sent(secured, path, *trusted, title="XRAY2")
    assert not sent(secured, path, *trusted, called="ANOTHER")
    assert sent(secured, path, *trusted)


def test_the_worker_scores_over_tls_with_its_own_account(secured, certificates, tiny_bundle_path, tmp_path, capsys):
    settings = worker_file(tmp_path, secured, certificates, tiny_bundle_path)
    trusted = ("+tls", str(certificates / "device.key"), str(certificates / "device.crt"), "+cf",
               str(certificates / "ca.crt"))  # fmt: skip
    assert sent(secured, xray(tmp_path / "b.dcm", 2), *trusted)
    assert main(["pacs", "check", str(settings)]) == 0
    assert main(["pacs", "once", str(settings), "--study", "1.2.3.2"]) == 0
    assert "scored 1, not applicable 0, failed 0" in capsys.readouterr().out
    wrong = worker_file(tmp_path, secured, certificates, tiny_bundle_path, password="guessed")
    assert main(["pacs", "check", str(wrong)]) == 2
    assert "status 401: check user and password" in capsys.readouterr().err
    unknown = worker_file(tmp_path, secured, certificates, tiny_bundle_path, name="other")
    assert main(["pacs", "check", str(unknown)]) == 2
    assert capsys.readouterr().err.startswith("pocketcxr: the archive")


def test_the_workers_account_can_neither_delete_nor_administer(secured, certificates):
    base = f"https://127.0.0.1:{secured.https}"
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(certificates / "ca.crt")
        session.cert = (str(certificates / "worker.crt"), str(certificates / "worker.key"))
        session.auth = ("pocketcxr", "CHANGE-ME-WORKER")
        allowed = [session.get(base + where).status_code for where in ("/dicom-web/studies", "/changes?last")]
        refused = [
            session.get(base + "/system"),
            session.get(base + "/patients"),
            session.get(base + "/dicom-web/servers"),
            session.delete(base + "/studies/x"),
            session.post(base + "/tools/find", json={"Level": "Patient", "Query": {}}),
            session.post(base + "/tools/reset"),
            session.put(base + "/modalities/x", json={}),
        ]
    assert allowed == [200, 200]
    assert [one.status_code for one in refused] == [403] * len(refused)


HOSTILE = {
    "PatientName": "SECRETNAME^\x1b[31mJane\r\nforged line",
    "PatientID": "SECRETID" + "9" * 70,
    "PatientBirthDate": "SECRETDATE",
    "AccessionNumber": "SECRETACCESSION" * 4,
    "StudyTime": "99:99",
    "Manufacturer": "SECRETNAME Devices\r\n",
    "StudyID": "=cmd|' /C calc'!A0",
    "ImagerPixelSpacing": None,
}


def test_hostile_headers_reach_no_log_and_leave_results_valid(orthanc, tiny_bundle_path, tmp_path, capfd):
    settings = settings_file(tmp_path, orthanc, tiny_bundle_path)
    for number, elements in enumerate(({}, {"ViewPosition": "SECRETVIEW"}, {"Rows": 4000}), 1):
        path = xray(tmp_path / "a.dcm", number, **{**HOSTILE, **elements})
        assert requests.post(orthanc.url + "/instances", data=path.read_bytes(), timeout=60).status_code == 200
    assert main(["pacs", "once", str(settings)]) == 0
    out, err = capfd.readouterr()
    assert out == "scored 1, not applicable 2, failed 0\n"
    assert not re.search(r"SECRET|1\.2\.3\.|\x1b|forged", out + err)
    assert counts(orthanc) == Counter(CR=3, SR=3, OT=1)  # no map: the header has no spacing
    assert len(orthanc.get("/studies")) == 3  # each result in its patient's study
    for one in (one for one in orthanc.objects() if one["Modality"] != "CR"):
        path = tmp_path / "result.dcm"
        path.write_bytes(orthanc.file(one["id"]))
        done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert [line for line in errors if "PatientID" not in line] == []  # which must stay: it files the object
