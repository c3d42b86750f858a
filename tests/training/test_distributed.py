"""Several processes train one network: same weights everywhere, one record."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_runs
import torch

from pocketcxr.models.checkpoints import load_network
from pocketcxr.training.run.record import Table


def launch(script, out):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    subprocess.run(
        [*command, str(script), str(out)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        timeout=500,
    )


@pytest.mark.slow
def test_two_processes_train_one_student(dataset, tmp_path):
    script = tmp_path / "run.py"
    here = str(Path(__file__).parent)
    script.write_text(f"import sys; sys.path.insert(0, {here!r}); import tiny_runs; tiny_runs.run_student(sys.argv[1])")
    out = tmp_path / "run"
    launch(script, out)
    together = Table(out / "metrics.csv", until=99, writes=False)
    assert together.column("step") == [float(step) for step in range(1, 10)]
    assert load_network(out / "best.safetensors")[2]["epoch"] >= 1
    alone = tiny_runs.train_tiny_student(dataset, tmp_path / "alone")
    first = Table(alone.parent / "metrics.csv", until=99, writes=False)
    # the same 16 images in the first step; each process reports the loss of its 8
    assert together.column("loss")[0] == pytest.approx(first.column("loss")[0], rel=0.5)


HEADS_OF_EACH_PROCESS = """
import dataclasses, sys
sys.path.insert(0, {here!r})
from pathlib import Path
import torch, torch.distributed as dist
import tiny_runs
from pocketcxr.training import student
from pocketcxr.training.auxiliary.heads import WithHeads

torch.set_num_threads(1)
networks = []
class Kept(WithHeads):
    def __init__(self, *parts):
        super().__init__(*parts)
        networks.append(self)
import pocketcxr.training.auxiliary.heads as heads
heads.WithHeads = Kept
config = dataclasses.replace(tiny_runs.BASELINE, auxiliary=tiny_runs.AUXILIARY, batch_size=8)
tiny_runs.train_tiny_student(tiny_runs.with_findings(tiny_runs.make_dataset()), Path(sys.argv[1]), config)
sums = torch.cat([weight.detach().flatten() for weight in networks[0].heads.parameters()]).double()
everyone = [torch.zeros_like(sums) for _ in range(dist.get_world_size())]
dist.all_gather(everyone, sums)
if dist.get_rank() == 0:
    torch.save(everyone, sys.argv[1] + "/heads.pt")
"""


@pytest.mark.slow
def test_two_processes_have_the_same_auxiliary_heads(tmp_path):
    script, out = tmp_path / "run.py", tmp_path / "run"
    script.write_text(HEADS_OF_EACH_PROCESS.format(here=str(Path(__file__).parent)))
    launch(script, out)
    one, other = torch.load(out / "heads.pt", weights_only=True)
    assert one.abs().sum() > 0
    assert torch.equal(one, other)
