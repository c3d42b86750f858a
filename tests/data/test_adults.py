"""Children are left out before a split where that is asked, and counted; without it nothing changes."""

import dataclasses
import hashlib
import json
from collections import Counter

import pytest

from pocketcxr.cli import main
from pocketcxr.data.rows import IndexRow, read_rows, write_rows
from pocketcxr.data.splits.adults import adults_only
from pocketcxr.errors import ConfigError
from pocketcxr.pipeline.prepare import prepare
from pocketcxr.pipeline.run import open_run
from pocketcxr.training.config import DataConfig, Experiment

AGES = ("17.5", "18", "64", "", "nan", "3", "70")


def rows():
    """210 patients of source "a" with the ages above, and 30 of Kermany's, of two classes."""
    ages = [("a", AGES[i % 7]) for i in range(210)] + [("kermany", "")] * 30
    return [
        IndexRow(f"/x/{i:03d}.png", source, ("covid19", "no_finding")[i % 2], patient_id=f"p{i}", age=age,
                 sha256=hashlib.sha256(str(i).encode()).hexdigest())
        for i, (source, age) in enumerate(ages)
    ]  # fmt: skip


def test_children_are_left_out_and_unknown_ages_are_kept_and_counted():
    kept, summary = adults_only(rows())
    assert Counter(row.age for row in kept) == dict.fromkeys(("18", "64", "", "nan", "70"), 30)
    assert {row.source for row in kept} == {"a"}
    assert summary.splitlines() == [
        "adults only, a: left out 60 images of children, kept 60 of unknown age",
        "adults only, kermany: left out 30 images of children, kept 0 of unknown age",
    ]


def test_the_command_splits_adults_as_if_children_had_never_been_there(tmp_path, capsys):
    index, without = tmp_path / "index.csv", tmp_path / "without.csv"
    write_rows(rows(), index)
    write_rows([row for row in rows() if row.source == "a" and row.age not in {"17.5", "3"}], without)

    def split(table, *options):
        out = tmp_path / "splits.csv"
        assert main(["split", str(table), "--task", "covid-binary", "-o", str(out), *options]) == 0
        return read_rows(out), capsys.readouterr().out

    adults, said = split(index, "--adults-only")
    assert adults == split(without)[0]
    assert "adults only, kermany: left out 30 images of children" in said
    everyone, said = split(index)
    assert len(everyone) == 240
    assert "adults only" not in said
    sides = "".join(row.split[0] for row in everyone)
    assert hashlib.sha256(sides.encode()).hexdigest()[:16] == "8eaa89257b3733b8"  # as before the option came


def test_a_run_on_a_table_of_splits_holds_adults_only(tmp_path, picture):
    table = []
    for i in range(24):
        path = picture(tmp_path / f"{i}.png", i)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        facts = {"patient_id": f"p{i}", "age": "9" if i % 4 < 2 else "40", "sha256": digest}
        finding, split = ("covid19", "no_finding")[i % 2], ("train", "calibration", "test")[i // 8]
        table.append(IndexRow(str(path), "a", finding, split=split, **facts))
    write_rows(table, tmp_path / "given.csv")
    for adults, images in ((True, 12), (False, 24)):
        data = DataConfig(task="covid-binary", image_size=32, adults_only=adults)
        run = open_run(tmp_path / f"run-{adults}", Experiment(data=data), progress=False)
        dataset = prepare(run, splits=tmp_path / "given.csv")
        assert len(dataset.rows) == images
        assert {row.age for row in dataset.rows} == ({"40"} if adults else {"9", "40"})


def test_a_run_of_an_earlier_version_keeps_its_children(tmp_path):
    experiment = Experiment()
    data = dataclasses.asdict(experiment.data)
    del data["adults_only"]
    (tmp_path / "experiment.json").write_text(json.dumps({"data": data}))
    write_rows(rows(), tmp_path / "splits.csv")
    with pytest.raises(ConfigError, match=r"data\.adults_only = False, not True"):
        open_run(tmp_path, dataclasses.replace(experiment, data=DataConfig(adults_only=True)))
    open_run(tmp_path, experiment)
