"""Commands behind a launcher: two processes, one of them killed, and what is refused there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.labels import load_task
from pocketcxr.models.checkpoints import load_network
from pocketcxr.pipeline.prepare import index_sources, split_index

SETTINGS = (
    "data.image_size=32",
    'student.backbone="mobilenetv2_035"',
    'student.weights="scratch"',
    "student.epochs=8",
    "student.batch_size=16",
    "student.checkpoint_every_steps=2",
)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    draw_synthetic_xrays(folder / "films", patients=30, seed=3, size=96, progress=False)
    index_sources([folder / "films"], folder / "index.csv", progress=False)
    split_index(folder / "index.csv", load_task("covid-3class"), folder / "splits.csv")
    return folder / "splits.csv"


def launched(command, *arguments):
    """A command on two processes of this machine, as `docs/how-to/train-on-many-processes.md` has it."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return subprocess.Popen(
        [*launcher, "-m", "pocketcxr.cli", command, *map(str, arguments), *settings],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train(splits, run):
    return launched("train-student", "--no-teacher", "--splits", splits, "-o", run)


def rank_of(process):
    """Process ids below a launcher by rank."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            environment = (status.parent / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if lines["PPid"] == str(process.pid):
            (rank,) = (one.removeprefix(b"RANK=") for one in environment if one.startswith(b"RANK="))
            found[int(rank)] = int(status.parent.name)
    return found


def steps(run):
    table = run / "student-baseline" / "metrics.csv"
    return table.read_bytes().count(b"\n") - 1 if table.exists() else 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes of a launcher are found in /proc")
def test_a_killed_process_ends_the_launch_and_the_same_command_goes_on(splits, tmp_path):
    whole = train(splits, tmp_path / "whole")
    out, err = whole.communicate(timeout=900)
    assert whole.returncode == 0, err
    assert out.splitlines() == [str(tmp_path / "whole" / "student-baseline" / "best.safetensors")]
    assert err.count("training images:") == (tmp_path / "whole" / "run.log").read_text().count("training images:") == 1

    killed = train(splits, tmp_path / "killed")
    while steps(tmp_path / "killed") < 5 and killed.poll() is None:
        time.sleep(0.01)
    os.kill(rank_of(killed)[1], signal.SIGKILL)
    _, err = killed.communicate(timeout=900)
    assert killed.returncode != 0
    assert "Signal 9 (SIGKILL)" in err
    assert "fault of pocketcxr" not in err
    assert not (tmp_path / "killed" / "student-baseline" / "finished.json").exists()

    again = train(splits, tmp_path / "killed")
    _, err = again.communicate(timeout=900)
    assert again.returncode == 0, err
    runs = [tmp_path / name / "student-baseline" for name in ("killed", "whole")]
    ours, theirs = (load_network(run / "best.safetensors")[0].state_dict() for run in runs)
    assert [name for name, tensor in theirs.items() if not torch.equal(ours[name], tensor)] == []
    assert [steps(tmp_path / name) for name in ("killed", "whole")] == [16, 16]


@pytest.mark.slow
def test_what_is_no_training_is_refused_on_several_processes(splits, tmp_path):
    refused = launched("distill", "--splits", splits, "-o", tmp_path / "run")
    _, err = refused.communicate(timeout=900)
    assert refused.returncode != 0
    assert "pocketcxr: distill: expected one process, found 2; launch train-teacher, cache-views or" in err
    assert not (tmp_path / "run").exists()
