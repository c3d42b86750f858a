"""`pocketcxr predict`: formats, exit status, failures told, heatmaps; and nothing heavy imported."""

from __future__ import annotations

import csv
import io
import json
import logging
import subprocess
import sys

import pytest

from pocketcxr.errors import BundleError, ConfigError
from pocketcxr.inference.command import EXIT_ANSWERED, EXIT_NOTHING_READ, EXIT_SOME_FAILED, run_predict


@pytest.fixture
def run(tiny_bundle_path):
    def run(*paths, output_format="jsonl", heatmaps=None):
        stream = io.StringIO()
        status = run_predict(
            list(paths),
            bundle=tiny_bundle_path,
            output_format=output_format,
            heatmaps=heatmaps,
            stream=stream,
            threads=1,
        )
        return status, stream.getvalue()

    return run


@pytest.fixture
def mixed(save_picture, tmp_path):
    """A label, an uncertain, a refused and a broken file, in this order."""
    folder = tmp_path / "mixed"
    save_picture(folder / "1.png", brightness=0.8)
    save_picture(folder / "2.png", brightness=0.5)
    save_picture(folder / "3.png", brightness=0.93)
    (folder / "4.png").write_text("no image")
    return folder


def test_status_is_0_when_all_were_answered_1_when_a_file_failed_and_2_when_all_did(run, mixed, tmp_path):
    assert run(mixed / "1.png", mixed / "2.png", mixed / "3.png")[0] == EXIT_ANSWERED == 0
    assert run(mixed)[0] == EXIT_SOME_FAILED == 1
    assert run(mixed / "4.png", mixed / "absent.png")[0] == EXIT_NOTHING_READ == 2
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty")[0] == 2


def test_json_lines_and_json_hold_the_same_records(run, mixed):
    lines = [json.loads(line) for line in run(mixed)[1].splitlines()]
    assert [line["decision"] for line in lines] == ["bright", "uncertain", "refused", "error"]
    assert json.loads(run(mixed, output_format="json")[1]) == lines
    error = lines[3]
    assert set(error) == {"path", "decision", "probabilities", "novelty", "reasons", "bundle"}
    assert (error["probabilities"], error["novelty"]) == ({}, None)
    assert error["reasons"][0]["code"] == "unreadable"


def test_csv_has_a_column_per_class_and_empty_cells_where_nothing_was_scored(run, mixed):
    rows = list(csv.DictReader(io.StringIO(run(mixed, output_format="csv")[1])))
    assert [row["decision"] for row in rows] == ["bright", "uncertain", "refused", "error"]
    assert float(rows[0]["probability_bright"]) == pytest.approx(0.95, abs=0.01)
    assert rows[2]["probability_bright"] == ""
    assert float(rows[2]["novelty"]) > 1
    assert rows[3]["novelty"] == ""
    assert [row["reason_codes"] for row in rows] == ["", "no-class", "novel", "unreadable"]


def test_table_aligns_and_tells_the_reasons(run, mixed):
    lines = run(mixed, output_format="table")[1].splitlines()
    assert lines[0].split() == ["decision", "dark", "bright", "novelty", "file"]
    assert lines[1].split()[0] == "bright"
    ends = {line.index(str(mixed)) for line in lines if str(mixed / "") + "/" in line and not line.startswith(" ")}
    assert len(ends) == 1
    assert any("unlike the pictures" in line for line in lines)
    assert "not a medical device" in lines[-1]


