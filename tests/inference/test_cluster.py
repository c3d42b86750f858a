"""Scoring on a cluster gives the rows of one machine, whatever dies: parts by themselves, then a real Ray."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from pocketcxr.cli import main
from pocketcxr.errors import ConfigError
from pocketcxr.inference import cluster
from pocketcxr.inference.batch import find_images
from pocketcxr.inference.processes.pool import PoolOptions, predict_in_processes
from pocketcxr.inference.remote_files import find_files
from pocketcxr.inference.writers.parquet import write_parquet
from pocketcxr.version import __version__

BRIGHTNESS = (0.2, 0.5, 0.8, 0.93)


@pytest.fixture
def films(save_picture, tmp_path):
    """Draw 100 pictures in two folders, a damaged one and one whose name is no UTF-8."""
    for number in range(100):
        folder = tmp_path / "films" / ("b" if number % 3 else "")
        save_picture(folder / f"{number}.png", brightness=BRIGHTNESS[number % 4])
    (tmp_path / "films" / "7b.png").write_text("no picture")
    save_picture(Path(os.fsdecode(os.fsencode(tmp_path) + b"/films/\xf6.png")), brightness=0.8)
    return tmp_path / "films"


def test_without_ray_the_command_says_what_to_install(monkeypatch, tmp_path, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ray" else real(name))
    assert main(["predict", str(tmp_path), "--engine", "ray"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "needs ray, which is not installed: run pip install 'pocketcxr[cluster]'" in error


@pytest.mark.parametrize("given", [["scan.png", "--heatmaps", "maps"], ["-"]])
def test_what_a_cluster_cannot_do_is_refused(given, capsys):
    assert main(["predict", "--engine", "ray", *given]) == 2
    assert "engine ray: expected neither --heatmaps nor standard input" in capsys.readouterr().err


@pytest.fixture
def silent():
    """Return host:port of this machine where nothing listens: it is bound, and stays so for the test."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{one.getsockname()[1]}"


