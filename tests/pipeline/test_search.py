"""Searches on drawings: killed, shared between processes, pruned; their best settings train the same student again."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pocketcxr.cli import main
from pocketcxr.data.rows import read_rows, write_rows
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import CheckpointError, ConfigError
from pocketcxr.labels import load_task
from pocketcxr.models.checkpoints import load_network
from pocketcxr.pipeline import search as search_module
from pocketcxr.pipeline.prepare import index_sources, split_index
from pocketcxr.pipeline.search import run_search
from pocketcxr.training.config import load_experiment

optuna = pytest.importorskip("optuna", reason="needs the extra search")

TINY = (
    "data.image_size=32",
    'teacher.backbones=["mobilenetv2_035"]',
    'teacher.weights=["scratch"]',
    "teacher.embedding_features=16",
    "teacher.epochs=1",
    "teacher.fusion_epochs=1",
    "teacher.batch_size=16",
    "views.count=1",
    'student.backbone="test_resnet.r160_in1k"',
    'student.weights="scratch"',
    "student.epochs=3",
    "student.batch_size=16",
    "student.checkpoint_every_steps=1",
)
ALONE = (*TINY, "student.losses={ce=1.0}")
SPACE = """
"student.learning_rate" = { low = 1e-4, high = 1e-1, log = true }
student.label_smoothing = [0.0, 0.1]
student.losses = [{ ce = 1.0 }, { ce = 2.0 }]
"""
TRIALS = 4
PROGRAM = """
import sys
reached = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        reached.append((event, str(arguments)))