def test_table_ends_with_how_many_images_had_which_answer_and_what_was_not_read(run, mixed, caplog):
    (mixed / ".hidden.png").touch()
    (mixed / "empty").touch()
    (mixed / "5.png").write_text("no image either")
    with caplog.at_level(logging.INFO, logger="pocketcxr"):
        summary = run(mixed, output_format="table")[1].splitlines()[-2]
    assert summary == "1 answered, 1 uncertain, 1 refused, 2 unreadable, 2 not read (1 hidden, 1 an empty file)"
    assert not caplog.records
    alone = run(mixed / "1.png", output_format="table")[1].splitlines()[-2]
    assert alone == "1 answered, 0 uncertain, 0 refused, 0 unreadable, 0 not read"


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    "stream, output_format, logged",
    [(io.StringIO, "jsonl", 1), (io.StringIO, "table", 0), (Screen, "jsonl", 0), (Screen, "csv", 0)],
)
def test_an_unreadable_file_is_said_once(tiny_bundle_path, mixed, caplog, stream, output_format, logged):
    """Beside answers that go to a file or program, in the log; where a person sees the answers, in these."""
    written = stream()
    with caplog.at_level(logging.ERROR, logger="pocketcxr"):
        run_predict([mixed], bundle=tiny_bundle_path, output_format=output_format, heatmaps=None, stream=written)
    assert [record.getMessage().count("4.png: ") for record in caplog.records] == [1] * logged
    assert all("\n" not in record.getMessage() for record in caplog.records)
    assert written.getvalue().count("4.png: ") == 1


def test_heatmaps_are_written_for_scored_pictures_only_and_records_name_them(run, mixed, tmp_path):
    records = [json.loads(line) for line in run(mixed, heatmaps=tmp_path / "maps")[1].splitlines()]
    written = sorted((tmp_path / "maps").iterdir())
    assert [path.name.split("-")[0] for path in written] == ["1", "2"]
    assert [record.get("heatmap_file") for record in records] == [*map(str, written), None, None]
    assert "heatmap_file" not in records[2]
    rows = list(csv.DictReader(io.StringIO(run(mixed, heatmaps=tmp_path / "maps", output_format="csv")[1])))
    assert [row["heatmap_file"] for row in rows] == [*map(str, written), "", ""]
    assert "heatmap_file" not in run(mixed, output_format="csv")[1]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_that_was_begun_without_heatmaps_goes_on_without(tiny_bundle_path, mixed, tmp_path, suffix):
    def append(path, heatmaps):
        return run_predict(
            [path], bundle=tiny_bundle_path, output_format=None, heatmaps=heatmaps, stream=io.StringIO(), output=output
        )

    output = tmp_path / f"scores.{suffix}"
    assert append(mixed / "1.png", None) == 0
    if suffix == "csv":
        with pytest.raises(ConfigError, match="was begun without --heatmaps"):
            append(mixed / "2.png", tmp_path / "maps")
        return
    assert append(mixed / "2.png", tmp_path / "maps") == 0
    first, second = map(json.loads, output.read_text().splitlines())
    assert "heatmap_file" not in first
    assert second["heatmap_file"].startswith(str(tmp_path / "maps"))


def _command(bundle, *arguments, given, cwd):
    command = [sys.executable, "-m", "pocketcxr.cli", "predict", "--bundle", str(bundle), "--format", "jsonl"]
    done = subprocess.run([*command, *arguments], input=given, capture_output=True, check=False, cwd=cwd)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_an_image_comes_from_standard_input(tiny_bundle_path, mixed, tmp_path):
    picture = (mixed / "1.png").read_bytes()
    status, (record,), told = _command(
        tiny_bundle_path, "-", "--heatmaps", "maps", "--workers", "2", given=picture, cwd=tmp_path
    )
    assert (status, told) == (0, "")
    assert (record["path"], record["decision"]) == ("standard input", "bright")
    (written,) = (tmp_path / "maps").iterdir()
    assert record["heatmap_file"] == f"maps/{written.name}"
    assert written.name.startswith("standard-input-")
    for given, said in ((b"", "standard input: the file is empty"), (b"text", "standard input: expected DICOM")):
        status, (record,), told = _command(tiny_bundle_path, "-", given=given, cwd=tmp_path)
        assert status == 2
        assert record["reasons"][0]["words"].startswith(said)
    for more in (["a.png"], ["-o", "scores.csv"]):
        status, records, told = _command(tiny_bundle_path, "-", *more, given=picture, cwd=tmp_path)
        assert (status, records) == (2, [])
        assert "leave out other paths, and -o" in told


