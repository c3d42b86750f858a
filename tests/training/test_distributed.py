"""Several processes train one network: same weights everywhere, one record."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_runs

from pocketcxr.models.checkpoints import load_network
from pocketcxr.training.run.record import Table


@pytest.mark.slow
def test_two_processes_train_one_student(dataset, tmp_path):
    script = tmp_path / "run.py"
    here = str(Path(__file__).parent)
    script.write_text(f"import sys; sys.path.insert(0, {here!r}); import tiny_runs; tiny_runs.run_student(sys.argv[1])")
    out = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    subprocess.run(
        [*launch, str(script), str(out)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        timeout=500,
    )
    together = Table(out / "metrics.csv", until=99, writes=False)
    assert together.column("step") == [float(step) for step in range(1, 10)]
    assert load_network(out / "best.safetensors")[2]["epoch"] >= 1
    alone = tiny_runs.train_tiny_student(dataset, tmp_path / "alone")
    first = Table(alone.parent / "metrics.csv", until=99, writes=False)
    # the same 16 images in the first step; each process reports the loss of its 8
    assert together.column("loss")[0] == pytest.approx(first.column("loss")[0], rel=0.5)