sys.addaudithook(watch)
import logging
from pathlib import Path
from pocketcxr.pipeline.search import run_search
from pocketcxr.training.config import load_experiment
logging.basicConfig(level=logging.INFO, format="%(message)s")
folder, splits, space, trials = sys.argv[1:5]
experiment = load_experiment(None, sys.argv[5:])
run_search(Path(folder), experiment, space=Path(space), trials=int(trials), splits=Path(splits), progress=False)
print("reached", reached)
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A table of splits and a space."""
    folder = tmp_path_factory.mktemp("given")
    draw_synthetic_xrays(folder / "films", patients=24, seed=3, size=64, progress=False)
    index_sources([folder / "films"], folder / "index.csv", progress=False)
    split_index(folder / "index.csv", load_task("covid-3class"), folder / "splits.csv", fractions=(0.5, 0.3, 0.2))
    (folder / "space.toml").write_text(SPACE)
    return folder


@pytest.fixture(scope="module")
def searched(given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "searched"
    return folder, search(folder, given)


def search(folder, given, *, trials=TRIALS, splits="splits.csv", space="space.toml", settings=ALONE, **options):
    experiment = load_experiment(None, settings)
    return run_search(
        folder, experiment, space=given / space, trials=trials, splits=given / splits, progress=False, **options
    )


def start(folder, given, trials=TRIALS):
    arguments = [folder, given / "splits.csv", given / "space.toml", trials, *ALONE]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def table_of(folder):
    with (folder / "search" / "trials.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def trial_folder(folder, number):
    return folder / "search" / "trials" / f"{number:04}"


def same_weights(one, other):
    ours, theirs = (load_network(path / "best.safetensors")[0].state_dict() for path in (one, other))
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_trials_differ_in_the_fields_searched_and_count_by_their_best_epoch(searched):
    folder, _ = searched
    rows = table_of(folder)
    assert [row["trial"] for row in rows] == [str(number) for number in range(TRIALS)]
    configurations = []
    for row in rows:
        place = trial_folder(folder, int(row["trial"]))
        if row["state"] == "complete":
            finished = json.loads((place / "finished.json").read_text())
            assert float(row["auroc"]) == finished["best_figures"]["auroc"]
        identity = json.loads((place / "config.json").read_text())
        configuration = identity["configuration"]
        assert configuration["learning_rate"] == float(row["student.learning_rate"])
        assert configuration["label_smoothing"] == float(row["student.label_smoothing"])
        assert configuration["losses"] == json.loads(row["student.losses"])
        for name in ("learning_rate", "label_smoothing", "losses"):
            del configuration[name]
        configurations.append(identity)
    assert len({row["student.learning_rate"] for row in rows}) == TRIALS
    assert all(one == configurations[0] for one in configurations)


def test_the_best_settings_train_the_same_student_again(searched, given, tmp_path, capsys):
    folder, said = searched
    best = max((row for row in table_of(folder) if row["state"] == "complete"), key=lambda row: float(row["auroc"]))
    assert said.startswith(f"Trial {best['trial']} is the best of {TRIALS}: ")
    assert f"student.learning_rate = {best['student.learning_rate']}" in said
    options = ["--splits", str(given / "splits.csv"), "--experiment", str(folder / "search" / "best.toml"), "--quiet"]
    assert main(["train-student", *options, "-o", str(tmp_path / "again")]) == 0
    capsys.readouterr()
    assert same_weights(tmp_path / "again" / "student-distilled", trial_folder(folder, int(best["trial"])))


def test_the_report_has_settings_plots_and_every_trial(searched):
    folder, _ = searched
    page = (folder / "search" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    for title in ("History", "Epochs", "Importance of the fields", "Values of all trials"):
        assert f"<b>{title}</b>" in page
    assert page.count("<tr>") == 1 + TRIALS
    assert "[student]" in page


def test_the_same_command_trains_nothing_more_and_another_search_is_refused(searched, given):
    folder, said = searched
    before = {path: path.stat().st_mtime_ns for path in (folder / "search" / "trials").rglob("*.safetensors")}
    assert search(folder, given) == said
    assert {path: path.stat().st_mtime_ns for path in (folder / "search" / "trials").rglob("*.safetensors")} == before
    with pytest.raises(CheckpointError, match=r"student\.epochs was 3, now 4"):
        search(folder, given, settings=(*ALONE, "student.epochs=4"))
    (given / "other.toml").write_text("student.label_smoothing = [0.0, 0.2]")
    with pytest.raises(CheckpointError, match="configuration: space"):
        search(folder, given, space="other.toml")


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(searched, given, tmp_path):
    folder = tmp_path / "killed"
    for number in (1, 2):
        process = start(folder, given)
        table = trial_folder(folder, number) / "metrics.csv"
        deadline = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < deadline:
            if table.exists() and table.read_text().count("\n") > number + 1:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (trial_folder(folder, number) / "finished.json").exists()
    process = start(folder, given)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "trial 2 goes on where it was stopped" in err
    assert out.splitlines()[-1] == "reached []"  # neither Optuna nor its plots open a connection
    assert table_of(folder) == table_of(searched[0])
    assert all(
        same_weights(trial_folder(folder, number), trial_folder(searched[0], number)) for number in range(TRIALS)
    )


def test_two_processes_share_one_search(given, tmp_path):
    folder = tmp_path / "shared"
    processes = [start(folder, given) for _ in range(2)]
    told = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    begun = [re.findall(r"^trial (\d+) of \d+: ", text, re.MULTILINE) for text in told]
    assert sorted(int(number) for one in begun for number in one) == list(range(TRIALS))
    rows = table_of(folder)
    assert [row["trial"] for row in rows] == [str(number) for number in range(TRIALS)]
    assert {row["state"] for row in rows} <= {"complete", "pruned"}


def test_no_label_of_the_test_split_has_a_part_in_it(searched, given, tmp_path):
    rows = read_rows(given / "splits.csv")
    labels = {"normal": "covid19", "covid19": "pneumonia", "pneumonia": "normal"}
    findings = {"no_finding": "covid19", "covid19": "pneumonia", "pneumonia": "no_finding"}
    changed = [
        dataclasses.replace(row, label=labels.get(row.label, row.label), finding=findings.get(row.finding, row.finding))
        if row.split == "test"
        else row
        for row in rows
    ]
    assert sum(one != other for one, other in zip(rows, changed, strict=True)) > 3
    write_rows(changed, given / "false.csv")
    search(tmp_path / "false", given, splits="false.csv")
    assert table_of(tmp_path / "false") == table_of(searched[0])


def test_trials_get_no_label_of_the_test_split(given, tmp_path, monkeypatch):
    seen = []

    def ends_here(dataset, *_, **__):
        seen.append(dataset)
        raise KeyboardInterrupt

    monkeypatch.setattr(search_module, "train_student", ends_here)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "run", given)
    rows, (dataset,) = read_rows(given / "splits.csv"), seen
    held_back = {row.path for row in rows if row.split == "test"}
    assert len(held_back) > 3
    assert {row.split for row in dataset.rows if row.path in held_back} == {""}
    assert not len(dataset.positions("test"))
    for row, label, target in zip(dataset.rows, dataset.labels, dataset.targets, strict=True):
        assert (label < 0 and target < 0) == (row.path in held_back), row.path
    for split in ("train", "calibration"):
        assert len(dataset.positions(split)) == len([row for row in rows if row.split == split and row.label])


def test_a_trial_that_is_worse_than_others_were_is_pruned(searched, given, tmp_path):
    folder = tmp_path / "pruned"
    search(folder, given, trials=1)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "search" / "study.log"))
    )
    study = optuna.load_study(study_name="search", storage=storage)
    done = study.trials[0]
    for _ in range(5):
        study.add_trial(
            optuna.create_trial(
                params=done.params,
                distributions=done.distributions,
                value=1.0,
                intermediate_values={1: 2.0, 2: 2.0, 3: 2.0},
            )
        )
    search(folder, given, trials=7)
    row = table_of(folder)[6]
    assert (row["state"], row["ended"]) == ("pruned", "pruned after epoch 2")  # not during the warm-up of the rate
    out = trial_folder(folder, 6)
    assert len((out / "epochs.csv").read_text().splitlines()) == 3
    assert not (out / "last.pt").exists()
    assert not (out / "finished.json").exists()


def test_a_loss_that_is_no_number_ends_a_trial_and_not_the_search(given, tmp_path):
    (given / "wild.toml").write_text("student.learning_rate = [1e30]")
    with pytest.raises(ConfigError, match="no trial came to its end"):
        search(tmp_path / "wild", given, space="wild.toml", trials=2)
    rows = table_of(tmp_path / "wild")
    assert [row["state"] for row in rows] == ["pruned", "pruned"]
    assert "learning rate" in rows[0]["ended"]


def test_trials_share_one_teacher_and_its_views(given, tmp_path):
    (given / "taught.toml").write_text("student.temperature = { low = 1.0, high = 8.0 }")
    folder = tmp_path / "taught"
    search(folder, given, space="taught.toml", trials=2, settings=(*TINY, "student.epochs=1"))
    assert len({row["student.temperature"] for row in table_of(folder)}) == 2
    assert len(list((folder / "views").iterdir())) == 1
    assert (folder / "teacher" / "teacher.safetensors").is_file()
    assert not (folder / "search" / "teachers").exists()
    teachers = [json.loads((trial_folder(folder, i) / "config.json").read_text())["teacher"] for i in range(2)]
    assert teachers[0] == teachers[1]


@pytest.mark.slow  # two teachers
def test_a_teacher_of_other_settings_stands_in_a_folder_of_its_own(given, tmp_path):
    (given / "crop.toml").write_text("views.augmentation.crop = [0.6, 0.8]")
    folder = tmp_path / "crop"
    search(folder, given, space="crop.toml", trials=4, settings=(*TINY, "student.epochs=1"))
    crops = {row["views.augmentation.crop"] for row in table_of(folder)}
    assert len(list((folder / "search" / "teachers").iterdir())) == len(crops)
    assert not (folder / "teacher").exists()


def test_the_command_refuses_in_one_line_what_cannot_be_searched(given, tmp_path, capsys):
    (given / "bad.toml").write_text("student.epoch = [1]")
    command = ["search", "--splits", str(given / "splits.csv"), "-o", str(tmp_path / "run")]
    assert main([*command, "--space", str(given / "bad.toml"), "--trials", "3"]) == 2
    assert "did you mean epochs?" in capsys.readouterr().err
    assert main([*command, "--space", str(given / "space.toml"), "--trials", "0"]) == 2
    assert "trials: expected at least 1, found 0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