def test_paths_come_from_a_list(tiny_bundle_path, mixed, tmp_path):
    odd = tmp_path / "two\nlines.png"
    odd.write_bytes((mixed / "1.png").read_bytes())
    names = [str(mixed / "2.png"), str(odd)]
    status, records, _ = _command(
        tiny_bundle_path, "--paths-from", "-", given="".join(f"{name}\0" for name in names).encode(), cwd=tmp_path
    )
    assert (status, [record["path"] for record in records]) == (0, names)
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + f"{mixed / '2.png'}\r\n\r\n{mixed / '3.png'}".encode())
    status, records, _ = _command(tiny_bundle_path, str(odd), "--paths-from", "list.txt", given=b"", cwd=tmp_path)
    assert [record["decision"] for record in records] == ["bright", "uncertain", "refused"]
    for name, said in (("absent.txt", "absent.txt: cannot be read"), ("-", "standard input: expected paths")):
        status, records, told = _command(tiny_bundle_path, "--paths-from", name, given=b"\n", cwd=tmp_path)
        assert (status, records) == (2, [])
        assert said in told


def test_answers_are_written_as_they_come(tiny_bundle_path, mixed):
    """The first prediction is there before the second file is read: the second file disappears in between."""

    class Watching(io.StringIO):
        def flush(self):
            (mixed / "2.png").unlink(missing_ok=True)

    stream = Watching()
    run_predict([mixed], bundle=tiny_bundle_path, output_format="jsonl", heatmaps=None, stream=stream, threads=1)
    decisions = [json.loads(line)["decision"] for line in stream.getvalue().splitlines()]
    assert decisions[0] == "bright"
    assert decisions[1] == "error"


def test_unknown_format_no_path_and_no_bundle_are_refused(tiny_bundle_path, mixed, tmp_path):
    with pytest.raises(ConfigError, match="expected one of table, json, jsonl, csv, found 'xml'"):
        run_predict([mixed], bundle=tiny_bundle_path, output_format="xml", heatmaps=None, stream=io.StringIO())
    with pytest.raises(ConfigError, match="found none"):
        run_predict([], bundle=tiny_bundle_path, output_format="json", heatmaps=None, stream=io.StringIO())
    with pytest.raises(ConfigError, match="a file where a folder is needed"):
        run_predict(
            [mixed], bundle=tiny_bundle_path, output_format="json", heatmaps=mixed / "1.png", stream=io.StringIO()
        )
    with pytest.raises(BundleError):
        run_predict([mixed], bundle=tmp_path / "no", output_format="json", heatmaps=None, stream=io.StringIO())


_PROBE = """
import io, sys
from pathlib import Path
from pocketcxr.inference.command import run_predict
stream = io.StringIO()
run_predict([Path(sys.argv[2])], bundle=Path(sys.argv[1]), output_format="jsonl", heatmaps=None, stream=stream)
assert '"decision": "bright"' in stream.getvalue(), stream.getvalue()
print(*sys.modules)
"""


def test_predicting_imports_no_training_framework_and_nothing_that_it_does_not_need(
    tiny_bundle_path, save_picture, tmp_path
):
    picture = save_picture(tmp_path / "b.png", brightness=0.8)
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, str(tiny_bundle_path), str(picture)], capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.split())
    assert {"onnxruntime", "numpy", "PIL"} <= modules
    training = {"torch", "torchvision", "timm", "onnx", "onnxscript", "scipy", "sklearn", "matplotlib", "pandas"}
    assert not modules & (training | {"tqdm", "pydicom", "PIL.TiffImagePlugin", "concurrent.futures.thread"})
