"""Files and names of other systems through ``pocketcxr predict``: answered or counted, safe in every format."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import stat
import subprocess
import sys

import pytest

from pocketcxr.errors import ConfigError
from pocketcxr.inference.command import run_predict
from pocketcxr.plain_text import cell_value

HOSTILE = ("=cmd|' C'!A0.png", "@a.png", "-b;=c.png", "x\x1b[31m\ny.png", "r\udcf6ntgen.png", "\u202egnp.x.png")


@pytest.fixture
def run(tiny_bundle_path):
    def run(*paths, output_format=None, output=None):
        stream = io.StringIO()
        status = run_predict(
            list(paths),
            bundle=tiny_bundle_path,
            output_format=output_format,
            heatmaps=None,
            stream=stream,
            output=output,
            threads=1,
            workers=None,
        )
        return status, stream.getvalue()

    return run


@pytest.fixture
def hostile(save_picture, tmp_path, monkeypatch):
    """Images under names that do harm, relative as on a command line; one of them is damaged."""
    folder = tmp_path / "films"
    save_picture(folder / "a.png", brightness=0.8)
    data = (folder / "a.png").read_bytes()
    (folder / "a.png").unlink()
    for name in HOSTILE:
        (folder / name).write_bytes(data if name != HOSTILE[3] else data[:50])
    monkeypatch.chdir(folder)
    return [type(folder)(name) for name in HOSTILE]


def test_a_folder_answers_pictures_that_are_not_read_and_counts_the_rest(run, save_picture, tmp_path, caplog):
    folder = tmp_path / "films"
    save_picture(folder / "1.png", brightness=0.8)
    (folder / "1.png").rename(folder / "1.2.840.1000")
    (folder / "2.gif").write_bytes(b"GIF89a" + bytes(20))
    (folder / "3.dcm.gz").write_bytes(b"\x1f\x8b" + bytes(20))
    (folder / "report.pdf").write_bytes(b"%PDF-1.4")
    (folder / "all.zip").write_bytes(b"PK\x03\x04")
    caplog.set_level(logging.WARNING)
    status, text = run(folder, output_format="jsonl")
    decisions = [json.loads(line)["decision"] for line in text.splitlines()]
    assert (status, decisions) == (1, ["bright", "error", "error"])
    assert "passed over 2 entries that are no images: 1 a ZIP archive or office document, 1 a PDF" in caplog.text


def test_csv_holds_no_formula_and_the_names_come_back(run, hostile):
    text = run(*hostile, output_format="csv")[1]
    for line in csv.reader(io.StringIO(text)):
        for cell in line:
            assert not any(part.startswith(("=", "+", "-", "@")) for part in cell.split(";"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [cell_value(row["path"]) for row in rows] == [*HOSTILE[:4], r"r\xf6ntgen.png", HOSTILE[5]]
    assert all(row["reasons"].isprintable() for row in rows)
    assert rows[3]["decision"] == "error"  # its reason quotes the name


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_csv_on_a_screen_cannot_steer_it(hostile, tiny_bundle_path):
    main_end, screen = os.openpty()
    try:
        command = [sys.executable, "-m", "pocketcxr.cli", "predict", *map(str, hostile), "--format", "csv"]
        command += ["--bundle", str(tiny_bundle_path)]
        command = [part if part != "-b;=c.png" else f"./{part}" for part in command]
        subprocess.run(command, stdout=screen, stderr=subprocess.PIPE, timeout=240, check=False)
        shown = os.read(main_end, 1 << 16).decode()
    finally:
        os.close(screen)
        os.close(main_end)
    assert shown.count("tiny 0.0.1") == len(HOSTILE)
    assert all(one.isprintable() or one in "\r\n" for one in shown)
    assert not any(line.startswith("y.png") for line in shown.splitlines())


def test_the_table_and_the_log_cannot_be_steered(run, hostile, caplog):
    text = run(*hostile, output_format="table")[1] + caplog.text
    assert all(character.isprintable() or character == "\n" for character in text)
    assert not any(line.startswith("y.png") for line in text.splitlines())


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_names_of_all_kinds_are_kept_in_files_and_not_scored_again(run, hostile, tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    output = tmp_path / f"scores{suffix}"
    assert run(*hostile, output=output)[0] == 1
    first = output.read_bytes()
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert run(*hostile, output=output)[0] == 1
    if suffix != ".parquet":
        assert output.read_bytes() == first
    else:
        import pyarrow.parquet as pq

        assert pq.read_table(output).num_rows == len(HOSTILE)


@pytest.mark.parametrize("change", ["bom", "semicolon", "utf-16"])
def test_predictions_that_a_spreadsheet_program_saved_again_are_not_added_to(run, hostile, tmp_path, change):
    output = tmp_path / "scores.csv"
    run(hostile[1], output=output)
    text = output.read_text(encoding="utf-8")
    changed = {
        "bom": text.encode("utf-8-sig"),
        "semicolon": text.replace(",", ";").encode(),
        "utf-16": text.encode("utf-16"),
    }[change]
    output.write_bytes(changed)
    with pytest.raises(ConfigError, match="a spreadsheet program has saved this file again"):
        run(*hostile, output=output)
    assert output.read_bytes() == changed