class TestAddress:
    """An address where nothing listens is refused before Ray is asked, which would try for minutes."""

    @pytest.mark.parametrize("address", [None, "no.host.invalid:6379", "a..b:6379", "[::1]:99999", "x:y:70000"])
    def test_silence_is_refused(self, address, silent, monkeypatch):
        monkeypatch.setenv("RAY_ADDRESS", address or silent)
        with pytest.raises(ConfigError, match=r"RAY_ADDRESS: expected the address of a Ray cluster") as raised:
            cluster._connect(1)
        assert "\n" not in str(raised.value)

    def test_what_listens_and_what_names_no_port_is_left_to_ray(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            for address in (f"127.0.0.1:{server.getsockname()[1]}", "local", "auto", "ray://127.0.0.1:1"):
                cluster._refuse_silent(address)


class TestPart:
    """A part as it is scored on a machine of the cluster, for which no Ray is needed."""

    @pytest.fixture
    def options(self, tiny_bundle_path, bundle):
        return PoolOptions(tiny_bundle_path, bundle.identity)

    @staticmethod
    def score(names, places, options, version=__version__):
        part = {"name": np.array(names, dtype=object), "place": np.array(places, dtype=object)}
        return list(map(json.loads, cluster.score_part(part, options=options, version=version)["record"]))

    def test_rows_are_those_of_this_machine_whatever_the_names(self, options, films, monkeypatch):
        monkeypatch.chdir(films.parent)
        paths = [*find_images([Path("films")]), Path("films/absent.png"), Path("empty")]
        Path("empty").mkdir()
        expected = [one.record() for one in predict_in_processes(paths, options, workers=1)]
        names = [record["path"] for record in expected]
        assert self.score(names, [str(films.parent / name) for name in names], options) == expected
        assert [record["decision"] for record in expected].count("error") == 3

    def test_remote_rows_are_those_of_the_files_under_their_addresses(self, options, films):
        fsspec = pytest.importorskip("fsspec", reason="needs the extra evaluate or cluster")
        files = [*(path for path in sorted(films.glob("*.png")) if path.name.isascii())][:6]
        files.append(films / "7b.png")
        store = fsspec.filesystem("memory")
        for path in files:
            store.pipe(f"/part/{path.name}", path.read_bytes())
        expected = [one.record() for one in predict_in_processes([*files, films / "no.png"], options, workers=1)]
        addresses = [f"memory://part/{path.name}" for path in [*files, films / "no.png"]]
        found = self.score(addresses, addresses, options)
        store.store.clear()
        assert found == json.loads(json.dumps(expected).replace(str(films), "memory://part"))
        assert [record["reasons"][0]["code"] for record in found[-2:]] == ["unreadable", "unreadable"]

    def test_denied_access_is_an_error_of_that_file(self, options, monkeypatch):
        def denied(address, place):
            raise PermissionError(address)

        monkeypatch.setattr(cluster, "fetch", denied)
        (found,) = self.score(["s3://b/1.png"], ["s3://b/1.png"], options)
        assert (found["path"], found["decision"]) == ("s3://b/1.png", "error")
        assert found["reasons"] == [{"code": "unreadable", "words": "s3://b/1.png: access to it is denied"}]

    def test_a_machine_with_another_version_or_bundle_is_refused(self, options, films):
        with pytest.raises(ConfigError, match=f"has pocketcxr {__version__}, expected 0.0.0"):
            self.score(["1"], ["1"], options, version="0.0.0")
        other = dataclasses.replace(options, identity="tiny 0.0.2")
        with pytest.raises(ConfigError, match=r"has bundle tiny 0\.0\.1 .*, expected tiny 0\.0\.2"):
            self.score(["1"], [str(films / "0.png")], other)
        part = {"name": np.array(["1", "2"]), "place": np.array(["1", "2"])}
        rows = cluster.score_part_or_fault(part, options=options, version="0.0.0")["record"]
        assert [json.loads(row)["fault"][0] for row in rows] == ["ConfigError"] * 2


@pytest.fixture
def ray(monkeypatch):
    """Skip without Ray; it runs in other processes, for it leaves handlers and open pipes behind in its own."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the extra cluster, which is too large for the requirements of the tests")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    for name, most in (
        ("raylet_start_wait_time_s", "600"),  # a busy machine takes long
        ("agent_register_timeout_ms", "600000"),
        ("worker_register_timeout_seconds", "600"),
    ):
        monkeypatch.setenv(f"RAY_{name}", most)


_SMALL_WINDOWS = (  # 40 files for each processor: 102 files on two are windows of 80 and 22, in parts of 32
    "import sys; from pocketcxr.inference import cluster; cluster.WINDOW = 40; "
    "from pocketcxr.cli import main; sys.exit(main())"
)


@pytest.fixture
def command(tiny_bundle_path, tmp_path):
    def command(output, *options, films=tmp_path / "films"):
        given = ["predict", films, "-o", tmp_path / output, "--bundle", tiny_bundle_path, *options]
        return [sys.executable, "-c", _SMALL_WINDOWS, *map(str, given)]

    return command


@pytest.fixture
def expected(command, films, tmp_path):
    """Bytes of what one process of this machine writes."""
    assert subprocess.run(command("local.jsonl", "--workers", "1"), check=False).returncode == 1  # the damaged file
    return (tmp_path / "local.jsonl").read_bytes()


def _run(command):
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


def _scoring(root):
    """Processes of Ray below one that are in the middle of a part: their own scoring process runs."""
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        try:
            below = list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
            title = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        waiting += below
        if title.startswith(b"ray::") and b"score_part" in title and below:
            found.append(process)
    return found


def _wait_for(found, process):
    while not (value := found()):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    return value


@pytest.mark.slow
def test_two_processors_give_the_bytes_of_one_over_several_parts_and_windows(ray, command, expected, tmp_path):
    status, error = _run(command("ray.jsonl", "--engine", "ray", "--workers", "2"))
    assert status == 1, error  # the damaged file
    assert "102 scored" in error
    assert (tmp_path / "ray.jsonl").read_bytes() == expected


@pytest.mark.slow
def test_a_table_in_parquet_has_the_same_bytes_too(ray, command, films, tmp_path):
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    _run(command("local.parquet", "--workers", "1"))
    _run(command("ray.parquet", "--engine", "ray", "--workers", "2"))
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(ray, command, expected, tmp_path):
    with subprocess.Popen(command("ray.jsonl", "--engine", "ray", "--workers", "2"), stderr=subprocess.PIPE) as process:
        os.kill(_wait_for(lambda: _scoring(process.pid), process)[0], signal.SIGKILL)
        error = process.communicate()[1].decode()
    assert process.returncode == 1, error  # the damaged file
    assert (tmp_path / "ray.jsonl").read_bytes() == expected


@pytest.mark.slow
def test_after_a_killed_head_the_same_command_goes_on(ray, command, expected, tmp_path):
    """The driver is killed, and with it the cluster that it started on this machine."""
    output, again = tmp_path / "ray.jsonl", command("ray.jsonl", "--engine", "ray", "--workers", "1")
    with subprocess.Popen(again, stderr=subprocess.DEVNULL) as process:
        _wait_for(lambda: output.exists() and output.stat().st_size, process)
        process.send_signal(signal.SIGKILL)
    assert 0 < output.read_bytes().count(b"\n") < expected.count(b"\n")
    status, error = _run(again)
    assert status == 1, error  # the damaged file
    assert output.read_bytes() == expected


@pytest.mark.slow
def test_a_wrong_address_is_one_line_within_seconds(ray, command, films, silent, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", silent)
    status, error = _run(command("ray.jsonl", "--engine", "ray"))
    assert status == 2
    assert error.count("\n") == 1
    assert f"at {silent} nothing answers" in error


_FAILS = """
import sys
from pathlib import Path
from pocketcxr.errors import BundleError
from pocketcxr.inference.cluster import predict_on_cluster
from pocketcxr.inference.processes.pool import PoolOptions

try:
    list(predict_on_cluster(iter([Path("0.png")]), PoolOptions(Path("elsewhere.onnx"), "x"), workers=1))
except BundleError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_bundle_that_a_machine_lacks_is_one_line(ray):
    done = subprocess.run([sys.executable, "-c", _FAILS], check=False, capture_output=True, text=True)
    assert done.stdout.startswith("BundleError cannot read bundle elsewhere.onnx"), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1


@pytest.fixture
def s3(monkeypatch, tmp_path):
    """Return s3fs at a bucket of moto's server, a process of its own that speaks HTTP."""
    pytest.importorskip("moto", reason="needs moto[s3,server], a server with the interface of S3")
    s3fs = pytest.importorskip("s3fs", reason="needs the extra cluster")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    server = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (tmp_path / "s3.log").open("wb") as log, subprocess.Popen(server, stdout=log, stderr=log) as process:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None, (tmp_path / "s3.log").read_text()
                    time.sleep(0.1)
            system = s3fs.S3FileSystem(skip_instance_cache=True)  # one of an earlier test has that server's address
            system.mkdir("archive")
            yield system
        finally:
            process.terminate()


@pytest.mark.slow
def test_rows_from_s3_are_those_of_the_folder(ray, s3, command, films, tmp_path):
    Path(os.fsdecode(os.fsencode(films) + b"/\xf6.png")).unlink()  # a key of S3 is UTF-8
    (films / "notes.txt").write_text("passed over")
    s3.put(f"{films}/", "archive/films/", recursive=True)
    assert _run(command("local.jsonl"))[0] == 1  # the damaged file
    given = command("s3.jsonl", "--engine", "ray", "--workers", "2", films="s3://archive/films")
    status, error = _run(given)
    assert status == 1, error
    expected = (tmp_path / "local.jsonl").read_text().replace(str(films), "s3://archive/films")
    assert (tmp_path / "s3.jsonl").read_text() == expected


@pytest.mark.slow
def test_a_silent_storage_stops_the_run_and_makes_no_rows(ray, s3, command, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    status, error = _run(command("s3.jsonl", "--engine", "ray", films="s3://other/films"))
    assert status == 2
    assert "s3://other/films: the storage does not answer" in error
    assert (tmp_path / "s3.jsonl").read_bytes() == b""


@pytest.fixture
def archived(ray, orthanc, command, tmp_path):
    """Return the address of an Orthanc with 96 images of the development data under new UIDs, one of them damaged,
    and what one process of this machine writes about their files in the archive's order.
    """
    import pydicom
    import requests

    folder = Path(os.environ.get("POCKETCXR_DATA", "")) / "dicom"
    if not os.environ.get("POCKETCXR_DATA") or not folder.is_dir():
        pytest.skip("real X-rays: POCKETCXR_DATA names no folder with dicom/")
    sources, files = sorted(folder.glob("*.dcm")), {}
    for number in range(96):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # invalid values of the originals
            dataset = pydicom.dcmread(sources[number % len(sources)], force=True)
            dataset.StudyInstanceUID, dataset.PatientID = f"1.2.3.{number // 3}", f"PAT{number // 3}"
            dataset.Modality = ("CR", "DX")[number % 2]
            dataset.SeriesInstanceUID, dataset.SOPInstanceUID = f"1.2.3.{number}.1", f"1.2.3.{number}.1.1"
            if number == 50:
                dataset.Rows *= 2
            path = tmp_path / f"{number}.dcm"
            dataset.save_as(path)
        files[dataset.SOPInstanceUID] = path
        requests.post(f"{orthanc.url}/instances", data=path.read_bytes(), timeout=60).raise_for_status()
    address = f"dicomweb+{orthanc.url}/dicom-web"
    names = {name: files[name.rpartition("/")[2]] for name in find_files([Path(address)])}
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in names.values()))
    given = command("local.jsonl", "--workers", "1", "--paths-from", tmp_path / "list", films="")
    assert _run([word for word in given if word])[0] == 1  # the damaged file
    expected = (tmp_path / "local.jsonl").read_text()
    for name, path in names.items():
        expected = expected.replace(f"{path}", name)
    assert expected.count("\n") == 96
    return address, expected.encode()


