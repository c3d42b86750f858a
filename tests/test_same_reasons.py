"""A file that must not be scored gets the same decision, codes and reasons from command line, HTTP service and page."""

import ast
import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from invalid_inputs import invalid_files, reasons_for
from pocketcxr.cli import main
from pocketcxr.errors import InputError, UnreadableImageError, UnusableImageError
from pocketcxr.imaging.reading import read_image_bytes
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

pytest.importorskip("fastapi", reason="needs the extra serve")

BAD = invalid_files()
MOST_AT_ONCE = 16  # files of one request
ROOT = Path(__file__).parents[1]
IMAGING = ROOT / "src/pocketcxr/imaging"
ERRORS = {error.__name__: error for error in (UnreadableImageError, UnusableImageError)}
OF_PATHS = {"no-regular-file", "no-such-file", "no-permission", "no-access"}  # the page gets files, not paths
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
def test_every_file_that_cannot_be_read_has_the_code_of_its_cause(bad):
    if bad.decision != "error":
        pytest.skip("read, and refused by the input checks")
    with pytest.raises(InputError) as caught:
        read_image_bytes(bad.data, bad.name)
    assert (caught.value.code, caught.value.category) == (bad.cause, *bad.codes)


def test_the_page_has_the_codes_and_categories_of_the_imaging_package():
    """The page's table in web/src/core/errors.ts, without what only paths and only browsers can meet."""
    raised = {code: category for path in IMAGING.rglob("*.py") for code, category in codes_raised(path)}
    table = (ROOT / "web/src/core/errors.ts").read_text(encoding="utf-8").partition("in the browser only")[0]
    assert dict(re.findall(r'"([a-z-]+)": "(un\w+)"', table)) == {
        code: category for code, category in raised.items() if code not in OF_PATHS
    }


def codes_raised(path):
    """Code and category of every UnreadableImageError and UnusableImageError that a module makes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            error = ERRORS[node.func.id]
            yield node.args[1].value if len(node.args) > 1 else error.default_code, error.category


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_the_reasons_have_the_expected_codes(bad):
    decision, reasons = reasons_for(bad.name, bad.data)
    assert (decision, tuple(reason["code"] for reason in reasons)) == (bad.decision, bad.codes)
    for reason in reasons:
        assert "\n" not in reason["words"]
        assert not any(word in reason["words"] for word in IDENTIFIERS)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_command_line_and_http_give_the_same_record(bad, by_command, by_form):
    decision, reasons = reasons_for(bad.name, bad.data)
    assert by_command[bad.name] == by_form[bad.name]
    assert by_form[bad.name]["decision"] == decision
    assert by_form[bad.name]["reasons"] == reasons
    assert by_form[bad.name]["probabilities"] == {}
    assert by_form[bad.name]["novelty"] is None


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bare_image_gets_the_same_reasons(bad, client):
    """Not read: a problem document with the same code and message; refused: a record, and no heatmap."""
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


def test_the_table_shows_the_same_messages(folder, tiny_bundle_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    some = [bad for bad in BAD if bad.name in {"knee.dcm", "cut.png", "several-faults.png", "window-nan.dcm"}]
    with contextlib.redirect_stdout(io.StringIO()) as screen:
        assert main(["predict", *(bad.name for bad in some), "--bundle", str(tiny_bundle_path)]) == 1
    said = capsys.readouterr().err
    for bad in some:
        _, reasons = reasons_for(bad.name, bad.data)
        for reason in reasons:
            assert reason["words"] in screen.getvalue()
            assert reason["words"] not in said  # once, in the table


def test_missing_files_and_empty_folders(tmp_path, tiny_bundle_path, capsys):
    """Only the command line can meet them."""
    (tmp_path / "nothing-inside").mkdir()
    paths = [str(tmp_path / "nothing-inside"), str(tmp_path / "missing.dcm")]
    with contextlib.redirect_stdout(io.StringIO()) as screen:
        assert main(["predict", *paths, "--format", "json", "--bundle", str(tiny_bundle_path)]) == 2
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
