"""A file that must not be scored gets the same reasons in the same words through every door."""

import contextlib
import io
import json
import os
import subprocess
import sys
import zlib
from base64 import b64decode

import pytest

from invalid_inputs import as_json, bad_files, reasons_for
from pocketcxr.cli import main
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

pytest.importorskip("fastapi", reason="needs the extra serve")

BAD = bad_files()
MOST_AT_ONCE = 16  # files of one request
IDENTIFIERS = ("Pocketova", "Zuzana", "4711", "0815")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    for bad in BAD:
        (folder / bad.name).write_bytes(bad.data)
    return folder


@pytest.fixture(scope="module")
def by_command(folder, tiny_bundle_path):
    """Records of one real ``pocketcxr predict`` over all files, with its scoring processes, and what it said."""
    names = [bad.name for bad in BAD]
    options = ["--format", "json", "--bundle", str(tiny_bundle_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pocketcxr.cli", "predict", *names, *options],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert not any(word in done.stdout + done.stderr for word in IDENTIFIERS)
    assert "Traceback" not in done.stderr
    return {record["path"]: record for record in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def client(tiny_bundle_path):
    """The service's application in this process, its worker in another."""
    import asyncio

    import httpx2 as httpx

    from pocketcxr.bundle.format import read_bundle, read_manifest, sha256_of
    from pocketcxr.serving.app import make_app, make_service
    from pocketcxr.serving.settings import Settings

    data = read_bundle(tiny_bundle_path)
    settings = Settings(bundle=tiny_bundle_path)
    service = make_service(settings, read_manifest(data, "tiny"), sha256=sha256_of(data, "tiny"))
    service.pool.start()
    transport = httpx.ASGITransport(make_app(service))

    class Client:
        """Blocking calls on the application."""

        @staticmethod
        def post(path, **options):
            return runner.run(http.post(path, **options))

    with asyncio.Runner() as runner:
        http = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        try:
            yield Client
        finally:
            runner.run(http.aclose())
            service.pool.stop()


@pytest.fixture(scope="module")
def by_form(client):
    """Records of the service for forms of several files, by name."""
    records = []
    for start in range(0, len(BAD), MOST_AT_ONCE):
        files = [("files", (bad.name, bad.data)) for bad in BAD[start : start + MOST_AT_ONCE]]
        response = client.post("/v1/predictions", files=files)
        assert response.status_code == 200, response.text
        records += response.json()["predictions"]
    return {record["path"]: record for record in records}


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_the_reasons_are_those_that_the_file_deserves(bad):
    decision, reasons = reasons_for(bad.name, bad.data)
    assert (decision, tuple(reason["code"] for reason in reasons)) == (bad.decision, bad.codes)
    for reason in reasons:
        assert "\n" not in reason["words"]
        assert not any(word in reason["words"] for word in IDENTIFIERS)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_command_line_and_http_agree_word_for_word(bad, by_command, by_form):
    decision, reasons = reasons_for(bad.name, bad.data)
    assert by_command[bad.name] == by_form[bad.name]
    assert by_form[bad.name]["decision"] == decision
    assert by_form[bad.name]["reasons"] == reasons
    assert by_form[bad.name]["probabilities"] == {}
    assert by_form[bad.name]["novelty"] is None


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bare_picture_is_told_the_same(bad, client):
    """Not read: a problem document with the same code and words; refused by the gate: a record, and no heatmap."""
    headers = {"content-type": "application/octet-stream"}
    response = client.post("/v1/predictions", content=bad.data, headers=headers)
    decision, reasons = reasons_for("picture", bad.data)
    if decision == "error":
        problem = response.json()
        assert (response.status_code, problem["code"], problem["detail"]) == (422, *reasons[0].values())
        return
    (record,) = response.json()["predictions"]
    assert (response.status_code, record["decision"], record["reasons"]) == (200, decision, reasons)
    problem = client.post("/v1/heatmaps", content=bad.data, headers=headers).json()
    assert (problem["code"], problem["reasons"]) == ("not-scored", reasons)
    assert problem["detail"] == "; ".join(reason["words"] for reason in reasons)


def test_the_table_for_people_holds_the_same_words(folder, tiny_bundle_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    some = [bad for bad in BAD if bad.name in {"knee.dcm", "cut.png", "several-faults.png", "window-nan.dcm"}]
    with contextlib.redirect_stdout(io.StringIO()) as screen:
        assert main(["predict", *(bad.name for bad in some), "--bundle", str(tiny_bundle_path)]) == 1
    said = capsys.readouterr().err
    for bad in some:
        decision, reasons = reasons_for(bad.name, bad.data)
        for reason in reasons:
            assert reason["words"] in screen.getvalue()
            assert (reason["words"] in said) == (decision == "error")


def test_what_only_a_path_can_be(tmp_path, tiny_bundle_path, capsys):
    """A missing file, an empty folder: the command line alone can meet them."""
    (tmp_path / "nothing-inside").mkdir()
    paths = [str(tmp_path / "nothing-inside"), str(tmp_path / "missing.dcm")]
    with contextlib.redirect_stdout(io.StringIO()) as screen:
        assert main(["predict", *paths, "--format", "json", "--bundle", str(tiny_bundle_path)]) == 1
    records = json.loads(screen.getvalue())
    assert [reason["code"] for record in records for reason in record["reasons"]] == ["unreadable", "unreadable"]
    assert records[0]["reasons"][0]["words"].endswith(
        "expected pictures in this folder, found none that can be listed and read"
    )
    assert records[1]["reasons"][0]["words"].endswith("missing.dcm: there is no such file")
    assert capsys.readouterr().err.count("\n") == 2


def test_no_file_of_the_set_is_ever_scored_whatever_its_name(tiny_bundle_path):
    predictor = Predictor(load_bundle(tiny_bundle_path, threads=1), exact=True)
    for bad in BAD:
        if bad.decision == "refused":
            assert predictor.read_bytes_and_predict(bad.data, "other.png")[0].decision == "refused"


def test_the_page_s_copy_holds_the_same_files_and_stays_small():
    written = as_json(BAD)
    assert len(json.dumps(written)) < 300_000
    files = {file["name"]: file for file in written["files"]}
    assert {name: zlib.decompress(b64decode(file["data"])) for name, file in files.items()} == {
        bad.name: bad.data for bad in BAD
    }
    assert [name for name, file in files.items() if file["quotes_decoder"]] == [
        "cut.jpg", "cut.bmp", "cut.tif", "cut.webp", "other-codec-than-said.dcm", "palette-without-table.dcm",
    ]  # fmt: skip