@pytest.mark.slow
@pytest.mark.pacs
def test_rows_from_an_archive_are_those_of_its_files_also_after_a_killed_worker(archived, command, bundle, tmp_path):
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    address, expected = archived
    given = command("ray.parquet", "--engine", "ray", "--workers", "2", films=address)
    with subprocess.Popen(given, stderr=subprocess.PIPE) as process:
        os.kill(_wait_for(lambda: _scoring(process.pid), process)[0], signal.SIGKILL)
        error = process.communicate()[1].decode()
    assert process.returncode == 1, error  # the damaged file
    assert "96 scored" in error
    (tmp_path / "expected.jsonl").write_bytes(expected)
    write_parquet(tmp_path / "expected.jsonl", tmp_path / "expected.parquet", bundle.manifest.labels)
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "expected.parquet").read_bytes()


@pytest.mark.slow
@pytest.mark.pacs
def test_after_a_killed_head_and_a_killed_archive_the_same_command_goes_on(archived, orthanc, command, tmp_path):
    address, expected = archived
    output = tmp_path / "ray.jsonl"
    again = command("ray.jsonl", "--engine", "ray", "--workers", "1", films=address)
    with subprocess.Popen(again, stderr=subprocess.DEVNULL) as process:
        _wait_for(lambda: output.exists() and output.stat().st_size, process)
        process.send_signal(signal.SIGKILL)
    before = output.read_bytes()
    assert 0 < before.count(b"\n") < 96
    with subprocess.Popen(again, stderr=subprocess.PIPE) as process:
        _wait_for(lambda: _scoring(process.pid), process)
        orthanc.end(signal.SIGKILL)
        error = process.communicate()[1].decode()
    assert process.returncode == 2, error
    assert f"pocketcxr: {address}: the archive cannot be reached" in error
    assert output.read_bytes() == expected[: output.stat().st_size]  # whole rows, and none that says "error" for it
    orthanc.start()
    status, error = _run(again)
    assert status == 1, error  # the damaged file
    assert output.read_bytes() == expected
