"""Predictions in a file: the same command continues after a stop or a kill; nothing is scored twice or lost."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from pocketcxr.errors import ConfigError, MissingExtraError
from pocketcxr.inference.command import run_predict
from pocketcxr.inference.writers.scores_file import open_scores


@pytest.fixture
def run(tiny_bundle_path):
    def run(*paths, output, bundle=tiny_bundle_path, **options):
        return run_predict(
            list(paths),
            bundle=bundle,
            output_format=options.pop("output_format", None),
            heatmaps=None,
            stream=io.StringIO(),
            output=output,
            threads=1,
            **options,
        )

    return run


@pytest.fixture
def images(save_picture, tmp_path):
    for number in range(5):
        save_picture(tmp_path / "images" / f"{number}.png", brightness=(0.2, 0.5, 0.8, 0.93, 0.2)[number])
    (tmp_path / "images" / '5 "odd", \nname.png').write_text("no image")
    return tmp_path / "images"


def _read(path, columns=("path", "decision")):
    """Columns of every prediction, in JSON lines by the names that they have in a table; "" where there is nothing."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    elif path.suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet").read_table(path).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = [row | {f"finding_{name}": one for name, one in row.get("findings", {}).items()} for row in rows]
    return [tuple(row.get(column) or "" for column in columns) for row in rows]


SUFFIXES = ["jsonl", "csv", "parquet"]


def _needs(suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_predictions_stand_in_the_order_of_the_files_and_a_second_run_adds_nothing(run, images, tmp_path, suffix):
    _needs(suffix)
    output = tmp_path / f"scores.{suffix}"
    assert run(images, output=output) == 1
    predictions = _read(output)
    assert [decision for _, decision in predictions] == ["dark", "uncertain", "bright", "refused", "dark", "error"]
    assert run(images, output=output) == 1  # the error from before still counts
    assert _read(output) == predictions
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", output.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_came_later_are_added(run, images, save_picture, tmp_path, suffix):
    _needs(suffix)
    output = tmp_path / f"scores.{suffix}"
    run(images, output=output)
    before = _read(output)
    save_picture(images / "2b.png", brightness=0.8)
    run(images, output=output)
    assert _read(output) == [*before, (str(images / "2b.png"), "bright")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_several_findings_have_a_column_each_and_files_that_came_later_are_added(
    run, images, save_picture, tiny_findings_path, tmp_path, suffix
):
    _needs(suffix)
    output = tmp_path / f"scores.{suffix}"
    run(images, output=output, bundle=tiny_findings_path)
    save_picture(images / "2b.png", brightness=0.8)
    run(images, output=output, bundle=tiny_findings_path)
    found = _read(output, ("finding_dark", "finding_bright"))
    assert found[:3] == [("present", "absent"), ("uncertain", "uncertain"), ("absent", "present")]
    assert found[3:] == [("", ""), ("present", "absent"), ("", ""), ("absent", "present")]
    assert [decision for _, decision in _read(output)] == [
        "dark", "uncertain", "bright", "refused", "dark", "error", "bright",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_every_cut_of_the_file_is_mended(run, images, tmp_path, suffix):
    """Whatever byte a kill stopped at, the file ends up as if nothing had happened."""
    output = tmp_path / f"scores.{suffix}"
    run(images, output=output)
    whole = output.read_bytes()
    for cut in range(0, len(whole), 37):
        output.write_bytes(whole[:cut])
        run(images, output=output)
        assert output.read_bytes() == whole, cut


_KILLED = [sys.executable, "-m", "pocketcxr.cli", "predict", "--workers", "2"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_killed_again_and_again_ends_with_every_file_scored_once(
    tiny_bundle_path, save_picture, tmp_path, suffix
):
    _needs(suffix)
    for number in range(60):
        save_picture(tmp_path / "images" / f"{number}.png", brightness=0.8, shape=(500, 500))
    output = tmp_path / f"scores.{suffix}"
    grows = tmp_path / (output.name + (".partial.jsonl" if suffix == "parquet" else ""))
    command = [*_KILLED, "--bundle", str(tiny_bundle_path), str(tmp_path / "images"), "-o", str(output)]
    kills = 0
    for aim in (300, 6_000):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and (grows.stat().st_size if grows.exists() else 0) < aim:
                time.sleep(0.005)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
    assert kills
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    predictions = _read(output)
    assert [path for path, _ in predictions] == [str(tmp_path / "images" / f"{number}.png") for number in range(60)]
    assert Counter(decision for _, decision in predictions) == {"bright": 60}


def test_answers_of_another_bundle_are_never_mixed_in(run, images, tmp_path):
    output = tmp_path / "scores.jsonl"
    run(images, output=output)
    output.write_text(output.read_text().replace("tiny 0.0.1", "tiny 0.0.2"))
    with pytest.raises(ConfigError, match=r"holds predictions of tiny 0\.0\.2.*name another file"):
        run(images, output=output)
    output = tmp_path / "scores.csv"
    output.write_text("path,decision,probability_cat\n")
    with pytest.raises(ConfigError, match="columns of another bundle"):
        run(images, output=output)


def test_a_file_of_something_else_is_refused_and_left_alone(run, images, tmp_path):
    output = tmp_path / "notes.jsonl"
    output.write_text('{"hello": 1}\nworld\n')
    with pytest.raises(ConfigError, match="record 1: expected a prediction"):
        run(images, output=output)
    assert output.read_text() == '{"hello": 1}\nworld\n'


def test_two_processes_never_write_to_one_file(run, images, tmp_path):
    pytest.importorskip("fcntl")
    output = tmp_path / "scores.jsonl"
    stream, _ = open_scores(output, identity="x", labels=("a",))
    with stream, pytest.raises(ConfigError, match="another process is writing"):
        run(images, output=output)


def test_a_file_named_twice_is_scored_once(run, images, tmp_path):
    output = tmp_path / "scores.jsonl"
    run(images / "1.png", images, images / "2.png", images, output=output)
    assert len(_read(output)) == 6


@pytest.mark.parametrize("name, asked, said", [
    ("scores.json", None, "expected a name that ends in"),
    ("scores.csv", "jsonl", "its name says csv"),
])  # fmt: skip
def test_names_that_say_another_format_are_refused(run, images, tmp_path, name, asked, said):
    with pytest.raises(ConfigError, match=said):
        run(images, output=tmp_path / name, output_format=asked)


def test_parquet_without_its_extra_says_what_to_install(run, images, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pocketcxr\[parquet\]'"):
        run(images, output=tmp_path / "scores.parquet")


def test_a_device_is_no_file_of_answers(run, images, tmp_path):
    (tmp_path / "scores.jsonl").symlink_to("/dev/null")
    with pytest.raises(ConfigError, match="regular file"):
        run(images, output=tmp_path / "scores.jsonl")


def test_a_full_disk_is_an_error_and_what_was_written_stays(run, images, tmp_path):
    """The system's limit on a file's size stands for the disk's."""
    resource = pytest.importorskip("resource")
    output = tmp_path / "scores.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            run(images, output=output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run(images, output=output) == 1
    assert len(_read(output)) == 6
